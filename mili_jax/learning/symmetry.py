"""Which turns and mirrors of the table leave a robot's pictures pictures of such a table."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, UInt8

from mili_jax.policy.view import View, grid
from mili_jax.spec import Camera, Spec

# Mirror y, then k quarter turns to the left: the eight symmetries of the square.
_TURN = np.array([[[1, 0], [0, 1]], [[0, -1], [1, 0]], [[-1, 0], [0, -1]], [[0, 1], [-1, 0]]])
_MIRROR = np.array([[1, 0], [0, -1]])
DIHEDRAL = np.concatenate([_TURN, _TURN @ _MIRROR])  # [8,2,2]
YAW = 5  # of `spec.TOOL_FIELDS`
ROLL, PITCH = 3, 4


@functools.cache
def symmetries(spec: Spec) -> tuple[int, ...]:
    """The elements of DIHEDRAL that every camera agrees to: the world so turned gives its picture
    turned or mirrored as a whole. Of a camera that looks straight down at the centre of the table
    all eight; of one in front of it the mirror of left and right; of an uncalibrated one none but
    the identity. One that moves with the tool turns with the world, and is mirrored with it.
    """
    if spec.tool is None:
        return (0,)
    found = [
        k for k in range(8) if all(_picture_symmetry(c, spec, k) is not None for c in spec.cameras)
    ]
    return tuple(found)


def _picture_symmetry(camera: Camera, spec: Spec, element: int) -> np.ndarray | None:
    """What the picture undergoes, a signed permutation of uv [2,2], if there is such."""
    if camera.matrix is None:
        return np.eye(2, dtype=int) if element == 0 else None
    matrix = np.asarray(camera.matrix)
    world = np.eye(4)
    world[:2, :2] = DIHEDRAL[element]
    if camera.mount == "tool":
        # The tool turns with the world; of a mirror its x changes sign, whatever the turn.
        world = np.diag([-1.0, 1, 1, 1]) if element >= 4 else np.eye(4)
    wanted = matrix @ world
    for picture in DIHEDRAL:
        if spec.height != spec.width and picture[0, 0] == 0:
            continue  # a picture that is not square is not turned by a quarter
        moved = np.concatenate([picture @ matrix[:2], matrix[2:]])
        if np.allclose(moved, wanted, atol=1e-6 * np.abs(matrix).max()):
            return picture
    return None


def can_shift(spec: Spec) -> bool:
    """Whether the table can be shifted below the cameras: all are calibrated."""
    return spec.tool is not None and all(camera.matrix is not None for camera in spec.cameras)


def transform_pose(
    pose: Float[Array, "*n 7"], element: Int[Array, "*m"], shift: Float[Array, "*k 2"]
) -> Float[Array, "*n 7"]:
    """Applies DIHEDRAL[element] about the table's centre, then a shift (m), to poses or actions of
    a tool.

    Leading axes broadcast. Yaw is not wrapped. A mirror turns roll round and leaves pitch, whatever
    the quarter turn after it.
    """
    mirrored = element >= 4
    sign = jnp.where(mirrored, -1, 1)
    xy = jnp.einsum("...ij,...j->...i", jnp.asarray(DIHEDRAL)[element], pose[..., :2]) + shift
    yaw = sign * pose[..., YAW] + (element % 4) * (jnp.pi / 2)
    roll = sign * pose[..., ROLL]
    return jnp.concatenate(
        [xy, pose[..., 2:3], roll[..., None], pose[..., 4:5], yaw[..., None], pose[..., 6:]], -1
    )


def transform_image(
    image: UInt8[Array, "e f ..."],
    element: Int[Array, " e"],
    shift: Float[Array, "e 2"],
    spec: Spec,
    views: tuple[View | None, ...],
) -> UInt8[Array, "e f ..."]:
    """The same for E sets of F pictures [E,F,(V,)H,W,3], whose border is repeated.

    Where a camera is calibrated and stands still a pixel takes the colour of the one that showed
    its place on the table before.
    """
    if spec.views == 1:
        return _warp(image, element, shift, spec, 0, views[0])
    parts = [_warp(image[:, :, i], element, shift, spec, i, view) for i, view in enumerate(views)]
    return jnp.stack(parts, 2)


def _warp(
    image: Array, element: Array, shift: Array, spec: Spec, index: int, view: View | None
) -> Array:
    """One camera's pictures [E,F,H,W,3]."""
    e, f, h, w, channels = image.shape
    camera = spec.cameras[index]
    uv = jnp.asarray(grid(h, w))
    if camera.matrix is None:
        return image
    if view is None:  # it moves with the tool, so that a shift changes nothing
        known = [_picture_symmetry(camera, spec, k) for k in range(8)]
        table = np.stack([np.eye(2, dtype=int) if m is None else m for m in known])
        source = jnp.einsum("eji,pj->epi", jnp.asarray(table, jnp.float32)[element], uv)
    else:
        place = view.ground(uv) - shift[:, None]
        back = jnp.asarray(DIHEDRAL, jnp.float32)[element]
        source = view.seen_at(jnp.einsum("eji,epj->epi", back, place))
    column = jnp.clip(jnp.round((source[..., 0] + 1) / 2 * w - 0.5), 0, w - 1).astype(jnp.int32)
    row = jnp.clip(jnp.round((1 - source[..., 1]) / 2 * h - 0.5), 0, h - 1).astype(jnp.int32)
    pixels = image.reshape(e, f, h * w, channels)
    take = jax.vmap(lambda a, i: jnp.take(a, i, axis=1, mode="clip"))
    return take(pixels, row * w + column).reshape(image.shape)
