"""Heads on the paper's trunk: mixture density, squared error, bins."""

from __future__ import annotations

import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from mili_jax.policy.camera import Camera
from mili_jax.policy.densities import RAW, Binned, FixedGaussian, Mixture, mixture_of
from mili_jax.policy.features import UNIT, pose_features, rms_norm
from mili_jax.policy.kernels import spatial_softmax

Array = jax.Array


class _Summary(nn.Module):
    """The paper's trunk: spatial softmax, pose and demonstration into an MLP -> [n,128]."""

    camera: Camera
    maps: int = 32

    @nn.compact
    def __call__(self, maps: Array, pose: Array, z: Array) -> Array:
        places = spatial_softmax(nn.Dense(self.maps)(rms_norm(maps)) * 4)
        z = z * math.sqrt(z.shape[-1])
        places = places.reshape(len(pose), -1) * 2
        x = jnp.concatenate([places, pose_features(self.camera, pose), z], -1)
        for _ in range(2):
            x = nn.relu(nn.Dense(128)(x))
        return x


class SpatialSoftmaxMDN(nn.Module):
    """The paper's head: spatial softmax, MLP, mixture density of a few components."""

    camera: Camera
    components: int = 8

    @nn.compact
    def __call__(self, maps: Array, pose: Array, z: Array, *_: Any) -> Mixture:
        x = _Summary(self.camera)(maps, pose, z)
        raw = nn.Dense(self.components * RAW)(x).reshape(len(x), self.components, RAW)
        tilt = nn.Dense(2, kernel_init=nn.initializers.zeros)(x)
        return mixture_of(raw, self.camera.view * raw[..., 1:3], tilt)


class MSEHead(nn.Module):
    """Spatial softmax, MLP, one Gaussian of fixed width: eq. 2 as a squared error."""

    camera: Camera
    sigma: tuple[float, ...] = (0.05, 0.05, 0.05, 0.05, 0.05, 0.25, 0.25)

    @nn.compact
    def __call__(self, maps: Array, pose: Array, z: Array, *_: Any) -> FixedGaussian:
        raw = nn.Dense(8)(_Summary(self.camera)(maps, pose, z))
        yaw = 0.5 * jnp.arctan2(raw[:, 5], raw[:, 6] + 1.0)
        mean = [raw[:, :2] * self.camera.view, 0.1 + UNIT * raw[:, 2:3], 0.05 * raw[:, 3:5]]
        mean += [yaw[:, None], 0.5 + 0.5 * raw[:, 7:]]
        return FixedGaussian(jnp.concatenate(mean, -1), self.sigma)


class Discretised(nn.Module):
    """Spatial softmax, MLP, cross-entropy over `bins` bins of each dimension."""

    camera: Camera
    bins: int = 32
    ceiling: float = 0.35  # m; highest z with a bin of its own

    @nn.compact
    def __call__(self, maps: Array, pose: Array, z: Array, *_: Any) -> Binned:
        x = _Summary(self.camera)(maps, pose, z)
        view, quarter = self.camera.view, math.pi / 2
        low = (-view, -view, 0.0, -0.5, -0.5, -quarter, 0.0)
        high = (view, view, self.ceiling, 0.5, 0.5, quarter, 1.0)
        return Binned(nn.Dense(7 * self.bins)(x).reshape(len(x), 7, self.bins), low, high)
