"""What result rows say, in words and numbers: policies and their order, differences between them,
MILI with one thing changed, what training took, all of it as Markdown (`summary`).

Knows neither figures nor pages; those take their names and sentences from here.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from mili_jax.report.statistics import (
    DEMOS,
    Difference,
    Row,
    equivalence,
    paired_difference,
    select,
)
from mili_jax.report.words import percent, signed, span
from mili_jax.types import ConfigError

_METHODS = {  # in the order in which they are listed within a round
    "bc": "Behaviour cloning",
    "mil_video": "MIL, video",
    "mil_video_pose": "MIL, video and poses",
    "mil": "MIL",
    "mil_pairs": "MIL on MILI's pairs",
    "meta_imitation": "Meta-imitation",
    "more_demonstrations": "Equal steps and rows, demos only",
    "random_pairs_only": "Random pairs, pairs alone",
    "random_pairs": "Random pairs",
    "nearest_demonstration": "Trials with demonstrations",
    "no_filter": "MILI without filter",
    "mili_pairs_only": "MILI, pairs alone",
    "mili_self_only": "MILI, each trial with itself alone",
    "mili": "MILI",
    "oracle_pairs_only": "Oracle pairs, pairs alone",
    "oracle": "Oracle pairs",
}
DEMO_NAMES = {
    "right": "right demonstration",
    "wrong": "wrong demonstration",
    "none": "no demonstration",
}
SPLITS: tuple[str, ...] = ("test", "validation", "train")  # the first present leads

# MILI with one thing changed: what, and by how much.
_VARIANT = re.compile(r"mili_(trials|alpha|noise)_(\d+)")
SWEEPS = {  # axis, how a value reads there, scale
    "trials": ("trials of the round", 1.0),
    "alpha": ("alpha (least cosine of a pair)", 1e-3),
    "noise": ("answers of the filter turned round, %", 1.0),
}

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
class Policy:
    """What was evaluated: one method after one round, under one config."""

    config: str
    method: str
    round: int

    @property
    def label(self) -> str:
        """What people read."""
        if variant := _VARIANT.fullmatch(self.method):
            what, scale = SWEEPS[variant[1]]
            return f"MILI, round {self.round}, {what}: {scale * int(variant[2]):g}"
        if self.method == "meta_imitation" and self.round > 0:
            return f"Equal steps, demos only, round {self.round}"
        if self.method == "mil" and self.round > 0:
            return f"MIL, equal steps, demos only, round {self.round}"
        name = _METHODS.get(self.method, self.method)
        if self.method == "mili" and self.round == 0:
            return f"{name}, before trials"
        return f"{name}, round {self.round}" if self.round else name


def primary_split(rows: Sequence[Row]) -> str:
    """The split that leads: the first of test, validation, train that the rows hold."""
    present = {row.get("split", "test") for row in rows}
    for split in (*SPLITS, *sorted(present - set(SPLITS))):
        if split in present:
            return split
    return "test"


def policies_of(rows: Sequence[Row], split: str) -> list[Policy]:
    """The policies evaluated on a split, MILI with one thing changed left out, in the order in
    which they are listed: round by round, the baselines first."""
    order = list(_METHODS)
    policies = {
        Policy(str(row.get("config", "")), str(row["method"]), int(row.get("round", 0)))
        for row in rows
        if row.get("split", "test") == split and not _VARIANT.fullmatch(str(row["method"]))
    }
    return sorted(
        policies,
        key=lambda p: (
            p.config,
            p.round,
            order.index(p.method) if p.method in order else len(order),
            p.method,
        ),
    )


def conditions(rows: Sequence[Row], policy: Policy, split: str) -> dict[str, list[Row]]:
    """The policy's rows by demo, in the order right, wrong, none; only those present."""
    members = [
        row
        for row in rows
        if row.get("split", "test") == split
        and str(row.get("config", "")) == policy.config
        and row["method"] == policy.method
        and int(row.get("round", 0)) == policy.round
    ]
    found = {demo: select(members, demo=demo) for demo in DEMOS}
    return {demo: part for demo, part in found.items() if part}


def policy_name(policy: Policy, rows: Sequence[Row]) -> str:
    """The label, with the configuration where the rows hold several."""
    several = len({row.get("config", "") for row in rows}) > 1
    return f"{policy.label} ({policy.config})" if several else policy.label


def before_trials(policies: Sequence[Policy]) -> Policy | None:
    """The policy that acts in the first trials."""
    for method in ("meta_imitation", "mili"):
        for policy in policies:
            if policy.method == method and policy.round == 0:
                return policy
    return None


def final_policy(policies: Sequence[Policy]) -> Policy | None:
    """The policy that the page is about: MILI's last round, or what comes closest."""
    for method in ("mili", "oracle", "random_pairs", "meta_imitation", "mil", "bc"):
        members = [policy for policy in policies if policy.method == method]
        if members:
            return max(members, key=lambda policy: policy.round)
    return policies[-1] if policies else None


class Point(NamedTuple):
    """Result rows at one value of what was changed."""

    value: int
    rows: Sequence[Row]


def sweeps(rows: Sequence[Row], pairing_rows: Sequence[Row] = ()) -> dict[str, list[Point]]:
    """MILI's first round with one thing changed: trials, alpha (in thousandths) and label noise (in
    per cent), each the rows of its variants over the value, in order, with MILI itself among them
    (and at 0 trials its control). Only what has variants is there, and of the split that leads only
    what was given the right demonstration.

    Raises ConfigError if the variants are of several configurations.
    """
    split = primary_split(rows)
    rows = [row for row in rows if row.get("split", "test") == split and row["demo"] == "right"]
    of = {str(row.get("config", "")) for row in rows if _VARIANT.fullmatch(str(row["method"]))}
    if len(of) > 1:
        raise ConfigError(f"variants of several configurations, {sorted(of)}: give rows of one")
    rows, pairing_rows = (
        [row for row in part if str(row.get("config", "")) in of] for part in (rows, pairing_rows)
    )
    mili = [row for row in rows if row["method"] == "mili" and row.get("round") == 1]
    control = [row for row in rows if row["method"] == "meta_imitation" and row.get("round") == 1]
    found: dict[str, dict[int, list[Row]]] = {}
    for row in rows:
        match = _VARIANT.fullmatch(str(row["method"]))
        if match and row.get("round") == 1:
            found.setdefault(match[1], {}).setdefault(int(match[2]), []).append(row)
    own: dict[str, int | None] = {"noise": 0}
    own["trials"] = next((int(row["trials"]) for row in mili if row.get("trials")), None)
    chosen = [row["alpha"] for row in pairing_rows if row.get("chosen") and row.get("round") == 1]
    own["alpha"] = round(1000 * chosen[0]) if chosen else None
    for kind, points in found.items():
        at = own[kind]
        if mili and at is not None:
            points.setdefault(at, mili)
        if kind == "trials" and control:
            points[0] = control
    return {
        kind: [Point(value, points[value]) for value in sorted(points)]
        for kind, points in sorted(found.items(), reverse=True)
    }


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
