"""Densities of one number: the normal, and the von Mises of an angle with any period."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
from jax.scipy.special import i0e
from jaxtyping import Array, Float

BINS = 256  # of a period, from which an angle is sampled


def log_normal(
    x: Float[Array, "*#n"], mean: Float[Array, "*#n"] | float, sigma: Float[Array, "*#n"] | float
) -> Float[Array, "*n"]:
    """Log density of a normal distribution."""
    return -0.5 * jnp.square((x - mean) / sigma) - jnp.log(sigma) - 0.5 * math.log(2 * math.pi)


def circle(angle: Float[Array, "*n"], period: float) -> Float[Array, "*n 2"]:
    """Sine and cosine of an angle, once around in a period."""
    turn = angle * (2 * math.pi / period)
    return jnp.stack([jnp.sin(turn), jnp.cos(turn)], -1)


def wrap(angle: Float[Array, "*n"], period: float) -> Float[Array, "*n"]:
    """An angle modulo its period, into [-period / 2, period / 2)."""
    return jnp.mod(angle + period / 2, period) - period / 2


def log_von_mises(
    angle: Float[Array, "*n"], natural: Float[Array, "*n 2"], period: float
) -> Float[Array, "*n"]:
    """Log density, normalised over a period.

    natural is the concentration times (sin, cos) of the mean: in this form the log density is
    smooth and concave in the network's output, with no singular direction at zero.
    """
    concentration = jnp.sqrt(jnp.sum(jnp.square(natural), -1) + 1e-12)
    log_bessel = jnp.log(i0e(concentration)) + concentration
    return jnp.sum(natural * circle(angle, period), -1) - log_bessel - math.log(period)


def mean_angle(natural: Float[Array, "*n 2"], period: float) -> Float[Array, "*n"]:
    """The mean of a von Mises distribution, within one period about zero."""
    angle = jnp.arctan2(natural[..., 0], natural[..., 1]) * (period / (2 * math.pi))
    return wrap(angle, period)


def sample_angle(key: Array, natural: Float[Array, "*n 2"], period: float) -> Float[Array, "*n"]:
    """Samples an angle from `BINS` bins of the period, uniformly within a bin."""
    edges = jnp.arange(BINS) * (period / BINS) - period / 2
    pick, within = jax.random.split(key)
    middles = circle(edges + period / BINS / 2, period)
    logits = jnp.sum(natural[..., None, :] * middles, -1)
    index = jax.random.categorical(pick, logits)
    return edges[index] + jax.random.uniform(within, index.shape) * (period / BINS)


def bounded(natural: Float[Array, "*n 2"], most: float) -> Float[Array, "*n 2"]:
    """Natural parameters whose concentration is at most `most`."""
    norm = jnp.sqrt(jnp.sum(jnp.square(natural), -1, keepdims=True) + 1e-6)
    return natural * jnp.minimum(1, most / norm)
