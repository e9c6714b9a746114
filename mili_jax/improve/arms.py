"""What is compared: one record per arm, and which policies a configuration trains, each from which.

An arm is what a round trains on its trials, side by side with others: the method, its ends and its
controls. The configuration names them (`improve.arms`); one of your own is an `Arm` as well, found
by an entry point of the group `mili_jax.arms` or as "module:attribute".
"""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from ml_collections import ConfigDict

from mili_jax import plugins
from mili_jax.improve import oracle, pairing
from mili_jax.types import ConfigError, PolicyId

# What is trained beside the loop on the demonstrations alone, and the method each is: behaviour
# cloning, and MIL from all of a demonstration, without its actions, and from its pictures alone.
BASELINES = {"bc": "bc", "mil": "mil", "mil_pose": "mil_video_pose", "mil_video": "mil_video"}


class Trials(NamedTuple):
    """A round's N trials: their embeddings z [N,Z], whether F said yes of each (useful, bool [N]),
    whether it may be learned from at all (clear, bool [N]: F has answered, and it came to rest),
    and the tasks it achieved, which the oracle alone may see."""

    ids: Sequence[str]
    z: np.ndarray
    useful: np.ndarray
    clear: np.ndarray
    achieved: Sequence[set[str]]


class Demonstrations(NamedTuple):
    """The D demonstrations and their embeddings z [D,Z]."""

    ids: Sequence[str]
    z: np.ndarray


class Choice(NamedTuple):
    """How pairs are chosen: see `pairing.cosine_pairs`."""

    alpha: float
    cap: int
    mutual: bool
    seed: int
    backend: str = "blocks"


class Pairs(NamedTuple):
    """R pairs of episode ids, their cosine [R], and the alpha that they exceed (-1: any)."""

    a: list[str]
    b: list[str]
    cosine: np.ndarray
    alpha: float


NONE = Pairs([], [], np.zeros(0), -1.0)
# (the trials that may be paired, demonstrations, how) -> pairs.
Pairing = Callable[[Trials, Demonstrations, Choice], Pairs]
# (what F said of N trials, bool [N], a seed) -> which of them count as useful, bool [N].
Counted = Callable[[np.ndarray, int], np.ndarray]


def similar(trials: Trials, demos: Demonstrations, how: Choice) -> Pairs:
    """Trials that lie close in the latent space (Singh et al. 2020, algorithm 1, lines 17-22)."""
    rows, cosine = pairing.cosine_pairs(
        trials.z, how.alpha, cap=how.cap, mutual=how.mutual, backend=how.backend
    )
    return _pairs(trials, rows, cosine, how.alpha)


def same_task(trials: Trials, demos: Demonstrations, how: Choice) -> Pairs:
    """The pairs of a perfect latent space: it sees what trials achieved (section V-C)."""
    rows = oracle.oracle_pairs(trials.achieved, how.cap, how.seed)
    return _pairs(trials, rows, _cosine(trials, rows), -1.0)


def at_random(trials: Trials, demos: Demonstrations, how: Choice) -> Pairs:
    """Any pairs, as many as similar ones."""
    count = len(similar(trials, demos, how).a)
    rows = oracle.random_pairs(len(trials.ids), count, how.seed)
    return _pairs(trials, rows, _cosine(trials, rows), -1.0)


def nearest_demonstration(trials: Trials, demos: Demonstrations, how: Choice) -> Pairs:
    """Each trial with the demonstration that is nearest to it."""
    if not len(trials.ids):
        return NONE
    cosine = trials.z @ demos.z.T
    best = cosine.argmax(1)
    partners = [demos.ids[j] for j in best]
    return Pairs(list(trials.ids), partners, cosine[np.arange(len(best)), best], -1.0)


def no_pairs(trials: Trials, demos: Demonstrations, how: Choice) -> Pairs:
    """None: each trial is a lesson by itself."""
    return NONE


def _pairs(trials: Trials, rows: np.ndarray, cosine: np.ndarray, alpha: float) -> Pairs:
    a, b = ([trials.ids[i] for i in rows[:, side]] for side in (0, 1))
    return Pairs(a, b, cosine, alpha)


def _cosine(trials: Trials, rows: np.ndarray) -> np.ndarray:
    return np.einsum("rz,rz->r", trials.z[rows[:, 0]], trials.z[rows[:, 1]])


def as_answered(useful: np.ndarray, seed: int) -> np.ndarray:
    """What F said."""
    return useful


def the_others(useful: np.ndarray, seed: int) -> np.ndarray:
    """What F said no to."""
    return ~useful


def all_of_them(useful: np.ndarray, seed: int) -> np.ndarray:
    """Without F."""
    return np.ones_like(useful)


