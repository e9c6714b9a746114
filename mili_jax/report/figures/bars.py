"""Success per family, a bar per policy and condition."""

from __future__ import annotations

import math
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import Normal, Stroke

from mili_jax.report import policies
from mili_jax.report.figures.canvas import new_figure
from mili_jax.report.figures.style import DARK, LIGHT, Theme, quiet
from mili_jax.report.methods import DEMO_NAMES
from mili_jax.report.statistics import Row, family_table, headline
from mili_jax.types import FAMILIES, ConfigError


def bars_figure(
    rows: Sequence[Row], *, split: str | None = None, dark: bool = False, narrow: bool = False
) -> Figure:
    """Success per family and in the mean, one bar per policy and condition, on one split.

    Families carry Wilson intervals, the mean a bootstrap interval over tasks. Solid bars are the
    right demonstration, hatched ones a wrong one, hollow ones none. Without `split` it is the first
    of test, validation, train that the rows hold. Raises as `statistics.headline`.
    """
    theme = DARK if dark else LIGHT
    split = split or policies.primary_split(rows)
    lines: list[tuple[float, str, bool, str, list[Row]]] = []
    y = 0.0
    for policy in policies.policies_of(rows, split):
        for index, (demo, members) in enumerate(policies.conditions(rows, policy, split).items()):
            name = policies.policy_name(policy, rows) if index == 0 else DEMO_NAMES[demo]
            if index == 0 and demo != "right":
                name += f" ({DEMO_NAMES[demo]})"
            lines.append((y, name, index == 0, demo, members))
            y += 1
        y += 0.6
    if not lines:
        raise ConfigError(f"no result rows on split {split!r} to draw")
    families = [f for f in FAMILIES if any(row["family"] == f for row in rows)]
    panels = [*families, "mean"]
    if narrow:
        figure = new_figure(theme, 4.6, 0.4 + len(panels) * (0.55 + 0.21 * y))
        axes = figure.subplots(len(panels), 1, squeeze=False)[:, 0]
    else:
        figure = new_figure(theme, 11.0, 0.9 + 0.27 * y)
        axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for axis, panel in zip(axes, panels, strict=True):
        colour = theme.families.get(panel, theme.mean)
        for at, _, _, demo, members in lines:
            shown = _rate(members, panel)
            if shown is not None:
                _bar(axis, theme, at, *shown, demo=demo, colour=colour)
        axis.set_title(
            f"mean of {len(families)} families" if panel == "mean" else panel,
            color=theme.text,
            fontsize=10,
            fontweight="bold",
            loc="left",
        )
        axis.set_xlim(0, 1.22)
        axis.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", "", "50", "", "100%"])
        axis.set_ylim(y - 0.9, -0.7)
        axis.set_yticks([at for at, *_ in lines], [name for _, name, *_ in lines])
        axis.grid(axis="x", color=theme.grid, linewidth=0.8)
        if narrow or axis is axes[0]:
            for label, (_, _, strong, _, _) in zip(axis.get_yticklabels(), lines, strict=True):
                label.set_color(theme.text if strong else theme.muted)
                label.set_fontsize(8.5 if strong else 7.5)
        quiet(axis, theme, keep=("left",))
    return figure


def _rate(members: Sequence[Row], panel: str) -> tuple[float, float, float] | None:
    if panel == "mean":
        mean = headline(members)
        return mean.rate, mean.low, mean.high
    for entry in family_table(members):
        if entry.family == panel:
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
        axis.plot(  # with a rim of paper, to be seen on a bar of any colour
            [low, high],
            [y, y],
            color=theme.text,
            linewidth=1.2,
            solid_capstyle="butt",
            path_effects=[Stroke(linewidth=3.2, foreground=theme.paper), Normal()],
        )
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
