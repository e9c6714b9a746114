"""How figures look, by light and by dark."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes

FAMILY_COLOURS = {"press": "#0072b2", "grasp": "#e69f00", "push": "#009e73", "place": "#cc79a7"}


DARK_FAMILY_COLOURS = {
    "press": "#4ba3dd",
    "grasp": "#f0b03a",
    "push": "#2bbd92",
    "place": "#e092bf",
}


@dataclasses.dataclass(frozen=True)
class Theme:
    text: str
    muted: str
    grid: str
    paper: str
    mean: str
    families: Mapping[str, str]
    lines: tuple[str, ...]


LIGHT = Theme(
    text="#1d2530",
    muted="#566070",
    grid="#e3e7ec",
    paper="#ffffff",
    mean="#3b4656",
    families=FAMILY_COLOURS,
    lines=("#35495e", "#d55e00", "#3a9bd1", "#8c6d31", "#7f3c8d", "#4c7a34"),
)


DARK = Theme(
    text="#e6eaf0",
    muted="#a3afbd",
    grid="#2c3540",
    paper="#1a2028",
    mean="#c3ccd8",
    families=DARK_FAMILY_COLOURS,
    lines=("#cfd8e3", "#ff8f4a", "#6fc0f0", "#d9b65c", "#c792ea", "#9bcf7f"),
)


def quiet(axis: Axes, theme: Theme, keep: Sequence[str] = ("left", "bottom")) -> None:
    axis.set_facecolor(theme.paper)
    axis.set_axisbelow(True)
    for side, spine in axis.spines.items():
        spine.set_visible(side in keep)
        spine.set_color(theme.grid)
    axis.tick_params(length=0, labelsize=8.5)
    axis.tick_params(axis="x", labelcolor=theme.muted)
    if not axis.get_yticklabels() or keep != ("left",):
        axis.tick_params(axis="y", labelcolor=theme.muted)
