"""Densities over the actions of any robot: a mixture, a squared error, bins.

Numbers of a layout that are no angles are scaled by half of their range inside; densities are per
unit of the field all the same.
"""

from __future__ import annotations

import math

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from mili_jax.policy.angles import (
    bounded,
    log_normal,
    log_von_mises,
    mean_angle,
    sample_angle,
    wrap,
)
from mili_jax.spec import Layout

MAX_CONCENTRATION = 20.0
FLOOR = 0.02  # of half a range, smallest standard deviation


def half_ranges(layout: Layout) -> Float[np.ndarray, " d"]:
    """Half of every field's range."""
    return (layout.high - layout.low) / 2


def middles(layout: Layout) -> Float[np.ndarray, " d"]:
    """The middle of every field's range."""
    return (layout.high + layout.low) / 2


def within(layout: Layout, x: Float[Array, "n d"]) -> Float[Array, "n d"]:
    """Values within the bounds of their fields; angles within one period about zero."""
    columns = []
    for i, field in enumerate(layout.fields):
        value = x[:, i]
        if field.period is None:
            columns.append(jnp.clip(value, field.low, field.high))
        else:
            columns.append(wrap(value, field.period))
    return jnp.stack(columns, -1)


@flax.struct.dataclass
class Mixture:
    """A mixture of J components; each is a product of Gaussians and, of angles, von Mises
    distributions.

    logit is normalised here; mean and sigma [n,J,L] of the L numbers that are no angles, over half
    their range about its middle; natural [n,J,R,2] of the R angles (`angles.log_von_mises`).
    """

    logit: Float[Array, "n j"]
    mean: Float[Array, "n j l"]
    sigma: Float[Array, "n j l"]
    natural: Float[Array, "n j r 2"]
    layout: Layout = flax.struct.field(pytree_node=False)

    @staticmethod
    def outputs(layout: Layout) -> int:
        """How many numbers of a network make one component."""
        return 1 + 2 * len(layout.lengths) + 2 * len(layout.angles)

    @staticmethod
    def of(raw: Float[Array, "n j k"], layout: Layout) -> Mixture:
        """From a network's outputs [n,J,`outputs`]; all zero is wide and in the middle."""
        count = len(layout.lengths)
        natural = raw[..., 1 + 2 * count :].reshape(*raw.shape[:2], len(layout.angles), 2)
        softplus = jax.nn.softplus(raw[..., 1 + count : 1 + 2 * count])
        return Mixture(
            logit=raw[..., 0],
            mean=raw[..., 1 : 1 + count],
            sigma=FLOOR + (0.3 - FLOOR) / math.log(2) * softplus,
            natural=bounded(5 * natural, MAX_CONCENTRATION),
            layout=layout,
        )

    def _scaled(self, action: Array) -> Array:
        """The numbers that are no angles, as mean has them: [...,D] -> [...,L]."""
        lengths = np.array(self.layout.lengths, int)
        middle, half = middles(self.layout)[lengths], half_ranges(self.layout)[lengths]
        return (action[..., lengths] - middle) / half

    def _joint(self, action: Array) -> Array:
        """Log weight plus log density of every component: actions [n,K,D] -> [n,K,J]."""
        scaled = self._scaled(action)[:, :, None]
        joint = jax.nn.log_softmax(self.logit, -1)[:, None]
        joint = joint + log_normal(scaled, self.mean[:, None], self.sigma[:, None]).sum(-1)
        for r, (i, period) in enumerate(zip(self.layout.angles, self.layout.periods, strict=True)):
            shape = (*action.shape[:2], self.logit.shape[1])
            angle = jnp.broadcast_to(action[:, :, None, i], shape)
            natural = jnp.broadcast_to(self.natural[:, None, :, r], (*shape, 2))
            joint = joint + log_von_mises(angle, natural, period)
        lengths = np.array(self.layout.lengths, int)
        return joint - float(np.log(half_ranges(self.layout)[lengths]).sum())

    def log_prob(self, action: Float[Array, "n d"]) -> Float[Array, " n"]:
        """See `Density.log_prob`."""
        return jax.nn.logsumexp(self._joint(action[:, None]), -1)[:, 0]

    def _means(self) -> Array:
        """Of all components: [n,J,D]."""
        lengths = np.array(self.layout.lengths, int)
        mean = self.mean * half_ranges(self.layout)[lengths] + middles(self.layout)[lengths]
        columns: list[Array] = [mean[..., 0]] * len(self.layout)
        for k, i in enumerate(lengths):
            columns[i] = mean[..., k]
        for r, (i, period) in enumerate(zip(self.layout.angles, self.layout.periods, strict=True)):
            columns[i] = mean_angle(self.natural[:, :, r], period)
        return jnp.stack(columns, -1)

    def mode(self) -> Float[Array, "n d"]:
        """See `Density.mode`: of the means of all components the one of the greatest density."""
        means = self._means()
        best = jax.nn.logsumexp(self._joint(means), -1).argmax(-1)
        return within(self.layout, jnp.take_along_axis(means, best[:, None, None], 1)[:, 0])

    def sample(self, key: Array, temperature: float = 1.0) -> Float[Array, "n d"]:
        """See `Density.sample`; log weights and inverse variances are divided by temperature."""
        pick, noise, *turns = jax.random.split(key, 2 + len(self.layout.angles))
        index = jax.random.categorical(pick, self.logit / temperature)[:, None, None]
        chosen = jnp.take_along_axis(self._means(), index, 1)[:, 0]
        sigma = jnp.take_along_axis(self.sigma, index, 1)[:, 0]
        lengths = np.array(self.layout.lengths, int)
        sigma = jnp.sqrt(temperature) * sigma * half_ranges(self.layout)[lengths]
        chosen = chosen.at[:, lengths].add(sigma * jax.random.normal(noise, sigma.shape))
        for r, (i, period) in enumerate(zip(self.layout.angles, self.layout.periods, strict=True)):
            natural = jnp.take_along_axis(self.natural[:, :, r], index, 1)[:, 0]
            turned = sample_angle(turns[r], natural / temperature, period)
            chosen = chosen.at[:, i].set(turned)
        return within(self.layout, chosen)


