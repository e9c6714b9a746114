"""Family: take an object and lift it."""

from __future__ import annotations

import numpy as np

from mili_jax.domains.kitchen import motions
from mili_jax.domains.kitchen.family import Family, Motion, graspable
from mili_jax.domains.kitchen.history import History
from mili_jax.domains.kitchen.world import World

LIFT_HEIGHT = 0.05  # m between the table and the object's base at the end, held by the gripper


def grasped(world: World, history: History, name: str) -> bool:
    return bool(history.last(name)[2] >= LIFT_HEIGHT and world.holding(name))


def expert(world: World, name: str) -> Motion:
    def motion(pose: np.ndarray) -> np.ndarray:
        label = motions.take(world, pose, name)
        return motions.label(pose[:2], motions.TRAVEL_Z, pose[5], 0.0) if label is None else label

    return motion


GRASP = Family("grasp", (graspable,), grasped, expert)
