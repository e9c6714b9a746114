"""What a person meant, read off their demonstration afterwards: pauses go, and every step gets the
pose that they were heading for.

The scripted expert's labels are the poses that it heads for, and the policy's heads are made for
such labels. A hand says only where it is now. So the way is cut into straight strokes that it stays
near (Shi et al. 2023 do the same for waypoints), and the label of a step is the end of its stroke.

A person also hesitates: before the fingers close, after they have closed, at every turn. A policy
that learned to stay there would stay for ever, since it does not remember how long it has been
there. So a step in which the hand rests has the label of what comes next, and near a turn the label
goes over to it. It stays only as long as the fingers move.
"""

from __future__ import annotations

import itertools

import numpy as np

from mili_jax.spec import FINGER

LEAD = 0.05  # m: a hand further ahead of the tool than this counts as so far ahead
NEAR = 0.015  # m between the way and its strokes at most
STILL, STILL_STEPS = 0.012, 3  # m within which a hand rests that stays there for so many steps
ROUND = 0.005, 0.025  # m from a corner at which the next stroke is all of a label, and nothing
REACHED = 0.02  # m from where the fingers change at which they may begin
GRIP = 0.2  # of the fingers' travel: another wish
MOVED, TURNED, GRIPPED = 0.004, 0.03, 0.02  # m, rad and travel since the last step that is kept
_YAW = 5


def heading(pose: np.ndarray, command: np.ndarray) -> np.ndarray:
    """The labels of an episode, float32 [T,7].

    Args:
      pose: float32 [T,7], measured at each step. command: float32 [T,7], where the hand wanted it.
    """
    way, finger = sent(pose, command), command[:, FINGER]
    grips = [c for c in changes(finger) if _stays(way, c)]
    settled = [_settled(pose[:, FINGER], c) for c in grips]
    ends = stroke_ends(way[:, :3], [*grips, *settled])
    following = ends[np.searchsorted(ends, np.arange(len(way)))]
    wish = finger.copy()
    for k in range(len(ends) - 2, -1, -1):
        end = ends[k]
        if end in grips:
            for t in range(_arrival(way, ends, k, REACHED), end):
                if np.linalg.norm(pose[t, :3] - way[end, :3]) < REACHED:
                    wish[t] = finger[end]
        elif end - (first := _arrival(way, ends, k, STILL)) >= STILL_STEPS - 1:
            following[first + 1 : end + 1] = _next(way, ends, k, grips)
    for c, f in zip(grips, settled, strict=True):
        following[c : f + 1] = c
    label = way.copy()
    label[:, :3] = way[following, :3] + _rounded(pose, way, ends, following, grips)
    # Turns are as they will be where the fingers change, or in the end.
    turned = np.array([*grips, len(way) - 1])
    label[:, 3:6] = way[turned[np.searchsorted(turned, np.arange(len(way)))], 3:6]
    label[:, FINGER] = wish
    label[:, _YAW] = (label[:, _YAW] + np.pi / 2) % np.pi - np.pi / 2
    return label.astype(np.float32)


def _rounded(
    pose: np.ndarray, way: np.ndarray, ends: np.ndarray, following: np.ndarray, grips: list[int]
) -> np.ndarray:
    """How far the label of each step lies beyond the corner that it heads for: [T,3] m.

    A hand turns where it thinks it has arrived, and a policy may never think so. So near a corner
    the label goes over to the end of the next stroke, all of it once the tool is there. Where the
    fingers change there is no such corner, for that place has to be reached.
    """
    beyond = np.zeros((len(way), 3))
    for k, end in enumerate(ends[:-1]):
        if end not in grips:
            mine = following == end
            off = np.linalg.norm(pose[mine, :3] - way[end, :3], axis=1, keepdims=True)
            share = np.clip((off - ROUND[0]) / (ROUND[1] - ROUND[0]), 0, 1)
            beyond[mine] = (1 - share) * (way[_next(way, ends, k, grips), :3] - way[end, :3])
    return beyond


def sent(pose: np.ndarray, command: np.ndarray) -> np.ndarray:
    """Where the tool was sent at each step, float64 [T,7]: the command, but at most `LEAD` from
    where the tool is. The yaw goes on beyond half a turn."""
    way = command.astype(np.float64)
    ahead = way[:, :3] - pose[:, :3]
    far = np.linalg.norm(ahead, axis=1, keepdims=True)
    way[:, :3] = pose[:, :3] + ahead * np.minimum(1.0, LEAD / np.maximum(far, 1e-9))
    way[:, _YAW] = np.unwrap(way[:, _YAW], period=np.pi)
    return way


def stroke_ends(place: np.ndarray, fixed: list[int]) -> np.ndarray:
    """The steps at which strokes end, int64 [K], increasing; the last one is the last step.

    A stroke ends at the given steps, and where one straight line is no longer near enough to the
    way (Douglas and Peucker 1973). place: float64 [T,3] m.
    """
    ends = {0, len(place) - 1, *fixed}
    pairs = list(itertools.pairwise(sorted(ends)))
    while pairs:
        a, b = pairs.pop()
        if b - a < 2:
            continue
        off = _off(place[a : b + 1])
        k = int(off.argmax())
        if off[k] > NEAR:
            ends.add(a + k)
            pairs += [(a, a + k), (a + k, b)]
    return np.array(sorted(ends - {0} or ends), np.int64)


def changes(finger: np.ndarray) -> list[int]:
    """The steps at which the fingers [T] are asked for something else."""
    found, last = [], float(finger[0])
    for t in range(1, len(finger)):
        if abs(float(finger[t]) - last) > GRIP:
            found.append(t)
            last = float(finger[t])
    return found


def _stays(way: np.ndarray, step: int) -> bool:
    """Whether the hand waits there for the fingers."""
    after = way[step : step + STILL_STEPS, :3]
    return bool((np.linalg.norm(after - way[step, :3], axis=1) < STILL).all())


def _settled(finger: np.ndarray, asked: int) -> int:
    """The last step of those after `asked` in which the measured fingers still move."""
    t = min(asked + 1, len(finger) - 1)
    while t + 1 < len(finger) and abs(float(finger[t + 1] - finger[t])) > GRIPPED:
        t += 1
    return t


def _arrival(way: np.ndarray, ends: np.ndarray, k: int, near: float) -> int:
    """The first step from which on the hand is near where the k-th stroke ends, m."""
    first, least = int(ends[k]), int(ends[k - 1]) if k else -1
    while first - 1 > least and _apart(way, first - 1, ends[k]) < near:
        first -= 1
    return first


def _next(way: np.ndarray, ends: np.ndarray, k: int, grips: list[int]) -> int:
    """The end of the next stroke after the k-th that leads away, or to where the fingers change."""
    for end in ends[k + 1 : -1]:
        if end in grips or _apart(way, end, ends[k]) >= STILL:
            return int(end)
    return int(ends[-1])


def _apart(way: np.ndarray, a: int, b: int) -> float:
    return float(np.linalg.norm(way[a, :3] - way[b, :3]))


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
