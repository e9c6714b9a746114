"""How much better a robot became by its own trials, in a sentence or two."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence

from mili_jax.report.groups import domains_of
from mili_jax.report.methods import Policy, known
from mili_jax.report.policies import (
    conditions,
    final_policy,
    policies_of,
    primary_split,
    runs_of,
)
from mili_jax.report.rows import ResultRow
from mili_jax.report.statistics import Difference, headline, paired_difference
from mili_jax.report.words import basis, clean, number, percent, signed, span
from mili_jax.types import ConfigError

# What learns from trials, from which policy it starts, and its controls, the stricter one first.
_AS_MANY = {
    "more_demonstrations": "as many steps on as many rows of demonstrations alone",
    "meta_imitation": "as many steps on demonstrations alone",
    "mil": "as many steps on demonstrations alone",
}
_LEARNERS: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "mili": (("meta_imitation", "mili"), ("more_demonstrations", "meta_imitation")),
    "mil_pairs": (("mil",), ("mil",)),
}


@dataclasses.dataclass(frozen=True)
class Claim:
    """A sentence about a number: what comes before it, the number, what comes after.

    shown: whether the interval excludes 0, where the number is a difference.
    """

    before: str
    number: str
    after: str
    shown: bool = True

    def __str__(self) -> str:
        return f"{self.before}{self.number}{self.after}"


@dataclasses.dataclass(frozen=True)
class Gain:
    """What is claimed of one run (a domain and a configuration), and on what it rests.

    subject: the run where there are several, else "".
    """

    subject: str
    claims: tuple[Claim, ...]
    basis: str


def gains(rows: Sequence[ResultRow]) -> list[Gain]:
    """What each run of the rows shows of its trials, on the split that leads.

    The first claim is success after the last round against before the trials, then come those
    against the controls; without trials it is what the policy does. Raises as
    `statistics.headline`.
    """
    split = primary_split(rows)
    found = []
    runs = runs_of(policies_of(rows, split))
    for policies in runs:
        cells = {policy: conditions(rows, policy, split).get("right", []) for policy in policies}
        with_right = [policy for policy in policies if cells[policy]]
        subject = ""
        if len(runs) > 1:
            names = [policies[0].config] + [policies[0].domain] * (len(domains_of(rows)) > 1)
            subject = clean(", ".join(name for name in names if name))
        gain = _of_trials(with_right, cells, split)
        if gain is None:
            gain = _without_trials(with_right, cells, split)
        if gain is not None:
            found.append(dataclasses.replace(gain, subject=subject))
    return found


def _of_trials(
    policies: Sequence[Policy], cells: Mapping[Policy, list[ResultRow]], split: str
) -> Gain | None:
    by_key = {(known(policy.method), policy.round): policy for policy in policies}
    for method, (starts, controls) in _LEARNERS.items():
        rounds = [policy.round for policy in policies if policy.method == method]
        if not rounds or max(rounds) < 1:
            continue
        last = by_key[method, max(rounds)]
        when = f"{last.round} round{'s' if last.round > 1 else ''} of its own trials"
        success = f"One-shot success{'' if method == 'mili' else ' of MIL'} on {split} tasks"
        start = next((by_key[name, 0] for name in starts if (name, 0) in by_key), None)
        said = ""
        claims: list[Claim] = []
        if start is None:
            mean = headline(cells[last])
            after = f" after {when} ({_interval(mean.low, mean.high)}). These rows do not say what "
            claims.append(Claim(f"{success} is ", percent(mean.rate), f"{after}it was before."))
        else:
            claim, said = _before_and_after(cells[last], cells[start], success, when)
            claims.append(claim)
        latest = 0
        for control in controls:  # the weaker one only of a later round than the stricter one
            both = [at for at in rounds if at and (control, at) in by_key]
            if max(both, default=0) > latest:
                latest = max(both)
                pair = by_key[method, latest], by_key[control, latest]
                claims.append(_against(*pair, cells, last.round))
        return Gain("", tuple(claims), said)
    return None


def _before_and_after(
    after: Sequence[ResultRow], before: Sequence[ResultRow], success: str, when: str
) -> tuple[Claim, str]:
    try:
        result = paired_difference(after, before)
    except ConfigError as error:
        text = f"{success} before and after {when} was not measured alike: "
        return Claim(text, "not compared", f". {clean(str(error))}.", shown=False), ""
    points, ends = _points(result), f"from {percent(result.b)} to {percent(result.a)}"
    if result.shown:
        verb = "rose" if result.difference > 0 else "fell"
        text = f", {ends} ({_level(result)} interval of the difference {span(result)})."
        claim = Claim(f"{success} {verb} by ", points.lstrip("+\u2212"), f" after {when}{text}")
    else:
        claim = Claim(
            f"{success} went {ends} after {when}, ", points, f": {_not_shown(result)}", shown=False
        )
    return claim, basis(result)


def _against(
    policy: Policy, control: Policy, cells: Mapping[Policy, list[ResultRow]], last: int
) -> Claim:
    what = _AS_MANY[known(control.method)]
    it = f"After round {policy.round} it is " if last > 1 else "It is "
    try:
        result = paired_difference(cells[policy], cells[control])
    except ConfigError as error:
        return Claim(f"Against {what}: ", "not compared", f". {clean(str(error))}.", shown=False)
    points, rates = _points(result), f"{percent(result.a)} against {percent(result.b)}"
    if result.shown:
        where = "above" if result.difference > 0 else "below"
        text = f" {where} what {what} give, {rates} ({_level(result)} interval {span(result)})."
        return Claim(it, points.lstrip("+\u2212"), text)
    start = f"{it}{rates} with {what}, "
    return Claim(start, points, f": {_not_shown(result)}", shown=False)


def _not_shown(result: Difference) -> str:
    if not math.isfinite(result.low):
        return "too few tasks per group for an interval, so nothing can be concluded."
    what = "an improvement" if result.difference > 0 else "a change"
    return f"{what} is not shown, the {_level(result)} interval {span(result)} includes 0."


def _without_trials(
    policies: Sequence[Policy], cells: Mapping[Policy, list[ResultRow]], split: str
) -> Gain | None:
    policy = final_policy(policies)
    if policy is None:
        return None
    mean = headline(cells[policy])
    claim = Claim(
        f"One-shot success on {split} tasks is ",
        percent(mean.rate),
        f" ({clean(policy.label)}, {_interval(mean.low, mean.high)}). These rows hold no round of "
        "trials to compare it with.",
    )
    seeds = f", {mean.seeds} training seeds" if mean.seeds > 1 else ", one training seed"
    return Gain("", (claim,), f"{mean.tasks} tasks{seeds}")


def _points(result: Difference) -> str:
    return f"{signed(100 * result.difference)} points"


def _level(result: Difference) -> str:
    return f"{100 * result.level:.0f}%"


def _interval(low: float, high: float) -> str:
    if not math.isfinite(low):
        return "too few tasks for an interval"
    return f"95% interval {number(100 * low)} to {percent(high)}"
