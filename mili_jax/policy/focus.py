"""Where the two places lie that an episode is about."""

from __future__ import annotations

import math

import flax.struct
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

FOCUS_FLOOR = 0.006  # m, smallest standard deviation of a place
CLOSE = 0.025  # m between a place and one that serves as well


@flax.struct.dataclass
class Focus:
    """Where two places lie that an episode is about: for each, a mixture with a component per cell.

    logit is normalised here; x and y lie on the table (m) as the camera sees it; sigma in m.
    """

    logit: Float[Array, "n 2 g"]
    x: Float[Array, "n 2 g"]
    y: Float[Array, "n 2 g"]
    sigma: Float[Array, "n 2 g"]

    def log_prob(self, place: Float[Array, "n 2 k 2"]) -> Float[Array, "n 2 k"]:
        """Log density per m^2 of each of K points (m) for each place."""
        dx, dy = (place[..., i, None] - mean[:, :, None] for i, mean in enumerate((self.x, self.y)))
        log_weight = jax.nn.log_softmax(self.logit, -1) - 2 * jnp.log(self.sigma)
        square = (jnp.square(dx) + jnp.square(dy)) / jnp.square(self.sigma)[:, :, None]
        joint = log_weight[:, :, None] - 0.5 * square
        return jax.nn.logsumexp(joint, -1) - math.log(2 * math.pi)

    def mode(self) -> Float[Array, "n 2 2"]:
        """The likeliest of the means of the eight heaviest components (m).

        Neighbouring cells propose the same place, so the heaviest one alone is not the mode.
        """
        _, strongest = jax.lax.top_k(self.logit, min(8, self.logit.shape[-1]))
        x, y = (jnp.take_along_axis(a, strongest, -1) for a in (self.x, self.y))
        means = jnp.stack([x, y], -1)
        best = self.log_prob(means).argmax(-1)
        return jnp.take_along_axis(means, best[..., None, None], 2)[:, :, 0]

    def after(self, earlier: Focus, share: Float[Array, "n 2 1"]) -> Focus:
        """What is believed after several pictures of a scene in which little moves: a running mean
        of log weights and proposals, in which `earlier` has the given share."""
        now = self.replace(logit=jax.nn.log_softmax(self.logit, -1))  # type: ignore[attr-defined]
        return jax.tree.map(lambda a, b: share * a + (1 - share) * b, earlier, now)


def in_hindsight(
    found: Focus,
    guess: Float[Array, "n 2 2"],
    focus: Float[Array, "n 2 k 2"],
    seen: Bool[Array, "n 2"],
) -> Float[Array, "n 2 2"]:
    """The places (m) to act on when training: the guess where it is close to one of the candidates
    `focus` or there is nothing to be `seen`, elsewhere the likeliest candidate.

    So that the density of actions learns with the small errors that it meets when acting, and not
    with the large ones, for which no action is right.
    """
    apart = jnp.sum(jnp.square(guess[:, :, None] - focus), -1).min(-1)
    likely = jax.lax.stop_gradient(found.log_prob(focus)).argmax(-1)
    likely = jnp.take_along_axis(focus, likely[..., None, None], 2)[:, :, 0]
    return jnp.where(((apart < CLOSE**2) | ~seen)[..., None], guess, likely)
