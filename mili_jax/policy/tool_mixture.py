"""A mixture density over the pose of a tool, with named parts."""

from __future__ import annotations

import dataclasses
import math

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from mili_jax.policy.angles import bounded, log_normal, log_von_mises, mean_angle, sample_angle
from mili_jax.policy.features import UNIT, YAW_PERIOD
from mili_jax.policy.focus import Focus

XY_FLOOR, Z_FLOOR, FINGER_FLOOR = 0.012, 0.012, 0.07  # m, m, 1; smallest standard deviations
TILT_SIGMA = 0.05  # rad; fixed standard deviation of roll and pitch, which hardly vary
MAX_CONCENTRATION = 20.0  # of 2 * yaw; a standard deviation of 0.05 rad in yaw
COLUMNS = 10  # network outputs per component, see `Columns`


@flax.struct.dataclass
class Columns:
    """The outputs of a network for J components. All zero is a sane start: 3 cm wide, 10 cm high,
    fingers half open, yaw uniform. `offset` belongs to the caller, who says where xy is."""

    logit: Float[Array, "n j"]
    offset: Float[Array, "n j 2"]
    z: Float[Array, "n j"]
    yaw: Float[Array, "n j 2"]
    finger: Float[Array, "n j"]
    xy_sigma: Float[Array, "n j"]
    z_sigma: Float[Array, "n j"]
    finger_sigma: Float[Array, "n j"]

    @staticmethod
    def of(raw: Float[Array, "n j 10"]) -> Columns:
        """What each of `COLUMNS` numbers is for."""
        return Columns(
            logit=raw[..., 0],
            offset=raw[..., 1:3],
            z=raw[..., 3],
            yaw=raw[..., 4:6],
            finger=raw[..., 6],
            xy_sigma=raw[..., 7],
            z_sigma=raw[..., 8],
            finger_sigma=raw[..., 9],
        )

    def join(self, other: Columns) -> Columns:
        """These components and others."""
        return jax.tree.map(lambda a, b: jnp.concatenate([a, b], 1), self, other)

    def mixture(
        self, xy: Float[Array, "n j 2"], tilt: Float[Array, "n 2"], focus: Focus | None = None
    ) -> ToolMixture:
        """The mixture with these means in the plane (m), roll and pitch (rad)."""

        def sigma(column: Array, floor: float, start: float) -> Array:
            return floor + (start - floor) / math.log(2) * nn.softplus(column)

        return ToolMixture(
            logit=self.logit,
            xy=xy,
            z=0.1 + UNIT * self.z,
            yaw=bounded(5 * self.yaw, MAX_CONCENTRATION),
            finger=0.5 + 0.5 * self.finger,
            tilt=tilt,
            xy_sigma=sigma(self.xy_sigma, XY_FLOOR, 0.03),
            z_sigma=sigma(self.z_sigma, Z_FLOOR, 0.05),
            finger_sigma=sigma(self.finger_sigma, FINGER_FLOOR, 0.4),
            focus=focus,
        )


@flax.struct.dataclass
class ToolMixture:
    """A mixture of J components over `spec.TOOL_FIELDS`; each is a product of an isotropic Gaussian
    in xy, Gaussians in z and finger, and a von Mises distribution of the yaw. Roll and pitch share
    one Gaussian.

    logit is normalised here; yaw holds natural parameters (`angles.log_von_mises`).
    focus: where the places lie that the components are anchored at.
    """

    logit: Float[Array, "n j"]
    xy: Float[Array, "n j 2"]
    z: Float[Array, "n j"]
    yaw: Float[Array, "n j 2"]
    finger: Float[Array, "n j"]
    tilt: Float[Array, "n 2"]
    xy_sigma: Float[Array, "n j"]
    z_sigma: Float[Array, "n j"]
    finger_sigma: Float[Array, "n j"]
    focus: Focus | None = None

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

    def log_prob(self, action: Float[Array, "n 7"]) -> Float[Array, " n"]:
        """See `Density.log_prob`."""
        x, y, z, roll, pitch, yaw, finger = (action[:, None, i] for i in range(7))
        joint = self._log_place(x, y, z, finger)
        joint += log_von_mises(jnp.broadcast_to(yaw, self.logit.shape), self.yaw, YAW_PERIOD)
        tilt = log_normal(jnp.concatenate([roll, pitch], -1), self.tilt, TILT_SIGMA).sum(-1)
        return jax.nn.logsumexp(joint, -1) + tilt

    @staticmethod
    def _of(a: Array, index: Array) -> Array:
        """One component of each observation: [n,J] or [n,J,D], index [n] -> [n,D]."""
        a = a.reshape(*a.shape[:2], -1)
        return jnp.take_along_axis(a, index[:, None, None], 1)[:, 0]

    def _means(self, index: Array) -> Array:
        xy, z, finger = (self._of(a, index) for a in (self.xy, self.z, self.finger))
        yaw = mean_angle(self._of(self.yaw, index), YAW_PERIOD)[:, None]
        return jnp.concatenate([xy, z, self.tilt, yaw, jnp.clip(finger, 0, 1)], -1)

    def mode(self) -> Float[Array, "n 7"]:
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

    def sample(self, key: Array, temperature: float = 1.0) -> Float[Array, "n 7"]:
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
        yaw = sample_angle(turn, self._of(self.yaw, index) / temperature, YAW_PERIOD)
        finger = jnp.clip(shaken[:, 6:], 0, 1)
        return jnp.concatenate([shaken[:, :5], yaw[:, None], finger], -1)
