"""Where in a picture a point of the world is seen, and which place of the table a pixel shows."""

from __future__ import annotations

import flax.struct
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from mili_jax.spec import Spec

FAR = 2.0  # reaches; the farthest place that counts
_NEAREST = 0.05  # m; what is nearer to the camera's plane, or behind it, counts as so far


@flax.struct.dataclass
class View:
    """One camera as networks use it.

    matrix: of `spec.Camera`, on the table's frame (z = 0 is the table top). reach: half-width (m)
    of the square of the table that matters.
    In uv the picture's lower left corner is (-1, -1) and its upper right one (1, 1).
    """

    matrix: Float[Array, "3 4"]
    reach: float = flax.struct.field(pytree_node=False)

    def project(self, xyz: Float[Array, "*n 3"]) -> Float[Array, "*n 2"]:
        """Where points (m) are seen: uv."""
        seen = _times(self.matrix[:, :3], xyz) + self.matrix[:, 3]
        # A matrix means the same at any scale; its last row has length one where w is in metres.
        metre = jnp.linalg.norm(self.matrix[2, :3])
        return seen[..., :2] / jnp.maximum(seen[..., 2:], _NEAREST * metre)

    def seen_at(self, xy: Float[Array, "*n 2"]) -> Float[Array, "*n 2"]:
        """Where places on the table (m) are seen: uv."""
        return self.project(jnp.concatenate([xy, jnp.zeros_like(xy[..., :1])], -1))

    def ground(self, uv: Float[Array, "*n 2"]) -> Float[Array, "*n 2"]:
        """Which place on the table (m) is seen at uv. What lies farther off than FAR, or above the
        horizon, is given a place so far off."""
        a, b, c = (self.matrix[:, i] for i in (0, 1, 3))
        # The inverse of the plane's homography, up to scale.
        inverse = jnp.stack([jnp.cross(b, c), jnp.cross(c, a), jnp.cross(a, b)])
        inverse = inverse * jnp.sign(a @ jnp.cross(b, c))
        point = _times(inverse[:, :2], uv) + inverse[:, 2]
        xy = point[..., :2] / jnp.maximum(point[..., 2:], 1e-6 * jnp.abs(inverse).max())
        return jnp.clip(xy, -FAR * self.reach, FAR * self.reach)

    def on_table(self, xyz: Float[Array, "*n 3"]) -> Float[Array, "*n 2"]:
        """The place on the table (m) that a point hides from the camera."""
        return self.ground(self.project(xyz))

    def at_height(self, xy: Float[Array, "*n 2"], z: Float[Array, "*n"]) -> Float[Array, "*n 2"]:
        """Where (m) a point at height z is that hides the place xy of the table."""
        a, b, c = (self.matrix[i, :3] for i in range(3))
        inverse = jnp.stack([jnp.cross(b, c), jnp.cross(c, a), jnp.cross(a, b)], 1)
        eye = -_times(inverse, self.matrix[:, 3]) / (a @ jnp.cross(b, c))
        share = (z / eye[2])[..., None]
        return share * eye[:2] + (1 - share) * xy

    def cells(self, h: int, w: int) -> Float[Array, "hw 2"]:
        """The places on the table of the centres of h * w cells, row by row (m)."""
        return self.ground(jnp.asarray(grid(h, w)))


def grid(h: int, w: int) -> Float[np.ndarray, "hw 2"]:
    """The centres of h * w cells of a picture in uv, row by row."""
    u = (np.arange(w) + 0.5) / w * 2 - 1
    v = 1 - (np.arange(h) + 0.5) / h * 2
    return np.stack(np.meshgrid(u, v), -1).reshape(h * w, 2).astype(np.float32)


def _times(matrix: Array, points: Array) -> Array:
    """[m,k] times every point [...,k], written out: exact, and no product of tiny matrices."""
    columns = [points[..., i, None] * matrix[:, i] for i in range(matrix.shape[1])]
    return sum(columns[1:], columns[0])


def views_of(spec: Spec, matrix: Array | None = None) -> tuple[View | None, ...]:
    """The view of each camera of a robot with a tool above a table; None for one that moves or of
    which nothing is known. `matrix` is that of the first camera, if it is learned."""
    found: list[View | None] = []
    for i, camera in enumerate(spec.cameras):
        rows = matrix if i == 0 and matrix is not None else camera.matrix
        known = spec.tool is not None and rows is not None and camera.mount == "world"
        reach = spec.tool.reach if spec.tool is not None else 1.0
        found.append(View(jnp.asarray(rows, jnp.float32), reach) if known else None)
    return tuple(found)