@flax.struct.dataclass
class FixedGaussian:
    """One Gaussian of fixed width per number, so that -log_prob is a squared error (of angles
    modulo their period) plus a constant. sigma: per number, in its unit."""

    mean: Float[Array, "n d"]
    sigma: tuple[float, ...] = flax.struct.field(pytree_node=False)
    layout: Layout = flax.struct.field(pytree_node=False)

    def log_prob(self, action: Float[Array, "n d"]) -> Float[Array, " n"]:
        """See `Density.log_prob`."""
        difference = action - self.mean
        missing = 0.0
        for i, period in zip(self.layout.angles, self.layout.periods, strict=True):
            difference = difference.at[:, i].set(wrap(difference[:, i], period))
            # The Gaussian of an angle is cut off at half a period to either side.
            missing += math.log(math.erf(period / 2 / (self.sigma[i] * math.sqrt(2))))
        return log_normal(difference, 0.0, jnp.array(self.sigma)).sum(-1) - missing

    def mode(self) -> Float[Array, "n d"]:
        """See `Density.mode`."""
        return within(self.layout, self.mean)

    def sample(self, key: Array, temperature: float = 1.0) -> Float[Array, "n d"]:
        """See `Density.sample`."""
        sigma = jnp.array(self.sigma) * jnp.sqrt(temperature)
        noise = jax.random.normal(key, self.mean.shape) * sigma
        return within(self.layout, self.mean + noise)


@flax.struct.dataclass
class Binned:
    """Every number's range cut into equal bins, independent of the others. Values outside fall into
    the outermost bin; an angle's range is one period about zero."""

    logit: Float[Array, "n d bins"]
    layout: Layout = flax.struct.field(pytree_node=False)

    @property
    def _grid(self) -> tuple[Array, Array]:
        low, high = self.layout.low.copy(), self.layout.high.copy()
        for i, period in zip(self.layout.angles, self.layout.periods, strict=True):
            low[i], high[i] = -period / 2, period / 2
        return jnp.asarray(low), jnp.asarray((high - low) / self.logit.shape[-1])

    def log_prob(self, action: Float[Array, "n d"]) -> Float[Array, " n"]:
        """See `Density.log_prob`: probability of the bin over its width."""
        low, width = self._grid
        index = (within(self.layout, action) - low) / width
        index = jnp.clip(index, 0, self.logit.shape[-1] - 1).astype(jnp.int32)
        log_p = jnp.take_along_axis(jax.nn.log_softmax(self.logit, -1), index[..., None], -1)
        return jnp.sum(log_p[..., 0] - jnp.log(width), -1)

    def mode(self) -> Float[Array, "n d"]:
        """See `Density.mode`: the centre of each number's likeliest bin."""
        low, width = self._grid
        return low + (self.logit.argmax(-1) + 0.5) * width

    def sample(self, key: Array, temperature: float = 1.0) -> Float[Array, "n d"]:
        """See `Density.sample`."""
        pick, inside = jax.random.split(key)
        low, width = self._grid
        index = jax.random.categorical(pick, self.logit / temperature)
        return low + (index + jax.random.uniform(inside, index.shape)) * width
