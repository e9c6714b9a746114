"""Densities over the actions of any robot: a mixture, a squared error, bins.

Numbers that do not go round (`ranges`) are scaled by half of their range inside; densities are per
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
from mili_jax.policy.ranges import half_ranges, middles, straight, turns, within
from mili_jax.spec import Layout

MAX_CONCENTRATION = 20.0  # of a von Mises distribution
FLOOR, START = 0.02, 0.3  # of half a range; the smallest standard deviation, and the first


@flax.struct.dataclass
class Mixture:
    """A mixture of J components; each is a product of Gaussians and, of what goes round, von Mises
    distributions.

    logit is normalised here; mean and sigma [n,J,L] of the L numbers that do not go round, over
    half their range about its middle; natural [n,J,R,2] of the R that do (`angles.log_von_mises`).
    """

    logit: Float[Array, "n j"]
    mean: Float[Array, "n j l"]
    sigma: Float[Array, "n j l"]
    natural: Float[Array, "n j r 2"]
    layout: Layout = flax.struct.field(pytree_node=False)

    @staticmethod
    def outputs(layout: Layout) -> int:
        """How many numbers of a network make one component."""
        return 1 + 2 * len(layout)

    @staticmethod
    def of(raw: Float[Array, "n j k"], layout: Layout) -> Mixture:
        """From a network's outputs [n,J,`outputs`]; all zero is wide and in the middle."""
        count = len(straight(layout))
        logit, mean, width, natural = jnp.split(raw, [1, 1 + count, 1 + 2 * count], -1)
        natural = natural.reshape(*raw.shape[:2], len(turns(layout)), 2)
        return Mixture(
            logit=logit[..., 0],
            mean=mean,
            sigma=FLOOR + (START - FLOOR) / math.log(2) * jax.nn.softplus(width),
            natural=bounded(5 * natural, MAX_CONCENTRATION),
            layout=layout,
        )

    def _scale(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Which numbers do not go round [L], the middles and the halves of their ranges."""
        which = straight(self.layout)
        return which, middles(self.layout)[which], half_ranges(self.layout)[which]

    def _joint(self, action: Float[Array, "n k d"]) -> Float[Array, "n k j"]:
        """Log weight plus log density of every component at K actions each."""
        which, middle, half = self._scale()
        scaled = ((action[..., which] - middle) / half)[:, :, None]
        joint = jax.nn.log_softmax(self.logit, -1)[:, None]
        joint = joint + log_normal(scaled, self.mean[:, None], self.sigma[:, None]).sum(-1)
        for r, (i, period) in enumerate(turns(self.layout)):
            angle = jnp.broadcast_to(action[:, :, None, i], joint.shape)
            natural = jnp.broadcast_to(self.natural[:, None, :, r], (*joint.shape, 2))
            joint = joint + log_von_mises(angle, natural, period)
        return joint - float(np.log(half).sum())

    def log_prob(self, action: Float[Array, "n d"]) -> Float[Array, " n"]:
        """See `Density.log_prob`."""
        return jax.nn.logsumexp(self._joint(action[:, None]), -1)[:, 0]

    def _means(self) -> Float[Array, "n j d"]:
        """Of all components."""
        which, middle, half = self._scale()
        means = jnp.zeros((*self.logit.shape, len(self.layout)))
        means = means.at[..., which].set(self.mean * half + middle)
        for r, (i, period) in enumerate(turns(self.layout)):
            means = means.at[..., i].set(mean_angle(self.natural[:, :, r], period))
        return means

    def mode(self) -> Float[Array, "n d"]:
        """See `Density.mode`: of the means of all components the one of the greatest density."""
        means = self._means()
        best = jax.nn.logsumexp(self._joint(means), -1).argmax(-1)
        return within(self.layout, jnp.take_along_axis(means, best[:, None, None], 1)[:, 0])

    def sample(self, key: Array, temperature: float = 1.0) -> Float[Array, "n d"]:
        """See `Density.sample`; log weights and inverse variances are divided by temperature."""
        pick, noise, *keys = jax.random.split(key, 2 + len(turns(self.layout)))
        index = jax.random.categorical(pick, self.logit / temperature)[:, None, None]
        chosen = jnp.take_along_axis(self._means(), index, 1)[:, 0]
        which, _, half = self._scale()
        sigma = jnp.take_along_axis(self.sigma, index, 1)[:, 0] * half * jnp.sqrt(temperature)
        chosen = chosen.at[:, which].add(sigma * jax.random.normal(noise, sigma.shape))
        for r, (i, period) in enumerate(turns(self.layout)):
            natural = jnp.take_along_axis(self.natural[:, :, r], index, 1)[:, 0]
            chosen = chosen.at[:, i].set(sample_angle(keys[r], natural / temperature, period))
        return within(self.layout, chosen)


@flax.struct.dataclass
class FixedGaussian:
    """One Gaussian of fixed width per number, so that -log_prob is a squared error (of what goes
    round modulo its period) plus a constant. sigma: per number, in its unit."""

    mean: Float[Array, "n d"]
    sigma: tuple[float, ...] = flax.struct.field(pytree_node=False)
    layout: Layout = flax.struct.field(pytree_node=False)

    def log_prob(self, action: Float[Array, "n d"]) -> Float[Array, " n"]:
        """See `Density.log_prob`."""
        difference = action - self.mean
        missing = 0.0
        for i, period in turns(self.layout):
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
    the outermost bin; the range of what goes round is one period about the middle of its bounds."""

    logit: Float[Array, "n d bins"]
    layout: Layout = flax.struct.field(pytree_node=False)

    def _grid(self) -> tuple[Float[Array, " d"], Float[Array, " d"]]:
        """Where the bins of each number begin, and how wide each is."""
        half = half_ranges(self.layout)
        low, width = middles(self.layout) - half, 2 * half / self.logit.shape[-1]
        return jnp.asarray(low), jnp.asarray(width)

    def log_prob(self, action: Float[Array, "n d"]) -> Float[Array, " n"]:
        """See `Density.log_prob`: probability of the bin over its width."""
        low, width = self._grid()
        index = (within(self.layout, action) - low) / width
        index = jnp.clip(index, 0, self.logit.shape[-1] - 1).astype(jnp.int32)
        log_p = jnp.take_along_axis(jax.nn.log_softmax(self.logit, -1), index[..., None], -1)
        return jnp.sum(log_p[..., 0] - jnp.log(width), -1)

    def mode(self) -> Float[Array, "n d"]:
        """See `Density.mode`: the centre of each number's likeliest bin."""
        low, width = self._grid()
        return low + (self.logit.argmax(-1) + 0.5) * width

    def sample(self, key: Array, temperature: float = 1.0) -> Float[Array, "n d"]:
        """See `Density.sample`."""
        pick, inside = jax.random.split(key)
        low, width = self._grid()
        index = jax.random.categorical(pick, self.logit / temperature)
        return low + (index + jax.random.uniform(inside, index.shape)) * width
