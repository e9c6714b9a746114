"""Empty figures, and figures as files."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mili_jax.report.figures.style import Theme


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
