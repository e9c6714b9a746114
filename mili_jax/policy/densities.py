"""Distributions over actions."""

from __future__ import annotations

import dataclasses
import math
from typing import Protocol

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
from jax.scipy.special import i0e

from mili_jax.policy.features import UNIT, wrap_yaw, yaw_features
from mili_jax.policy.focus import Focus

Array = jax.Array
XY_FLOOR, Z_FLOOR, FINGER_FLOOR = 0.012, 0.012, 0.07  # m, m, 1; smallest standard deviations
TILT_SIGMA = 0.05  # rad; fixed standard deviation of roll and pitch, which hardly vary
MAX_CONCENTRATION = 20.0  # of 2 * yaw; a standard deviation of 0.05 rad in yaw


# Action densities.


class Density(Protocol):
    """A distribution over the 7-D action for each of n observations."""

    def log_prob(self, action: Array) -> Array:
        """action [n,7] -> [n]: log density per m^3 rad^3, finger per unit; yaw modulo pi."""
        ...

    def mode(self) -> Array:
        """A most likely action [n,7]; yaw in [-pi/2, pi/2), finger in [0, 1]."""
        ...

    def sample(self, key: Array, temperature: float = 1.0) -> Array:
        """One action per observation [n,7]; temperature 0 < t < 1 keeps closer to the mode."""
        ...


def log_normal(x: Array, mean: Array | float, sigma: Array | float) -> Array:
    return -0.5 * jnp.square((x - mean) / sigma) - jnp.log(sigma) - 0.5 * math.log(2 * math.pi)


def _log_yaw(yaw: Array, natural: Array) -> Array:
    """Log density of the von Mises distribution on 2 * yaw, normalised over a period of pi.

    natural [..., 2] is concentration times (sin, cos) of twice the mean yaw: in this form the log
    density is smooth and concave in the network's output, with no singular direction at zero.
    """
    concentration = jnp.sqrt(jnp.sum(jnp.square(natural), -1) + 1e-12)
    log_bessel = jnp.log(i0e(concentration)) + concentration
    return jnp.sum(natural * yaw_features(yaw), -1) - log_bessel - math.log(math.pi)


def _mean_yaw(natural: Array) -> Array:
    return wrap_yaw(0.5 * jnp.arctan2(natural[..., 0], natural[..., 1]))


def _sample_yaw(key: Array, natural: Array) -> Array:
    """Samples yaw from 256 bins of the period, uniformly within a bin."""
    bins = 256
    edges = jnp.arange(bins) * (jnp.pi / bins) - jnp.pi / 2
    pick, within = jax.random.split(key)
    logits = jnp.sum(natural[..., None, :] * yaw_features(edges + jnp.pi / bins / 2), -1)
    index = jax.random.categorical(pick, logits)
    return edges[index] + jax.random.uniform(within, index.shape) * (jnp.pi / bins)


@flax.struct.dataclass
class Mixture:
    """A mixture of J components; each is a product of an isotropic Gaussian in xy, Gaussians in z
    and finger, and a von Mises distribution in 2 * yaw. Roll and pitch share one Gaussian.

    logit [n,J] (normalised here), xy [n,J,2] m, z [n,J] m, yaw [n,J,2] (natural parameters, see
    `_log_yaw`), finger [n,J], tilt [n,2] rad, and standard deviations xy_sigma, z_sigma,
    finger_sigma [n,J].
    """

    logit: Array
    xy: Array
    z: Array
    yaw: Array
    finger: Array
    tilt: Array
    xy_sigma: Array
    z_sigma: Array
    finger_sigma: Array
    focus: Focus | None = None  # where the places lie that the components are anchored at

    def _log_place(self, x: Array, y: Array, z: Array, finger: Array) -> Array:
        """Per component, log weight plus log density of everything but the angles."""
        square = jnp.square(x - self.xy[..., 0]) + jnp.square(y - self.xy[..., 1])
        log_xy = -0.5 * square / jnp.square(self.xy_sigma) - 2 * jnp.log(self.xy_sigma)
        return (
            jax.nn.log_softmax(self.logit, -1)
            + log_xy
            - math.log(2 * math.pi)
            + log_normal(z, self.z, self.z_sigma)
            + log_normal(finger, self.finger, self.finger_sigma)
        )

    def log_prob(self, action: Array) -> Array:
        """See `Density.log_prob`."""
        x, y, z, roll, pitch, yaw, finger = (action[:, None, i] for i in range(7))
        joint = self._log_place(x, y, z, finger) + _log_yaw(yaw, self.yaw)
        tilt = log_normal(jnp.concatenate([roll, pitch], -1), self.tilt, TILT_SIGMA).sum(-1)
        return jax.nn.logsumexp(joint, -1) + tilt

    @staticmethod
    def _of(a: Array, index: Array) -> Array:
        """One component of each observation: [n,J] or [n,J,D], index [n] -> [n,D]."""
        a = a.reshape(*a.shape[:2], -1)
        return jnp.take_along_axis(a, index[:, None, None], 1)[:, 0]

    def _means(self, index: Array) -> Array:
        xy, z, finger = (self._of(a, index) for a in (self.xy, self.z, self.finger))
        yaw = _mean_yaw(self._of(self.yaw, index))[:, None]
        return jnp.concatenate([xy, z, self.tilt, yaw, jnp.clip(finger, 0, 1)], -1)

    def mode(self) -> Array:
        """See `Density.mode`.

        Neighbouring cells propose the same place, so the heaviest component is not the mode: the
        density of place, height and finger is evaluated at the means of the 16 heaviest components,
        and the means of the best one are returned.
        """
        _, strongest = jax.lax.top_k(self.logit, min(16, self.logit.shape[-1]))
        candidates = [
            jnp.take_along_axis(a, strongest, 1)[..., None]
            for a in (self.xy[..., 0], self.xy[..., 1], self.z, self.finger)
        ]
        spread = jax.tree.map(lambda a: a[:, None], dataclasses.replace(self, focus=None))
        density = jax.nn.logsumexp(spread._log_place(*candidates), -1)
        best = jnp.take_along_axis(strongest, density.argmax(-1)[:, None], 1)[:, 0]
        return self._means(best)

    def sample(self, key: Array, temperature: float = 1.0) -> Array:
        """See `Density.sample`; log weights and inverse variances are divided by temperature."""
        pick, noise, turn = jax.random.split(key, 3)
        index = jax.random.categorical(pick, self.logit / temperature)
        means = self._means(index)
        xy, z, finger = (
            self._of(a, index) for a in (self.xy_sigma, self.z_sigma, self.finger_sigma)
        )
        sigma = jnp.concatenate([xy, xy, z, 0 * xy, 0 * xy, 0 * xy, finger], -1)
        sigma = jnp.sqrt(temperature) * sigma.at[:, 3:5].set(TILT_SIGMA)
        shaken = means + sigma * jax.random.normal(noise, means.shape)
        yaw = _sample_yaw(turn, self._of(self.yaw, index) / temperature)
        finger = jnp.clip(shaken[:, 6:], 0, 1)
        return jnp.concatenate([shaken[:, :5], yaw[:, None], finger], -1)


