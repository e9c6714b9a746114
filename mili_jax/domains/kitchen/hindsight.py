"""What an episode is about, read off the tool's own path afterwards."""

from __future__ import annotations

import numpy as np

TOUCH_Z = 0.09  # m: a tool that stops going down below this height touches something
LOW_Z, MOVED = 0.035, 0.04  # m: a tool that moves so far while it is so low pushes
APART = 0.06  # m: an episode that ends nearer than this to where it touched is about one place
HELD = 0.15  # of the opening: fingers that stop so far from closed, and from open, hold something
BEHIND = 0.03  # m between the tool and what it is going to push


def _fan(nearest: float, farthest: float, angle: float) -> np.ndarray:
    """Candidates [15,2] m, along and aside of the way: 5 distances in 3 directions (rad)."""
    distance, turn = np.meshgrid(np.linspace(nearest, farthest, 5), [-angle, 0, angle])
    return np.stack([distance * np.cos(turn), distance * np.sin(turn)], -1).reshape(-1, 2)


PUSHED = _fan(0.05, 0.12, 0.15)  # m from a tool behind an object to its middle
GOAL = _fan(0.08, 0.20, 0.3)  # m from a tool that has pushed to the middle of the goal
CANDIDATES = len(GOAL)  # points per place


def find_focus(pose: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The two places an episode is about, at every step, seen in hindsight: what it acts on, and
    what it moves that to.

    All that is read is the tool's own path, so nobody has to label it and it serves trials as well
    as demonstrations. The first place is where the tool first took something, or where it went down
    last if it took nothing; from then on the object is with the tool. The second is where the
    episode ends. A tool whose last way was low has pushed: then both lie ahead of it. How far ahead
    is not known, nor exactly in which direction, so a place is a fan of candidates, one of which is
    right.

    Args:
      pose: float32 [T,7].

    Returns the candidates, float32 [T,2,CANDIDATES,2] m on the table (all equal where the place is
    known), and whether there is something to be seen there, bool [T,2].
    """
    xy = pose[:, :2]
    steps = np.arange(len(pose))
    focus = np.zeros((len(pose), 2, CANDIDATES, 2), np.float32)
    seen = np.ones((len(pose), 2), bool)
    runs = _descents(pose[:, 2])
    push = _find_push(pose, runs)
    if push is not None:
        runs = runs[: push + 1]
        start, stop = runs[-1]
        final = _unit(xy[stop] - xy[start])
        before = 0
        for touch, stop in runs:
            # Of several descents each has its own way; one that moved nothing meant the last one's.
            way = xy[stop] - xy[touch]
            way = _unit(way) if np.hypot(*way) > MOVED else final
            rest = steps[before:]  # of which the next descent takes its own
            gone = (xy[np.minimum(rest, stop)] - xy[touch]) @ way - BEHIND
            gone = np.maximum(gone, 0) * (rest > touch)
            focus[rest, 0] = xy[touch] + gone[:, None, None] * way + PUSHED @ _frame(way)
            before = stop + 1
        focus[:, 1] = xy[stop] + GOAL @ _frame(final)
        return focus, seen
    touch, end = find_key(pose)
    near = np.hypot(*(xy[end] - xy[touch])) < APART
    focus[:, 0], focus[:, 1] = xy[touch], xy[touch if near else end]
    seen[touch + 1 :, : 1 + near] = False
    return focus, seen


def find_key(pose: np.ndarray) -> tuple[int, int]:
    """The steps at which an episode float32 [T,7] touches what it is about and at which that ends:
    of a push its own beginning and end; where something was taken the touch and the last step; else
    the last touch and the step before the tool goes up again."""
    z, runs = pose[:, 2], _descents(pose[:, 2])
    push = _find_push(pose, runs)
    if push is not None:
        return runs[push]
    taken = _find_taken(pose, runs)
    if taken is not None or not runs:
        return len(pose) - 1 if taken is None else taken, len(pose) - 1
    touch = runs[-1][0]
    up = np.flatnonzero(z[touch:] >= TOUCH_Z)
    return touch, touch + int(up[0]) - 1 if len(up) else len(pose) - 1


def key_pose(pose: np.ndarray, touch: int, end: int) -> np.ndarray:
    """The poses at which an episode float32 [T,7] touches and ends (`find_key`), freed of what
    disturbs a single step: float32 [2,7].

    Disturbances lift the tool, close the fingers and move it aside. So the touch is as low as the
    tool comes before it goes up again, and its finger is the median from there to the end: what it
    holds keeps the fingers apart. The end lies in the direction in which most of a push went; its
    height is the lower of the last two near the table, else the median of three, as its place is,
    and its finger is the wider of the last two.
    """
    found, after = pose[[touch, end]], pose[touch : end + 1]
    up = np.flatnonzero(after[:, 2] >= TOUCH_Z)
    found[0, 2] = after[: up[0] if len(up) and up[0] else len(after), 2].min()
    found[0, 6] = np.median(after[:, 6])
    low = after[-1, 2] < TOUCH_Z
    found[1, 2] = after[-2:, 2].min() if low else np.median(after[-3:, 2])
    found[1, 6] = after[-2:, 6].max()
    path = after[:, :2] - after[0, :2]
    way = np.hypot(*path.T)
    if low and not len(up) and way[-1] > MOVED:
        late = way > way.max() / 2
        ahead = _unit(np.median(path[late] / way[late, None], axis=0))
        found[1, :2] = after[0, :2] + ahead * (path[-1] @ ahead)
    elif not low:
        found[1, :2] = np.median(after[-3:, :2], axis=0)
    return found


def _find_push(pose: np.ndarray, runs: list[tuple[int, int]]) -> int | None:
    """Which of the descents is the push that an episode is about, if it is about one: the last that
    moved far, unless the fingers did something afterwards. A policy that has pushed may well go
    back behind the object and come to rest there."""
    for i, (start, stop) in reversed(list(enumerate(runs))):
        if np.hypot(*(pose[stop, :2] - pose[start, :2])) > MOVED:
            done = i + 1 == len(runs) or abs(pose[-1, 6] - pose[stop, 6]) < HELD
            return i if done else None
    return None


def _find_taken(pose: np.ndarray, runs: list[tuple[int, int]]) -> int | None:
    """The step of the first touch after which the tool goes up with its fingers held apart by
    something, if it ever does."""
    z, finger = pose[:, 2], pose[:, 6]
    for i, (touch, stop) in enumerate(runs):
        after = runs[i + 1][0] if i + 1 < len(runs) else len(pose)
        up = finger[stop:after][z[stop:after] > TOUCH_Z]
        opened = finger[max(0, touch - 3) : touch + 1].max()
        if ((up > HELD) & (up < opened - HELD)).any():
            return touch
    return None


def _descents(z: np.ndarray) -> list[tuple[int, int]]:
    """Stretches near the table, each as (the first step that stops going down, the last step that
    is as low as a push, or the first again)."""
    low = np.flatnonzero(z < TOUCH_Z)
    slows = np.append(z[1:] > z[:-1] - 0.004, True)
    runs = []
    for run in np.split(low, np.flatnonzero(np.diff(low) > 1) + 1):
        stops = run[slows[run]]
        if len(stops) and run[0] > 0:  # else it only began there
            pushing = run[(run >= stops[0]) & (z[run] < LOW_Z)]
            runs.append((int(stops[0]), int(pushing[-1]) if len(pushing) else int(stops[0])))
    return runs


def _unit(vector: np.ndarray) -> np.ndarray:
    return vector / np.hypot(*vector)


def _frame(way: np.ndarray) -> np.ndarray:
    """The way and what lies across it, as rows: [2,2]."""
    return np.stack([way, [-way[1], way[0]]])
