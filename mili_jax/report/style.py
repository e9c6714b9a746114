"""How figures look, by light and by dark."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

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


def save_figure(figure: Figure, path: Path) -> Path:
    """Saves as the suffix says (.svg or .png, 200 dpi), the same bytes for the same figure."""
    svg = path.suffix == ".svg"
    metadata = {"Date": None, "Creator": None} if svg else {"Software": None}
    path.parent.mkdir(parents=True, exist_ok=True)
    with matplotlib.rc_context({"svg.hashsalt": "mili_jax", "svg.fonttype": "path"}):
        figure.savefig(path, dpi=160 if svg else 200, metadata=metadata)
    return path


def new_figure(theme: Theme, width: float, height: float) -> Figure:
    figure = Figure(figsize=(width, height), layout="constrained")
    figure.set_facecolor(theme.paper)
    return figure


def new_panels(theme: Theme, count: int, *, narrow: bool) -> tuple[Figure, list[Axes]]:
    if narrow:
        figure = new_figure(theme, 4.6, 0.5 + 2.5 * count)
        return figure, list(figure.subplots(count, 1, squeeze=False)[:, 0])
    columns = min(count, 3)
    lines = math.ceil(count / columns)
    figure = new_figure(theme, 11.0, 0.5 + 3.1 * lines)
    axes = figure.subplots(lines, columns, squeeze=False).ravel()
    for spare in axes[count:]:
        spare.remove()
    return figure, list(axes[:count])


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


def legend(
    figure: Figure, theme: Theme, handles: Sequence[Any], labels: Sequence[str], *, narrow: bool
) -> None:
    columns = 7
    if narrow:
        columns = 2 if max(len(label) for label in labels) > 12 else 3
    figure.legend(
        handles,
        labels,
        loc="outside upper left",
        ncols=min(len(labels), columns),
        frameon=False,
        fontsize=8.5,
        labelcolor=theme.text,
        handletextpad=0.5,
        columnspacing=1.4,
    )