RAW = 10  # network outputs per mixture component


def mixture_of(raw: Array, xy: Array, tilt: Array) -> Mixture:
    """Components from network outputs raw [n,J,RAW] and means xy [n,J,2]; raw = 0 is a sane start:
    3 cm wide, 10 cm high, finger half open, yaw uniform. Columns 1 and 2 belong to the caller."""

    def sigma(column: int, floor: float, start: float) -> Array:
        return floor + (start - floor) / math.log(2) * nn.softplus(raw[..., column])

    yaw = 5 * raw[..., 4:6]
    norm = jnp.sqrt(jnp.sum(jnp.square(yaw), -1, keepdims=True) + 1e-6)
    return Mixture(
        logit=raw[..., 0],
        xy=xy,
        z=0.1 + UNIT * raw[..., 3],
        yaw=yaw * jnp.minimum(1, MAX_CONCENTRATION / norm),
        finger=0.5 + 0.5 * raw[..., 6],
        tilt=tilt,
        xy_sigma=sigma(7, XY_FLOOR, 0.03),
        z_sigma=sigma(8, Z_FLOOR, 0.05),
        finger_sigma=sigma(9, FINGER_FLOOR, 0.4),
    )


@flax.struct.dataclass
class FixedGaussian:
    """One Gaussian of fixed width per dimension, so that -log_prob is a squared error (yaw wrapped
    to half a turn) plus a constant: mean [n,7], seven values of sigma."""

    mean: Array
    sigma: tuple[float, ...] = flax.struct.field(pytree_node=False)

    def log_prob(self, action: Array) -> Array:
        """See `Density.log_prob`."""
        difference = action - self.mean
        difference = difference.at[:, 5].set(wrap_yaw(difference[:, 5]))
        # The yaw's Gaussian is cut off at a quarter turn to either side.
        inside = math.erf(math.pi / 2 / (self.sigma[5] * math.sqrt(2)))
        return log_normal(difference, 0, jnp.array(self.sigma)).sum(-1) - math.log(inside)

    def mode(self) -> Array:
        """See `Density.mode`."""
        yaw, finger = wrap_yaw(self.mean[:, 5:6]), jnp.clip(self.mean[:, 6:], 0, 1)
        return jnp.concatenate([self.mean[:, :5], yaw, finger], -1)

    def sample(self, key: Array, temperature: float = 1.0) -> Array:
        """See `Density.sample`."""
        sigma = jnp.array(self.sigma) * jnp.sqrt(temperature)
        noise = jax.random.normal(key, self.mean.shape) * sigma
        return self.replace(mean=self.mean + noise).mode()  # type: ignore[attr-defined]


@flax.struct.dataclass
class Binned:
    """Every dimension cut into equal bins, independent of the others: logit [n,7,bins] over
    seven ranges from low to high. Values outside fall into the outermost bin."""

    logit: Array
    low: tuple[float, ...] = flax.struct.field(pytree_node=False)
    high: tuple[float, ...] = flax.struct.field(pytree_node=False)

    @property
    def _grid(self) -> tuple[Array, Array]:
        low = jnp.array(self.low)
        return low, (jnp.array(self.high) - low) / self.logit.shape[-1]

    def log_prob(self, action: Array) -> Array:
        """See `Density.log_prob`: probability of the bin over its width."""
        action = jnp.asarray(action)
        action = action.at[:, 5].set(wrap_yaw(action[:, 5]))
        low, width = self._grid
        index = jnp.clip((action - low) / width, 0, self.logit.shape[-1] - 1).astype(jnp.int32)
        log_p = jnp.take_along_axis(jax.nn.log_softmax(self.logit, -1), index[..., None], -1)
        return jnp.sum(log_p[..., 0] - jnp.log(width), -1)

    def mode(self) -> Array:
        """See `Density.mode`: the centre of each dimension's likeliest bin."""
        low, width = self._grid
        return low + (self.logit.argmax(-1) + 0.5) * width

    def sample(self, key: Array, temperature: float = 1.0) -> Array:
        """See `Density.sample`."""
        pick, within = jax.random.split(key)
        index = jax.random.categorical(pick, self.logit / temperature)
        low, width = self._grid
        return low + (index + jax.random.uniform(within, index.shape)) * width
