"""Robots and their worlds."""
