"""Rollouts of the policy, against the same policy in gymnasium's AsyncVectorEnv.

    python -m benchmarks.acting
    taskset -c 0 python -m benchmarks.acting     # on one CPU

As the second table of `benchmarks.rollout`, but the default network answers every picture, as it
does in trials. Its parameters are random and its answers are thrown away: what is done are the
wanderings of that benchmark, so all episodes are equally long and the same on both sides.

Rollouts act in each process for its own environments, on one thread. With the vector environment
the main process acts for all, with as many threads as JAX takes, and the others wait meanwhile; it
is measured with one environment per process and core, and with as many as rollouts have, which are
as many processes. There are as many processes of rollouts as CPUs, so that both sides may use all.
Seconds are of the clock, resets and the keeping of all steps included; what starts and compiles is
not.
"""

from __future__ import annotations

import dataclasses
import functools
import os
import time
from collections.abc import Callable, Sequence

import gymnasium
import numpy as np
from absl import app, flags

from benchmarks.rollout import HORIZON, KitchenEnv, plan, spread, sweep
from mili_jax.domains import rollout
from mili_jax.domains.kitchen.spec import spec
from mili_jax.types import Episode, PolicyFn
from mili_jax.workers import pool

# JAX is imported where it acts (`pipeline` brings it): the processes of the vector environment
# import this file as well.
flags.FLAGS.set_default("episodes", 3)
flags.FLAGS.set_default("processes", [str(len(os.sched_getaffinity(0)))])


@dataclasses.dataclass(frozen=True)
class MakeWanderer:
    """Makes an actor that asks the network, and does something else."""

    make: Callable[[], rollout.Actor]  # `learning.actors.MakeActor`

    def __call__(self) -> rollout.Actor:
        start = self.make()

        def actor(trials: Sequence[rollout.Trial]) -> PolicyFn:
            act, rows = start(trials), iter(sweep(np.random.default_rng(trials[0].seed)))

            def wander(image: np.ndarray, pose: np.ndarray) -> np.ndarray:
                act(image, pose)
                return np.tile(next(rows).astype(np.float32), (len(image), 1))

            return wander

        return actor


def make_wanderer(size: int) -> MakeWanderer:
    """With the default network, for pictures of so many pixels."""
    import jax

    from mili_jax.learning.actors import MakeActor
    from mili_jax.policy.policy import Policy, init_params

    policy = Policy(spec(size), embedding_size=64, channels=32, blocks=2)
    params = jax.tree.map(np.asarray, init_params(policy, jax.random.key(0)))
    return MakeWanderer(MakeActor(policy, params, {}))


def groups(count: int, first: int) -> list[rollout.Trial]:
    """One trial per group of episodes, which all show the same scene and the same wandering."""
    return [
        dataclasses.replace(trial, seed=first + i)
        for i, (trial, _) in enumerate(plan(count, first))
    ]


def rollouts_per_second(workers: pool.Pool, processes: int, listed: list[rollout.Trial]) -> float:
    """Control steps per second of rollouts."""
    jobs = [
        (i, [trial] * rollout.LOCKSTEP)
        for i, trial in enumerate(trial for trial in listed for _ in range(processes))
    ]
    began = time.perf_counter()
    steps = sum(done.steps for done in workers.run(jobs))
    return steps / (time.perf_counter() - began)


def vector_per_second(
    envs: gymnasium.vector.AsyncVectorEnv, actor: rollout.Actor, listed: list[rollout.Trial]
) -> float:
    """The same through the vector environment."""
    began, steps = time.perf_counter(), 0
    for trial in listed:
        act, kept = actor([trial] * envs.num_envs), []
        seen, _ = envs.reset(seed=trial.seed, options={"task": trial.task, "scene": trial.scene})
        for _ in range(HORIZON):
            action = act(seen["image"], seen["pose"])
            kept.append((seen["image"], seen["pose"], action))
            seen, *_ = envs.step(action)
            steps += envs.num_envs
    return steps / (time.perf_counter() - began)


def _nothing(index: int, episodes: Sequence[Episode]) -> None:
    del index, episodes


def main(argv: list[str]) -> None:
    del argv
    from mili_jax.pipeline import rolling

    given = flags.FLAGS
    size, count, repetitions = given.image_size, given.episodes, given.repetitions
    wanderer = make_wanderer(size)
    make_runner = functools.partial(rollout.Player, wanderer, "kitchen", spec(size))
    make_env = functools.partial(KitchenEnv, image_size=size)
    print(
        f"{size}x{size} pixels, {count} scenes x {rollout.LOCKSTEP} episodes x {HORIZON} control "
        f"steps per process, {repetitions} repetitions: median (range) of control steps/s"
    )
    row = "{:>9}  {:>20}  {:>12}  {:>20}  {:>24}"
    print(row.format("processes", "rollouts", "environments", "AsyncVectorEnv", "rollouts / it"))
    if count * repetitions >= pool.PROCESS_RECYCLE:
        raise app.UsageError("a worker would be replaced meanwhile; ask for less")
    for processes in map(int, given.processes):
        with rolling.simulating(), pool.Pool(make_runner, _nothing, processes) as workers:
            rollouts_per_second(workers, processes, groups(1, 1))  # starts and compiles
            actor = wanderer()
            vectors = [
                gymnasium.vector.AsyncVectorEnv([make_env] * n, shared_memory=True, context="spawn")
                for n in (processes, processes * rollout.LOCKSTEP)
            ]
            for envs in vectors:
                vector_per_second(envs, actor, groups(1, 1))
            mine: list[float] = []
            theirs: list[list[float]] = [[] for _ in vectors]
            for _ in range(repetitions):
                mine.append(rollouts_per_second(workers, processes, groups(count, 0)))
                for envs, found in zip(vectors, theirs, strict=True):
                    times = rollout.LOCKSTEP * processes // envs.num_envs  # as many episodes
                    found.append(vector_per_second(envs, actor, groups(count, 0) * times))
            for envs, found in zip(vectors, theirs, strict=True):
                ratio = [a / b for a, b in zip(mine, found, strict=True)]
                columns = spread(mine, ".0f"), envs.num_envs, spread(found, ".0f")
                print(row.format(processes, *columns, spread(ratio, ".2f")), flush=True)
                envs.close()


if __name__ == "__main__":
    app.run(main)
