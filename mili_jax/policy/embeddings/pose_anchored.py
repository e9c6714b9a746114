"""The embedding that looks at the demonstration where the gripper was."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from mili_jax.policy.camera import Camera
from mili_jax.policy.embeddings.temporal import _Temporal, frames_at
from mili_jax.policy.features import UNIT, direction, rms_norm, unit_vector, yaw_features
from mili_jax.policy.kernels import bilinear_weights

Array = jax.Array


def _track(pose: Array) -> Array:
    """What the gripper did at each time, free of where on the table: [N,K,7] -> [N,K,9]."""
    xyz = pose[..., :3]
    motion = jnp.diff(xyz, axis=1, append=xyz[:, -1:])
    to_end = xyz[..., :2] - xyz[:, -1:, :2]
    lengths = jnp.concatenate([xyz[..., 2:3], motion, to_end], -1) / UNIT
    return jnp.concatenate([lengths, yaw_features(pose[..., 5]), pose[..., 6:7] * 2 - 1], -1)


class _Pooled(nn.Module):
    """What a demonstration shows, from what lies where the gripper goes: (story [N,Z], portraits
    [N,2,C]).

    The story: features around the gripper at each time, and ahead of it, in the first, current and
    last frame, through temporal convolutions. The portraits: features of the first frame where the
    two places that the demonstration is about may lie (`key` are the poses at which it touches and
    at which it ends), by attention.
    """

    camera: Camera
    size: int
    width: int = 64

    @nn.compact
    def __call__(self, maps: Array, pose: Array, key: Array) -> tuple[Array, Array]:
        n, m, h, w, c = maps.shape
        k = pose.shape[1]
        around = bilinear_weights(self.camera.project(pose), h, w, offsets=True)
        step = jnp.concatenate([pose[:, 1:2], pose[:, 2:], pose[:, -1:]], 1)[..., :2]
        step = step - jnp.concatenate([pose[:, :1], pose[:, :-1]], 1)[..., :2]
        there = pose[:, :, None, :2] + direction(step, 0.01)[:, :, None] * AHEAD[:, None]
        ahead = bilinear_weights(there / self.camera.view, h, w, offsets=False)
        weights = jnp.concatenate([around, ahead[:, :, :, 0]], 2)
        flat = rms_norm(maps).reshape(n, m, h * w, c)
        outer = flat[:, :: m - 1]
        # Plain matrix products: with the axes in another order it takes five times as long.
        ends = weights.reshape(n, -1, h * w) @ outer.swapaxes(1, 2).reshape(n, h * w, -1)
        ends = ends.reshape(n, k, -1, 2, c)
        samples = [ends[:, :, :, 0], ends[:, :, :, 1]]
        if m > 2:
            # Written out per time: a frame is only sampled where the gripper is in that frame.
            now = jnp.einsum("nksg,nkgc->nksc", weights, flat[:, frames_at(m, k)])
            samples.insert(1, now)
        per_frame = [
            nn.Dense(self.width, name=f"frame{i}")(s.reshape(n, k, -1))
            for i, s in enumerate(samples)
        ]
        track = nn.Dense(self.width, name="track")(_track(pose))
        x = nn.relu(jnp.concatenate([*per_frame, track], -1))
        x = nn.relu(nn.Dense(self.width)(x))
        story = _Temporal(2 * self.width, self.width)(x)

        touch, end = self.camera.on_table(key[:, 0]), self.camera.on_table(key[:, 1])
        way = direction(end - touch, 0.02)
        reach = jnp.concatenate([jnp.zeros(1), jnp.linspace(0.05, 0.19, POINTS - 1)])[:, None]
        points = jnp.concatenate([a[:, None] + reach * way[:, None] for a in (touch, end)], 1)
        sampled = bilinear_weights(points / self.camera.view, h, w, offsets=False)[..., 0, :]
        seen = jnp.einsum("npg,nfgc->npfc", sampled, outer)
        hidden = nn.Dense(self.width, name="choose_look")(seen.reshape(n, 2 * POINTS, -1))
        hidden = hidden + nn.Dense(self.width, name="choose_story")(story)[:, None]
        hidden = hidden + self.param(
            "choose_point", nn.initializers.normal(0.1), (2 * POINTS, self.width)
        )
        chosen = jax.nn.softmax(nn.Dense(2, name="choose")(nn.relu(hidden)), 1)
        portraits = jnp.einsum("npk,npc->nkc", chosen, seen[:, :, 0])
        return nn.Dense(self.size, name="story")(nn.relu(story)), portraits


SIZES = 4  # the last numbers of an embedding: lengths that the demonstration shows, `_sizes`
SIZE_SCALE = 0.1  # of these beside the others, whose squares sum up to one


def _sizes(pose: Array, key: Array) -> Array:
    """Lengths that a demonstration shows and a picture from above does not: how high the tool is
    where it touches and where it ends, how far its fingers close and how open they end. From poses
    [N,K,7] and those at the touch and the end [N,2,7] to [N,SIZES], of order one."""
    height = (key[..., 2] - 0.1) / UNIT
    finger = jnp.stack([pose[..., 6].min(1), key[:, 1, 6]], -1) * 2 - 1
    return jnp.concatenate([height, finger], -1)


def _with_sizes(z: Array, sizes: Array) -> Array:
    return unit_vector(jnp.concatenate([unit_vector(z), SIZE_SCALE * sizes], -1))


class Anchored(nn.Module):
    """Story and portraits of a demonstration, added up to its embedding. The portraits come in
    linearly: for a place to be found again in another picture its features must come through,
    whatever they are. So do the lengths that it shows."""

    camera: Camera
    size: int

    def setup(self) -> None:
        self.pooled = _Pooled(self.camera, self.size - SIZES)
        self.portraits = nn.Dense(self.size - SIZES, use_bias=False)

    def __call__(self, maps: Array, pose: Array, key: Array) -> Array:
        story, portraits = self.pooled(maps, pose, key)
        z = story + self.portraits(portraits.reshape(len(maps), -1))
        return _with_sizes(z, _sizes(pose, key))

    def portray(self, maps: Array, spots: Array) -> Array:
        """The embedding of two spots [N,2,2] m on the table in pictures [N,h,w,C], without a
        story: [N,Z]."""
        n, h, w, c = maps.shape
        there = bilinear_weights(spots / self.camera.view, h, w, offsets=False)[..., 0, :]
        cells = rms_norm(maps).reshape(n, h * w, c)
        z = self.portraits(jnp.einsum("nkg,ngc->nkc", there, cells).reshape(n, -1))
        return _with_sizes(z, jnp.zeros((n, SIZES)))


class PoseAnchored(nn.Module):
    """Embeds a demonstration by what lies where the gripper goes (poses are given).

    With M = 2 frames these are the first and the last one; with more, the frame nearest in time to
    each pose is pooled as well.
    """

    camera: Camera
    size: int = 32

    def setup(self) -> None:
        self.anchored = Anchored(self.camera, self.size)

    def __call__(self, maps: Array, pose: Array) -> tuple[Array, Array]:
        # The first two poses are those at which it touches and ends (`demo_inputs`).
        return self.anchored(maps, pose[:, 2:], pose[:, :2]), jnp.zeros(len(pose))

    def portray(self, maps: Array, spots: Array) -> Array:
        """See `Policy.portray`."""
        return self.anchored.portray(maps, spots)


AHEAD = np.array([0.05, 0.085, 0.12, 0.155])  # m ahead of the gripper
POINTS = 8  # where a place may lie: at the gripper and up to 19 cm ahead of it
