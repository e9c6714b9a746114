"""The bootstrap: result rows as grids of tasks and seeds, and what is drawn from them."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mili_jax.types import FAMILIES, ConfigError, DataError

Row = Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Grid:
    """Per family the successes and episodes, each [seeds, tasks]; rows and columns sorted."""

    families: tuple[str, ...]
    successes: tuple[np.ndarray, ...]
    episodes: tuple[np.ndarray, ...]

    @property
    def tasks(self) -> int:
        return sum(counts.shape[1] for counts in self.episodes)

    @property
    def seeds(self) -> int:
        return self.episodes[0].shape[0]


def index_rows(rows: Sequence[Row]) -> dict[tuple[str, Any], Row]:
    """Rows by (task, seed), checked one by one."""
    if not rows:
        raise ConfigError("there are no result rows for this condition; was it evaluated?")
    indexed: dict[tuple[str, Any], Row] = {}
    for row in rows:
        absent = [key for key in ("family", "task", "n", "successes") if key not in row]
        if absent:
            raise DataError(f"result row lacks {absent[0]!r}: {dict(row)}")
        task, n, successes = row["task"], row["n"], row["successes"]
        if row["family"] not in FAMILIES:
            raise DataError(f"row of task {task!r}: unknown family {row['family']!r}")
        if n <= 0 or not 0 <= successes <= n:
            raise DataError(f"row of task {task!r}: {successes} successes of n = {n}")
        outcomes = row.get("outcomes")
        if outcomes is not None and (len(outcomes) != n or sum(outcomes) != successes):
            raise DataError(
                f"row of task {task!r}: outcomes hold {sum(outcomes)} successes of "
                f"{len(outcomes)}, the row says {successes} of {n}"
            )
        key = (task, row.get("seed", 0))
        if key in indexed:
            raise ConfigError(
                f"task {task!r} occurs twice for seed {key[1]!r}: select rows of one method, "
                "round, split and demo first"
            )
        indexed[key] = row
    return indexed


def grid_of(indexed: Mapping[tuple[str, Any], Row]) -> Grid:
    seeds = sorted({seed for _, seed in indexed}, key=str)
    successes, episodes, families = [], [], []
    for family in FAMILIES:
        tasks = sorted({task for (task, _), row in indexed.items() if row["family"] == family})
        if not tasks:
            continue
        for task in tasks:
            for seed in seeds:
                if (task, seed) not in indexed:
                    raise ConfigError(
                        f"task {task!r} is missing for seed {seed!r}: every seed needs all tasks"
                    )
        cells = [[indexed[task, seed] for task in tasks] for seed in seeds]
        families.append(family)
        successes.append(np.array([[cell["successes"] for cell in line] for line in cells], float))
        episodes.append(np.array([[cell["n"] for cell in line] for line in cells], float))
    return Grid(tuple(families), tuple(successes), tuple(episodes))


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
    """Mean-of-families rate per resample, one array [resamples] per condition, drawn alike.

    A resample is held as how often each task (within its family) and each seed was drawn: the
    counts are multinomial, and weighting by them is drawing with replacement. Their distance from 1
    is spread (see above).
    """
    check_level(level)
    if resamples < 100:
        raise ConfigError(f"resamples must be at least 100 for an interval, got {resamples}")
    rng = np.random.default_rng(seed)
    by_seed = _weights(rng, grid.seeds, resamples)
    totals = [np.zeros(resamples) for _ in conditions]
    for f, n in enumerate(grid.episodes):
        by_task = _weights(rng, n.shape[1], resamples)
        drawn = ((by_seed @ n) * by_task).sum(axis=1)
        for total, successes in zip(totals, conditions, strict=True):
            total += ((by_seed @ successes[f]) * by_task).sum(axis=1) / drawn
    return [total / len(grid.families) for total in totals]


def _weights(rng: np.random.Generator, count: int, resamples: int) -> np.ndarray:
    """[resamples,count] how often each was drawn with replacement, the distance from 1 spread."""
    drawn = rng.multinomial(count, np.full(count, 1 / count), size=resamples)
    return 1 + (drawn - 1) * math.sqrt(count / (count - 1)) if count > 1 else drawn


def percentiles(draws: np.ndarray, level: float, grid: Grid) -> tuple[float, float]:
    if min(counts.shape[1] for counts in grid.episodes) < 2:
        return math.nan, math.nan  # resampling one task would claim certainty about its family
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def check_level(level: float) -> None:
    if not 0 < level < 1:
        raise ConfigError(f"level must lie between 0 and 1, got {level}")
