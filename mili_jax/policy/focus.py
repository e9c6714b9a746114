"""Where the two places lie that an episode is about."""

from __future__ import annotations

import math

import flax.struct
import jax
import jax.numpy as jnp

Array = jax.Array
FOCUS_FLOOR = 0.006  # m, smallest standard deviation of a place
CLOSE = 0.025  # m between a place and one that serves as well


@flax.struct.dataclass
class Focus:
    """Where two places lie that an episode is about: for each, a mixture with a component per cell.

    logit [n,2,G] (normalised here), x, y [n,2,G] m on the table as the camera sees it, sigma
    [n,2,G] m.
    """

    logit: Array
    x: Array
    y: Array
    sigma: Array

    def log_prob(self, place: Array) -> Array:
        """Log density per m^2 of each of K points for each place: [n,2,K,2] m -> [n,2,K]."""
        dx, dy = (place[..., i, None] - mean[:, :, None] for i, mean in enumerate((self.x, self.y)))
        log_weight = jax.nn.log_softmax(self.logit, -1) - 2 * jnp.log(self.sigma)
        square = (jnp.square(dx) + jnp.square(dy)) / jnp.square(self.sigma)[:, :, None]
        joint = log_weight[:, :, None] - 0.5 * square
        return jax.nn.logsumexp(joint, -1) - math.log(2 * math.pi)

    def mode(self) -> Array:
        """The likeliest of the means of the eight heaviest components: [n,2,2] m.

        Neighbouring cells propose the same place, so the heaviest one alone is not the mode.
        """
        _, strongest = jax.lax.top_k(self.logit, min(8, self.logit.shape[-1]))
        x, y = (jnp.take_along_axis(a, strongest, -1) for a in (self.x, self.y))
        means = jnp.stack([x, y], -1)
        best = self.log_prob(means).argmax(-1)
        return jnp.take_along_axis(means, best[..., None, None], 2)[:, :, 0]

    def after(self, earlier: Focus, share: Array) -> Focus:
        """What is believed after several pictures of a scene in which little moves: a running mean
        of log weights and proposals, in which `earlier` has the given share [n,2,1]."""
        now = self.replace(logit=jax.nn.log_softmax(self.logit, -1))  # type: ignore[attr-defined]
        return jax.tree.map(lambda a, b: share * a + (1 - share) * b, earlier, now)


def in_hindsight(found: Focus, guess: Array, focus: Array, seen: Array) -> Array:
    """The places to act on when training: the guess [n,2,2] where it is close to one of the
    candidates focus [n,2,K,2] or there is nothing to be seen (seen bool [n,2]), elsewhere the
    likeliest candidate.

    So that the density of actions learns with the small errors that it meets when acting, and not
    with the large ones, for which no action is right.
    """
    apart = jnp.sum(jnp.square(guess[:, :, None] - focus), -1).min(-1)
    likely = jax.lax.stop_gradient(found.log_prob(focus)).argmax(-1)
    likely = jnp.take_along_axis(focus, likely[..., None, None], 2)[:, :, 0]
    return jnp.where(((apart < CLOSE**2) | ~seen)[..., None], guess, likely)
