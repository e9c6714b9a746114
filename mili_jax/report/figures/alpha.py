"""Quality of the pairs over alpha."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from matplotlib.figure import Figure

from mili_jax.report.figures.canvas import legend, new_panels
from mili_jax.report.figures.isolation import isolated
from mili_jax.report.figures.style import quiet, theme_of
from mili_jax.report.groups import domain_of
from mili_jax.report.rows import PairingRow
from mili_jax.report.words import shorten
from mili_jax.types import ConfigError, DataError

_Share = Literal["precision", "recall", "family_precision"]


@isolated
def alpha_figure(
    pairing_rows: Sequence[PairingRow], *, dark: bool = False, narrow: bool = False
) -> Figure:
    """Pairing precision, recall and group precision over alpha, one panel per round (and domain and
    configuration, where there are several).

    Lines are means over seeds, bands their range; a dashed line marks each alpha that was used.
    Raises ConfigError without rows, DataError on a row without "alpha".
    """
    theme = theme_of(dark)
    if not pairing_rows:
        raise ConfigError("no pairing rows to draw")
    for row in pairing_rows:
        if not isinstance(row.get("alpha"), int | float):
            raise DataError(f"pairing row lacks a number 'alpha': {dict(row)}")
    panels = _panels(pairing_rows)
    figure, axes = new_panels(theme, len(panels), narrow=narrow)
    styles: tuple[tuple[_Share, str, str, str], ...] = (
        ("family_precision", "group precision", "s", theme.lines[2]),
        ("precision", "precision (exact task)", "o", theme.lines[1]),
        ("recall", "recall", "^", theme.lines[0]),
    )
    for axis, (title, members) in zip(axes, panels.items(), strict=True):
        for field, name, marker, colour in styles:
            by_alpha: dict[float, list[float]] = {}
            # The pairs that were used may be capped: the curve is that of the threshold alone.
            for row in [row for row in members if not row.get("chosen")] or members:
                if (value := row.get(field)) is not None:
                    by_alpha.setdefault(row["alpha"], []).append(value)
            if not by_alpha:
                continue
            alphas = sorted(by_alpha)
            values = [by_alpha[alpha] for alpha in alphas]
            axis.plot(
                alphas,
                [float(np.mean(v)) for v in values],
                marker=marker,
                markersize=4.5,
                color=colour,
                label=name,
                linewidth=1.6,
            )
            if any(len(v) > 1 for v in values):
                lows, highs = [min(v) for v in values], [max(v) for v in values]
                axis.fill_between(alphas, lows, highs, color=colour, alpha=0.18, linewidth=0)
        for alpha in sorted({row["alpha"] for row in members if row.get("chosen")}):
            axis.axvline(alpha, color=theme.muted, linestyle=(0, (4, 3)), linewidth=1.1)
            axis.annotate(
                f"chosen {alpha:g} ",
                (alpha, 1.03),
                color=theme.text,
                fontsize=8,
                ha="right",
                annotation_clip=False,
            )
        axis.set_ylim(-0.02, 1.1)
        axis.set_yticks([0, 0.25, 0.5, 0.75, 1], ["0", "25", "50", "75", "100%"])
        axis.set_xlabel("alpha (least cosine of a pair)", color=theme.muted, fontsize=8.5)
        axis.set_title(title, color=theme.text, fontsize=10, loc="left")
        axis.grid(axis="y", color=theme.grid, linewidth=0.8)
        quiet(axis, theme)
    handles, labels = axes[0].get_legend_handles_labels()
    if handles:
        legend(figure, theme, handles, labels)
    return figure


def _panels(rows: Sequence[PairingRow]) -> dict[str, list[PairingRow]]:
    """The rows that may be averaged, by the title of their panel."""
    kinds = {(domain_of(row), str(row.get("config") or "")) for row in rows}
    found: dict[tuple[str, str, int], list[PairingRow]] = {}
    for row in rows:
        key = domain_of(row), str(row.get("config") or ""), row.get("round", 1)
        found.setdefault(key, []).append(row)
    titles: dict[str, list[PairingRow]] = {}
    for (domain, config, number), members in sorted(found.items(), key=lambda item: item[0]):
        more = [config] if len({kind[1] for kind in kinds}) > 1 else []
        more += [domain] if len({kind[0] for kind in kinds}) > 1 else []
        title = ", ".join([f"round {number}", *(shorten(name, 20) for name in more)])
        titles.setdefault(title, []).extend(members)
    return titles
