"""Temporal convolution, the end of every embedding."""

from __future__ import annotations

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from mili_jax.policy.features import rms_norm


class Temporal(nn.Module):
    """Two temporal convolutions of width 3, pooled over time."""

    size: int
    width: int = 64

    @nn.compact
    def __call__(self, x: Float[Array, "n t d"]) -> Float[Array, "n z"]:
        for _ in range(2):
            padded = jnp.pad(x, ((0, 0), (1, 1), (0, 0)), mode="edge")
            window = jnp.concatenate([padded[:, :-2], x, padded[:, 2:]], -1)
            x = nn.relu(nn.Dense(self.width)(window))
        pooled = jnp.concatenate([x.mean(1), x.max(1), x[:, 0], x[:, -1]], -1)
        return nn.Dense(self.size)(nn.relu(nn.Dense(2 * self.width)(rms_norm(pooled))))


def frames_at(frames: int, times: int) -> np.ndarray:
    """The frame nearest to each of `times` places, both spread evenly over the demonstration."""
    return np.round(np.linspace(0, frames - 1, times)).astype(int)
