"""A learned loss: what a demonstration without actions means for the policy that watches it."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp

from mili_jax.policy.camera import Camera
from mili_jax.policy.embeddings.temporal import _Temporal
from mili_jax.policy.features import pose_features, rms_norm
from mili_jax.policy.focus import Focus
from mili_jax.policy.kernels import spatial_softmax

Array = jax.Array


# A learned loss: what a demonstration without actions means for the policy that watches it.


def looked_at(focus: Focus, maps: Array) -> tuple[Array, Array]:
    """Where a policy looks and what it sees there: maps [n,h,w,C] -> mean places [n,2,2] m and
    features [n,2,C], both smooth in the policy's parameters."""
    attention = jax.nn.softmax(focus.logit, -1)
    where = jnp.stack([jnp.sum(attention * a, -1) for a in (focus.x, focus.y)], -1)
    cells = rms_norm(maps).reshape(len(maps), -1, maps.shape[-1])
    return where, jnp.einsum("npg,ngc->npc", attention, cells)


class LearnedLoss(nn.Module):
    """A loss of what the policy looks at in the pictures of a demonstration (Yu et al. 2018, one
    stage of MIL without actions): (where [S,2,2] m, what [S,2,C], maps [S,h,w,C], pose [S,7] or
    None) -> scalar.

    It looks at the pictures itself as well (four attended places), so that it can tell where the
    policy should have looked. Two temporal convolutions; the loss is the mean square of what comes
    out, after Yu et al.
    """

    camera: Camera
    width: int = 64

    @nn.compact
    def __call__(self, where: Array, what: Array, maps: Array, pose: Array | None) -> Array:
        n, h, w, c = maps.shape
        cells = rms_norm(maps)
        own = nn.Dense(4, name="attend")(cells) * 4
        attention = jax.nn.softmax(own.reshape(n, h * w, 4), axis=1)
        seen = jnp.einsum("ngd,ngc->ndc", attention, cells.reshape(n, h * w, c))
        places = spatial_softmax(own)
        mine = where / self.camera.view
        apart = mine[:, :, None] - places[:, None]
        parts = [mine, what, seen, places, apart, jnp.square(apart) * 10]
        x = jnp.concatenate([a.reshape(n, -1) for a in parts], -1)
        if pose is not None:
            x = jnp.concatenate([x, pose_features(self.camera, pose)], -1)
        out = _Temporal(self.width, self.width)(nn.Dense(self.width)(x)[None])
        return jnp.mean(jnp.square(out))
