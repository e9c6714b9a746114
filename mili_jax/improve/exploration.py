"""Which trials a round makes: what is commanded, and in which scene."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence

import numpy as np
from ml_collections import ConfigDict

from mili_jax.domains.base import Domain, simulator_of
from mili_jax.domains.rollout import Trial
from mili_jax.types import EpisodeMeta, Task


def trial_plan(
    config: ConfigDict,
    domain: Domain,
    number: int,
    policy: str,
    seed: int,
    demos: Sequence[EpisodeMeta],
    shown: Sequence[EpisodeMeta] = (),
    weights: np.ndarray | None = None,
) -> Iterator[Trial]:
    """The trials of a round, a function of the seed: new scenes with any training object in them.

    In `commanded_share` of the trials the objects of the demonstration are there; elsewhere the
    robot does what it makes of the demonstration among one of `object_sets` sets of objects, which
    may be such as nobody has demonstrated. The sets come again and again, arranged differently each
    time: two trials form a pair only if they did the same, and with new objects in every trial that
    would hardly happen (Singh et al. 2020 have 60,000 trials in 150 scenes). `trial_share` of the
    demonstrations are earlier trials, if there are any in `shown`, drawn by `weights`: of these
    only the objects around are known, and the task is the one they were commanded, which may not be
    what they show. With noise some begin where a demonstration may, as after a failed attempt.

    Args:
      seed: of the first trial; the others count on from there.
    """
    c, simulator = config.improve, simulator_of(domain, f"round {number} of trials")

    @functools.cache
    def object_set(k: int) -> str:
        return simulator.sample_scene("train", np.random.default_rng((config.seed, number, k, 1)))

    for i in range(c.trials):
        rng = np.random.default_rng((config.seed, number, i))
        own = bool(shown) and rng.random() < c.trial_share
        if own:
            demo = shown[int(rng.choice(len(shown), p=weights))]
        else:
            demo = demos[int(rng.integers(len(demos)))]
        there = rng.random() < c.commanded_share
        if there and own:
            scene = simulator.rearrange(demo.scene, rng)
        elif there or not c.object_sets:
            wanted = [Task(demo.task, domain.group(demo.task))] if there else []
            scene = simulator.sample_scene("train", rng, wanted)
        else:
            scene = simulator.rearrange(object_set(int(rng.integers(c.object_sets))), rng)
        if c.noise:
            scene = simulator.disturb_start(scene, rng)
        yield Trial(
            episode_id=f"round{number}-{i:06d}",
            task=demo.task,
            scene=scene,
            seed=seed + i,
            round=number,
            policy=policy,
            demonstration=demo.episode_id,
        )
