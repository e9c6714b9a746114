"""Which turns and mirrors of the table leave a robot's pictures pictures of such a table."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, UInt8

from mili_jax.policy.view import FAR, View, grid
from mili_jax.spec import Camera, Spec

# Mirror y, then k quarter turns to the left: the eight symmetries of the square.
_TURN = np.array([[[1, 0], [0, 1]], [[0, -1], [1, 0]], [[-1, 0], [0, -1]], [[0, 1], [-1, 0]]])
_MIRROR = np.array([[1, 0], [0, -1]])
DIHEDRAL = np.concatenate([_TURN, _TURN @ _MIRROR])  # [8,2,2]
ROLL, PITCH, YAW = 3, 4, 5  # of `spec.TOOL_FIELDS`
# A mirrored tool has one axis of its own frame turned round: y, and with it the roll, or x and the
# pitch (and is half a turn further). For a gripper, which is symmetric under half a turn, both are
# the same; a camera beside it sees the mirror of its picture for one of them.
_MIRRORS = {ROLL: np.diag([1.0, -1, 1, 1]), PITCH: np.diag([-1.0, 1, 1, 1])}


@functools.cache
def symmetries(spec: Spec) -> tuple[int, ...]:
    """The elements of DIHEDRAL that every camera agrees to: the world so turned gives its picture
    turned or mirrored as a whole. Of a camera that looks straight down at the centre of the table
    all eight; of one in front of it the mirror of left and right; of an uncalibrated one none but
    the identity. One that moves with the tool turns with the world; if it is calibrated and looks
    along the tool's middle, it is mirrored with it.
    """
    if spec.tool is None:
        return (0,)
    found = [
        k for k in range(8) if all(_picture_symmetry(c, spec, k) is not None for c in spec.cameras)
    ]
    return tuple(found)


@functools.cache
def mirrored_tilt(spec: Spec) -> int:
    """Which of a tool's tilts a mirror turns round, ROLL or PITCH: the one for which every camera
    that moves with the tool has its picture mirrored."""
    moving = [
        np.asarray(c.matrix) for c in spec.cameras if c.mount == "tool" and c.matrix is not None
    ]
    for tilt, mirror in _MIRRORS.items():
        if all(_symmetry(matrix, matrix @ mirror, spec) is not None for matrix in moving):
            return tilt
    return ROLL


def _picture_symmetry(camera: Camera, spec: Spec, element: int) -> np.ndarray | None:
    """What the picture undergoes, a signed permutation of uv [2,2], if there is such."""
    # A tool that is turned takes its camera along.
    if element == 0 or (camera.mount == "tool" and element < 4):
        return np.eye(2, dtype=int)
    if camera.matrix is None:
        return None
    matrix, world = np.asarray(camera.matrix), np.eye(4)
    if camera.mount == "tool":
        world = _MIRRORS[mirrored_tilt(spec)]
    else:
        world[:2, :2] = DIHEDRAL[element]
    return _symmetry(matrix, matrix @ world, spec)


def _symmetry(matrix: np.ndarray, wanted: np.ndarray, spec: Spec) -> np.ndarray | None:
    """The signed permutation of uv that makes one camera's matrix [3,4] another."""
    for picture in DIHEDRAL:
        if spec.height != spec.width and picture[0, 0] == 0:
            continue  # a picture that is not square is not turned by a quarter
        moved = np.concatenate([picture @ matrix[:2], matrix[2:]])
        if np.allclose(moved, wanted, atol=1e-6 * np.abs(matrix).max()):
            return picture
    return None


def can_shift(spec: Spec) -> bool:
    """Whether the table can be shifted below the cameras: all are calibrated, or move with the
    tool."""
    return spec.tool is not None and all(
        camera.matrix is not None or camera.mount == "tool" for camera in spec.cameras
    )


def transform_pose(
    pose: Float[Array, "*n d"],
    element: Int[Array, "*m"],
    shift: Float[Array, "*k 2"],
    tilt: int = ROLL,
) -> Float[Array, "*n 7"]:
    """Applies DIHEDRAL[element] about the table's centre, then a shift (m), to poses or actions of
    a tool.

    Leading axes broadcast. Yaw is not wrapped. A mirror turns one `tilt` round (`mirrored_tilt`)
    and leaves the other, whatever the quarter turn after it.
    """
    sign = jnp.where(element >= 4, -1, 1)
    xy = jnp.einsum("...ij,...j->...i", jnp.asarray(DIHEDRAL)[element], pose[..., :2]) + shift
    yaw = sign * pose[..., YAW] + (element % 4) * (jnp.pi / 2)
    angles = [pose[..., ROLL], pose[..., PITCH], yaw]
    angles[tilt - ROLL] = sign * angles[tilt - ROLL]
    return jnp.concatenate([xy, pose[..., 2:3], jnp.stack(angles, -1), pose[..., 6:]], -1)


def transform_image(
    image: UInt8[Array, "e f ..."],
    element: Int[Array, " e"],
    shift: Float[Array, "e 2"],
    spec: Spec,
    views: tuple[View | None, ...],
) -> UInt8[Array, "e f ..."]:
    """The same for E sets of F pictures [E,F,(V,)H,W,C], whose border is repeated.

    element: of `symmetries(spec)`; the shift is zero unless `can_shift(spec)`. Of a camera that
    stands still a pixel takes the colour of the one that showed its place on the table before; what
    lies far from the table stays.
    """
    if spec.views == 1:
        return _warp(image, element, shift, spec, spec.cameras[0], views[0])
    each = enumerate(zip(spec.cameras, views, strict=True))
    parts = [_warp(image[:, :, i], element, shift, spec, *camera) for i, camera in each]
    return jnp.stack(parts, 2)


def _warp(
    image: Array, element: Array, shift: Array, spec: Spec, camera: Camera, view: View | None
) -> Array:
    """One camera's pictures [E,F,H,W,C]."""
    if camera.matrix is None:  # then nothing is done that would change its picture
        return image
    e, f, h, w, channels = image.shape
    source = jnp.asarray(grid(h, w))[None]
    if view is not None:  # else it moves with the tool: a shift changes nothing
        place = view.ground(source)
        near = jnp.all(jnp.abs(place) < FAR * view.reach, -1, keepdims=True)
        source = jnp.where(near, view.seen_at(place - shift[:, None]), source)
    symmetry = [_picture_symmetry(camera, spec, k) for k in range(8)]
    table = np.stack([np.eye(2, dtype=int) if s is None else s for s in symmetry])
    back = jnp.asarray(table, jnp.float32)[element]
    source = jnp.einsum("eji,epj->epi", back, jnp.broadcast_to(source, (e, h * w, 2)))
    column = jnp.clip(jnp.round((source[..., 0] + 1) / 2 * w - 0.5), 0, w - 1).astype(jnp.int32)
    row = jnp.clip(jnp.round((1 - source[..., 1]) / 2 * h - 0.5), 0, h - 1).astype(jnp.int32)
    pixels = image.reshape(e, f, h * w, channels)
    take = jax.vmap(lambda a, i: jnp.take(a, i, axis=1, mode="clip"))
    return take(pixels, row * w + column).reshape(image.shape)
