"""Training curves."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from mili_jax.report.figures.canvas import label_of, legend, new_panels
from mili_jax.report.figures.isolation import isolated
from mili_jax.report.figures.style import quiet, theme_of
from mili_jax.report.rows import Raw
from mili_jax.types import ConfigError, DataError

Dashes = str | tuple[int, tuple[float, ...]]
_DASHES: tuple[Dashes, ...] = ("-", (0, (4, 2)), (0, (1, 1.5)))


@isolated
def curves_figure(metrics: Sequence[Raw], *, dark: bool = False, narrow: bool = False) -> Figure:
    """Training curves, one panel each for nll, contrastive and accuracy, one colour per stage.

    A metric belongs to a panel when the panel's word is part of its name ("validation/nll"); other
    names of a panel than its first are dashed. Long noisy series are faint behind their running
    mean. Raises ConfigError when no metric can be drawn.
    """
    theme = theme_of(dark)
    panels = curve_panels(metrics)
    if not panels:
        raise ConfigError("no metrics named nll, contrastive or accuracy to draw")
    stages = list(dict.fromkeys(str(row.get("stage", "")) for row in metrics))
    figure, axes = new_panels(theme, len(panels), narrow=narrow)
    handles: dict[str, Line2D] = {}
    for axis, (word, names) in zip(axes, panels.items(), strict=True):
        for number, stage in enumerate(stages):
            colour = theme.lines[number % len(theme.lines)]
            for order, name in enumerate(names):
                for steps, values in _series(metrics, stage, name):
                    label = stage if len(names) == 1 or order == 0 else f"{stage} {name}"
                    line = _curve(axis, steps, values, colour, _DASHES[min(order, 2)])
                    handles.setdefault(label, line)
        axis.set_title(word, color=theme.text, fontsize=10, loc="left")
        axis.set_xlabel("step", color=theme.muted, fontsize=8.5)
        axis.grid(color=theme.grid, linewidth=0.8)
        quiet(axis, theme)
        if word == "accuracy":
            axis.set_ylim(-0.02, 1.02)
    labels = [label_of(name, f"stage {i + 1}", 40) for i, name in enumerate(handles)]
    legend(figure, theme, list(handles.values()), labels)
    return figure


def curve_panels(metrics: Sequence[Raw]) -> dict[str, list[str]]:
    """The names of the metrics of each panel."""
    names = sorted(
        {
            key
            for row in metrics
            for key, value in row.items()
            if key not in ("stage", "step", "seed") and isinstance(value, int | float)
        },
        key=lambda name: (len(name), name),
    )
    panels = {}
    for word in ("nll", "contrastive", "accuracy"):
        members = [name for name in names if word in re.split(r"[^a-z]+", name.lower())]
        if members:
            panels[word] = members[:3]
    return panels


def _series(
    metrics: Sequence[Raw], stage: str, name: str
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(steps, values) of one metric in one stage, once per seed, in the order of steps."""
    by_seed: dict[object, list[tuple[float, float]]] = {}
    for row in metrics:
        step, value = row.get("step"), row.get(name)
        if str(row.get("stage", "")) == stage and isinstance(value, int | float):
            if not isinstance(step, int | float):
                raise DataError(f"metric {name!r} of stage {stage!r}: its step is {step!r}")
            by_seed.setdefault(row.get("seed"), []).append((float(step), float(value)))
    for points in by_seed.values():
        steps, values = np.array(sorted(points)).T
        finite = np.isfinite(values)
        if finite.any():
            yield steps[finite], values[finite]


def _curve(
    axis: Axes, steps: np.ndarray, values: np.ndarray, colour: str, dashes: Dashes
) -> Line2D:
    if len(values) > 60:
        axis.plot(steps, values, color=colour, alpha=0.22, linewidth=0.8)
        window = max(5, len(values) // 30)
        kernel = np.ones(window)
        weight = np.convolve(np.ones_like(values), kernel, mode="same")
        values = np.convolve(values, kernel, mode="same") / weight
    marker = "o" if len(values) == 1 else None
    (line,) = axis.plot(
        steps, values, color=colour, linewidth=1.6, linestyle=dashes, marker=marker, markersize=4
    )
    return line
