"""Success over the rounds of trials."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from mili_jax.report.figures.canvas import label_of, legend, new_figure
from mili_jax.report.figures.isolation import isolated
from mili_jax.report.figures.style import quiet, theme_of
from mili_jax.report.rounds import series
from mili_jax.report.rows import ResultRow
from mili_jax.report.statistics import headline
from mili_jax.types import ConfigError

_MARKERS = ("o", "s", "^", "D", "v", "P")
_APART = 0.05  # rounds, so that intervals at one round do not hide each other


@isolated
def rounds_figure(
    rows: Sequence[ResultRow], split: str, *, dark: bool = False, narrow: bool = False
) -> Figure:
    """Mean success of MILI and its controls after rounds 0 (before the trials) to n, with 95%
    intervals over tasks and seeds; the scale shows only what is needed.

    Raises ConfigError if MILI has fewer than two rounds on the split, and as `statistics.headline`.
    """
    theme = theme_of(dark)
    found = series(rows, split)
    if not found:
        raise ConfigError(f"fewer than two rounds of MILI on split {split!r} to draw")
    figure = new_figure(theme, *((4.0, 3.9) if narrow else (11.0, 4.2)))
    axis = figure.subplots()
    handles, ends = [], []
    for i, one in enumerate(found):
        colour = theme.accent if i == 0 else theme.others[(i - 1) % len(theme.others)]
        means = {at: headline(one.rows[at]) for at in sorted(one.rows)}
        shift = _APART * (i - (len(found) - 1) / 2)
        x = np.array(list(means)) + np.where(np.array(list(means)) > 0, shift, 0.0)
        rate = np.array([mean.rate for mean in means.values()])
        for at, mean in zip(x, means.values(), strict=True):
            if math.isfinite(mean.low) and (at > 0 or i == 0):  # all begin with the same one
                axis.plot([at, at], [mean.low, mean.high], color=colour, linewidth=1.4, alpha=0.6)
                ends += [mean.low, mean.high]
        ends += rate.tolist()
        (line,) = axis.plot(
            x,
            rate,
            color=colour,
            linewidth=2.2 if i == 0 else 1.4,
            zorder=3 if i == 0 else 2,
            marker=_MARKERS[i % len(_MARKERS)],
            markersize=6.0 if i == 0 else 4.5,
        )
        handles.append(line)
        if i == 0:
            for at, value in zip(x, rate, strict=True):
                axis.annotate(
                    f"{100 * value:.0f}",
                    (at, value),
                    (-6, 6),
                    textcoords="offset points",
                    ha="right",
                    fontsize=9,
                    fontweight="bold",
                    color=theme.text,
                )
    _scale(axis, ends)
    numbers = sorted({at for one in found for at in one.rows})
    axis.set_xlim(numbers[0] - 0.25, numbers[-1] + 0.25)
    axis.set_xticks(
        numbers,
        [("before" if narrow else "before trials") if at == 0 else f"round {at}" for at in numbers],
    )
    axis.set_title("mean success", color=theme.text, fontsize=10, loc="left")
    axis.grid(axis="y", color=theme.grid, linewidth=0.8)
    quiet(axis, theme)
    names = [label_of(one.name, f"method {i + 1}", 40) for i, one in enumerate(found)]
    keys = [
        Line2D([], [], color=h.get_color(), marker=h.get_marker(), markersize=5) for h in handles
    ]
    legend(figure, theme, keys, names)
    return figure


def _scale(axis: Axes, ends: Sequence[float]) -> None:
    """Shows the tens of per cent that the values and intervals reach."""
    low = max(0.0, math.floor(10 * min(ends) - 0.2) / 10)
    high = min(1.0, math.ceil(10 * max(ends) + 0.2) / 10)
    ticks = [tick / 10 for tick in range(round(10 * low), round(10 * high) + 1)]
    axis.set_ylim(low, high + 0.02)
    axis.set_yticks(ticks, [f"{100 * tick:.0f}%" for tick in ticks])
