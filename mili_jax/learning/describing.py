"""A trial in a few hundred numbers: what the shared encoder sees of its frames, pooled."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from mili_jax.policy.policy import Policy
from mili_jax.types import AnyArray, Params

Describe = Callable[[Params, AnyArray], Array]


def make_describe(policy: Policy) -> Describe:
    """Jitted: (params, image uint8 [n,M,(V,)H,W,C]) -> float32 [n,F], from pictures alone.

    Of feature maps m_1..m_M [h,w,c] it takes the mean over cells of each, and of |m_M - m_1|,
    |m_M - m_(M/2)| and of the largest |m_t - m_1| over time the mean, the largest value and the
    mean over the largest twentieth of the cells: what moves is small. F = c (M + 9).
    """

    @jax.jit
    def describe(params: Params, image: Array) -> Float[Array, "n f"]:
        maps = policy.apply({"params": params}, image, method="encode")
        assert isinstance(maps, jax.Array)
        n, m, h, w, c = maps.shape
        cells = maps.reshape(n, m, h * w, c)
        moved = jnp.abs(cells - cells[:, :1])
        changes = jnp.stack(
            [moved[:, -1], jnp.abs(cells[:, -1] - cells[:, m // 2]), moved.max(1)], 1
        )
        top = jax.lax.top_k(changes.swapaxes(-1, -2), max(1, h * w // 20))[0]
        parts = [cells.mean(2), changes.mean(2), top.max(-1), top.mean(-1)]
        return jnp.concatenate([part.reshape(n, -1) for part in parts], -1)

    return describe
