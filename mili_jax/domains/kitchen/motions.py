"""What the scripted experts of all families have in common: the ways of a tool, step by step.

Each control step gets one label: the desired pose the expert is heading for, not the next small
motion (the controller bounds the speed). Labels follow from the present state, so an expert that
was pushed off its way, or lost its object, goes on from where it is.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from mili_jax.domains.kitchen.world import World, half_turn

TRAVEL_Z = 0.17  # m, tool height when it carries or has finished
HOVER_Z = 0.13  # m, tool height above a place before it goes down

# Horizontal errors (m; of the yaw, rad) at which a tool goes down all the way, and not at all;
# between them part of the way. If the label changed at one error, a policy that sees the error
# badly would stop there.
ALIGNED = 0.005, 0.025
TURNED = 0.06, 0.36
CLOSE = 0.020  # m above a grasp at which the fingers begin to close: they are slower than the tool


def label(
    xy: Sequence[float] | np.ndarray,
    z: float,
    yaw: float,
    finger: float,
    roll: float = 0.0,
    pitch: float = 0.0,
) -> np.ndarray:
    """[7], a desired pose."""
    return np.array([xy[0], xy[1], z, roll, pitch, half_turn(yaw), finger])


def share(value: float, low: float, high: float) -> float:
    """How far a value lies from `low` (0) to `high` (1), within these."""
    return min(1.0, max(0.0, (value - low) / (high - low)))


def descend(pose: np.ndarray, xy: np.ndarray, z: float, yaw: float, finger: float) -> np.ndarray:
    """Above the place first, then straight down on it."""
    off = float(np.hypot(*(pose[:2] - xy)))
    turned = abs(half_turn(yaw - pose[5]))
    down = pose[2] < HOVER_Z - 0.03
    if down and (off > ALIGNED[1] or turned > TURNED[1]):
        return label(pose[:2], TRAVEL_Z, pose[5], finger)
    if not down:
        z += (HOVER_Z - z) * max(share(off, *ALIGNED), share(turned, *TURNED))
    return label(xy, z, yaw, finger)


def take(world: World, pose: np.ndarray, name: str) -> np.ndarray | None:
    """The label on the way to holding an object; None once it is held."""
    at, rotation = world.placement(name)
    spec = world.catalogue[name]
    assert spec.grasp is not None, name
    dx, dy, dz, turn = spec.grasp
    xy = at[:2] + rotation[:2, :2] @ np.array([dx, dy])
    z = max(float(at[2]), 0.0) + dz
    heading = math.atan2(rotation[1, 0], rotation[0, 0])
    yaw = pose[5] if spec.symmetric else half_turn(heading + turn)
    if world.holding(name) and pose[6] < 0.9:
        return None
    if pose[6] < 0.3 and pose[2] < HOVER_Z - 0.03:  # closed on nothing
        return label(pose[:2], TRAVEL_Z, pose[5], 1.0)
    near = float(np.hypot(*(pose[:2] - xy))) < ALIGNED[1] and pose[2] < z + CLOSE
    return descend(pose, xy, z, yaw, 0.0 if near else 1.0)
