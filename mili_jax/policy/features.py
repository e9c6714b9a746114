"""Numbers as networks take them: units, tiles, angles, directions."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from mili_jax.policy.camera import Camera

Array = jax.Array
UNIT = 0.05  # m; lengths enter and leave the networks in this unit so that they are of order one


def yaw_features(yaw: Array) -> Array:
    """sin and cos of 2 * yaw, [...] rad -> [..., 2]: the same for a gripper turned by pi."""
    return jnp.stack([jnp.sin(2 * yaw), jnp.cos(2 * yaw)], -1)


def wrap_yaw(yaw: Array) -> Array:
    """Yaw modulo pi, into [-pi/2, pi/2)."""
    return jnp.mod(yaw + jnp.pi / 2, jnp.pi) - jnp.pi / 2


def rms_norm(x: Array) -> Array:
    """x over its root mean square along the last axis; no parameters, the next layer has them."""
    return x * jax.lax.rsqrt(jnp.mean(jnp.square(x), -1, keepdims=True) + 1e-4)


def unit_vector(z: Array) -> Array:
    return z * jax.lax.rsqrt(jnp.sum(jnp.square(z), -1, keepdims=True) + 1e-6)


def direction(way: Array, short: float) -> Array:
    """Vectors [...,2] m over their length; those much shorter than `short` become nothing."""
    return way * jax.lax.rsqrt(jnp.sum(jnp.square(way), -1, keepdims=True) + short**2)


HEIGHTS = np.arange(0.0, 0.2, 0.0125)  # m, centres of tiles
FINGERS = np.arange(0.0, 1.01, 0.1)  # of the opening


# Policy heads: (maps [n,h,w,C], pose [n,7], z [n,Z]) -> Density.


def tiles(value: Array, centres: np.ndarray, width: float) -> Array:
    """Gaussian bumps, [...] -> [..., len(centres)]: a sharp decision on a length becomes linear."""
    return jnp.exp(-0.5 * jnp.square((value[..., None] - centres) / width))


def pose_features(camera: Camera, pose: Array) -> Array:
    place = jnp.concatenate([pose[..., :2], camera.on_table(pose)], -1) / camera.view
    rest = [(pose[..., 2:3] - 0.1) / UNIT, pose[..., 3:5], pose[..., 6:7] * 2 - 1]
    bumps = [tiles(pose[..., 2], HEIGHTS, 0.01), tiles(pose[..., 6], FINGERS, 0.07)]
    return jnp.concatenate([place, *rest, yaw_features(pose[..., 5]), *bumps], -1)
