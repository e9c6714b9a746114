"""Trials that are made up: pictures from which a person, or a test, can tell what is useful."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from mili_jax.spec import Camera, Field, Layout, Spec
from mili_jax.storage.dataset import Dataset
from mili_jax.types import Episode, EpisodeMeta

X = Layout((Field("x", "m", -1, 1),))
SPEC = Spec(X, X, 24, 32, (Camera("front"),))
STEPS, SHARD = 6, 250


def useful(number: int) -> bool:
    """Whether the made trial of this number is: four of ten are, in no order."""
    return number * 7919 % 10 < 4


def trial(number: int, split: str = "round_1") -> Episode:
    """A dot moves over a plain ground; of a useful trial a square lights up at the end."""
    rng = np.random.default_rng(number)
    image = np.full((STEPS, SPEC.height, SPEC.width, 3), rng.integers(40, 120, 3), np.uint8)
    for t in range(STEPS):
        image[t, 10:13, 2 + 4 * t : 5 + 4 * t] = 230
    if useful(number):
        image[-2:, 2:8, 2:8] = (40, 220, 90)
    image = image ^ rng.integers(0, 4, image.shape, np.uint8)
    meta = EpisodeMeta(
        episode_id=f"{split}-{number:06d}",
        task=f"task {number % 5}",
        scene="{}",
        seed=number,
        round=1,
        policy="pretrain",
        demonstration="",
        renderer="none",
        useful=useful(number),
        success=False,
        achieved_tasks=(),
    )
    numbers = np.zeros((STEPS, 1), np.float32)
    return Episode(image, numbers, numbers, meta)


def run_of(folder: Path, count: int, split: str = "round_1") -> Dataset:
    """A run's folder whose dataset has so many trials, and nothing else."""
    dataset = Dataset(folder / "dataset", SPEC)
    shards = range(0, count, SHARD)
    for shard, start in enumerate(shards):
        episodes = [trial(k, split) for k in range(start, min(start + SHARD, count))]
        dataset.write_shard(split, shard, episodes)
    dataset.commit(split, len(shards))
    return dataset


if __name__ == "__main__":
    run_of(Path(sys.argv[1]), int(sys.argv[2]))
