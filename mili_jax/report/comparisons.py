"""Differences between policies, in words."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

from mili_jax.report.methods import Policy
from mili_jax.report.policies import (
    before_trials,
    conditions,
    final_policy,
    policies_of,
    policy_name,
    primary_split,
)
from mili_jax.report.statistics import Difference, Row, equivalence, paired_difference
from mili_jax.report.sweeps import sweeps
from mili_jax.report.words import percent, signed, span
from mili_jax.types import ConfigError

# With what a method is compared in its round, and what it should be as good as.
_RIVALS = {
    "mili": (
        "meta_imitation",
        "more_demonstrations",
        "random_pairs",
        "nearest_demonstration",
        "no_filter",
        "mili_pairs_only",
        "mili_self_only",
    ),
    "mili_pairs_only": ("meta_imitation", "random_pairs_only"),
    "oracle": ("meta_imitation",),
    "mil_pairs": ("mil", "mili"),
}


_PEERS = {"mili": "oracle", "mili_pairs_only": "oracle_pairs_only"}


@dataclasses.dataclass(frozen=True)
class Comparison:
    """An entry of the differences section; `result` is None where the rows do not match."""

    name: str
    sentence: str
    verdict: str
    result: Difference | None
    margin: float | None = None


def compare(rows: Sequence[Row], split: str, margin: float) -> list[Comparison]:
    """All paired differences of the policies on a split: what each round added, each method against
    its rivals, the more against the less that MIL is shown, equivalence with oracle pairs within
    `margin` (a share of successes), the right demonstration against a wrong one and none, many
    trials against few."""
    found: list[Comparison] = []
    for config in sorted({policy.config for policy in policies_of(rows, split)}):
        policies = [p for p in policies_of(rows, split) if p.config == config]
        before, final = before_trials(policies), final_policy(policies)
        cells = {policy: conditions(rows, policy, split) for policy in policies}
        by_key = {(policy.method, policy.round): policy for policy in policies}
        pairs: list[tuple[Policy | None, Policy | None]] = []
        for policy in policies:
            if policy.method == "mili":  # what the trials gave, and what the last round added
                pairs.append((policy, before))
                pairs.append((policy, by_key.get(("mili", policy.round - 1))))
            pairs += [
                (policy, by_key.get((method, policy.round)))
                for method in _RIVALS.get(policy.method, ())
            ]
        bc, *mil = [by_key.get((m, 0)) for m in ("bc", "mil", "mil_video_pose", "mil_video")]
        # The control of the first round has taken as many steps as behaviour cloning.
        pairs += [(before, bc), (by_key.get(("meta_imitation", 1)), bc)]
        pairs += [(before, policy) for policy in mil]
        pairs += list(itertools.pairwise(mil))  # the more a demonstration shows, the better
        pairs.append((by_key.get(("mil_pairs", 1)), mil[0]))
        for a, b in dict.fromkeys(pairs):
            if a is not None and b is not None and a != b and _both(cells, a, b):
                names = policy_name(a, rows), policy_name(b, rows)
                found.append(_difference(*names, cells[a]["right"], cells[b]["right"]))
        for policy in policies:
            peer = by_key.get((_PEERS.get(policy.method, ""), policy.round))
            if peer is not None and _both(cells, policy, peer):
                names = policy_name(policy, rows), policy_name(peer, rows)
                right = cells[policy]["right"], cells[peer]["right"]
                found.append(_equivalence(*names, *right, margin))
        for policy in dict.fromkeys(p for p in (final, before) if p is not None):
            for demo in ("wrong", "none"):
                if {"right", demo} <= set(cells[policy]):
                    found.append(
                        _difference(
                            f"{policy_name(policy, rows)}: right demonstration",
                            {"wrong": "a wrong demonstration", "none": "no demonstration"}[demo],
                            cells[policy]["right"],
                            cells[policy][demo],
                            relative_gain=False,
                        )
                    )
    tried = [point for point in sweeps(rows).get("trials", ()) if point.value > 0]
    if len(tried) > 1 and split == primary_split(rows):
        few, many = tried[0], tried[-1]
        names = f"MILI, round 1, {many.value:,} trials", f"{few.value:,} trials"
        found.append(_difference(*names, many.rows, few.rows))
    return found


def _both(cells: Mapping[Policy, Mapping[str, Any]], *policies: Policy) -> bool:
    return all("right" in cells[policy] for policy in policies)


def _difference(
    name_a: str,
    name_b: str,
    rows_a: Sequence[Row],
    rows_b: Sequence[Row],
    *,
    relative_gain: bool = True,
) -> Comparison:
    name = f"{name_a}, against {name_b}"
    try:
        result = paired_difference(rows_a, rows_b)
    except ConfigError as error:
        return Comparison(name, f"{error}.", "Not compared.", None)
    relative = ""
    if relative_gain and math.isfinite(result.relative):
        relative = f", {signed(100 * result.relative, 0)}% relative"
        if math.isfinite(result.relative_low):
            low, high = 100 * result.relative_low, 100 * result.relative_high
            relative += f" ({signed(low, 0)} to {signed(high, 0)})"
    if not math.isfinite(result.low):
        verdict = "Too few tasks per family for an interval: nothing can be concluded."
        interval = "no interval"
    else:
        interval = f"{100 * result.level:.0f}% interval {span(result)}"
        if not result.shown:
            verdict = "The interval includes 0: no effect shown."
        else:
            verdict = f"The interval excludes 0: {'higher' if result.low > 0 else 'lower'}."
    sentence = (
        f"{percent(result.a)} against {percent(result.b)}: "
        f"{signed(100 * result.difference)} points ({interval}){relative}."
    )
    return Comparison(name, sentence, verdict, result)


def _equivalence(
    name_a: str, name_b: str, rows_a: Sequence[Row], rows_b: Sequence[Row], margin: float
) -> Comparison:
    name = f"{name_a}, as good as {name_b}?"
    try:
        test = equivalence(rows_a, rows_b, margin)
    except ConfigError as error:
        return Comparison(name, f"{error}.", "Not compared.", None)
    result = test.difference
    if not math.isfinite(result.low):
        verdict = "Too few tasks per family for an interval: nothing can be concluded."
        interval = "no interval"
    else:
        interval = f"{100 * result.level:.0f}% interval {span(result)}"
        verdict = (
            "The interval lies inside the margin: equivalent."
            if test.equivalent
            else "The interval reaches beyond the margin: equivalence not shown."
        )
    sentence = (
        f"{percent(result.a)} against {percent(result.b)}: "
        f"{signed(100 * result.difference)} points ({interval}), margin \u00b1"
        f"{100 * margin:.3g} points"
    )
    if math.isfinite(result.relative_low):
        low, high = 1 + result.relative_low, 1 + result.relative_high
        sentence += f"; ratio {1 + result.relative:.2f} ({low:.2f} to {high:.2f})"
    sentence += "."
    return Comparison(name, sentence, verdict, result, margin)
