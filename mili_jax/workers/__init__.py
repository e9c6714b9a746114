"""Supervised processes, on this machine or on Ray."""
