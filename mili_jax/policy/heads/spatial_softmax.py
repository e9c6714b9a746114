"""Heads on the paper's trunk, for any robot: mixture density, squared error, bins."""

from __future__ import annotations

import math

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from mili_jax.policy.densities import Binned, FixedGaussian, Mixture
from mili_jax.policy.embedding import Embedding
from mili_jax.policy.features import layout_features, rms_norm
from mili_jax.policy.kernels import spatial_softmax
from mili_jax.policy.protocols import Hindsight, Memory
from mili_jax.policy.ranges import half_ranges, middles, turns
from mili_jax.policy.view import View
from mili_jax.spec import Spec


class _Trunk(nn.Module):
    """The paper's: spatial softmax, pose and demonstration into an MLP."""

    spec: Spec
    maps: int = 32

    @nn.compact
    def __call__(
        self, maps: Float[Array, "n h w c"], pose: Float[Array, "n d"], shown: Embedding
    ) -> Float[Array, "n 128"]:
        places = spatial_softmax(nn.Dense(self.maps)(rms_norm(maps)) * 4)
        z = shown.z * math.sqrt(shown.z.shape[-1])
        places = places.reshape(len(pose), -1) * 2
        x = jnp.concatenate([places, layout_features(self.spec.pose, pose), z], -1)
        for _ in range(2):
            x = nn.relu(nn.Dense(128)(x))
        return x


class SpatialSoftmaxMDN(nn.Module):
    """The paper's head: spatial softmax, MLP, mixture density of a few components."""

    spec: Spec
    components: int = 8

    @nn.compact
    def __call__(
        self,
        maps: Float[Array, "n h w c"],
        pose: Float[Array, "n d"],
        shown: Embedding,
        view: View | None,
        hindsight: Hindsight | None = None,
        memory: Memory | None = None,
    ) -> Mixture:
        x = _Trunk(self.spec)(maps, pose, shown)
        outputs = Mixture.outputs(self.spec.action)
        raw = nn.Dense(self.components * outputs)(x)
        return Mixture.of(raw.reshape(len(x), self.components, outputs), self.spec.action)


class MSEHead(nn.Module):
    """Spatial softmax, MLP, one Gaussian of fixed width: eq. 2 as a squared error. sigma: as a
    share of half of every number's range, or of half of the period of what goes round."""

    spec: Spec
    sigma: float = 0.2

    @nn.compact
    def __call__(
        self,
        maps: Float[Array, "n h w c"],
        pose: Float[Array, "n d"],
        shown: Embedding,
        view: View | None,
        hindsight: Hindsight | None = None,
        memory: Memory | None = None,
    ) -> FixedGaussian:
        layout = self.spec.action
        half = half_ranges(layout)
        # A direction needs two numbers: a second one of each angle comes after all first ones.
        raw = nn.Dense(len(layout) + len(turns(layout)))(_Trunk(self.spec)(maps, pose, shown))
        first, second = raw[:, : len(layout)], raw[:, len(layout) :]
        mean = middles(layout) + half * first
        for r, (i, period) in enumerate(turns(layout)):
            turn = jnp.arctan2(first[:, i], second[:, r] + 1.0)
            mean = mean.at[:, i].set(turn * (period / (2 * math.pi)))
        return FixedGaussian(mean, tuple(float(self.sigma * h) for h in half), layout)


class Discretised(nn.Module):
    """Spatial softmax, MLP, cross-entropy over `bins` bins of each number."""

    spec: Spec
    bins: int = 32

    @nn.compact
    def __call__(
        self,
        maps: Float[Array, "n h w c"],
        pose: Float[Array, "n d"],
        shown: Embedding,
        view: View | None,
        hindsight: Hindsight | None = None,
        memory: Memory | None = None,
    ) -> Binned:
        layout = self.spec.action
        x = nn.Dense(len(layout) * self.bins)(_Trunk(self.spec)(maps, pose, shown))
        return Binned(x.reshape(len(x), len(layout), self.bins), layout)
