"""Several views of one scene as one feature map, that of the first camera."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from mili_jax.policy.features import rms_norm
from mili_jax.policy.kernels import bilinear_weights
from mili_jax.policy.view import View, grid

HEIGHTS = (0.0, 0.04, 0.08)  # m above the table at which another view is looked at
ATTENTIONS = 8  # of a view that nobody can place


class Fuse(nn.Module):
    """Adds to every cell of the first view what the others show of it.

    Where both cameras are calibrated and stand still, a cell is a ray, and the other view is
    sampled where the ray is so many metres above the table: what fits together says how high
    something is. Of any other view what a few attentions see, and where, is added to all cells.
    """

    @nn.compact
    def __call__(
        self, maps: Float[Array, "n v h w c"], views: tuple[View | None, ...]
    ) -> Float[Array, "n h w c"]:
        n, _, h, w, c = maps.shape
        first = views[0]
        fused = maps[:, 0]
        for i, view in enumerate(views[1:], start=1):
            other = rms_norm(maps[:, i])
            if first is not None and view is not None:
                seen = self._swept(other, first, view)
            else:
                seen = self._attended(other, i)[:, None]
            hidden = nn.relu(nn.Dense(2 * c, name=f"hidden{i}")(seen))
            added = nn.Dense(c, name=f"fuse{i}", kernel_init=nn.initializers.normal(0.02))(hidden)
            fused = fused + jnp.broadcast_to(added, (n, h * w, c)).reshape(n, h, w, c)
        return fused

    @staticmethod
    def _swept(other: Array, first: View, view: View) -> Array:
        """What another view [n,h,w,C] shows along the ray of every cell: [n,G,heights*C]."""
        n, h, w, c = other.shape
        cells = first.cells(h, w)
        parts = []
        for height in HEIGHTS:
            z = jnp.full(len(cells), height)
            point = jnp.concatenate([first.at_height(cells, z), z[:, None]], -1)
            weights = bilinear_weights(view.project(point), h, w, offsets=False)[:, 0]
            parts.append(jnp.einsum("gk,nkc->ngc", weights, other.reshape(n, h * w, c)))
        return jnp.concatenate(parts, -1)

    def _attended(self, other: Array, i: int) -> Array:
        """What attentions see in a view [n,h,w,C] and where: [n,K]."""
        n, h, w, c = other.shape
        flat = other.reshape(n, h * w, c)
        attention = jax.nn.softmax(nn.Dense(ATTENTIONS, name=f"attend{i}")(flat) * 4, 1)
        seen = jnp.einsum("ngd,ngc->ndc", attention, flat)
        where = jnp.einsum("ngd,gk->ndk", attention, grid(h, w))
        return jnp.concatenate([seen.reshape(n, -1), where.reshape(n, -1)], -1)