@dataclasses.dataclass(frozen=True)
class Arm:
    """One arm.

    name: in configurations; method: in result rows.
    pairs: which pairs of its trials it learns from; None: it learns from demonstrations alone.
    counts: which trials count as useful.
    alone: the share of its draws that is a trial with itself; None: as configured
      (`improve.self_share`).
    more_rows: whether demonstrations fill the rows of a batch where others have pairs.
    chained: whether later rounds train it as well, from its own last policy. The others end with
      the first round, whose trials no arm has shaped.
    adapts: whether it is MIL, which goes on from the baseline `mil`.
    alpha: of its own, instead of the configuration's. trials: the most it may learn from.
    acts: whether it learns to act as its trials do, or only to find again what they show.
    share: of the steps of a round that it trains for.
    """

    name: str
    method: str
    pairs: Pairing | None = None
    counts: Counted = as_answered
    alone: float | None = None
    more_rows: bool = False
    chained: bool = False
    adapts: bool = False
    alpha: float | None = None
    trials: int | None = None
    acts: bool = True
    share: float = 1.0

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z][a-z0-9_]*", self.name):
            raise ConfigError(f"arm {self.name!r}: a name is a-z, 0-9 and _, a letter first")
        if not 0 < self.share <= 1:
            raise ConfigError(
                f"arm {self.name!r}: its share of the steps is {self.share}, not 0..1"
            )
        if self.adapts and (self.share != 1 or not self.acts):
            raise ConfigError(f"arm {self.name!r}: MIL takes all steps and acts as its trials do")

    def self_share(self, configured: float) -> float:
        """The share of its draws that is a trial with itself."""
        return configured if self.alone is None else self.alone


ARMS = {
    arm.name: arm
    for arm in (
        Arm("mili", "mili", similar, chained=True),
        # As many steps, on the demonstrations that MILI has in each.
        Arm("control", "meta_imitation", chained=True),
        # As many steps and as many rows.
        Arm("more_demos", "more_demonstrations", more_rows=True),
        Arm("oracle", "oracle", same_task),
        Arm("random", "random_pairs", at_random),
        Arm("nearest", "nearest_demonstration", nearest_demonstration),
        Arm("unfiltered", "no_filter", similar, counts=all_of_them),
        # Without a trial paired with itself, as in the paper.
        Arm("pairs_only", "mili_pairs_only", similar, alone=0.0),
        Arm("oracle_only", "oracle_pairs_only", same_task, alone=0.0),
        Arm("random_only", "random_pairs_only", at_random, alone=0.0),
        # And the other end of it.
        Arm("self_only", "mili_self_only", no_pairs, alone=1.0),
        # What the gain is due to: trials that did nothing useful, the pictures of trials without
        # what was done in them, and demonstrations alone for a quarter of the steps.
        Arm("useless_only", "useless_only", no_pairs, counts=the_others, alone=1.0),
        Arm("pictures_only", "pictures_only", similar, acts=False),
        Arm("early_stopped", "early_stopped", share=0.25),
        # MIL on demonstrations and pairs, each a task: one trial the support, the other the query,
        # never one and the same. And its control.
        Arm("mil_pairs", "mil_pairs", similar, alone=0.0, adapts=True),
        Arm("mil_more", "mil", adapts=True),
    )
}
# Of the number that a variant ends with, the least and the most.
LIMITS = {"trials": (1, 10**6), "alpha": (0, 1000), "noise": (0, 100)}


def parse(name: str) -> Arm:
    """The arm of that name: one of `ARMS`, a variant of MILI, or somebody else's.

    trials_750 learns from the first 750 trials of the round, alpha_900 has alpha = 0.900, and
    noise_10 has 10% of F's answers turned round, those of noise_5 among them. Raises ConfigError.
    """
    if not isinstance(name, str):
        raise ConfigError(f"arm {name!r}: the name of an arm is a text such as 'mili'")
    match = re.fullmatch(rf"({'|'.join(LIMITS)})_(0|[1-9][0-9]{{,8}})", name)
    if match:
        (least, most), number = LIMITS[match[1]], int(match[2])
        if least <= number <= most:
            return _variant(name, match[1], number)
    try:
        found = plugins.find("arms", name, ARMS)
    except ConfigError as error:
        raise ConfigError(
            f"no arm {name!r} ({error}). There are also trials_750 (the first 750 trials), "
            "alpha_900 (alpha = 0.900) and noise_10 (10% of the filter's answers turned round)"
        ) from error
    if not isinstance(found, Arm):
        raise ConfigError(f"arm {name!r} is a {type(found).__name__}, not an improve.arms.Arm")
    return found


