"""Where the kitchen's cameras stand, as the renderer and as networks need it, and its lights."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Sequence

import numpy as np
import pybullet as p

from mili_jax.spec import Camera

VIEW_HALF = 0.27  # m, half the side of the square that "top" sees at table height
CAMERA_HEIGHT = 1.2  # m above the table centre, of "top"
# Where the light comes from.
DEPTH = 0.2  # m above the table that a depth camera tells apart
LIGHTS = {"above": (0.0, 0.0, 1.0), "side": (-0.8, 0.3, 0.55)}


@dataclasses.dataclass(frozen=True)
class Viewpoint:
    """A pin-hole camera: eye, target (m) and up, in the frame of the world or of the tool; the
    whole angle that it sees (degrees), near and far limits (m). depth: whether it is a depth camera
    as well."""

    eye: tuple[float, float, float]
    target: tuple[float, float, float]
    up: tuple[float, float, float]
    angle: float
    near: float
    far: float
    mount: str = "world"
    depth: bool = False

    @functools.cached_property
    def view(self) -> list[float]:
        """The renderer's view matrix, column by column."""
        return list(p.computeViewMatrix(self.eye, self.target, self.up))

    @functools.cached_property
    def projection(self) -> list[float]:
        """The renderer's projection matrix of a square picture, column by column."""
        return list(p.computeProjectionMatrixFOV(self.angle, 1.0, self.near, self.far))

    def view_from(self, place: Sequence[float], turn: Sequence[float]) -> list[float]:
        """`view` for a tool at a place (m) with roll, pitch and yaw (rad)."""
        rotation = np.array(p.getMatrixFromQuaternion(p.getQuaternionFromEuler(turn))).reshape(3, 3)
        eye, target = (rotation @ np.array(a) + place for a in (self.eye, self.target))
        return list(p.computeViewMatrix(eye, target, rotation @ np.array(self.up)))

    def camera(self, name: str) -> Camera:
        """As networks see it: both matrices in one, without depth."""
        view, projection = (np.array(m).reshape(4, 4).T for m in (self.view, self.projection))
        rows = (projection @ view)[[0, 1, 3]]
        depth = DEPTH if self.depth else None
        return Camera(name, tuple(tuple(map(float, row)) for row in rows), self.mount, depth)

    def heights(self, buffer: np.ndarray) -> np.ndarray:
        """The heights above the table, uint8 [S,S] in steps of DEPTH / 255, of a renderer's depth
        buffer [S,S]."""
        size = len(buffer)
        away = self.far * self.near / (self.far - (self.far - self.near) * buffer)
        matrix = np.asarray(self.camera("any").matrix)
        # A point is the inverse of the matrix' left part times (u w, v w, w) less its last column.
        row = np.linalg.inv(matrix[:, :3])[2]
        u = (np.arange(size) + 0.5) / size * 2 - 1
        ray = row[0] * u[None, :] - row[1] * u[:, None] + row[2]
        height = away * ray - row @ matrix[:, 3]
        return np.clip(np.round(height * (255 / DEPTH)), 0, 255).astype(np.uint8)


def for_people(ratio: float) -> tuple[list[float], list[float]]:
    """The renderer's view and projection matrices, column by column, of an oblique picture for
    people whose width is `ratio` of its height."""
    view = p.computeViewMatrix([0.0, -0.62, 0.55], [0.0, -0.01, 0.02], [0, 0, 1])
    return list(view), list(p.computeProjectionMatrixFOV(46.0, ratio, 0.1, 2.0))


def seen_at(place: np.ndarray, ratio: float) -> tuple[float, float]:
    """Where a point [3] (m) is in that picture: from the left and from the top, 0 to 1."""
    view, projection = (np.array(m).reshape(4, 4).T for m in for_people(ratio))
    x, y, _, w = projection @ view @ np.array([*place, 1.0])
    return float(x / w + 1) / 2, float(1 - y / w) / 2


VIEWPOINTS = {
    "top": Viewpoint(
        eye=(0.0, 0.0, CAMERA_HEIGHT),
        target=(0.0, 0.0, 0.0),
        up=(0.0, 1.0, 0.0),
        angle=math.degrees(2 * math.atan(VIEW_HALF / CAMERA_HEIGHT)),
        near=0.3,
        far=CAMERA_HEIGHT + 0.2,
    ),
    # From the front at about 45 degrees, as most robots are filmed.
    "oblique": Viewpoint(
        eye=(0.0, -0.82, 0.80),
        target=(0.0, -0.01, 0.0),
        up=(0.0, 0.0, 1.0),
        angle=31.0,
        near=0.3,
        far=2.5,
    ),
    # Beside the fingers, looking at their tips.
    "wrist": Viewpoint(
        eye=(0.0, -0.09, 0.14),
        target=(0.0, 0.015, 0.0),
        up=(0.0, 1.0, 0.0),
        angle=75.0,
        near=0.02,
        far=1.5,
        mount="tool",
    ),
}
for _name in ("top", "oblique"):  # the same with a camera that sees depth
    VIEWPOINTS[f"{_name}_depth"] = dataclasses.replace(VIEWPOINTS[_name], depth=True)
