"""The bootstrap: result rows as grids of tasks and seeds, and what is drawn from them."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Mapping, Sequence
from typing import TypeAlias

import numpy as np

from mili_jax.given import number, whole
from mili_jax.report.groups import in_order, one_domain
from mili_jax.report.row_checks import check_counts
from mili_jax.report.rows import ResultRow
from mili_jax.types import ConfigError, DataError

Key: TypeAlias = tuple[str, int]  # task and seed


@dataclasses.dataclass(frozen=True)
class Grid:
    """Per group the successes and episodes, each [seeds, tasks].

    Rows, columns and the groups that reports know no order of are sorted: an interval must not
    depend on the order of result rows.
    """

    groups: tuple[str, ...]
    successes: tuple[np.ndarray, ...]
    episodes: tuple[np.ndarray, ...]

    @property
    def tasks(self) -> int:
        return sum(counts.shape[1] for counts in self.episodes)

    @property
    def seeds(self) -> int:
        return self.episodes[0].shape[0]


def index_rows(rows: Sequence[ResultRow]) -> dict[Key, ResultRow]:
    """Rows by task and seed, checked one by one.

    Raises ConfigError for no rows, those of several domains, and a task that comes twice for a
    seed; DataError for a damaged row.
    """
    if not rows:
        raise ConfigError("there are no result rows for this condition; was it evaluated?")
    indexed: dict[Key, ResultRow] = {}
    for row in rows:
        if not isinstance(row, Mapping):
            raise DataError(f"a result row is {row!r}; it must be a mapping")
        absent = [key for key in ("family", "task", "n", "successes") if key not in row]
        if absent:
            raise DataError(f"result row lacks {absent[0]!r}: {dict(row)}")
        check_counts(row)
        task, seed = row["task"], row.get("seed", 0)
        if (task, seed) in indexed:
            raise ConfigError(
                f"task {task!r} occurs twice for seed {seed!r}: select rows of one method, round, "
                "split and demo first"
            )
        indexed[task, seed] = row
    one_domain(rows)
    return indexed


def grid_of(indexed: Mapping[Key, ResultRow]) -> Grid:
    """The rows as arrays. Raises ConfigError if a seed lacks a task that another has."""
    rows = list(indexed.values())
    seeds = sorted({seed for _, seed in indexed}, key=str)
    groups = in_order(sorted({row["family"] for row in rows}), one_domain(rows))
    successes, episodes = [], []
    for group in groups:
        tasks = sorted({row["task"] for row in rows if row["family"] == group})
        for task in tasks:
            for seed in seeds:
                if (task, seed) not in indexed:
                    raise ConfigError(
                        f"task {task!r} is missing for seed {seed!r}: every seed needs all tasks"
                    )
        cells = [[indexed[task, seed] for task in tasks] for seed in seeds]
        successes.append(np.array([[cell["successes"] for cell in line] for line in cells], float))
        episodes.append(np.array([[cell["n"] for cell in line] for line in cells], float))
    return Grid(groups, tuple(successes), tuple(episodes))


def mean_rate(grid: Grid, successes: Sequence[np.ndarray]) -> float:
    rates = [s.sum() / n.sum() for s, n in zip(successes, grid.episodes, strict=True)]
    return float(np.mean(rates))


def resample(
    grid: Grid,
    conditions: Sequence[Sequence[np.ndarray]],
    *,
    level: float,
    resamples: int,
    seed: int,
) -> list[np.ndarray]:
    """Mean-of-groups rate per resample, one array [resamples] per condition, drawn alike.

    A resample is held as how often each task (within its group) and each seed was drawn: the
    counts are multinomial, and weighting by them is drawing with replacement. Their distance from 1
    is spread (`statistics`).
    """
    check_level(level)
    whole(resamples, "resamples, the drawings of an interval,", 100)
    whole(seed, "seed")
    counts = tuple(n.shape[1] for n in grid.episodes)
    by_seed, *by_group = _drawn(seed, grid.seeds, counts, resamples)
    totals = [np.zeros(resamples) for _ in conditions]
    for f, (n, by_task) in enumerate(zip(grid.episodes, by_group, strict=True)):
        drawn = ((by_seed @ n) * by_task).sum(axis=1)
        for total, successes in zip(totals, conditions, strict=True):
            total += ((by_seed @ successes[f]) * by_task).sum(axis=1) / drawn
    return [total / len(grid.groups) for total in totals]


@functools.lru_cache(maxsize=4)
def _drawn(seed: int, seeds: int, tasks: tuple[int, ...], resamples: int) -> tuple[np.ndarray, ...]:
    """The weights of seeds, and of tasks group by group: the same for all conditions of a run."""
    rng = np.random.default_rng(seed)
    return tuple(_weights(rng, count, resamples) for count in (seeds, *tasks))


def _weights(rng: np.random.Generator, count: int, resamples: int) -> np.ndarray:
    """[resamples,count] how often each was drawn with replacement, the distance from 1 spread."""
    drawn = rng.multinomial(count, np.full(count, 1 / count), size=resamples)
    return 1 + (drawn - 1) * math.sqrt(count / (count - 1)) if count > 1 else drawn


def percentiles(draws: np.ndarray, level: float, grid: Grid) -> tuple[float, float]:
    if min(counts.shape[1] for counts in grid.episodes) < 2:
        return math.nan, math.nan  # resampling one task would claim certainty about its group
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def check_level(level: float) -> None:
    if not 0 < number(level, "level") < 1:
        raise ConfigError(f"level must lie between 0 and 1, got {level}")