def _variant(name: str, kind: str, value: int) -> Arm:
    mili = dataclasses.replace(ARMS["mili"], name=name, method=f"mili_{name}", chained=False)
    if kind == "trials":
        first = functools.partial(_first, value)
        return dataclasses.replace(mili, counts=first, trials=value)
    if kind == "alpha":
        return dataclasses.replace(mili, alpha=value / 1000)
    return dataclasses.replace(mili, counts=functools.partial(_turned_round, value))


def _first(count: int, useful: np.ndarray, seed: int) -> np.ndarray:
    return useful & (np.arange(len(useful)) < count)


def _turned_round(percent: int, useful: np.ndarray, seed: int) -> np.ndarray:
    return useful ^ (np.random.default_rng(seed).random(len(useful)) * 100 < percent)


def candidates(arm: Arm, useful: np.ndarray, clear: np.ndarray, seed: int) -> np.ndarray:
    """The trials that an arm may pair: indices int64 [C]; useful and clear as in `Trials`."""
    return np.flatnonzero(arm.counts(useful, seed) & clear)


def choose(arm: Arm, trials: Trials, demos: Demonstrations, how: Choice) -> Pairs:
    """The pairs that an arm trains on. Raises as `pairing.cosine_pairs`."""
    if arm.pairs is None:
        return NONE
    mine = candidates(arm, trials.useful, trials.clear, how.seed)
    allowed = Trials(
        ids=[trials.ids[i] for i in mine],
        z=trials.z[mine],
        useful=trials.useful[mine],
        clear=trials.clear[mine],
        achieved=[trials.achieved[i] for i in mine],
    )
    if arm.alpha is not None:
        how = how._replace(alpha=arm.alpha)
    return arm.pairs(allowed, demos, how)


# Which policies a configuration trains.


def policies(config: ConfigDict, number: int) -> dict[PolicyId, str]:
    """Every policy that a round trains and its method; round 0 is what learns from the
    demonstrations alone.

    Raises ConfigError if the configuration has no such round.
    """
    check_round(config, number, 0)
    if number == 0:
        beside = {PolicyId(name): BASELINES[name] for name in config.baselines.methods}
        return {PolicyId("pretrain"): "meta_imitation", **beside}
    found = [parse(name) for name in config.improve.arms]
    trained = [arm for arm in found if number == 1 or arm.chained]
    return {PolicyId(arm.name, number): arm.method for arm in trained}


def arm_of(config: ConfigDict, policy: PolicyId) -> Arm:
    """The arm that trains a policy of a later round than 0."""
    return next(arm for arm in map(parse, config.improve.arms) if arm.name == policy.arm)


def adapts(config: ConfigDict, policy: PolicyId) -> bool:
    """Whether a policy is MIL."""
    if policy.round == 0:
        return policy.arm in BASELINES and policy.arm != "bc"
    return arm_of(config, policy).adapts


def last_policy(config: ConfigDict) -> PolicyId:
    """The policy that the loop ends with."""
    return next(iter(policies(config, config.improve.rounds)))


def start_of(config: ConfigDict, policy: PolicyId) -> PolicyId:
    """The policy that the training of one of a later round goes on from; MILI's also acts and
    embeds the trials of that round.

    Raises ConfigError if the configuration has no such round.
    """
    check_round(config, policy.round, 1)
    if policy.round == 1:
        return PolicyId("mil" if arm_of(config, policy).adapts else "pretrain")
    return PolicyId(policy.arm, policy.round - 1)


def actor_of(config: ConfigDict, number: int) -> PolicyId:
    """The policy that makes the trials of a round. Raises as `start_of`."""
    return start_of(config, PolicyId("mili", number))


def lineage(config: ConfigDict, policy: PolicyId) -> list[PolicyId]:
    """The trainings that led to a policy, its own first."""
    found = [policy]
    while found[-1].round > 0 and config.improve.warm_start:
        found.append(start_of(config, found[-1]))
    return found


def trials_seen(config: ConfigDict, policy: PolicyId) -> int:
    """How many trials a policy could learn from."""
    if policy.round == 0 or arm_of(config, policy).pairs is None:
        return 0
    trials = policy.round * config.improve.trials
    most = arm_of(config, policy).trials
    return trials if most is None else min(trials, most)


def check_round(config: ConfigDict, number: int, first: int) -> None:
    """Raises ConfigError unless the round is one of `first`..`improve.rounds`."""
    rounds = config.improve.rounds
    if not first <= number <= rounds:
        raise ConfigError(f"there is no round {number}: config.improve.rounds = {rounds}")
