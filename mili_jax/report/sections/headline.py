"""The main rates at a glance."""

from __future__ import annotations

import math
from collections.abc import Sequence

from mili_jax.report.groups import domain_of, groups_of
from mili_jax.report.markup import esc
from mili_jax.report.methods import DEMO_NAMES, Policy, known
from mili_jax.report.policies import (
    before_trials,
    conditions,
    final_policy,
    policies_of,
    policy_name,
    runs_of,
)
from mili_jax.report.rows import Neighbours, ResultRow
from mili_jax.report.statistics import Headline, headline
from mili_jax.report.words import number, percent

_MOST = 8  # policies of a run that are all shown; of more only the main ones
_MAIN = ("bc", "mil", "meta_imitation", "more_demonstrations", "mili", "oracle")


def strip(rows: Sequence[ResultRow], split: str, neighbours: Neighbours) -> str:
    """The section with a tile per policy, "" if there is nothing to show."""
    tiles = []
    policies = policies_of(rows, split)
    for members in runs_of(policies):
        tiles += _tiles_of_a_run(rows, split, members)
    for value, what in ((neighbours.get("task"), "task"), (neighbours.get("family"), "group")):
        if value is not None and math.isfinite(value):
            tiles.append(
                f'<div class="tile"><dt>Held-out nearest neighbour, by {what}</dt>'
                f'<dd class="value">{esc(percent(value))}</dd>'
                f"{_range_glyph(value, math.nan, math.nan)}"
                '<dd class="sub">leave one out, cosine of embeddings</dd></div>'
            )
    if not tiles:
        return ""
    lead = ""
    if policies:
        lead = (
            '<p class="lead">One-shot success on '
            f"<strong>{esc(split)}</strong> tasks: the mean of the group rates, with the "
            "95% interval of a bootstrap over tasks.</p>"
        )
    return (
        '<section aria-labelledby="glance"><h2 id="glance">At a glance</h2>'
        f'{lead}<dl class="strip">{"".join(tiles)}</dl></section>'
    )


def _tiles_of_a_run(rows: Sequence[ResultRow], split: str, members: list[Policy]) -> list[str]:
    tiles = []
    before, final = before_trials(members), final_policy(members)
    groups = groups_of([row for row in rows if domain_of(row) == members[0].domain])
    shown = members
    if len(members) > _MOST:
        ends = {0, 1, final.round if final else 0}
        shown = [p for p in members if known(p.method) in _MAIN and p.round in ends]
    for policy in sorted(shown, key=lambda policy: policy != final):
        cells = conditions(rows, policy, split)
        demo = next(iter(cells), None)
        if demo is None:
            continue
        label = policy_name(policy, rows)
        if demo != "right":
            label += f" ({DEMO_NAMES[demo]})"
        if policy == before and policy.method != "mili" and final != policy:
            label = f"Before trials: {label[0].lower()}{label[1:]}"
        tiles.append(_rate_tile(label, headline(cells[demo]), groups, hero=policy == final))
    if final is not None:
        cells = conditions(rows, final, split)
        for demo, name in (("wrong", "Wrong demonstration"), ("none", "No demonstration")):
            if demo in cells and "right" in cells:
                label = f"{name}, {policy_name(final, rows)}"
                tiles.append(_rate_tile(label, headline(cells[demo]), groups))
    return tiles


def _rate_tile(label: str, mean: Headline, groups: Sequence[str], *, hero: bool = False) -> str:
    """groups: all of the domain, of which the mean may lack some."""
    if math.isfinite(mean.low):
        interval = f"{number(100 * mean.low)} to {percent(mean.high)}"
    else:
        interval = "too few tasks for an interval"
    only = "" if len(mean.groups) == len(groups) else f", {', '.join(mean.groups)} only"
    seeds = f", {mean.seeds} seeds" if mean.seeds > 1 else ""
    return (
        f'<div class="tile{" hero" if hero else ""}"><dt>{esc(label)}</dt>'
        f'<dd class="value">{esc(percent(mean.rate))}</dd>'
        f"{_range_glyph(mean.rate, mean.low, mean.high)}"
        f'<dd class="sub">{esc(interval)}<br>{mean.tasks} tasks{seeds}{esc(only)}</dd></div>'
    )


def _range_glyph(rate: float, low: float, high: float) -> str:
    """A 0 to 100% track with the interval and the value; the numbers stand beside it."""
    band = ""
    if math.isfinite(low):
        band = f'<rect class="band" x="{100 * low:.1f}" y="1.5" width="{100 * (high - low):.1f}"'
        band += ' height="5" rx="1"/>'
    return (
        '<dd class="glyph" aria-hidden="true"><svg viewBox="-3 0 106 8">'
        f'<rect class="track" x="0" y="3" width="100" height="2" rx="1"/>{band}'
        f'<rect class="dot" x="{100 * rate - 1:.1f}" y="0" width="2" height="8" rx="1"/></svg></dd>'
    )
