"""Where a hand or a tool is and how it is turned: pure functions, in metres and quaternions.

A table's frame is x to the right, y away from the person, z up. WebXR's is x to the right, y up,
-z ahead. A quaternion is (x, y, z, w), and q and -q are the same turn.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class Pose(NamedTuple):
    """place float64 [3] m; turn float64 [4], a unit quaternion (x, y, z, w)."""

    place: np.ndarray
    turn: np.ndarray


def pose_of(place: Sequence[float], turn: Sequence[float]) -> Pose:
    """Raises ValueError for what is not finite, far away, or no turn."""
    where, how = np.array(place, np.float64), np.array(turn, np.float64)
    if where.shape != (3,) or not np.isfinite(where).all() or np.abs(where).max() > 100:
        raise ValueError("a place is three finite numbers, in metres, at most 100 m away")
    length = float(np.linalg.norm(how)) if how.shape == (4,) else math.nan
    if not 0.5 < length < 2:  # also where it is not finite
        raise ValueError("a turn is a unit quaternion of four finite numbers")
    return Pose(where, how / length)


def from_xr(pose: Pose) -> Pose:
    """A pose in WebXR's frame in the table's: (x, y, z) there is (x, -z, y) here. The axis of a
    turn is a direction, so it goes the same way."""
    return Pose(_swapped(pose.place), np.array([*_swapped(pose.turn[:3]), pose.turn[3]]))


def _swapped(vector: np.ndarray) -> np.ndarray:
    x, y, z = vector
    return np.array([x, -z, y])


def times(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The turn b and after it the turn a, [4]."""
    ax, ay, az, aw = a
    bx, by, bz, bw = b
    return np.array(
        [
            aw * bx + ax * bw + ay * bz - az * by,
            aw * by - ax * bz + ay * bw + az * bx,
            aw * bz + ax * by - ay * bx + az * bw,
            aw * bw - ax * bx - ay * by - az * bz,
        ]
    )


def back(turn: np.ndarray) -> np.ndarray:
    """The turn that undoes it, [4]."""
    return turn * np.array([-1.0, -1.0, -1.0, 1.0])


def angle(a: np.ndarray, b: np.ndarray) -> float:
    """Between two turns, rad, 0 to pi."""
    return 2 * math.acos(min(1.0, abs(float(a @ b))))


def turned(roll: float, pitch: float, yaw: float) -> np.ndarray:
    """The turn of fixed-axis angles (rad): about x, then y, then z. [4]."""
    x, y, z = (np.zeros(4) for _ in range(3))
    for axis, (q, value) in enumerate(((x, roll), (y, pitch), (z, yaw))):
        q[axis], q[3] = math.sin(value / 2), math.cos(value / 2)
    return times(z, times(y, x))


def angles(turn: np.ndarray) -> tuple[float, float, float]:
    """roll, pitch and yaw (rad) of a turn, about fixed axes; the inverse of `turned`. Where the
    pitch is a right angle the roll is 0."""
    x, y, z, w = turn
    sine = 2 * (w * y - z * x)
    if abs(sine) > 1 - 1e-9:
        yaw = math.atan2(2 * (w * z - x * y), 1 - 2 * (x * x + z * z))
        return 0.0, math.copysign(math.pi / 2, sine), yaw
    roll = math.atan2(2 * (w * x + y * z), 1 - 2 * (x * x + y * y))
    yaw = math.atan2(2 * (w * z + x * y), 1 - 2 * (y * y + z * z))
    return roll, math.asin(sine), yaw


def carried(tool: Pose, first: Pose, now: Pose) -> Pose:
    """Where a tool goes that was at `tool` when the hand was at `first`, now that the hand is at
    `now`: it makes the same way and the same turn in the table's frame."""
    turn = times(times(now.turn, back(first.turn)), tool.turn)
    return Pose(tool.place + now.place - first.place, turn / np.linalg.norm(turn))
