"""What an episode is about, read off its own numbers afterwards: where it got hold of something,
and where it ended."""

from __future__ import annotations

import numpy as np

from mili_jax.domains.base import Hindsight

CLOSES = 0.3  # effort above which fingers are sent closed
AROUND = 3  # steps before and after a corner of the path
LEAST = 0.02  # m of way on both sides of a corner
SHARP = 0.6  # cosine of the angle between both ways, below which it is one


def see(pose: np.ndarray, action: np.ndarray) -> Hindsight:
    """Of an episode's poses [T,4] and actions [T,4]: key steps, and the places on the table below
    the hand at these, as one candidate each. The first is to be seen until it is touched."""
    key = find_key(pose, action)
    steps = len(pose)
    focus = np.broadcast_to(pose[None, list(key), None, :2], (steps, 2, 1, 2))
    seen = np.ones((steps, 2), bool)
    seen[key[0] + 1 :] = False
    return Hindsight(key, np.array(focus, np.float32), seen)


def find_key(pose: np.ndarray, action: np.ndarray) -> tuple[int, int]:
    """The step at which an episode touches what it is about, and its last one.

    It touches where the fingers, open until then, are first sent closed. Where they never are, or
    were from the beginning, it touches at the last sharp corner of the hand's path: there it comes
    down beside something and begins to move it. Without a corner it is about its end alone.
    """
    end = len(pose) - 1
    closes = action[:, 3] > CLOSES
    first = np.flatnonzero(closes)
    if len(first) and first[0] > 0:
        return int(first[0]), end
    corners = _corners(pose[:, :3])
    return (corners[-1] if corners else end), end


def _corners(path: np.ndarray) -> list[int]:
    """The steps at which a path [T,3] turns sharply; of neighbours the sharpest."""
    steps = np.arange(len(path))
    before = path - path[np.maximum(steps - AROUND, 0)]
    after = path[np.minimum(steps + AROUND, len(path) - 1)] - path
    a, b = np.linalg.norm(before, axis=-1), np.linalg.norm(after, axis=-1)
    cosine = (before * after).sum(-1) / np.maximum(a * b, 1e-9)
    cosine[(a < LEAST) | (b < LEAST)] = 1
    found = []
    for run in np.split(steps, np.flatnonzero(np.diff(cosine < SHARP)) + 1):
        if len(run) and cosine[run[0]] < SHARP:
            found.append(int(run[cosine[run].argmin()]))
    return found
