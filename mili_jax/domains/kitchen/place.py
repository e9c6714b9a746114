"""Family: take an object and put it in or on a container."""

from __future__ import annotations

import numpy as np

from mili_jax.domains.kitchen import motions
from mili_jax.domains.kitchen.family import Family, container, graspable
from mili_jax.domains.kitchen.history import History
from mili_jax.domains.kitchen.motions import HOVER_Z, TRAVEL_Z
from mili_jax.domains.kitchen.world import OPENING, World

STEADY = 0.005  # m per control step: a placed object that moves faster is not at rest
OVER = 0.010, 0.040  # m: as `motions.ALIGNED`, of something that is carried to a container
RELEASE = 0.012  # m above where a carried object is set down at which it is let go


def placed(world: World, history: History, name: str, goal: str) -> bool:
    if world.touching(name, world.gripper) or history.moved(name) < 0.01:
        return False
    offset = (history.last(name) - world.position(goal))[:2]
    inside = float(np.linalg.norm(offset)) <= world.catalogue[goal].inner_radius
    resting = world.touching(name, world.bodies[goal])
    resting = resting and not world.touching(name, world.table)
    return inside and resting and history.speed(name) <= STEADY


class Place:
    """The expert's motion. phase: "take", "carry", "release" or "retreat"."""

    def __init__(self, world: World, name: str, goal: str) -> None:
        self.world, self.name, self.goal = world, name, goal
        self.phase = "take"
        self._release = np.zeros(3)  # m, where the tool lets go

    def __call__(self, pose: np.ndarray) -> np.ndarray:
        world, name = self.world, self.name
        spec, goal = world.catalogue[name], world.catalogue[self.goal]
        base, at = world.position(self.goal), world.position(name)
        opening = min(1.0, (spec.grasp_width + 0.022) / OPENING)
        if self.phase == "take":
            label = motions.take(world, pose, name)
            if label is not None:
                return label
            self.phase = "carry"
        if self.phase == "carry":
            if not world.holding(name):
                self.phase = "take"
                return motions.label(pose[:2], TRAVEL_Z, pose[5], 1.0)
            xy = base[:2] + pose[:2] - at[:2]  # brings the object, not the tool, to the centre
            off = float(np.hypot(*(pose[:2] - xy)))
            hang = pose[2] - at[2]
            z = max(goal.floor_height + hang + 0.006, goal.height + 0.004)
            low = pose[2] < TRAVEL_Z - 0.03
            if low and off > OVER[1]:
                return motions.label(pose[:2], TRAVEL_Z, pose[5], 0.0)
            if pose[2] > z + RELEASE:
                above = 0.0 if low else (TRAVEL_Z - z) * motions.share(off, *OVER)
                return motions.label(xy, z + above, pose[5], 0.0)
            self.phase = "release"
            self._release = np.array([*xy, z])
        if self.phase == "release":
            if pose[6] < opening - 0.05:
                return motions.label(self._release[:2], self._release[2], pose[5], opening)
            self.phase = "retreat"
        inside = float(np.hypot(*(at - base)[:2])) < goal.inner_radius
        if pose[2] > HOVER_Z - 0.02 and not inside:
            self.phase = "take"
        return motions.label(self._release[:2], HOVER_Z, pose[5], opening)


PLACE = Family("place", (graspable, container), placed, Place)
