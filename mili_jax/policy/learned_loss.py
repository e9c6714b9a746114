"""A learned loss: what a demonstration without actions means for the policy that watches it."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from mili_jax.policy.embeddings.temporal import Temporal
from mili_jax.policy.features import rms_norm, tool_features
from mili_jax.policy.focus import Focus
from mili_jax.policy.kernels import spatial_softmax
from mili_jax.policy.view import View


def looked_at(
    focus: Focus, maps: Float[Array, "n h w c"]
) -> tuple[Float[Array, "n 2 2"], Float[Array, "n 2 c"]]:
    """Where a policy looks (mean places, m) and what features it sees there, both smooth in the
    policy's parameters."""
    attention = jax.nn.softmax(focus.logit, -1)
    where = jnp.stack([jnp.sum(attention * a, -1) for a in (focus.x, focus.y)], -1)
    cells = rms_norm(maps).reshape(len(maps), -1, maps.shape[-1])
    return where, jnp.einsum("npg,ngc->npc", attention, cells)


class LearnedLoss(nn.Module):
    """A loss of what the policy looks at in the S pictures of a demonstration (Yu et al. 2018, one
    stage of MIL without actions), with or without the poses.

    It looks at the pictures itself as well (four attended places), so that it can tell where the
    policy should have looked. Two temporal convolutions; the loss is the mean square of what comes
    out, after Yu et al.
    """

    width: int = 64

    @nn.compact
    def __call__(
        self,
        where: Float[Array, "s 2 2"],
        what: Float[Array, "s 2 c"],
        maps: Float[Array, "s h w c"],
        pose: Float[Array, "s d"] | None,
        view: View,
    ) -> Float[Array, ""]:
        n, h, w, c = maps.shape
        cells = rms_norm(maps)
        own = nn.Dense(4, name="attend")(cells) * 4
        attention = jax.nn.softmax(own.reshape(n, h * w, 4), axis=1)
        seen = jnp.einsum("ngd,ngc->ndc", attention, cells.reshape(n, h * w, c))
        places = spatial_softmax(own)
        mine = where / view.reach
        apart = mine[:, :, None] - places[:, None]
        parts = [mine, what, seen, places, apart, jnp.square(apart) * 10]
        x = jnp.concatenate([a.reshape(n, -1) for a in parts], -1)
        if pose is not None:
            x = jnp.concatenate([x, tool_features(view, pose)], -1)
        out = Temporal(self.width, self.width)(nn.Dense(self.width)(x)[None])
        return jnp.mean(jnp.square(out))
