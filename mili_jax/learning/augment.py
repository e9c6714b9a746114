"""A batch as another arrangement of the same tasks, seen in another light."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, UInt8

from mili_jax.learning.hyper import Hyper
from mili_jax.learning.symmetry import (
    DIHEDRAL,
    can_shift,
    mirrored_tilt,
    symmetries,
    transform_image,
    transform_pose,
)
from mili_jax.policy.encoder import STRIDE
from mili_jax.policy.view import View
from mili_jax.spec import Spec
from mili_jax.types import Batch, ConfigError

GROUP = 12  # rows of demonstrations in a colour group, at least


def augment(
    batch: Batch, key: Array, spec: Spec, views: tuple[View | None, ...], hyper: Hyper
) -> tuple[Batch, Float[Array, "b 2 2 2"] | None]:
    """A batch as another arrangement of the same tasks, seen in another light -> (batch, spots).

    Of a robot with a tool above a table every demonstration and every row of policy steps gets its
    own symmetry of the table (`symmetries`) and its own shift; pictures, poses and actions move
    together. So member 0 as a demonstration and its policy steps show one scene in two ways; spots
    (m) are two places that stand out in its first frame as a demonstration, and the same two in its
    first policy step; None where nobody knows where pixels lie.

    Of all robots the colour circle is turned by one angle per group of rows (`colour_groups`), and
    brightness and contrast change for the whole batch: changed per row, they would say to the
    contrastive loss which two episodes belong together.
    """
    b = len(batch.pose)
    turn, move, swap, light, seek = jax.random.split(key, 5)
    spots = None
    if spec.tool is not None and views[0] is not None:
        batch, spots = _arrange(batch, turn, move, seek, spec, views, hyper)
    if not (hyper.colours or hyper.brightness or hyper.contrast):
        return batch, spots

    gain, offset = jax.random.uniform(light, (2,), minval=-1.0)
    gain, offset = 1 + hyper.contrast * gain, 255 * hyper.brightness * offset
    turns = turn_colours(swap, hyper.colours) if hyper.colours else jnp.eye(3)[None]
    turns = turns[colour_groups(b, hyper)]

    def relight(image: Array) -> Array:
        x = image[..., :3].astype(jnp.float32) - 127.5
        of_row = turns.reshape(b, *[1] * (x.ndim - 2), 3, 3)
        # Written out: the compiler is slow at products of 3 x 3 matrices with many pixels.
        rows = [sum(of_row[..., i, j] * x[..., j] for j in range(3)) for i in range(3)]
        x = jnp.stack(rows, -1) * gain + 127.5 + offset
        x = jnp.clip(jnp.round(x), 0, 255).astype(jnp.uint8)
        return jnp.concatenate([x, image[..., 3:]], -1)  # heights are as they are in any light

    batch = batch._replace(demo_image=relight(batch.demo_image), image=relight(batch.image))
    if batch.truncated_image is not None:
        batch = batch._replace(truncated_image=relight(batch.truncated_image))
    return batch, spots


def _arrange(
    batch: Batch,
    turn: Array,
    move: Array,
    seek: Array,
    spec: Spec,
    views: tuple[View | None, ...],
    hyper: Hyper,
) -> tuple[Batch, Array]:
    """Turned, mirrored and shifted, and two spots that stand out, in both pictures of each row."""
    assert spec.tool is not None and views[0] is not None
    b = len(batch.pose)
    # Of the two demonstrations, and of the policy steps.
    allowed = jnp.array(symmetries(spec) if hyper.dihedral else (0,))
    elements = allowed[jax.random.randint(turn, (b, 3), 0, len(allowed))]
    tilt, most = mirrored_tilt(spec), hyper.shift if can_shift(spec) else 0
    pixels = jax.random.randint(move, (b, 3, 2), -most, most + 1)
    metres = pixels * (2 * spec.tool.reach / spec.height)
    pictures = batch.demo_image[:, 0], batch.demo_image[:, 1], batch.image
    moved = [
        transform_image(x, elements[:, k], metres[:, k], spec, views)
        for k, x in enumerate(pictures)
    ]
    first = moved[0][:, 0] if spec.views == 1 else moved[0][:, 0, 0]
    spots = salient(first, seek, views[0])
    way = jnp.asarray(DIHEDRAL, jnp.float32)[elements]
    found = jnp.einsum("bji,bkj->bki", way[:, 0], spots - metres[:, None, 0])
    found = jnp.einsum("bij,bkj->bki", way[:, 2], found) + metres[:, None, 2]
    if batch.truncated_image is not None:
        broken = transform_image(batch.truncated_image, elements[:, 0], metres[:, 0], spec, views)
        poses = transform_pose(batch.truncated_pose, elements[:, :1], metres[:, :1], tilt)
        batch = batch._replace(truncated_image=broken, truncated_pose=poses)
    shown = elements[:, :2, None], metres[:, :2, None], tilt
    mine = elements[:, 2:], metres[:, 2:], tilt
    batch = batch._replace(
        demo_image=jnp.stack(moved[:2], 1),
        demo_pose=transform_pose(batch.demo_pose, *shown),
        image=moved[2],
        pose=transform_pose(batch.pose, *mine),
        action=transform_pose(batch.action, *mine),
        focus=jnp.einsum("bij,bpakj->bpaki", way[:, 2], batch.focus) + metres[:, None, None, 2:],
    )
    return batch, jnp.stack([spots, found], 1)


def salient(image: UInt8[Array, "n H W d"], key: Array, view: View) -> Float[Array, "n 2 2"]:
    """Two random spots of every picture (m on the table): centres of different cells within reach,
    each the likelier the more its surroundings vary."""
    n, h, w = len(image), image.shape[1] // STRIDE, image.shape[2] // STRIDE
    cells = image[..., :3].astype(jnp.float32).reshape(n, h, STRIDE, w, STRIDE, 3)
    varies = cells.std((2, 4)).mean(-1)
    around = jax.lax.reduce_window(varies, 0.0, jax.lax.add, (1, 3, 3), (1, 1, 1), "SAME") / 9
    place = view.cells(h, w)
    # Beyond it is the edge of the table, which varies most of all.
    reached = jnp.all(jnp.abs(place) <= view.reach, -1)
    logits = jnp.where(reached, 3 * jnp.log(around + 2).reshape(n, h * w), -jnp.inf)
    _, chosen = jax.lax.top_k(logits + jax.random.gumbel(key, logits.shape), 2)
    return place[chosen]


def most_colours(rows: int, most: int = Hyper.colours) -> int:
    """How many colour groups, at most `most`, a batch with so many rows of demonstrations has room
    for. Only rows of one group are compared, and a group of fewer than `GROUP` holds hardly two
    tasks of a family: its contrastive loss would tell families apart and nothing else."""
    return max(n for n in range(1, max(1, min(most, rows // GROUP)) + 1) if rows % n == 0)


def colour_groups(rows: int, hyper: Hyper) -> Int[np.ndarray, " rows"]:
    """The colour group of every row of a batch: dealt out in turn, so that the groups of tasks,
    which come one after another, spread over all of them. Tasks of different colour groups are not
    compared (`objective.loss_fn`)."""
    if rows % max(1, hyper.colours):
        raise ConfigError(f"{rows} rows do not make {hyper.colours} equal colour groups")
    return np.arange(rows) % max(1, hyper.colours)


def turn_colours(key: Array, count: int) -> Float[Array, "count 3 3"]:
    """`count` random rotations about the grey axis of the colour cube, half of them with two
    channels swapped. Greys stay; permutations of the channels are among them."""
    turn, swap = jax.random.split(key)
    angle = jax.random.uniform(turn, (count, 1, 1), maxval=2 * jnp.pi)
    grey = jnp.full((3, 3), 1 / 3)
    cross = jnp.array([[0.0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / math.sqrt(3)
    rotation = jnp.cos(angle) * (jnp.eye(3) - grey) + jnp.sin(angle) * cross + grey
    swapped = jax.random.bernoulli(swap, 0.5, (count, 1, 1))
    return jnp.where(swapped, rotation[:, jnp.array([1, 0, 2])], rotation)
