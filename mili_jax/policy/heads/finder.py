"""Where the two places lie that a demonstration is about."""

from __future__ import annotations

import math

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from mili_jax.policy.features import rms_norm
from mili_jax.policy.focus import FOCUS_FLOOR, Focus
from mili_jax.policy.kernels import in_chunks
from mili_jax.policy.view import View

PROPOSED = 0.08  # m; how far a place may lie from its cell, about two cells at 64 px


class Finder(nn.Module):
    """Compares every cell of normalised maps with a query for each place; z is scaled to entries
    of order one. Every cell proposes a point near itself."""

    width: int

    @nn.compact
    def __call__(self, maps: Float[Array, "n h w c"], z: Float[Array, "n z"], view: View) -> Focus:
        n, h, w, c = maps.shape
        cells = maps.reshape(n, h * w, c)
        anchors = view.cells(h, w)
        lecun, zeros = nn.initializers.lecun_normal(), nn.initializers.zeros
        asked = nn.relu(nn.Dense(2 * self.width, name="ask")(z))
        query = nn.Dense(2 * c, name="query")(asked) + nn.Dense(2 * c, name="portraits")(z)
        query = query.reshape(n, 2, c)
        scale = self.param("sharpness", nn.initializers.constant(math.log(8)), (2,))
        query = rms_norm(query) * (jnp.exp(scale) / c)[:, None]
        shift = nn.Dense(self.width, name="find_shift")(asked)
        position = nn.Dense(self.width, name="find_position")(anchors / view.reach)
        look = self.param("find_look", lecun, (c, self.width))
        out = self.param("find", nn.initializers.normal(0.02), (self.width, 6))
        bias = self.param("find_bias", zeros, (6,))

        def propose(cells: Array, query: Array, shift: Array) -> Array:
            similarity = jnp.einsum("ngc,npc->ngp", cells, query)
            x = (cells.reshape(-1, c) @ look).reshape(-1, h * w, self.width)
            x = nn.relu(x + position + shift[:, None]).reshape(-1, self.width) @ out + bias
            return jnp.concatenate([similarity, x.reshape(-1, h * w, 6)], -1)

        raw = in_chunks(propose, h * w, cells, query, shift).swapaxes(1, 2)
        logit, x, y, width = raw[:, :2], raw[:, 2:4], raw[:, 4:6], raw[:, 6:]
        x = anchors[:, 0] + PROPOSED * jnp.tanh(x)
        y = anchors[:, 1] + PROPOSED * jnp.tanh(y)
        sigma = FOCUS_FLOOR + (0.02 - FOCUS_FLOOR) / math.log(2) * nn.softplus(width)
        return Focus(logit, x, y, sigma)
