"""The paired differences, each with its interval drawn."""

from __future__ import annotations

import math
from collections.abc import Sequence

from mili_jax.report.comparisons import compare
from mili_jax.report.markup import esc, section
from mili_jax.report.rows import ResultRow
from mili_jax.report.statistics import Difference
from mili_jax.report.words import basis, discordant, signed


def differences_section(rows: Sequence[ResultRow], split: str, margin: float) -> str:
    found = compare(rows, split, margin)
    if not found:
        return ""
    ends = [
        abs(value)
        for item in found
        if item.result is not None
        for value in (item.result.low, item.result.high, item.result.difference, item.margin or 0)
        if math.isfinite(value)
    ]
    reach = max([0.05, *ends]) * 1.08
    results = [item.result for item in found if item.result is not None]
    bases = list(dict.fromkeys(basis(result) for result in results))
    items = []
    for item in found:
        details = [basis(item.result)] if item.result and len(bases) > 1 else []
        details += [discordant(item.result)] if item.result else []
        detail = ". ".join(text for text in details if text)
        detail = f'<p class="sub">{esc(detail)}.</p>' if detail else ""
        glyph = _difference_glyph(item.result, reach, item.margin) if item.result else ""
        items.append(
            f'<li><div class="words"><h3>{esc(item.name)}</h3><p>{esc(item.sentence)} '
            f"<strong>{esc(item.verdict)}</strong></p>{detail}"
            f"</div>{glyph}</li>"
        )
    return section(
        "differences",
        "Differences",
        '<p class="lead">Paired bootstrap over the same tasks, in percentage points of the mean '
        f"of the groups{esc('; ' + bases[0]) if len(bases) == 1 else ''}.</p>"
        f'<ul class="differences">{"".join(items)}</ul>',
    )


def _difference_glyph(result: Difference, reach: float, margin: float | None) -> str:
    def at(value: float) -> str:
        return f"{100 + 96 * value / reach:.1f}"

    parts = ['<line class="axis" x1="4" x2="196" y1="20" y2="20"/>']
    if margin is not None:
        parts.append(
            f'<rect class="margin" x="{at(-margin)}" y="10" '
            f'width="{2 * 96 * margin / reach:.1f}" height="20"/>'
        )
    parts.append('<line class="zero" x1="100" x2="100" y1="5" y2="35"/>')
    if math.isfinite(result.low):
        parts.append(
            f'<line class="whisker" x1="{at(result.low)}" x2="{at(result.high)}" y1="20" y2="20"/>'
        )
    parts.append(f'<circle class="dot" cx="{at(result.difference)}" cy="20" r="4"/>')
    parts.append('<text x="100" y="46" text-anchor="middle">0</text>')
    parts.append(f'<text x="196" y="46" text-anchor="end">{signed(100 * reach, 0)}</text>')
    parts.append(f'<text x="4" y="46">{signed(-100 * reach, 0)}</text>')
    kind = "shown" if result.shown and margin is None else "open"
    return (
        f'<svg class="difference {kind}" viewBox="0 0 200 50" aria-hidden="true">'
        f"{''.join(parts)}</svg>"
    )
