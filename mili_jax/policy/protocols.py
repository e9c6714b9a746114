"""What a head, an embedding and a density have to be."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from jaxtyping import Array, Bool, Float

from mili_jax.policy.embedding import Embedding
from mili_jax.policy.focus import Focus
from mili_jax.policy.view import View

Hindsight = tuple[Float[Array, "n 2 candidates 2"], Bool[Array, "n 2"]]
Memory = tuple[Focus, Float[Array, "n 2 1"]]


@runtime_checkable
class Density(Protocol):
    """A distribution over the action of each of n observations."""

    def log_prob(self, action: Float[Array, "n a"]) -> Float[Array, " n"]:
        """Log density per unit of every field; angles modulo their period."""
        ...

    def mode(self) -> Float[Array, "n a"]:
        """A most likely action; angles within one period, what is bounded within its bounds."""
        ...

    def sample(self, key: Array, temperature: float = 1.0) -> Float[Array, "n a"]:
        """One action per observation; temperature 0 < t < 1 keeps closer to the mode."""
        ...


@runtime_checkable
class FocusDensity(Density, Protocol):
    """One that says which places it acts on."""

    @property
    def focus(self) -> Focus: ...


class Head(Protocol):
    """Chooses an action: made of a `Spec`, a flax module.

    Training gives `hindsight`, candidates (m) for the two places that an episode is about and
    whether they are to be seen; acting gives `memory`, the focus after the picture before and the
    share that it is to have. A head that does not act on places takes both and ignores them.
    """

    def __call__(
        self,
        maps: Float[Array, "n h w c"],
        pose: Float[Array, "n d"],
        shown: Embedding,
        view: View | None,
        hindsight: Hindsight | None = None,
        memory: Memory | None = None,
    ) -> Density: ...


@runtime_checkable
class FocusHead(Protocol):
    """A head that finds places first; its density is a `FocusDensity`."""

    def find(self, maps: Float[Array, "n h w c"], shown: Embedding, view: View) -> Focus:
        """Where the two places lie that the demonstration is about."""
        ...


class Embedder(Protocol):
    """Embeds demonstrations: made of a `Spec` and the size of z, a flax module.

    pose: the poses at the touch and at the end, then K - 2 evenly along. Returns unit vectors and a
    loss of its own, zero where it has none.
    """

    def __call__(
        self, maps: Float[Array, "n m h w c"], pose: Float[Array, "n k d"], view: View | None
    ) -> tuple[Float[Array, "n z"], Float[Array, " n"]]: ...


@runtime_checkable
class Portrayer(Protocol):
    """An embedding that can ask for two spots of a picture without a demonstration."""

    def portray(
        self, maps: Float[Array, "n h w c"], spots: Float[Array, "n 2 2"], view: View
    ) -> Float[Array, "n z"]:
        """The z of two spots (m on the table) of encoded pictures."""
        ...
