"""How often the scripted experts succeed at the first attempt, by family.

    python -m benchmarks.experts --episodes=100 --split=train

Every attempt counts: each episode has its own task, distractors, arrangement and disturbances, and
is tried once. (Recording demonstrations tries again with another arrangement after a failure.)
"""

from __future__ import annotations

import functools
import os
from collections import Counter
from collections.abc import Collection, Sequence

import numpy as np
from absl import app, flags
from mili_jax.domains.kitchen.rollout import Trial

from mili_jax.domains.kitchen import rollout, scenes, tasks
from mili_jax.domains.kitchen.env import KitchenEnv, object_pool
from mili_jax.domains.kitchen.families import FAMILIES
from mili_jax.domains.kitchen.tasks import SPLITS
from mili_jax.report.statistics import wilson
from mili_jax.types import Episode, Task
from mili_jax.workers.pool import run_jobs

_EPISODES = flags.DEFINE_integer("episodes", 100, "episodes per family", lower_bound=1)
_SPLIT = flags.DEFINE_enum("split", "train", SPLITS, "whose tasks and objects")
_NOISE = flags.DEFINE_float("noise", 1.0, "scale of the disturbances", lower_bound=0.0)
_PROCESSES = flags.DEFINE_integer("processes", os.cpu_count() or 1, "0 runs in this process")
_SEED = flags.DEFINE_integer("seed", 0, "of all choices")

IMAGE_SIZE = 16  # pixels; nobody looks
JOB = 20  # episodes


class Attempts:
    """Runs trials of the experts, one attempt each."""

    def __init__(self, noise: float) -> None:
        self.env = KitchenEnv(image_size=IMAGE_SIZE)
        self.noise = noise

    def __call__(self, trials: Sequence[Trial], skip: Collection[int] = ()) -> list[Episode]:
        kept = [trial for i, trial in enumerate(trials) if i not in skip]
        return [rollout.demonstrate(self.env, trial, self.noise) for trial in kept]


def plan(split: str, episodes: int, seed: int) -> list[Trial]:
    """`episodes` trials of every family, with tasks drawn from the split's list."""
    pool, listed = object_pool(split), tasks.load_tasks()[split]
    trials = []
    for number, family in enumerate(FAMILIES):
        choices = [t for t in listed if t.family == family]
        for k in range(episodes):
            rng = np.random.default_rng((seed, SPLITS.index(split), number, k))
            task = choices[int(rng.integers(len(choices)))]
            scene = scenes.sample([task], pool, rng).to_json()
            trials.append(Trial(f"{family}-{k}", task.id, scene, seed=int(rng.integers(2**31))))
    return trials


def forget(index: int, episodes: list[Episode]) -> None:
    """Where the episodes go: only their outcome is wanted."""


def main(argv: list[str]) -> None:
    del argv
    trials = plan(_SPLIT.value, _EPISODES.value, _SEED.value)
    jobs = [(i, trials[first : first + JOB]) for i, first in enumerate(range(0, len(trials), JOB))]
    make_runner = functools.partial(Attempts, _NOISE.value)
    done: Counter[str] = Counter()
    collateral: Counter[str] = Counter()
    for job in run_jobs(jobs, make_runner, forget, _PROCESSES.value):
        for meta in job.metas:
            family = Task.parse(meta.task).family
            done[family] += meta.success
            collateral[family] += bool(set(meta.achieved_tasks) - {meta.task})
    n = _EPISODES.value
    print(f"split {_SPLIT.value}, {n} episodes per family, one attempt each, seed {_SEED.value}")
    print("family  success  95% interval   achieved something else")
    for family in FAMILIES:
        low, high = wilson(done[family], n)
        print(
            f"{family:6}  {done[family] / n:6.1%}  {low:6.1%} - {high:6.1%}  "
            f"{collateral[family] / n:6.1%}"
        )
    print(f"mean    {sum(done.values()) / n / len(FAMILIES):6.1%}")


if __name__ == "__main__":
    app.run(main)
