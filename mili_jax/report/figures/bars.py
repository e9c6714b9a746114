"""Success per group, a bar per policy and condition."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mili_jax.report.figures.canvas import label_of, new_figure
from mili_jax.report.figures.isolation import isolated
from mili_jax.report.figures.style import Theme, interval, quiet, theme_of
from mili_jax.report.groups import groups_of, in_order, one_domain
from mili_jax.report.methods import DEMO_NAMES
from mili_jax.report.policies import conditions, policies_of, policy_name, primary_split
from mili_jax.report.rows import ResultRow
from mili_jax.report.statistics import group_table, headline
from mili_jax.types import ConfigError

_COLUMNS = 5  # of panels side by side


class _Line(NamedTuple):
    """A bar in every panel: at height y, `first` of its policy."""

    y: float
    name: str
    first: bool
    demo: str
    rows: list[ResultRow]


@isolated
def bars_figure(
    rows: Sequence[ResultRow],
    groups: Sequence[str] = (),
    *,
    split: str | None = None,
    dark: bool = False,
    narrow: bool = False,
) -> Figure:
    """Success per group and in the mean, one bar per policy and condition, on one split.

    Groups carry Wilson intervals, the mean a bootstrap interval over tasks. Solid bars are the
    right demonstration, hatched ones a wrong one, hollow ones none. Without `split` it is the first
    of test, validation, train that the rows hold. groups: all of the domain in the order of their
    colours; without it as the rows name them. Raises as `statistics.headline`.
    """
    theme, split = theme_of(dark), split or primary_split(rows)
    lines, height = _lines(rows, split)
    if not lines:
        raise ConfigError(f"no result rows on split {split!r} to draw")
    present = set(groups_of(rows))
    groups = in_order([*groups, *groups_of(rows)], one_domain(rows))
    shown = [group for group in groups if group in present]
    panels: list[str | None] = [*shown, None]  # the last is the mean
    if narrow:
        figure = new_figure(theme, 4.0, 0.4 + len(panels) * (0.55 + 0.21 * height))
        axes = figure.subplots(len(panels), 1, squeeze=False)
    else:
        columns = min(len(panels), _COLUMNS)
        deep = math.ceil(len(panels) / columns)
        figure = new_figure(theme, 11.0, deep * (0.9 + 0.27 * height))
        axes = figure.subplots(deep, columns, sharey=True, squeeze=False)
    for spare in axes.ravel()[len(panels) :]:
        spare.remove()
    for number, (axis, panel) in enumerate(zip(axes.ravel(), panels, strict=False)):
        colour = theme.mean if panel is None else theme.colour(groups, panel)
        title = f"mean of {len(shown)} groups" if len(shown) > 1 else "mean"
        if panel is not None:
            title = label_of(panel, f"group {number + 1}", 18, lines=2)
        wide = 26 if narrow else 44
        for line in lines:
            rate = _rate(line.rows, panel)
            if rate is not None:
                _bar(axis, theme, line.y, *rate, demo=line.demo, colour=colour)
        axis.set_title(title, color=theme.text, fontsize=10, fontweight="bold", loc="left")
        axis.set_xlim(0, 1.22)
        axis.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", "", "50", "", "100%"])
        axis.set_ylim(height - 0.9, -0.7)
        axis.set_yticks(
            [line.y for line in lines],
            [label_of(line.name, f"policy {i + 1}", wide, 2) for i, line in enumerate(lines)],
        )
        axis.grid(axis="x", color=theme.grid, linewidth=0.8)
        if narrow or axis in axes[:, 0]:
            for label, line in zip(axis.get_yticklabels(), lines, strict=True):
                label.set_color(theme.text if line.first else theme.muted)
                label.set_fontsize(8.5 if line.first else 7.5)
        quiet(axis, theme, keep=("left",))
    return figure


def _lines(rows: Sequence[ResultRow], split: str) -> tuple[list[_Line], float]:
    """All bars of a panel from the top, and its height."""
    lines: list[_Line] = []
    y = 0.0
    for policy in policies_of(rows, split):
        for index, (demo, members) in enumerate(conditions(rows, policy, split).items()):
            name = policy_name(policy, rows) if index == 0 else DEMO_NAMES[demo]
            if index == 0 and demo != "right":
                name += f" ({DEMO_NAMES[demo]})"
            lines.append(_Line(y, name, index == 0, demo, members))
            y += 1
        y += 0.6
    return lines, y


def _rate(members: Sequence[ResultRow], panel: str | None) -> tuple[float, float, float] | None:
    if panel is None:
        mean = headline(members)
        return mean.rate, mean.low, mean.high
    for entry in group_table(members):
        if entry.group == panel:
            return entry.rate, entry.low, entry.high
    return None


def _bar(
    axis: Axes,
    theme: Theme,
    y: float,
    rate: float,
    low: float,
    high: float,
    *,
    demo: str,
    colour: str,
) -> None:
    axis.barh(
        y,
        rate,
        height=0.78,
        facecolor=colour if demo == "right" else "none",
        edgecolor=colour,
        hatch="/////" if demo == "wrong" else None,
        linewidth=1.0,
    )
    end = rate
    if math.isfinite(low):
        interval(axis, theme, low, high, y)
        end = max(rate, high)
    strong = demo == "right"
    axis.text(
        end + 0.025,
        y,
        f"{100 * rate:.0f}",
        va="center",
        fontsize=8.5 if strong else 7.5,
        fontweight="bold" if strong else "normal",
        color=theme.text if strong else theme.muted,
    )
