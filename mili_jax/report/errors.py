"""How near actions come to those of held-out episodes: means and differences over episodes."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
from scipy import stats

from mili_jax.report.groups import domain_of
from mili_jax.report.methods import Policy, rank
from mili_jax.report.rows import DEMOS, ErrorRow

MEAN = "mean_action"  # the method of whoever always does the mean of all training actions
LEVEL = 0.95


@dataclasses.dataclass(frozen=True)
class Mean:
    """A mean over n episodes with its interval, nan where one episode says nothing of others."""

    value: float
    low: float
    high: float
    n: int

    @property
    def shown(self) -> bool:
        """Whether 0 lies outside."""
        return self.low > 0 or self.high < 0


@dataclasses.dataclass(frozen=True)
class Errors:
    """What a policy's actions are off, by condition, as shares of the numbers' ranges.

    misled: how much more with a wrong demonstration than with the right one, over the episodes
    that have both; None where there are none.
    """

    policy: Policy
    by_demo: dict[str, Mean]
    misled: Mean | None


def errors_of(rows: Sequence[ErrorRow]) -> list[Errors]:
    """Of each policy, in the order of reports. An episode counts once, with its mean over seeds."""
    policies: dict[Policy, dict[str, dict[str, list[float]]]] = {}
    for row in rows:
        who = Policy(str(row.get("config", "")), row["error_of"], row["round"], domain_of(row))
        found = policies.setdefault(who, {}).setdefault(row["demo"], {})
        for name, error in zip(row["episodes"], row["errors"], strict=True):
            found.setdefault(name, []).append(error)
    order = sorted(policies, key=lambda p: (p.round, p.method == MEAN, rank(p.method)))
    return [_errors(policy, policies[policy]) for policy in order]


def _errors(policy: Policy, found: dict[str, dict[str, list[float]]]) -> Errors:
    means = {
        demo: {name: float(np.mean(each)) for name, each in found[demo].items()}
        for demo in DEMOS
        if demo in found
    }
    right, wrong = means.get("right", {}), means.get("wrong", {})
    both = [wrong[name] - right[name] for name in right if name in wrong]
    return Errors(
        policy,
        {demo: mean(list(values.values())) for demo, values in means.items()},
        mean(both) if both else None,
    )


def mean(values: Sequence[float]) -> Mean:
    """With Student's interval: it is wide where there are few episodes."""
    n, centre = len(values), float(np.mean(values))
    if n < 2:
        return Mean(centre, math.nan, math.nan, n)
    half = float(stats.t.ppf((1 + LEVEL) / 2, n - 1) * np.std(values, ddof=1) / math.sqrt(n))
    return Mean(centre, centre - half, centre + half, n)
