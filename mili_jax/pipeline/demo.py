"""A trained policy at work on held-out tasks: what `mili demo` plays and films."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Callable, Sequence

import numpy as np

from mili_jax.domains import base, rollout
from mili_jax.domains.base import SPLITS, Simulator, SimulatorEnv
from mili_jax.domains.rollout import Request, Trial
from mili_jax.pipeline.oneshot import OneShotPolicy
from mili_jax.pipeline.schema import DEMO_STRIDE, SEED_STRIDE
from mili_jax.report.films import Film
from mili_jax.types import ConfigError, Episode, EpisodeMeta, Task

# Of the seeds of demonstrations and of attempts: beyond those that stages use. They are far apart,
# since numpy draws the same for the seeds n and (n, 0).
_FIRST, _SECOND = 200 * SEED_STRIDE, 2000 * SEED_STRIDE
RINGED = 10  # pictures of a film in which what the task is about has a ring
RING, THICK = 0.09, 0.008  # of the picture's height: its radius, half its line
ORANGE = (230, 120, 0)


@dataclasses.dataclass(frozen=True)
class Take:
    """One attempt. split: whose objects the scene has; number: which of all the attempts."""

    task: Task
    split: str
    number: int
    seed: int

    @property
    def request(self) -> Request:
        """The demonstration that it follows, in an arrangement of its own."""
        seed = _FIRST + DEMO_STRIDE * (1000 * self.seed + self.number)
        return Request(f"shown-{self.number}", self.task, self.split, seed)

    def trial(self, simulator: Simulator) -> Trial:
        """The attempt, in another arrangement."""
        seed = _SECOND + 1000 * self.seed + self.number
        scene = simulator.sample_scene(self.split, np.random.default_rng(seed), [self.task])
        name = f"attempt-{self.number}"
        return Trial(name, self.task.name, scene, seed, demonstration=f"shown-{self.number}")


def takes(policy: OneShotPolicy, names: Sequence[str], count: int, seed: int) -> list[Take]:
    """`count` attempts: at the first test tasks in the order of their list, or at the tasks named,
    one after the other and then from the first again.

    Raises ConfigError for a domain without a simulator, and for a task that it has not.
    """
    simulator = base.simulator_of(policy.domain, "a demo")
    every = {task.name: (task, split) for split in SPLITS for task in simulator.tasks(split)}
    if not names:
        names = [task.name for task in simulator.tasks("test")][:count]
    for name in names:
        if name not in every:
            near = difflib.get_close_matches(name, every, 1, 0.6)
            meant = f"; did you mean {near[0]}?" if near else ""
            raise ConfigError(
                f"the domain {policy.domain.name!r} lists no task {name!r}{meant}; "
                "`mili domains --tasks=test` lists them"
            )
    return [Take(*every[names[i % len(names)]], i, seed) for i in range(count)]


def play(
    policy: OneShotPolicy, asked: Sequence[Take], report: Callable[[Take, EpisodeMeta], None]
) -> list[Film]:
    """Plays all attempts at once and films each with its demonstration.

    Args:
      report: called with each attempt and what it achieved, in their order.

    Raises SimulationError if the expert cannot demonstrate a task.
    """
    simulator = base.simulator_of(policy.domain, "a demo")
    noise = float(policy.facts["made"]["config"]["data"]["noise"])
    envs = [simulator.make_env(policy.spec) for _ in asked]
    try:
        shown = {
            take.request.episode_id: rollout.demonstration(
                simulator, env, take.request, noise, policy.spec
            )
            for take, env in zip(asked, envs, strict=True)
        }
        trials = [take.trial(simulator) for take in asked]
        tried = rollout.run_job(simulator, envs, trials, policy.actor(shown), spec=policy.spec)
        films = []
        for take, env, attempt in zip(asked, envs, tried, strict=True):
            report(take, attempt.meta)
            films.append(
                _film(simulator, env, take, shown[take.request.episode_id], attempt, noise)
            )
        return films
    finally:
        for env in envs:
            env.close()


def verdict(meta: EpisodeMeta) -> str:
    """What an attempt came to, in a few words."""
    if meta.success:
        return "done"
    others = ", ".join(name for name in meta.achieved_tasks if name != meta.task)
    return f"not done; it did {others}" if others else "not done"


def _film(
    simulator: Simulator,
    env: SimulatorEnv,
    take: Take,
    shown: Episode,
    attempt: Episode,
    noise: float,
) -> Film:
    """Both again, in front of a camera for people. At first what the task is about has a ring."""
    lesson: list[np.ndarray] = []
    facts = shown.meta
    trial = Trial(facts.episode_id, facts.task, facts.scene, facts.seed)
    rollout.demonstrate(
        simulator, env, trial, noise, lambda e: lesson.append(_seen(e, len(lesson)))
    )
    frames: list[np.ndarray] = []
    rollout.replay(
        env, attempt.meta, attempt.action, lambda e: frames.append(_seen(e, len(frames)))
    )
    return Film(
        title=attempt.meta.task,
        group=take.task.group,
        success=attempt.meta.success,
        demo=np.stack(lesson),
        attempt=np.stack(frames),
        caption=verdict(attempt.meta),
    )


def _seen(env: SimulatorEnv, step: int) -> np.ndarray:
    """The picture for people; in the first ones with rings, where the domain can say around what
    (`SimulatorEnv`)."""
    picture = env.render()
    where: Callable[[], Sequence[tuple[str, float, float]]] = getattr(env, "marks", tuple)
    if step >= RINGED:
        return picture
    picture = picture.copy()
    height, width = picture.shape[:2]
    rows, columns = np.mgrid[:height, :width]
    for _, left, top in where():
        apart = np.hypot(columns - left * width, rows - top * height) / height
        picture[np.abs(apart - RING) < THICK] = ORANGE
    return picture
