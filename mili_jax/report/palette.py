"""The colours of groups.

Twelve that people with any of the three colour-vision deficiencies can tell apart, by light and by
dark (`tests/test_report.py` measures it); the first four are those of Okabe and Ito (2008), on dark
paper close to them. A group has the colour of its place in its domain's order. Beyond the twelfth
groups are grey: no two share a colour, and a name always stands beside it.
"""

from __future__ import annotations

from collections.abc import Sequence

LIGHT = (
    *("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#ef6034", "#4b15f3"),
    *("#6c5d3d", "#d1b4b1", "#0fc4e2", "#8f3ce2", "#8e430e", "#6e08a3"),
)
DARK = (
    *("#4796ea", "#eaa941", "#2ac390", "#d289cb", "#ef7257", "#2648fa"),
    *("#508119", "#d40c56", "#72ffcb", "#9a62ff", "#abf72c", "#b536a0"),
)
GREY_LIGHT, GREY_DARK = "#686f76", "#808080"


def place(groups: Sequence[str], name: str) -> int | None:
    """The index of a group's colour; None for grey."""
    index = list(groups).index(name) if name in groups else len(LIGHT)
    return index if index < len(LIGHT) else None
