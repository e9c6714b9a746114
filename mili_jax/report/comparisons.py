"""Differences between policies, in words."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Sequence

from mili_jax.report.groups import domain_of, domains_of
from mili_jax.report.methods import METHODS, Policy, known
from mili_jax.report.policies import (
    before_trials,
    conditions,
    final_policy,
    policies_of,
    policy_name,
    primary_split,
    runs_of,
)
from mili_jax.report.rows import ResultRow
from mili_jax.report.statistics import Difference, equivalence, paired_difference
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
        "pictures_only",
        "useless_only",
        "early_stopped",
    ),
    "mili_pairs_only": ("meta_imitation", "random_pairs_only"),
    "oracle": ("meta_imitation",),
    "mil_pairs": ("mil", "mili"),
}
_OF_THE_UNKNOWN = ("meta_imitation", "mili")  # what is compared of an arm that has no name here
_PEERS = {"mili": "oracle", "mili_pairs_only": "oracle_pairs_only"}


@dataclasses.dataclass(frozen=True)
class Comparison:
    """An entry of the differences section; `result` is None where the rows do not match."""

    name: str
    sentence: str
    verdict: str
    result: Difference | None
    margin: float | None = None


def compare(rows: Sequence[ResultRow], split: str, margin: float) -> list[Comparison]:
    """All paired differences of the policies on a split: what each round added, each method against
    its rivals, the more against the less that MIL is shown, equivalence with oracle pairs within
    `margin` (a share of successes), the right demonstration against a wrong one and none, many
    trials against few. Only policies of one domain and configuration are compared."""
    found: list[Comparison] = []
    for policies in runs_of(policies_of(rows, split)):
        cells = {policy: conditions(rows, policy, split) for policy in policies}
        for a, b in _pairs(policies):
            if "right" in cells[a] and "right" in cells[b]:
                names = policy_name(a, rows), policy_name(b, rows)
                found.append(difference(*names, cells[a]["right"], cells[b]["right"]))
        by_key = {(policy.method, policy.round): policy for policy in policies}
        for policy in policies:
            peer = by_key.get((_PEERS.get(policy.method, ""), policy.round))
            if peer is not None and "right" in cells[policy] and "right" in cells[peer]:
                names = policy_name(policy, rows), policy_name(peer, rows)
                right = cells[policy]["right"], cells[peer]["right"]
                found.append(_equivalence(*names, *right, margin))
        ends = (final_policy(policies), before_trials(policies))
        for policy in dict.fromkeys(p for p in ends if p is not None):
            for demo in ("wrong", "none"):
                if {"right", demo} <= set(cells[policy]):
                    found.append(
                        difference(
                            f"{policy_name(policy, rows)}: right demonstration",
                            {"wrong": "a wrong demonstration", "none": "no demonstration"}[demo],
                            cells[policy]["right"],
                            cells[policy][demo],
                            relative_gain=False,
                        )
                    )
    return [*found, *_many_and_few(rows, split)]


def _pairs(policies: Sequence[Policy]) -> list[tuple[Policy, Policy]]:
    """Which policies of a run are compared."""
    before = before_trials(policies)
    by_key = {(known(policy.method), policy.round): policy for policy in policies}
    pairs: list[tuple[Policy | None, Policy | None]] = []
    for policy in policies:
        if policy.method == "mili":  # what the trials gave, and what the last round added
            pairs.append((policy, before))
            pairs.append((policy, by_key.get(("mili", policy.round - 1))))
        name = known(policy.method)
        rivals = _RIVALS.get(name, () if name in METHODS else _OF_THE_UNKNOWN)
        pairs += [(policy, by_key.get((method, policy.round))) for method in rivals]
    bc, *mil = [by_key.get((m, 0)) for m in ("bc", "mil", "mil_video_pose", "mil_video")]
    # The control of the first round has taken as many steps as behaviour cloning.
    pairs += [(before, bc), (by_key.get(("meta_imitation", 1)), bc)]
    pairs += [(before, policy) for policy in mil]
    pairs += list(itertools.pairwise(mil))  # the more a demonstration shows, the better
    pairs.append((by_key.get(("mil_pairs", 1)), mil[0]))
    return [(a, b) for a, b in dict.fromkeys(pairs) if a is not None and b is not None and a != b]


def _many_and_few(rows: Sequence[ResultRow], split: str) -> list[Comparison]:
    found = []
    for domain in domains_of(rows):
        of = [row for row in rows if domain_of(row) == domain]
        tried = [point for point in sweeps(of).get("trials", ()) if point.value > 0]
        if len(tried) > 1 and split == primary_split(of):
            few, many = tried[0], tried[-1]
            names = f"MILI, round 1, {many.value:,} trials", f"{few.value:,} trials"
            found.append(difference(*names, many.rows, few.rows))
    return found


def difference(
    name_a: str,
    name_b: str,
    rows_a: Sequence[ResultRow],
    rows_b: Sequence[ResultRow],
    *,
    relative_gain: bool = True,
) -> Comparison:
    """The paired difference of two conditions, in words; `relative_gain`: also in per cent."""
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
        verdict = "Too few tasks per group for an interval: nothing can be concluded."
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
    name_a: str,
    name_b: str,
    rows_a: Sequence[ResultRow],
    rows_b: Sequence[ResultRow],
    margin: float,
) -> Comparison:
    name = f"{name_a}, as good as {name_b}?"
    try:
        test = equivalence(rows_a, rows_b, margin)
    except ConfigError as error:
        return Comparison(name, f"{error}.", "Not compared.", None)
    result = test.difference
    if not math.isfinite(result.low):
        verdict = "Too few tasks per group for an interval: nothing can be concluded."
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
