"""What is compared: which policies a configuration trains, each from which, and their pairs.

An arm is what a round trains on its trials, side by side with others: the method, its ends and its
controls. The configuration names them (`improve.arms`).

  mili            pairs of similar useful trials (Singh et al. 2020, algorithm 1)
  control         no pairs: as many steps on as many rows of demonstrations alone
  more_demos      no pairs: demonstrations in the rows of a batch where MILI has them
  oracle          the pairs of a perfect latent space
  random          any pairs of useful trials, as many as MILI's
  nearest         every useful trial with the demonstration that is nearest to it
  unfiltered      MILI without F: all trials count as useful
  trials_750      MILI on the first 750 trials of the round
  alpha_900       MILI at alpha = 0.900
  noise_10        MILI with 10% of F's answers turned round, those of noise_5 among them

In each that has pairs a share of the draws is one of the trials that may be paired with itself,
which is right whatever the pairs are (`improve.self_share`). Without it, as in the paper:

  pairs_only, oracle_only, random_only    the pairs of mili, oracle, random

and the other end of it:

  self_only       no pairs: every useful trial with itself alone

MIL learns from trials as well, from where it stands after the demonstrations. It shares no trial
with itself, for support and query are never one episode:

  mil_pairs       MIL on demonstrations and the pairs of mili, each a task: one trial the support
  mil_more        its control: as many steps of as many tasks, of demonstrations alone
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from ml_collections import ConfigDict

from mili_jax.improve import oracle, pairing
from mili_jax.types import ConfigError

# What is trained beside the loop on the demonstrations alone, and the method each is: behaviour
# cloning, and MIL from all of a demonstration, without its actions, and from its pictures alone.
BASELINES = {"bc": "bc", "mil": "mil", "mil_pose": "mil_video_pose", "mil_video": "mil_video"}
METHODS = {
    "mili": "mili",
    "control": "meta_imitation",
    "more_demos": "more_demonstrations",
    "oracle": "oracle",
    "random": "random_pairs",
    "nearest": "nearest_demonstration",
    "unfiltered": "no_filter",
    "pairs_only": "mili_pairs_only",
    "oracle_only": "oracle_pairs_only",
    "random_only": "random_pairs_only",
    "self_only": "mili_self_only",
    "mil_pairs": "mil_pairs",
    "mil_more": "mil",
}
_PAIRS_ONLY = {
    "pairs_only": "mili",
    "oracle_only": "oracle",
    "random_only": "random",
    "mil_pairs": "mili",
}
VARIANTS = ("trials", "alpha", "noise")

# The arms of later rounds as well, each from its own last policy. The others end with the first
# round: its trials are the last ones that no arm has shaped.
CHAINS = ("mili", "control")
_ALONE = ("control", "more_demos", "mil_more")  # learn from no trial
_ADAPTING = ("mil_pairs", "mil_more")  # are MIL


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
    def alone(self) -> bool:
        """Whether it learns from demonstrations alone."""
        return self.kind in _ALONE

    @property
    def adapts(self) -> bool:
        """Whether it is MIL, which goes on from the baseline `mil`."""
        return self.kind in _ADAPTING

    def self_share(self, share: float) -> float:
        """The share of its draws that is a trial with itself, where the configuration has one."""
        return 0.0 if self.kind in _PAIRS_ONLY else 1.0 if self.kind == "self_only" else share


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


def policies(config: ConfigDict, number: int) -> dict[str, str]:
    """The method of every policy that a round trains, by its name; round 0 is what learns from the
    demonstrations alone.

    Raises ConfigError if the configuration has no such round.
    """
    check_round(config, number, 0)
    if number == 0:
        beside = {name: BASELINES[name] for name in config.baselines.methods}
        return {"pretrain": "meta_imitation", **beside}
    trained = [arm for arm in config.improve.arms if number == 1 or arm in CHAINS]
    return {f"{arm}_{number}": parse(arm).method for arm in trained}


def adapts(name: str) -> bool:
    """Whether a policy is MIL, by its name."""
    return (name in BASELINES and name != "bc") or name.rpartition("_")[0] in _ADAPTING


def last_policy(config: ConfigDict) -> str:
    """The policy that the loop ends with."""
    return next(iter(policies(config, config.improve.rounds)))


def start_of(config: ConfigDict, number: int, arm: str = "mili") -> str:
    """The policy that an arm trains further in a round; MILI's also acts and embeds the trials.

    Raises ConfigError if the configuration has no such round.
    """
    check_round(config, number, 1)
    if number == 1:
        return "mil" if parse(arm).adapts else "pretrain"
    return f"{arm}_{number - 1}"


def lineage(config: ConfigDict, name: str, number: int) -> list[str]:
    """The trainings that led to a policy of a round, its own first."""
    arm, names = name.rpartition("_")[0], [name]
    while number > 0 and config.improve.warm_start:
        names.append(start_of(config, number, arm))
        number -= 1
    return names


def trials_seen(config: ConfigDict, name: str, number: int) -> int:
    """How many trials a policy of a round could learn from."""
    arm = parse(name.rpartition("_")[0] if number else "control")
    trials = 0 if arm.alone else number * config.improve.trials
    return min(trials, arm.value) if arm.kind == "trials" else trials


def check_round(config: ConfigDict, number: int, first: int) -> None:
    """Raises ConfigError unless the round is one of `first`..`improve.rounds`."""
    rounds = config.improve.rounds
    if not first <= number <= rounds:
        raise ConfigError(f"there is no round {number}: config.improve.rounds = {rounds}")


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


def candidates(arm: Arm, useful: np.ndarray, rested: np.ndarray, seed: int) -> np.ndarray:
    """The trials that an arm may pair: indices int64 [C]; useful and rested as in `Trials`."""
    if arm.kind == "unfiltered":
        useful = np.ones_like(useful)
    elif arm.kind == "noise":
        useful = useful ^ (np.random.default_rng(seed).random(len(useful)) * 100 < arm.value)
    elif arm.kind == "trials":
        useful = useful & (np.arange(len(useful)) < arm.value)
    return np.flatnonzero(useful & rested)


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
    if kind == "self_only":
        return Pairs([], [], np.zeros(0), -1.0)
    mine = candidates(arm, trials.useful, trials.rested, seed)
    z, ids = trials.z[mine], [trials.ids[i] for i in mine]
    if kind == "nearest":
        if not len(mine):
            return Pairs([], [], np.zeros(0), -1.0)
        cosine = z @ demo_z.T
        best = cosine.argmax(1)
        return Pairs(ids, [demo_ids[j] for j in best], cosine[np.arange(len(z)), best], -1.0)
    least = arm.value / 1000 if kind == "alpha" else alpha
    if kind == "oracle":
        rows = oracle.oracle_pairs([trials.achieved[i] for i in mine], cap, seed)
    else:
        rows, cosine = pairing.cosine_pairs(z, least, cap=cap, mutual=mutual, backend=backend)
    if kind == "random":
        rows = oracle.random_pairs(len(z), len(rows), seed)
    if kind in ("oracle", "random"):  # chosen whatever the similarity
        cosine, least = np.einsum("rz,rz->r", z[rows[:, 0]], z[rows[:, 1]]), -1.0
    return Pairs([ids[i] for i in rows[:, 0]], [ids[j] for j in rows[:, 1]], cosine, least)
