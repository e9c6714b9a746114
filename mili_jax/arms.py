"""What a round can train side by side, on the same trials: the method, its ends and its controls.

An arm is named in the configuration. Arrays and ids in, ids of pairs out; NumPy only.

  mili            pairs of similar useful trials (Singh et al. 2020, algorithm 1)
  control         no pairs: as many steps on as many rows of demonstrations alone
  oracle          the pairs of a perfect latent space
  random          any pairs of useful trials, as many as MILI's
  nearest         every useful trial with the demonstration that is nearest to it
  unfiltered      MILI without F: all trials count as useful
  trials_750      MILI on the first 750 trials of the round
  alpha_900       MILI at alpha = 0.900
  noise_10        MILI with 10% of F's answers turned round, those of noise_5 among them

In each of these but the control a share of the draws is a trial with itself, which is right
whatever the pairs are (`improve.self_share`). Without it, as in the paper:

  pairs_only, oracle_only, random_only    the pairs of mili, oracle, random
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from mili_jax import pairing
from mili_jax.types import ConfigError

METHODS = {
    "mili": "mili",
    "control": "meta_imitation",
    "oracle": "oracle",
    "random": "random_pairs",
    "nearest": "nearest_demonstration",
    "unfiltered": "no_filter",
    "pairs_only": "mili_pairs_only",
    "oracle_only": "oracle_pairs_only",
    "random_only": "random_pairs_only",
}
_PAIRS_ONLY = {"pairs_only": "mili", "oracle_only": "oracle", "random_only": "random"}
VARIANTS = ("trials", "alpha", "noise")
# The arms of later rounds as well, each from its own last policy. The others end with the first
# round: its trials are the last ones that no arm has shaped.
CHAINS = ("mili", "control")


@dataclasses.dataclass(frozen=True)
class Arm:
    """kind: a key of METHODS, or of VARIANTS with its value."""

    kind: str
    value: int = 0

    @property
    def method(self) -> str:
        """What result rows call it."""
        return METHODS.get(self.kind) or f"mili_{self.kind}_{self.value}"

    @property
    def pairs_only(self) -> bool:
        """Whether no trial is paired with itself."""
        return self.kind in _PAIRS_ONLY


def parse(name: str) -> Arm:
    """The arm of that name. Raises ConfigError."""
    if name in METHODS:
        return Arm(name)
    match = re.fullmatch(rf"({'|'.join(VARIANTS)})_(\d+)", name)
    most = {"trials": 10**6, "alpha": 1000, "noise": 100}
    if not match or int(match[2]) > most[match[1]]:
        raise ConfigError(
            f"no arm {name!r}; take one of {sorted(METHODS)}, trials_750 (the first 750 trials), "
            "alpha_900 (alpha = 0.900) or noise_10 (10% of the filter's answers turned round)"
        )
    return Arm(match[1], int(match[2]))


class Trials(NamedTuple):
    """A round's N trials: their embeddings z [N,Z], what F said of each (useful, bool [N]), whether
    it came to rest (bool [N]), and the tasks it achieved, which the oracle alone may see."""

    ids: Sequence[str]
    z: np.ndarray
    useful: np.ndarray
    rested: np.ndarray
    achieved: Sequence[set[str]]


class Pairs(NamedTuple):
    """R pairs of episode ids, their cosine [R], and the alpha that they exceed (-1: any)."""

    a: list[str]
    b: list[str]
    cosine: np.ndarray
    alpha: float


def candidates(arm: Arm, trials: Trials, seed: int) -> np.ndarray:
    """The trials that an arm may pair: indices int64 [C]."""
    useful = np.asarray(trials.useful, bool)
    if arm.kind == "unfiltered":
        useful = np.ones_like(useful)
    elif arm.kind == "noise":
        useful = useful ^ (np.random.default_rng(seed).random(len(useful)) * 100 < arm.value)
    elif arm.kind == "trials":
        useful = useful & (np.arange(len(useful)) < arm.value)
    return np.flatnonzero(useful & trials.rested)


def choose(
    arm: Arm,
    trials: Trials,
    demo_ids: Sequence[str],
    demo_z: np.ndarray,
    *,
    alpha: float,
    cap: int,
    mutual: bool,
    seed: int,
    backend: str = "blocks",
) -> Pairs:
    """The pairs that an arm trains on.

    Args:
      demo_ids, demo_z [D,Z]: the demonstrations, for the arm that pairs with them.
      alpha, cap, mutual, backend: of `pairing.cosine_pairs`.

    Raises as the functions of `pairing`.
    """
    kind = _PAIRS_ONLY.get(arm.kind, arm.kind)
    mine = candidates(arm, trials, seed)
    z, ids = trials.z[mine], [trials.ids[i] for i in mine]
    if kind == "nearest":
        if not len(mine):
            return Pairs([], [], np.zeros(0), -1.0)
        cosine = z @ demo_z.T
        best = cosine.argmax(1)
        return Pairs(ids, [demo_ids[j] for j in best], cosine[np.arange(len(z)), best], -1.0)
    least = arm.value / 1000 if kind == "alpha" else alpha
    if kind == "oracle":
        rows = pairing.oracle_pairs([trials.achieved[i] for i in mine], cap, seed)
    else:
        rows, cosine = pairing.cosine_pairs(z, least, cap=cap, mutual=mutual, backend=backend)
    if kind == "random":
        rows = pairing.random_pairs(len(z), len(rows), seed)
    if kind in ("oracle", "random"):  # chosen whatever the similarity
        cosine, least = np.einsum("rz,rz->r", z[rows[:, 0]], z[rows[:, 1]]), -1.0
    return Pairs([ids[i] for i in rows[:, 0]], [ids[j] for j in rows[:, 1]], cosine, least)
