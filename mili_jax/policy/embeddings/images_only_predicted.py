"""The same with poses that are read off the pictures."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from mili_jax.policy.embeddings.pose_anchored import Anchored
from mili_jax.policy.embeddings.temporal import frames_at
from mili_jax.policy.features import UNIT, rms_norm, yaw_features
from mili_jax.policy.view import View
from mili_jax.spec import Spec


class ImagesOnlyPredicted(nn.Module):
    """As `PoseAnchored`, but the gripper's pose is read from the pictures, so that video is enough.

    The auxiliary loss (squared error in units of 5 cm, of the finger and of the yaw's sine and
    cosine) teaches the reading where poses are known; the embedding itself never sees the given
    poses. The gradient of the embedding does not move the places it looks at. It needs a tool above
    a table (`Spec.tool`).
    """

    spec: Spec
    size: int = 32

    def setup(self) -> None:
        self.reader = _Reader()
        self.anchored = Anchored(self.size)

    def __call__(
        self, maps: Float[Array, "n m h w c"], pose: Float[Array, "n k 7"], view: View
    ) -> tuple[Float[Array, "n z"], Float[Array, " n"]]:
        guess, key, error = self.reader(maps, pose, view)
        return self.anchored(maps, guess, key, view), error

    def portray(
        self, maps: Float[Array, "n h w c"], spots: Float[Array, "n 2 2"], view: View
    ) -> Float[Array, "n z"]:
        """See `Policy.portray`."""
        return self.anchored.portray(maps, spots, view)


class _Reader(nn.Module):
    """Reads the gripper's pose from pictures: the poses at all times, at the touch and at the end,
    and the error against the given poses."""

    @nn.compact
    def __call__(
        self, maps: Float[Array, "n m h w c"], pose: Float[Array, "n k 7"], view: View
    ) -> tuple[Float[Array, "n m 7"], Float[Array, "n 2 7"], Float[Array, " n"]]:
        n, m, h, w, c = maps.shape
        cells = rms_norm(maps).reshape(n, m, h * w, c)
        hidden = nn.relu(nn.Dense(c, name="look")(cells))
        attention = jax.nn.softmax(nn.Dense(1, name="where")(hidden)[..., 0] * 4, -1)
        seen = jnp.einsum("nmg,gc->nmc", attention, view.cells(h, w))
        there = jnp.einsum("nmg,nmgc->nmc", attention, hidden)
        read = nn.Dense(4, name="read")(nn.relu(nn.Dense(64, name="read_hidden")(there)))
        z, finger = read[..., 0] * UNIT + 0.1, read[..., 1] * 0.5 + 0.5
        yaw = 0.5 * jnp.arctan2(read[..., 2], read[..., 3] + 1e-6)

        true = pose[:, 2:][:, frames_at(pose.shape[1] - 2, m)]
        error = jnp.sum(jnp.square((seen - view.on_table(true[..., :3])) / UNIT), -1)
        error += jnp.square((z - true[..., 2]) / UNIT)
        error += jnp.square(finger - true[..., 6])
        error += jnp.sum(jnp.square(read[..., 2:] - yaw_features(true[..., 5])), -1)

        xy = view.at_height(seen, z)
        tilt = jnp.zeros_like(xy)
        guess = jnp.concatenate([xy, z[..., None], tilt, yaw[..., None], finger[..., None]], -1)
        guess = jax.lax.stop_gradient(guess)
        # It touches where it is first about as low as it ever is.
        low = guess[..., 2] < guess[..., 2].min(1, keepdims=True) + 0.02
        touch = jnp.take_along_axis(guess, low.argmax(1)[:, None, None], 1)
        touch = touch.at[:, 0, 6].set(guess[..., 6].min(1))
        key = jnp.concatenate([touch, guess[:, -1:]], 1)
        return guess, key, error.mean(-1)
