"""Empty figures, and figures as files."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from pathlib import Path

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.font_manager import findfont, get_font

from mili_jax.report.figures.isolation import isolated
from mili_jax.report.figures.style import Theme
from mili_jax.report.words import shorten
from mili_jax.storage.files import atomic_write, make_directory
from mili_jax.types import ConfigError


@isolated
def render(figure: Figure, kind: str) -> bytes:
    """The figure as a file of a kind ("svg" or "png", 200 dpi): the same bytes for the same figure.

    Raises ConfigError for any other kind.
    """
    file = io.BytesIO()
    if kind == "svg":
        metadata = {"Date": None, "Creator": None}
        FigureCanvasSVG(figure).print_figure(file, format="svg", dpi=160, metadata=metadata)
    elif kind == "png":
        FigureCanvasAgg(figure).print_figure(
            file, format="png", dpi=200, metadata={"Software": None}
        )
    else:
        raise ConfigError(f"figures are written as svg or png, not as {kind!r}")
    return file.getvalue()


def save_figure(figure: Figure, path: Path) -> Path:
    """Writes a figure as its suffix says (.svg or .png), whole or not at all.

    Raises DataError naming the path if the file system refuses; the old file stays.
    """
    make_directory(path.parent)
    atomic_write(path, render(figure, path.suffix.removeprefix(".")))
    return path


def label_of(name: str, instead: str, width: int, lines: int = 1) -> str:
    """A name for a figure, or what stands for it there if its letters are in no font of ours."""
    text = shorten(name, width, lines)
    font = get_font(findfont("DejaVu Sans"))
    if text and all(font.get_char_index(ord(c)) for c in text if not c.isspace()):
        return f" {text}" if text.startswith("_") else text  # Matplotlib hides what begins with _
    return instead


def new_figure(theme: Theme, width: float, height: float) -> Figure:
    """An empty figure of so many inches."""
    figure = Figure(figsize=(width, height), layout="constrained")
    figure.set_facecolor(theme.paper)
    return figure


def new_panels(theme: Theme, count: int, *, narrow: bool) -> tuple[Figure, list[Axes]]:
    """A figure with so many panels, at most three side by side, one where it is narrow."""
    if narrow:
        figure = new_figure(theme, 4.0, 0.5 + 2.5 * count)
        return figure, list(figure.subplots(count, 1, squeeze=False)[:, 0])
    columns = min(count, 3)
    lines = math.ceil(count / columns)
    figure = new_figure(theme, 11.0, 0.5 + 3.1 * lines)
    axes = figure.subplots(lines, columns, squeeze=False).ravel()
    for spare in axes[count:]:
        spare.remove()
    return figure, list(axes[:count])


def legend(figure: Figure, theme: Theme, handles: Sequence[Artist], labels: Sequence[str]) -> None:
    """Above the panels, in as many columns as fit; the figure grows by its lines."""
    if not labels:
        return
    width, height = figure.get_size_inches()
    longest = max(len(label) for label in labels)
    columns = max(1, min(len(labels), 7, int(width / (0.45 + 0.085 * longest))))
    figure.set_size_inches(width, height + 0.2 * (math.ceil(len(labels) / columns) - 1))
    figure.legend(
        handles,
        labels,
        loc="outside upper left",
        ncols=columns,
        frameon=False,
        fontsize=8.5,
        labelcolor=theme.text,
        handletextpad=0.5,
        columnspacing=1.4,
    )
