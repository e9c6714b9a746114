"""What a policy learns from a demonstration."""

from __future__ import annotations

import flax.struct
import jax.numpy as jnp
from jaxtyping import Array, Float

from mili_jax.policy.features import UNIT, unit_vector

SIZES = 4  # the last numbers of a z: lengths that the demonstration shows
SIZE_SCALE = 0.1  # of these beside the others, whose squares sum up to one


@flax.struct.dataclass
class Embedding:
    """A demonstration in the latent space of tasks.

    z: unit vectors, whose cosine says how alike two demonstrations are; zeros for none.
    sizes: lengths that the demonstration shows and a picture from above does not: how high the tool
    is where it touches and where it ends, how open its fingers are on the way and in the end; of
    order one. They are the last numbers of z. A z that knows none is free to learn what it says
    there.
    """

    z: Float[Array, "n z"]
    sizes: Float[Array, "n 4"]

    @staticmethod
    def of(z: Float[Array, "n z"]) -> Embedding:
        """What z says."""
        return Embedding(z, z[:, -SIZES:] / SIZE_SCALE)

    @staticmethod
    def join(story: Float[Array, "n s"], sizes: Float[Array, "n 4"]) -> Float[Array, "n z"]:
        """The z of a story and of sizes, Z = s + SIZES."""
        return unit_vector(jnp.concatenate([unit_vector(story), SIZE_SCALE * sizes], -1))

    @property
    def heights(self) -> Float[Array, "n 2"]:
        """Of the tool where it touched and where it ended (m)."""
        return 0.1 + UNIT * self.sizes[:, :2]

    @property
    def closed(self) -> Float[Array, " n"]:
        """The opening of the fingers between the touch and the end, of the whole."""
        return 0.5 + 0.5 * self.sizes[:, 2]

    @property
    def opened(self) -> Float[Array, " n"]:
        """The last opening of the fingers, of the whole."""
        return 0.5 + 0.5 * self.sizes[:, 3]


def measured_sizes(key: Float[Array, "n 2 7"]) -> Float[Array, "n 4"]:
    """The sizes that a demonstration shows by its poses at the touch and at the end
    (`domains.base.Hindsight.key_pose`)."""
    height = (key[..., 2] - 0.1) / UNIT
    return jnp.concatenate([height, key[..., 6] * 2 - 1], -1)
