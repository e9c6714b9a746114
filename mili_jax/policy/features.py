"""Numbers as networks take them: units, tiles, angles, directions."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from mili_jax.policy.angles import circle
from mili_jax.policy.ranges import goes_round
from mili_jax.policy.view import View
from mili_jax.spec import Layout

YAW_PERIOD = np.pi  # of a gripper, which is symmetric under half a turn
UNIT = 0.05  # m; lengths enter and leave the networks in this unit so that they are of order one
HEIGHTS = np.arange(0.0, 0.2, 0.0125)  # m, centres of tiles
FINGERS = np.arange(0.0, 1.01, 0.1)  # of the opening
SHARES = np.linspace(-1.0, 1.0, 11)  # of a field's range


def yaw_features(yaw: Float[Array, "*n"]) -> Float[Array, "*n 2"]:
    """sin and cos of twice a gripper's yaw (rad)."""
    return circle(yaw, YAW_PERIOD)


def rms_norm(x: Float[Array, "*n c"]) -> Float[Array, "*n c"]:
    """x over its root mean square along the last axis; no parameters, the next layer has them."""
    return x * jax.lax.rsqrt(jnp.mean(jnp.square(x), -1, keepdims=True) + 1e-4)


def unit_vector(z: Float[Array, "*n c"]) -> Float[Array, "*n c"]:
    """z over its length."""
    return z * jax.lax.rsqrt(jnp.sum(jnp.square(z), -1, keepdims=True) + 1e-6)


def direction(way: Float[Array, "*n 2"], short: float) -> Float[Array, "*n 2"]:
    """Vectors (m) over their length; those much shorter than `short` become nothing."""
    return way * jax.lax.rsqrt(jnp.sum(jnp.square(way), -1, keepdims=True) + short**2)


def tiles(value: Float[Array, "*n"], centres: np.ndarray, width: float) -> Float[Array, "*n k"]:
    """Gaussian bumps about the centres [k]: a sharp decision on a length becomes linear."""
    return jnp.exp(-0.5 * jnp.square((value[..., None] - centres) / width))


def tool_features(view: View, pose: Float[Array, "*n d"]) -> Float[Array, "*n k"]:
    """A tool's pose (`spec.TOOL_FIELDS`, and more that is left out) as its networks take it."""
    place = jnp.concatenate([pose[..., :2], view.on_table(pose[..., :3])], -1) / view.reach
    rest = [(pose[..., 2:3] - 0.1) / UNIT, pose[..., 3:5], pose[..., 6:7] * 2 - 1]
    bumps = [tiles(pose[..., 2], HEIGHTS, 0.01), tiles(pose[..., 6], FINGERS, 0.07)]
    return jnp.concatenate([place, *rest, yaw_features(pose[..., 5]), *bumps], -1)


def layout_features(layout: Layout, x: Float[Array, "*n d"]) -> Float[Array, "*n k"]:
    """Numbers of any layout: each over its range and in tiles, what goes round as sine and
    cosine."""
    parts = []
    for i, field in enumerate(layout.fields):
        value = x[..., i]
        if field.period is not None and goes_round(field):
            parts.append(circle(value, field.period))
            continue
        share = 2 * (value - field.low) / (field.high - field.low) - 1
        # A measured value may lie outside, but not so far that it drowns the others.
        share = jnp.clip(share, -2, 2)
        parts += [share[..., None], tiles(share, SHARES, 0.15)]
    return jnp.concatenate(parts, -1)
