"""Where an uncalibrated camera stands, read off what moves in its pictures.

In pictures of a camera that stands still the tool is what differs from the rest of its episode.
Where that is seen, and where the tool was then, fits one pin-hole camera. It is a start: training
moves the matrix on (`Policy.learns_camera`).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, UInt8

from mili_jax.spec import Tool

DIFFERENT = 40  # of a pixel's channels together, from the median of its episode
FEWEST = 4  # pixels that differ, of a picture that counts
MOST = 0.2  # of a picture that may differ: more is a light that went on
ROUNDS = 8  # of fitting, each on what fitted before


class Fit(NamedTuple):
    """A camera's matrix [3,4], the median distance (in uv, whose picture is 2 wide) between where
    the tool is seen and where it should be, and from how many pictures."""

    matrix: Float[np.ndarray, "3 4"]
    residual: float
    pictures: int


def seen_tool(image: UInt8[np.ndarray, "t h w c"]) -> Float[np.ndarray, "t 2"]:
    """Where an episode's pictures show what moves: its centre in uv, NaN where nothing does."""
    picture = image[..., :3].astype(np.int16)
    still = np.median(picture, axis=0)
    moving = np.abs(picture - still).sum(-1) > DIFFERENT
    count = moving.sum((1, 2))
    h, w = moving.shape[1:]
    u = (np.arange(w) + 0.5) / w * 2 - 1
    v = 1 - (np.arange(h) + 0.5) / h * 2
    with np.errstate(invalid="ignore", divide="ignore"):
        seen = np.stack([moving.sum(1) @ u / count, moving.sum(2) @ v / count], -1)
    seen[(count < FEWEST) | (count > MOST * h * w)] = np.nan
    return seen


def fit(points: Float[np.ndarray, "n 3"], seen: Float[np.ndarray, "n 2"]) -> Fit | None:
    """The pin-hole camera that sees points (m) where they were seen (uv), by least squares on those
    that fit best so far; None if they do not say.

    The direct linear transform (Hartley and Zisserman 2003, section 7.1), with points and pictures
    scaled to order one.
    """
    known = np.isfinite(seen).all(1)
    points, seen = points[known].astype(np.float64), seen[known].astype(np.float64)
    if len(points) < 12:
        return None
    middle, scale = points.mean(0), points.std(0) + 1e-9
    world = np.column_stack([(points - middle) / scale, np.ones(len(points))])
    kept = np.ones(len(points), bool)
    matrix = None
    for _ in range(ROUNDS):
        matrix = _solve(world[kept], seen[kept])
        if matrix is None:
            return None
        away = _distance(matrix, world, seen)
        kept = away <= max(2.5 * np.median(away), 1e-6)
        if kept.sum() < 12:
            return None
    assert matrix is not None
    scaling = np.eye(4)
    scaling[:3, :3], scaling[:3, 3] = np.diag(1 / scale), -middle / scale
    matrix = matrix @ scaling
    depth = points @ matrix[2, :3] + matrix[2, 3]
    matrix = matrix * (np.sign(np.median(depth)) / np.abs(matrix[2]).max())
    if not np.isfinite(matrix).all() or abs(np.linalg.det(matrix[:, [0, 1, 3]])) < 1e-9:
        return None
    return Fit(matrix.astype(np.float32), float(np.median(away)), len(points))


def _solve(world: np.ndarray, seen: np.ndarray) -> np.ndarray | None:
    zero = np.zeros_like(world)
    u, v = seen[:, :1], seen[:, 1:]
    rows = np.concatenate(
        [np.concatenate([world, zero, -u * world], 1), np.concatenate([zero, world, -v * world], 1)]
    )
    try:
        _, values, vectors = np.linalg.svd(rows, full_matrices=False)
    except np.linalg.LinAlgError:
        return None
    # A second solution as good as the first says that the points do not span the space.
    if values[-2] < 1e-8 * values[0]:
        return None
    return vectors[-1].reshape(3, 4)


def _distance(matrix: np.ndarray, world: np.ndarray, seen: np.ndarray) -> np.ndarray:
    point = world @ matrix.T
    with np.errstate(invalid="ignore", divide="ignore"):
        away = np.linalg.norm(point[:, :2] / point[:, 2:] - seen, axis=1)
    return np.nan_to_num(away, nan=1e6, posinf=1e6)


def calibrate(
    episodes: Iterable[tuple[UInt8[np.ndarray, "t h w c"], Float[np.ndarray, "t d"]]], tool: Tool
) -> Fit | None:
    """The camera of episodes, each its pictures and the poses of a tool (x, y, z first); None if
    they do not say where it stands."""
    points, seen = [], []
    for image, pose in episodes:
        points.append(pose[:, :3] + np.array([0, 0, tool.middle]))
        seen.append(seen_tool(image))
    if not points:
        return None
    return fit(np.concatenate(points), np.concatenate(seen))
