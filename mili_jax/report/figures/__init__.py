"""Figures of a run, from its rows and arrays alone: a committed file of result rows is enough to
draw one again.

Each exists for a light and a dark page and for a wide and a narrow one. Family colours are those of
Okabe and Ito (2008), which people with colour-vision deficiencies can tell apart; the same family
has the same colour everywhere.
"""
