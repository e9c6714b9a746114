"""A batch as another arrangement of the same tasks, seen in another light."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mili_jax.learning.hyper import Hyper
from mili_jax.policy.camera import Camera
from mili_jax.policy.encoder import STRIDE
from mili_jax.types import ConfigError

Array = jax.Array
GROUP = 12  # rows of demonstrations in a colour group, at least

# Mirror y, then k quarter turns to the left: the eight symmetries of the square.
_TURN = np.array([[[1, 0], [0, 1]], [[0, -1], [1, 0]], [[-1, 0], [0, -1]], [[0, 1], [-1, 0]]])
_MIRROR = np.array([[1, 0], [0, -1]])
DIHEDRAL = np.concatenate([_TURN, _TURN @ _MIRROR])  # [8,2,2]


def transform_pose(pose: Array, element: Array, shift: Array) -> Array:
    """Applies DIHEDRAL[element] about the table's centre, then a shift in metres.

    pose (or action) [...,7], element int [...], shift [...,2] m; leading axes broadcast. Yaw is not
    wrapped. A mirror turns roll round and leaves pitch, whatever the quarter turn after it.
    """
    mirrored = element >= 4
    sign = jnp.where(mirrored, -1, 1)
    xy = jnp.einsum("...ij,...j->...i", jnp.asarray(DIHEDRAL)[element], pose[..., :2]) + shift
    yaw = sign * pose[..., 5] + (element % 4) * (jnp.pi / 2)
    roll = sign * pose[..., 3]
    return jnp.concatenate(
        [xy, pose[..., 2:3], roll[..., None], pose[..., 4:5], yaw[..., None], pose[..., 6:]], -1
    )


def transform_image(image: Array, element: Array, shift: Array) -> Array:
    """The same for pictures: uint8 [E,F,S,S,3], element int [E], shift int [E,2] pixels (x, y).

    The picture is moved over its own repeated border. Raises ConfigError unless it is square.
    """
    e, f, size = image.shape[:3]
    if image.shape[3] != size:
        raise ConfigError(f"augmentation needs square pictures, got {size}x{image.shape[3]}")
    # Twice the distance from the centre, so that all is integer: right and up are positive.
    axis = 2 * jnp.arange(size) - (size - 1)
    place = jnp.stack(jnp.meshgrid(axis, -axis), -1).reshape(-1, 2)
    moved = place - 2 * shift[:, None]
    source = jnp.einsum("eji,epj->epi", jnp.asarray(DIHEDRAL)[element], moved)
    source = jnp.clip(source, 1 - size, size - 1)
    column = (source[..., 0] + size - 1) // 2
    row = (size - 1 - source[..., 1]) // 2
    pixels = image.reshape(e, f, size * size, 3)
    take = jax.vmap(lambda a, i: jnp.take(a, i, axis=1, mode="clip"))
    return take(pixels, row * size + column).reshape(image.shape)


def augment(batch: Any, key: Array, view: float, hyper: Hyper) -> tuple[Any, Array]:
    """A batch as another arrangement of the same tasks, seen in another light -> (batch, spots).

    Every demonstration and every row of policy steps gets its own symmetry of the square and its
    own shift; pictures, poses and actions move together (a shift in pixels by its length at table
    height). So member 0 as a demonstration and its policy steps show one scene in two ways; spots
    [B,2,2,2] m are two places that stand out in its first frame as a demonstration, and the same
    two in its first policy step. The colour circle is turned by one angle per group of rows
    (`colour_groups`), brightness and contrast change for the whole batch: changed per row, they
    would tell the contrastive loss which two episodes belong together.
    """
    b, size = len(batch.pose), batch.image.shape[2]
    turn, move, swap, light, seek = jax.random.split(key, 5)
    # Of the two demonstrations, and of the policy steps.
    elements = jax.random.randint(turn, (b, 3), 0, 8 if hyper.dihedral else 1)
    pixels = jax.random.randint(move, (b, 3, 2), -hyper.shift, hyper.shift + 1)
    metres = pixels * (2 * view / size)
    pictures = batch.demo_image[:, 0], batch.demo_image[:, 1], batch.image
    moved = [transform_image(x, elements[:, k], pixels[:, k]) for k, x in enumerate(pictures)]
    if batch.truncated_image is not None:
        moved.append(transform_image(batch.truncated_image, elements[:, 0], pixels[:, 0]))
    spots = salient(moved[0][:, 0], seek, view)
    way = jnp.asarray(DIHEDRAL, jnp.float32)[elements]
    found = jnp.einsum("bji,bkj->bki", way[:, 0], spots - metres[:, None, 0])
    found = jnp.einsum("bij,bkj->bki", way[:, 2], found) + metres[:, None, 2]

    gain, offset = jax.random.uniform(light, (2,), minval=-1.0)
    gain, offset = 1 + hyper.contrast * gain, 255 * hyper.brightness * offset
    turns = jnp.eye(3)[None]
    if hyper.colours:
        turns = turn_colours(swap, hyper.colours)
    turns = turns[colour_groups(b, hyper)]

    def relight(image: Array) -> Array:
        x = image.astype(jnp.float32) - 127.5
        # Written out: the compiler is slow at products of 3 x 3 matrices with many pixels.
        rows = [
            sum(turns[:, None, None, None, i, j] * x[..., j] for j in range(3)) for i in range(3)
        ]
        x = jnp.stack(rows, -1) * gain + 127.5 + offset
        return jnp.clip(jnp.round(x), 0, 255).astype(jnp.uint8)

    if hyper.colours or hyper.brightness or hyper.contrast:
        moved = [relight(x) for x in moved]
    shown, mine = (elements[:, :2, None], metres[:, :2, None]), (elements[:, 2:], metres[:, 2:])
    if batch.truncated_image is not None:
        poses = transform_pose(batch.truncated_pose, elements[:, :1], metres[:, :1])
        batch = batch._replace(truncated_image=moved[3], truncated_pose=poses)
    batch = batch._replace(
        demo_image=jnp.stack(moved[:2], 1),
        demo_pose=transform_pose(batch.demo_pose, *shown),
        image=moved[2],
        pose=transform_pose(batch.pose, *mine),
        action=transform_pose(batch.action, *mine),
        focus=jnp.einsum("bij,bpakj->bpaki", way[:, 2], batch.focus) + metres[:, None, None, 2:],
    )
    return batch, jnp.stack([spots, found], 1)


def salient(image: Array, key: Array, view: float) -> Array:
    """Two random spots of every picture, uint8 [n,S,S,3] -> [n,2,2] m on the table: centres of
    different cells, each the likelier the more its surroundings vary."""
    n, size = image.shape[:2]
    h, cell = size // STRIDE, STRIDE
    varies = image.astype(jnp.float32).reshape(n, h, cell, h, cell, 3).std((2, 4)).mean(-1)
    around = jax.lax.reduce_window(varies, 0.0, jax.lax.add, (1, 3, 3), (1, 1, 1), "SAME") / 9
    logits = 3 * jnp.log(around + 2).reshape(n, h * h)
    _, chosen = jax.lax.top_k(logits + jax.random.gumbel(key, logits.shape), 2)
    return jnp.asarray(Camera(view).cells(h, h))[chosen]


def most_colours(rows: int, most: int = Hyper.colours) -> int:
    """How many colour groups, at most `most`, a batch with so many rows of demonstrations has room
    for. Only rows of one group are compared, and a group of fewer than `GROUP` holds hardly two
    tasks of a family: its contrastive loss would tell families apart and nothing else."""
    return max(n for n in range(1, max(1, min(most, rows // GROUP)) + 1) if rows % n == 0)


def colour_groups(rows: int, hyper: Hyper) -> np.ndarray:
    """The colour group of every row of a batch, int [rows]: dealt out in turn, so that families,
    which come one after another, spread over all groups. Tasks of different groups are not compared
    (`loss_fn`)."""
    if rows % max(1, hyper.colours):
        raise ConfigError(f"{rows} rows do not make {hyper.colours} equal colour groups")
    return np.arange(rows) % max(1, hyper.colours)


def turn_colours(key: Array, count: int) -> Array:
    """`count` random rotations about the grey axis of the colour cube, half of them with two
    channels swapped: [count,3,3]. Greys stay; permutations of the channels are among them."""
    turn, swap = jax.random.split(key)
    angle = jax.random.uniform(turn, (count, 1, 1), maxval=2 * jnp.pi)
    grey = jnp.full((3, 3), 1 / 3)
    cross = jnp.array([[0.0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / math.sqrt(3)
    rotation = jnp.cos(angle) * (jnp.eye(3) - grey) + jnp.sin(angle) * cross + grey
    swapped = jax.random.bernoulli(swap, 0.5, (count, 1, 1))
    return jnp.where(swapped, rotation[:, jnp.array([1, 0, 2])], rotation)
