"""What a round of trials gives, in one figure: before it, with equal rows, and MILI."""

from __future__ import annotations

import math
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from mili_jax.report.figures.canvas import label_of, legend, new_figure
from mili_jax.report.figures.isolation import isolated
from mili_jax.report.figures.style import Theme, interval, quiet, theme_of
from mili_jax.report.improvement import Arm, arms_of_a_round
from mili_jax.report.rows import ResultRow
from mili_jax.report.statistics import group_table, headline
from mili_jax.types import ConfigError


@isolated
def improvement_figure(rows: Sequence[ResultRow], *, dark: bool = False) -> Figure:
    """Success per group and in the mean, a bar each before the trials, of the control with as many
    rows (or steps), and after MILI's round, with 95% intervals: Wilson per group, bootstrap over
    tasks and seeds for the mean.

    Of a width that can be read on a phone. Raises ConfigError if the rows hold no such round (see
    `improvement.arms_of_a_round`), and as `statistics.headline`.
    """
    theme = theme_of(dark)
    found = arms_of_a_round(rows)
    if not found:
        raise ConfigError("no round of MILI with what it started from and a control to draw")
    groups = [entry.group for entry in group_table(found[-1].rows)]
    colours = (theme.faint, theme.middle, theme.accent)
    step = len(found) + 0.75
    figure = new_figure(theme, 4.2, 0.75 + 0.195 * step * (len(groups) + 1))
    axis = figure.subplots()
    places, names = [], []
    for at, group in enumerate([None, *groups]):
        top = at * step + (0.35 if at else 0.0)
        for i, arm in enumerate(found):
            _bar(axis, theme, top + i, _rate(arm, group), colours[i], last=i == len(found) - 1)
        places.append(top + (len(found) - 1) / 2)
        names.append(
            f"mean of\n{len(groups)} groups"
            if group is None
            else label_of(group, f"group {at}", 12, lines=3)
        )
    axis.set_ylim((len(groups) + 1) * step - 0.2, -0.75)
    axis.set_xlim(0, 1.17)
    axis.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", "25", "50", "75", "100%"])
    axis.set_yticks(places, names)
    axis.grid(axis="x", color=theme.grid, linewidth=0.8)
    quiet(axis, theme, keep=("left",))
    axis.tick_params(axis="y", labelsize=10, labelcolor=theme.text)
    axis.tick_params(axis="x", labelsize=9)
    axis.get_yticklabels()[0].set_fontweight("bold")
    keys = [Patch(facecolor=colour) for colour in colours]
    legend(figure, theme, keys, [arm.name for arm in found])
    return figure


def _rate(arm: Arm, group: str | None) -> tuple[float, float, float] | None:
    if group is None:
        mean = headline(arm.rows)
        return mean.rate, mean.low, mean.high
    for entry in group_table(arm.rows):
        if entry.group == group:
            return entry.rate, entry.low, entry.high
    return None


def _bar(
    axis: Axes,
    theme: Theme,
    y: float,
    rate: tuple[float, float, float] | None,
    colour: str,
    *,
    last: bool,
) -> None:
    if rate is None:
        return
    value, low, high = rate
    axis.barh(y, value, height=0.86, color=colour)
    end = value
    if math.isfinite(low):
        interval(axis, theme, low, high, y)
        end = max(value, high)
    axis.text(
        end + 0.015,
        y,
        f"{100 * value:.0f}",
        va="center_baseline",
        fontsize=9,
        fontweight="bold" if last else "normal",
        color=theme.text if last else theme.muted,
    )
