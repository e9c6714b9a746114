"""Success of a round over the one thing that was changed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from mili_jax.report.figures.canvas import new_panels
from mili_jax.report.figures.isolation import isolated
from mili_jax.report.figures.style import quiet, theme_of
from mili_jax.report.methods import SWEEPS
from mili_jax.report.rows import PairingRow, ResultRow
from mili_jax.report.statistics import headline
from mili_jax.report.sweeps import sweeps
from mili_jax.types import ConfigError


@isolated
def sweeps_figure(
    rows: Sequence[ResultRow],
    pairing_rows: Sequence[PairingRow] = (),
    *,
    dark: bool = False,
    narrow: bool = False,
) -> Figure:
    """Success (mean of groups, 95% interval over tasks and seeds) of what `sweeps` finds.

    Raises ConfigError if there is nothing, and as `statistics.headline`.
    """
    theme = theme_of(dark)
    found = sweeps(rows, pairing_rows)
    if not found:
        raise ConfigError("no row of a variant of MILI to draw")
    figure, axes = new_panels(theme, len(found), narrow=narrow)
    for axis, (kind, points) in zip(axes, found.items(), strict=True):
        label, scale = SWEEPS[kind]
        means = [headline(point.rows) for point in points]
        at = [scale * point.value for point in points]
        rate = np.array([mean.rate for mean in means])
        low, high = (np.array([getattr(m, end) for m in means]) for end in ("low", "high"))
        axis.fill_between(at, low, high, color=theme.lines[0], alpha=0.15, linewidth=0)
        axis.plot(at, rate, marker="o", markersize=4.5, color=theme.lines[0], linewidth=1.6)
        for x, y in zip(at, rate, strict=True):
            axis.annotate(
                f"{100 * y:.0f}",
                (x, y),
                (0, 6),
                textcoords="offset points",
                ha="center",
                fontsize=8,
                color=theme.text,
            )
        axis.set_ylim(0, 1)
        axis.set_yticks([0, 0.25, 0.5, 0.75, 1], ["0", "25", "50", "75", "100%"])
        axis.set_xlabel(label, color=theme.muted, fontsize=8.5)
        axis.set_title(f"over {kind}", color=theme.text, fontsize=10, loc="left")
        axis.grid(axis="y", color=theme.grid, linewidth=0.8)
        quiet(axis, theme)
    return figure
