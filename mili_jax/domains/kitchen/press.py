"""Family: press a button."""

from __future__ import annotations

import numpy as np

from mili_jax.domains.kitchen import motions
from mili_jax.domains.kitchen.family import Family, Motion, button
from mili_jax.domains.kitchen.history import History
from mili_jax.domains.kitchen.world import World

PRESS_DEPTH = 0.008  # m the cap has gone down at any time


def pressed(world: World, history: History, name: str) -> bool:
    return history.pressed[name] >= PRESS_DEPTH


def expert(world: World, name: str) -> Motion:
    def motion(pose: np.ndarray) -> np.ndarray:
        xy, top = world.position(name)[:2], world.catalogue[name].height
        return motions.descend(pose, xy, top - 0.014, pose[5], 0.0)

    return motion


PRESS = Family("press", (button,), pressed, expert, moves=False, anywhere=True)
