"""The embedding that looks at the demonstration where the gripper was."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from mili_jax.policy.embedding import SIZES, Embedding, measured_sizes
from mili_jax.policy.embeddings.temporal import Temporal, frames_at
from mili_jax.policy.features import UNIT, direction, rms_norm, yaw_features
from mili_jax.policy.kernels import bilinear_weights
from mili_jax.policy.view import View
from mili_jax.spec import Spec

AHEAD = np.array([0.05, 0.085, 0.12, 0.155])  # m ahead of the gripper
POINTS = 8  # where a place may lie: at the gripper and up to 19 cm ahead of it


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

    size: int
    width: int = 64

    @nn.compact
    def __call__(
        self,
        maps: Float[Array, "n m h w c"],
        pose: Float[Array, "n k 7"],
        key: Float[Array, "n 2 7"],
        view: View,
    ) -> tuple[Float[Array, "n s"], Float[Array, "n 2 c"]]:
        n, m, h, w, c = maps.shape
        k = pose.shape[1]
        around = bilinear_weights(view.project(pose[..., :3]), h, w, offsets=True)
        step = jnp.concatenate([pose[:, 1:2], pose[:, 2:], pose[:, -1:]], 1)[..., :2]
        step = step - jnp.concatenate([pose[:, :1], pose[:, :-1]], 1)[..., :2]
        there = pose[:, :, None, :2] + direction(step, 0.01)[:, :, None] * AHEAD[:, None]
        ahead = bilinear_weights(view.seen_at(there), h, w, offsets=False)
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
        story = Temporal(2 * self.width, self.width)(x)

        touch, end = view.on_table(key[:, 0, :3]), view.on_table(key[:, 1, :3])
        way = direction(end - touch, 0.02)
        reach = jnp.concatenate([jnp.zeros(1), jnp.linspace(0.05, 0.19, POINTS - 1)])[:, None]
        points = jnp.concatenate([a[:, None] + reach * way[:, None] for a in (touch, end)], 1)
        sampled = bilinear_weights(view.seen_at(points), h, w, offsets=False)[..., 0, :]
        seen = jnp.einsum("npg,nfgc->npfc", sampled, outer)
        hidden = nn.Dense(self.width, name="choose_look")(seen.reshape(n, 2 * POINTS, -1))
        hidden = hidden + nn.Dense(self.width, name="choose_story")(story)[:, None]
        hidden = hidden + self.param(
            "choose_point", nn.initializers.normal(0.1), (2 * POINTS, self.width)
        )
        chosen = jax.nn.softmax(nn.Dense(2, name="choose")(nn.relu(hidden)), 1)
        portraits = jnp.einsum("npk,npc->nkc", chosen, seen[:, :, 0])
        return nn.Dense(self.size, name="story")(nn.relu(story)), portraits


class Anchored(nn.Module):
    """Story and portraits of a demonstration, added up to its embedding. The portraits come in
    linearly: for a place to be found again in another picture its features must come through,
    whatever they are. So do the lengths that it shows."""

    size: int

    def setup(self) -> None:
        self.pooled = _Pooled(self.size - SIZES)
        self.portraits = nn.Dense(self.size - SIZES, use_bias=False)

    def __call__(
        self,
        maps: Float[Array, "n m h w c"],
        pose: Float[Array, "n k 7"],
        key: Float[Array, "n 2 7"],
        view: View,
    ) -> Float[Array, "n z"]:
        """pose: along the demonstration; key: where it touches and where it ends."""
        story, portraits = self.pooled(maps, pose, key, view)
        story = story + self.portraits(portraits.reshape(len(maps), -1))
        return Embedding.join(story, measured_sizes(key))

    def portray(
        self, maps: Float[Array, "n h w c"], spots: Float[Array, "n 2 2"], view: View
    ) -> Float[Array, "n z"]:
        """The embedding of two spots (m on the table) of pictures, without a story."""
        n, h, w, c = maps.shape
        there = bilinear_weights(view.seen_at(spots), h, w, offsets=False)[..., 0, :]
        cells = rms_norm(maps).reshape(n, h * w, c)
        story = self.portraits(jnp.einsum("nkg,ngc->nkc", there, cells).reshape(n, -1))
        return Embedding.join(story, jnp.zeros((n, SIZES)))


class PoseAnchored(nn.Module):
    """Embeds a demonstration by what lies where the gripper goes (poses are given).

    With M = 2 frames these are the first and the last one; with more, the frame nearest in time to
    each pose is pooled as well. It needs a tool above a table (`Spec.tool`).
    """

    spec: Spec
    size: int = 32

    def setup(self) -> None:
        self.anchored = Anchored(self.size)

    def __call__(
        self, maps: Float[Array, "n m h w c"], pose: Float[Array, "n k 7"], view: View
    ) -> tuple[Float[Array, "n z"], Float[Array, " n"]]:
        # The first two poses are those at which it touches and ends (`demo_inputs`).
        return self.anchored(maps, pose[:, 2:], pose[:, :2], view), jnp.zeros(len(pose))

    def portray(
        self, maps: Float[Array, "n h w c"], spots: Float[Array, "n 2 2"], view: View
    ) -> Float[Array, "n z"]:
        """See `Policy.portray`."""
        return self.anchored.portray(maps, spots, view)
