"""What may be concluded from result rows: rates, intervals, paired differences, equivalence.

The rows are `rows.ResultRow`s of one domain: what unlike domains have in common is not a mean.

The unit of uncertainty is the task, because the question is how a policy does on tasks it has not
seen. Intervals of means and differences are therefore percentile bootstraps that resample tasks
within their group (a domain fixes its groups; it samples the tasks). When the rows hold
several training seeds, these are resampled too, crossed with the tasks (the two-way "pigeonhole"
bootstrap, Owen 2007), so that the interval also speaks of training runs. With one seed it does not.
What is drawn is spread by sqrt(n / (n - 1)), n tasks or seeds, because the plain bootstrap of so
few has too small a variance. Simulated on 40 tasks x 10 episodes, with training runs that shift a
difference by 4 or 7 points (standard deviation), its 95% interval then holds the truth in 95 and
93% of cases at two seeds and in 97 and 95% at three (tests/test_statistics.py has such a run).

Everything here is numpy: arrays and rows in, numbers out.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from numbers import Real
from statistics import NormalDist

import numpy as np

from mili_jax.given import number
from mili_jax.report.groups import groups_of, one_domain
from mili_jax.report.neighbours import nearest_neighbour
from mili_jax.report.resampling import (
    Key,
    check_level,
    grid_of,
    index_rows,
    mean_rate,
    percentiles,
    resample,
)
from mili_jax.report.rows import ResultRow
from mili_jax.types import ConfigError

__all__ = ["nearest_neighbour"]


@dataclasses.dataclass(frozen=True)
class GroupRate:
    """Success of one group, pooled over its tasks and seeds, with its Wilson interval.

    `any_task` counts the episodes that achieved some task; None when a row does not say.
    """

    group: str
    tasks: int
    n: int
    successes: int
    rate: float
    low: float
    high: float
    any_task: int | None


@dataclasses.dataclass(frozen=True)
class Headline:
    """The mean of the group rates; `low` and `high` are nan where a group has a single task."""

    rate: float
    low: float
    high: float
    level: float
    groups: tuple[str, ...]
    tasks: int
    seeds: int


@dataclasses.dataclass(frozen=True)
class Difference:
    """Condition a minus condition b in mean-of-groups success, on the same tasks.

    `relative` is difference / b (nan when b is 0), with its own interval. `a_only` and `b_only`
    count the arrangements that only one of the two solved; None unless every row carries its
    `outcomes`.
    """

    a: float
    b: float
    difference: float
    low: float
    high: float
    level: float
    relative: float
    relative_low: float
    relative_high: float
    tasks: int
    seeds: int
    a_only: int | None
    b_only: int | None

    @property
    def shown(self) -> bool:
        """Whether the interval excludes 0. False when there is no interval."""
        return self.low > 1e-9 or self.high < -1e-9  # beyond what adding four rates rounds off


@dataclasses.dataclass(frozen=True)
class Equivalence:
    """Two one-sided tests: `equivalent` when the interval lies inside (-margin, margin).

    `difference.level` is 1 - 2 * significance: 0.9 for tests at 5%.
    """

    difference: Difference
    margin: float
    equivalent: bool


def wilson(successes: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """The Wilson score interval (low, high) of a rate. Raises ConfigError unless 0 <= s <= n > 0.

    It assumes independent episodes. Episodes of one task resemble each other, so for a group it
    describes these tasks; `headline` and `paired_difference` speak of further tasks.
    """
    check_level(level)
    counted = all(isinstance(v, Real) for v in (successes, n))
    if not counted or n <= 0 or not 0 <= successes <= n:
        raise ConfigError(f"wilson needs 0 <= successes <= n and n > 0, got {successes!r} of {n!r}")
    z = NormalDist().inv_cdf((1 + level) / 2)
    centre = (successes + z**2 / 2) / (n + z**2)
    half = z / (n + z**2) * math.sqrt(successes * (n - successes) / n + z**2 / 4)
    return max(0.0, centre - half), min(1.0, centre + half)


def select(rows: Sequence[ResultRow], **wanted: object) -> list[ResultRow]:
    """The rows whose fields equal all of `wanted`, for example method="mili", demo="right"."""
    return [row for row in rows if wanted.items() <= row.items()]


def group_table(rows: Sequence[ResultRow], level: float = 0.95) -> list[GroupRate]:
    """One GroupRate per group, in the order of reports, for rows of one condition.

    Raises ConfigError when a task occurs twice for a seed (conditions mixed), DataError on a row
    that is damaged.
    """
    indexed = index_rows(rows)
    table = []
    for group in groups_of(rows):
        members = [row for row in indexed.values() if row["family"] == group]
        n = sum(int(row["n"]) for row in members)
        successes = sum(int(row["successes"]) for row in members)
        low, high = wilson(successes, n, level)
        counts = [row.get("any_task") for row in members]
        achieved = [count for count in counts if count is not None]
        table.append(
            GroupRate(
                group=group,
                tasks=len({row["task"] for row in members}),
                n=n,
                successes=successes,
                rate=successes / n,
                low=low,
                high=high,
                any_task=sum(achieved) if len(achieved) == len(members) else None,
            )
        )
    return table


def headline(
    rows: Sequence[ResultRow], *, level: float = 0.95, resamples: int = 10_000, seed: int = 0
) -> Headline:
    """Mean of the group rates of one condition, with a bootstrap interval over tasks and seeds.

    A group's rate pools its episodes; groups weigh the same. Groups without rows are left out of
    the mean and of `groups`, which the caller should look at. Raises ConfigError when
    `rows` is empty, mixes conditions, or a seed lacks a task that another has.
    """
    grid = grid_of(index_rows(rows))
    draws = resample(grid, [grid.successes], level=level, resamples=resamples, seed=seed)[0]
    low, high = np.clip(percentiles(draws, level, grid), 0.0, 1.0).tolist()
    return Headline(
        rate=mean_rate(grid, grid.successes),
        low=low,
        high=high,
        level=level,
        groups=groups_of(rows),
        tasks=grid.tasks,
        seeds=grid.seeds,
    )


def paired_difference(
    rows_a: Sequence[ResultRow],
    rows_b: Sequence[ResultRow],
    *,
    level: float = 0.95,
    resamples: int = 10_000,
    seed: int = 0,
) -> Difference:
    """Condition a minus condition b, both measured on the same tasks and arrangements.

    Every resample draws the same tasks (within groups) and the same seeds for both conditions,
    so what the tasks have in common cancels. Percentile interval. Raises ConfigError when the
    conditions do not hold the same (task, seed) pairs with the same n, naming the first that is
    missing, or when either mixes conditions.
    """
    index_a, index_b = index_rows(rows_a), index_rows(rows_b)
    _require_match(index_a, index_b)
    grid, grid_b = grid_of(index_a), grid_of(index_b)
    draws_a, draws_b = resample(
        grid, [grid.successes, grid_b.successes], level=level, resamples=resamples, seed=seed
    )
    low, high = percentiles(draws_a - draws_b, level, grid)
    a, b = mean_rate(grid, grid.successes), mean_rate(grid, grid_b.successes)
    a_only, b_only = _discordant(index_a, index_b)
    relative_low = relative_high = math.nan
    if draws_b.min() > 0:
        relative_low, relative_high = percentiles(draws_a / draws_b - 1, level, grid)
    return Difference(
        a=a,
        b=b,
        difference=a - b,
        low=low,
        high=high,
        level=level,
        relative=(a - b) / b if b > 0 else math.nan,
        relative_low=relative_low,
        relative_high=relative_high,
        tasks=grid.tasks,
        seeds=grid.seeds,
        a_only=a_only,
        b_only=b_only,
    )


def equivalence(
    rows_a: Sequence[ResultRow],
    rows_b: Sequence[ResultRow],
    margin: float,
    *,
    significance: float = 0.05,
    resamples: int = 10_000,
    seed: int = 0,
) -> Equivalence:
    """Whether a and b differ by less than `margin` (a share of successes, such as 0.05).

    Two one-sided tests at `significance`, read off the paired (1 - 2 * significance) interval.
    Not equivalent does not mean different: the interval may just be wide. State the margin before
    looking. Raises ConfigError as `paired_difference` does, and on a margin outside (0, 1).
    """
    if not 0 < number(margin, "margin") < 1:
        raise ConfigError(f"margin must lie between 0 and 1 (a share of successes), got {margin}")
    if not 0 < number(significance, "significance") < 0.5:
        raise ConfigError(f"significance must lie between 0 and 0.5, got {significance}")
    difference = paired_difference(
        rows_a, rows_b, level=1 - 2 * significance, resamples=resamples, seed=seed
    )
    inside = -margin < difference.low and difference.high < margin
    return Equivalence(difference=difference, margin=margin, equivalent=inside)


def _require_match(index_a: Mapping[Key, ResultRow], index_b: Mapping[Key, ResultRow]) -> None:
    """Raises ConfigError that names the first (task, seed) the two conditions do not share."""
    for ours, theirs, name in ((index_a, index_b, "second"), (index_b, index_a, "first")):
        missing = sorted(set(ours) - set(theirs), key=str)
        if missing:
            task, seed = missing[0]
            raise ConfigError(
                f"task {task!r} (seed {seed!r}) is missing from the {name} condition; "
                f"{len(missing)} missing in all: evaluate both on the same tasks and seeds"
            )
    domains = [one_domain(list(index.values())) for index in (index_a, index_b)]
    if domains[0] != domains[1]:
        raise ConfigError(
            f"the first condition is of the domain {domains[0]!r}, the second of {domains[1]!r}: "
            "unlike domains are not compared"
        )
    for (task, seed), row in index_a.items():
        other = index_b[task, seed]
        if row["n"] != other["n"] or row["family"] != other["family"]:
            raise ConfigError(
                f"task {task!r} (seed {seed!r}) has {row['n']} episodes of {row['family']} in the "
                f"first condition and {other['n']} of {other['family']} in the second: evaluate "
                "both on the same arrangements"
            )
        scenes = {row.get("arrangements"), other.get("arrangements")} - {None}
        if len(scenes) > 1:
            raise ConfigError(
                f"task {task!r} (seed {seed!r}) was tried in other arrangements in the second "
                "condition (another evaluate.seed or evaluate.tasks?): evaluate both on the same"
            )


def _discordant(
    index_a: Mapping[Key, ResultRow], index_b: Mapping[Key, ResultRow]
) -> tuple[int | None, int | None]:
    a_only = b_only = 0
    for key, row in index_a.items():
        ours, theirs = row.get("outcomes"), index_b[key].get("outcomes")
        if ours is None or theirs is None:
            return None, None
        a, b = np.asarray(ours, bool), np.asarray(theirs, bool)
        a_only += int((a & ~b).sum())
        b_only += int((b & ~a).sum())
    return a_only, b_only
