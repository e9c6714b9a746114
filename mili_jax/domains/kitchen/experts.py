"""Scripted experts: closed-loop teachers that see the simulator's state.

What they do is their families' (`Family.expert`), with what these have in common (`motions`).
"""

from __future__ import annotations

import numpy as np

from mili_jax.domains.kitchen.env import KitchenEnv
from mili_jax.domains.kitchen.families import OWN
from mili_jax.domains.kitchen.family import Families, KitchenTask
from mili_jax.domains.kitchen.world import World

HOLD_STEPS = 2  # steps a demonstration goes on after it has succeeded and come to its last pose


class Expert:
    """Acts for one task in one world; make a new one for every episode."""

    def __init__(self, task: KitchenTask, world: World, families: Families = OWN) -> None:
        self.family = families[task.family]
        self.world = world
        self.motion = self.family.expert(world, *task.objects)

    def act(self) -> np.ndarray:
        """float32 [7], the desired pose the expert is heading for now."""
        return np.asarray(self.motion(self.world.pose().astype(np.float64)), np.float32)


class Demonstrator:
    """The expert for the episode that an environment was just reset to, and when it may end."""

    def __init__(self, env: KitchenEnv) -> None:
        assert env.task is not None
        self._env, self._expert = env, Expert(env.task, env.world, env.families)
        self._label: np.ndarray | None = None
        self._held = 0

    def act(self) -> np.ndarray:
        """float32 [7], see `Expert.act`."""
        self._label = self._expert.act()
        return self._label

    def done(self) -> bool:
        """Whether it has succeeded, has come to its last pose and has stayed there for a while."""
        if self._label is None:
            return False
        env = self._env
        pose = env.world.pose()
        arrived = float(np.abs(pose[:3] - self._label[:3]).max()) < 0.015
        arrived = arrived or self._expert.family.anywhere
        self._held = self._held + 1 if env.success() and arrived else 0
        return self._held > HOLD_STEPS
