"""What a person meant, read off their demonstration afterwards: pauses go, and every step gets the
pose that they were heading for.

The scripted expert's labels are the poses that it heads for, and the policy's heads are made for
such labels. A hand says only where it is now. So the way is cut into straight strokes that it stays
near (Shi et al. 2023 do the same for waypoints), and the label of a step is the end of its stroke.
"""

from __future__ import annotations

import itertools

import numpy as np

from mili_jax.spec import FINGER

LEAD = 0.05  # m: a hand further ahead of the tool than this counts as so far ahead
NEAR = 0.015  # m between the way and its strokes at most
TURN = 0.05  # m that a turn of the tool by 1 rad counts as
STILL, STILL_STEPS = 0.008, 3  # m within which a tool rests that does so for so many steps
GRIP = 0.2  # of the fingers' travel: another wish
MOVED, TURNED, GRIPPED = 0.004, 0.03, 0.02  # m, rad and travel since the last step that is kept
_YAW = 5


def heading(pose: np.ndarray, command: np.ndarray) -> np.ndarray:
    """The labels of an episode, float32 [T,7].

    Args:
      pose: float32 [T,7], measured at each step. command: float32 [T,7], where the hand wanted it.
    """
    way = sent(pose, command)
    ends = stroke_ends(way, command[:, FINGER])
    following = ends[np.searchsorted(ends, np.arange(len(way)))]
    label = way[following]
    label[:, FINGER] = command[:, FINGER]
    label[:, _YAW] = (label[:, _YAW] + np.pi / 2) % np.pi - np.pi / 2
    return label.astype(np.float32)


def sent(pose: np.ndarray, command: np.ndarray) -> np.ndarray:
    """Where the tool was sent at each step, float64 [T,7]: the command, but at most `LEAD` from
    where the tool is. The yaw goes on beyond half a turn."""
    way = command.astype(np.float64)
    ahead = way[:, :3] - pose[:, :3]
    far = np.linalg.norm(ahead, axis=1, keepdims=True)
    way[:, :3] = pose[:, :3] + ahead * np.minimum(1.0, LEAD / np.maximum(far, 1e-9))
    way[:, _YAW] = np.unwrap(way[:, _YAW], period=np.pi)
    return way


def stroke_ends(way: np.ndarray, finger: np.ndarray) -> np.ndarray:
    """The steps at which strokes end, int64 [K], increasing; the last one is the last step.

    A stroke ends where the fingers are asked for something else, where the tool has rested and goes
    on, and where one straight line is no longer near enough to the way.
    """
    steps = len(way)
    fixed = {0, steps - 1, *rests(way[:, :3])}
    last = float(finger[0])
    for t in range(1, steps):
        if abs(float(finger[t]) - last) > GRIP:
            fixed.add(t)
            last = float(finger[t])
    points = np.column_stack([way[:, :3], TURN * way[:, _YAW]])
    found = sorted(fixed)
    ends = set(found)
    pairs = list(itertools.pairwise(found))
    while pairs:  # Douglas and Peucker 1973
        a, b = pairs.pop()
        if b - a < 2:
            continue
        off = _off(points[a : b + 1])
        k = int(off.argmax())
        if off[k] > NEAR:
            ends.add(a + k)
            pairs += [(a, a + k), (a + k, b)]
    return np.array(sorted(ends - {0} or ends), np.int64)


def rests(place: np.ndarray) -> list[int]:
    """The last steps of the stretches in which a tool at these places [T,3] rests, but for one at
    the end."""
    found, start = [], 0
    for t in range(1, len(place)):
        if np.linalg.norm(place[t] - place[start]) > STILL:
            if t - start > STILL_STEPS:
                found.append(t - 1)
            start = t
    return found


def kept_steps(pose: np.ndarray, command: np.ndarray) -> np.ndarray:
    """The steps of an episode [T,7] that stay, int64 [K]: those in which something has changed
    since the one before. In the others the person waited or thought."""
    kept = [0]
    for t in range(1, len(pose) - 1):
        change = np.abs(pose[t] - pose[kept[-1]])
        change[_YAW] = abs((change[_YAW] + np.pi / 2) % np.pi - np.pi / 2)
        asked = abs(float(command[t, FINGER] - command[kept[-1], FINGER]))
        if (
            np.linalg.norm(change[:3]) >= MOVED
            or change[3:6].max() >= TURNED
            or max(float(change[FINGER]), asked) >= GRIPPED
        ):
            kept.append(t)
    return np.array(kept + ([len(pose) - 1] if len(pose) > 1 else []), np.int64)


def _off(points: np.ndarray) -> np.ndarray:
    """How far points [N,D] lie from the straight stroke between the first and the last, [N]."""
    first, line = points[0], points[-1] - points[0]
    length = float(line @ line)
    along = np.clip((points - first) @ line / length, 0, 1) if length else np.zeros(len(points))
    off: np.ndarray = np.linalg.norm(points - first - along[:, None] * line, axis=1)
    return off
