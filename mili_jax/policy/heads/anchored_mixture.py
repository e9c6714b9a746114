"""First where, then what: the default head."""

from __future__ import annotations

import math

import flax.linen as nn
import jax
from jaxtyping import Array, Float

from mili_jax.policy.embedding import Embedding
from mili_jax.policy.features import rms_norm
from mili_jax.policy.focus import Focus, in_hindsight
from mili_jax.policy.heads.finder import Finder
from mili_jax.policy.heads.mover import Mover
from mili_jax.policy.protocols import Hindsight, Memory
from mili_jax.policy.tool_mixture import ToolMixture
from mili_jax.policy.view import View
from mili_jax.spec import Spec


class AnchoredMixture(nn.Module):
    """A density over two places, and one over actions given the places.

    The demonstration asks for each place with a query that is compared with every cell; every cell
    proposes a point near itself (`Focus`). The action's mixture has its components anchored at the
    two places, where a tool stands that moves the one towards the other, where that ends, and
    where the gripper is. So log g(action) + log g(places) is the log likelihood of the
    action and of two latent places. Training knows the places in hindsight; acting takes the mode.

    Where a component lies follows from the picture and the demonstration alone. Knowing where the
    gripper is, a policy would propose that place: on the way down it is always nearly right, and
    it never brings the gripper there.

    It needs a tool above a table (`Spec.tool`).
    """

    spec: Spec
    width: int = 64

    def setup(self) -> None:
        assert self.spec.tool is not None
        self.finder = Finder(self.width)
        self.mover = Mover(self.spec.tool, self.width)

    def __call__(
        self,
        maps: Float[Array, "n h w c"],
        pose: Float[Array, "n d"],
        shown: Embedding,
        view: View,
        hindsight: Hindsight | None = None,
        memory: Memory | None = None,
    ) -> ToolMixture:
        found = self.find(maps, shown, view)
        if memory is not None:
            found = found.after(*memory)
        place = jax.lax.stop_gradient(found.mode())
        if hindsight is not None:
            place = in_hindsight(found, place, *hindsight)
        density = self.mover(rms_norm(maps), pose, shown, _scaled(shown), place, view)
        return density.replace(focus=found)  # type: ignore[attr-defined]

    def find(self, maps: Float[Array, "n h w c"], shown: Embedding, view: View) -> Focus:
        """See `FocusHead.find`."""
        return self.finder(rms_norm(maps), _scaled(shown), view)


def _scaled(shown: Embedding) -> Float[Array, "n z"]:
    """A unit vector with entries of order one."""
    return shown.z * math.sqrt(shown.z.shape[-1])
