"""How figures look, by light and by dark."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.patheffects import Normal, Stroke

from mili_jax.report import palette


@dataclasses.dataclass(frozen=True)
class Theme:
    """Colours: of text, lines and paper, of what is no group's (`mean`, `lines`), of what a
    figure is about (`accent`) and of what it is held against (`faint`, `middle`), and of groups."""

    text: str
    muted: str
    grid: str
    paper: str
    mean: str
    grey: str
    accent: str
    faint: str
    middle: str
    groups: tuple[str, ...]
    lines: tuple[str, ...]

    @property
    def others(self) -> tuple[str, ...]:
        """Of lines beside one of the accent's colour, which is blue too."""
        return self.lines[:2] + self.lines[3:]

    def colour(self, groups: Sequence[str], name: str) -> str:
        """Of a group among all groups of its domain."""
        place = palette.place(groups, name)
        return self.grey if place is None else self.groups[place]


LIGHT = Theme(
    text="#1d2530",
    muted="#566070",
    grid="#e3e7ec",
    paper="#ffffff",
    mean="#3b4656",
    grey=palette.GREY_LIGHT,
    accent="#0b6fae",
    faint="#c9d0d8",
    middle="#87919e",
    groups=palette.LIGHT,
    lines=("#35495e", "#d55e00", "#3a9bd1", "#8c6d31", "#7f3c8d", "#4c7a34"),
)
DARK = Theme(
    text="#e6eaf0",
    muted="#a3afbd",
    grid="#2c3540",
    paper="#1a2028",
    mean="#c3ccd8",
    grey=palette.GREY_DARK,
    accent="#4fb0ee",
    faint="#46525f",
    middle="#8a95a2",
    groups=palette.DARK,
    lines=("#cfd8e3", "#ff8f4a", "#6fc0f0", "#d9b65c", "#c792ea", "#9bcf7f"),
)


def theme_of(dark: bool) -> Theme:
    return DARK if dark else LIGHT


def interval(axis: Axes, theme: Theme, low: float, high: float, y: float) -> None:
    """A horizontal line with a rim of paper, to be seen on a bar of any colour."""
    axis.plot(
        [low, high],
        [y, y],
        color=theme.text,
        linewidth=1.2,
        solid_capstyle="butt",
        path_effects=[Stroke(linewidth=3.2, foreground=theme.paper), Normal()],
    )


def quiet(axis: Axes, theme: Theme, keep: Sequence[str] = ("left", "bottom")) -> None:
    """Takes away from an axis what is not needed."""
    axis.set_facecolor(theme.paper)
    axis.set_axisbelow(True)
    for side, spine in axis.spines.items():
        spine.set_visible(side in keep)
        spine.set_color(theme.grid)
    axis.tick_params(length=0, labelsize=8.5)
    axis.tick_params(axis="x", labelcolor=theme.muted)
    if not axis.get_yticklabels() or keep != ("left",):
        axis.tick_params(axis="y", labelcolor=theme.muted)
