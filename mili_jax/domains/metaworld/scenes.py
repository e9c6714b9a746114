"""Scenes as text: which of Meta-World's environments, and what it draws its arrangement by."""

from __future__ import annotations

import dataclasses
import json

import numpy as np

from mili_jax.domains.metaworld.tasks import GROUP_OF
from mili_jax.types import SimulationError

MOST_SEED = 2**31
MOST_SHIFT = 0.3  # m; what the hand may begin off its place


@dataclasses.dataclass(frozen=True)
class Scene:
    """env: Meta-World's name of it. seed: of the vector by which it places objects and goal. hand:
    how far (m) from its usual place the hand begins.

    Raises SimulationError for an environment that does not exist and numbers that cannot be.
    """

    env: str
    seed: int
    hand: tuple[float, float, float] = (0.0, 0.0, 0.0)

    def __post_init__(self) -> None:
        if not isinstance(self.env, str) or self.env not in GROUP_OF:
            raise SimulationError(f"a scene of {str(self.env)[:80]!r}: no such environment")
        whole = isinstance(self.seed, int) and not isinstance(self.seed, bool)
        if not whole or not 0 <= self.seed < MOST_SEED:
            raise SimulationError(f"a scene's seed is {self.seed!r}; it must be 0..{MOST_SEED - 1}")
        try:
            hand = tuple(float(x) for x in self.hand)
        except (TypeError, ValueError):
            hand = ()
        if len(hand) != 3 or not all(abs(x) <= MOST_SHIFT for x in hand):
            raise SimulationError(
                f"a scene's hand is {str(self.hand)[:80]}; it must be three numbers (m) of at most "
                f"{MOST_SHIFT}"
            )
        object.__setattr__(self, "hand", hand)

    def to_json(self) -> str:
        return json.dumps({"env": self.env, "seed": self.seed, "hand": list(self.hand)})

    @staticmethod
    def from_json(text: str) -> Scene:
        """The inverse of `to_json`. Raises SimulationError for what is none."""
        try:
            raw = json.loads(text)
            return Scene(raw["env"], raw["seed"], tuple(raw["hand"]))
        except (KeyError, TypeError, ValueError, RecursionError) as error:
            raise SimulationError(f"not a scene of Meta-World ({error!r})") from error


def sample(env: str, rng: np.random.Generator) -> Scene:
    """An arrangement of an environment."""
    return Scene(env, int(rng.integers(MOST_SEED)))
