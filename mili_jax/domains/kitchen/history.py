"""What happened in an episode so far: the memory that predicates look at."""

from __future__ import annotations

import math

import numpy as np

from mili_jax.domains.kitchen import bodies
from mili_jax.domains.kitchen.world import World


class History:
    """What the predicates need to remember of an episode; `update` after every control step."""

    def __init__(self, world: World) -> None:
        self.highest = dict.fromkeys(world.bodies, 0.0)  # m, of the base centre at any time
        self.pressed = dict.fromkeys(world.bodies, 0.0)  # m, of a button's cap at any time
        self._world = world
        self._start = {name: world.state(name) for name in world.bodies}
        self._before = self._now = self._start  # states after the last two control steps
        self._buttons = [n for n in world.bodies if world.catalogue[n].button]
        self._others = [n for n in world.bodies if not world.catalogue[n].button]

    def update(self) -> None:
        world = self._world
        for name in self._buttons:
            depth = bodies.button_depth(world.client, world.bodies[name])
            self.pressed[name] = max(self.pressed[name], depth)
        self._before = self._now
        self._now = self._start | {name: world.state(name) for name in self._others}
        for name in self._others:
            height = world.height(name, self._now[name])
            if height > self.highest[name]:
                self.highest[name] = height

    def last(self, name: str) -> np.ndarray:
        """[3] where the object was after the last control step, m."""
        return self._world.position(name, self._now[name])

    def speed(self, name: str) -> float:
        """How far the object moved in the last control step, m."""
        way = self.last(name) - self._world.position(name, self._before[name])
        return math.sqrt(way @ way)

    def moved(self, name: str) -> float:
        """Horizontal distance (m) from where the object was at the start."""
        way = self.last(name) - self._world.position(name, self._start[name])
        return float(np.linalg.norm(way[:2]))
