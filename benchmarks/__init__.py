"""Measurements of speed and of the scripted experts; the README here says how to read them."""
