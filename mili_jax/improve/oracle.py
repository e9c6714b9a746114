"""Pairs against the oracle: its own, random ones, and how right pairs are."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import NamedTuple

import numpy as np

from mili_jax.given import reals, whole
from mili_jax.improve.pairing import check_alpha, check_cap, cosine_pairs, take_in_turn
from mili_jax.improve.screening import Vectors, screen_blocks
from mili_jax.types import ConfigError, DataError

Achieved = Sequence[Collection[str]]  # the tasks of each trial


class PairQuality(NamedTuple):
    """Pairs against the oracle; a pair is right if its two trials share an achieved task.

    pairs: how many were made; precision: share that is right; recall: share of all oracle pairs
    that was found; family_precision: share whose trials achieved a task of a common group.
    A share of nothing is nan.
    """

    pairs: int
    precision: float
    recall: float
    family_precision: float


class _Oracle:
    """Which trials share an achieved task, or a group of tasks. Trials with equal sets are one
    kind."""

    def __init__(self, achieved: Achieved, group: Callable[[str], str] = lambda task: task) -> None:
        for i, tasks in enumerate(achieved):
            if isinstance(tasks, str) or not isinstance(tasks, Collection):
                raise DataError(f"trial {i} achieved {tasks!r}; it must be a set of tasks")
        sets = [frozenset(tasks) for tasks in achieved]
        number: dict[frozenset[str], int] = {}
        self.kind = np.array([number.setdefault(s, len(number)) for s in sets], np.int64)
        self.task = self._shared(list(number))
        groups = [frozenset(map(group, s)) for s in number]
        self.group = self._shared(groups)
        self.count = np.bincount(self.kind, minlength=len(number)).astype(np.int64)

    @staticmethod
    def _shared(sets: list[frozenset[str]]) -> np.ndarray:
        """bool [kinds, kinds], by one product of indicator matrices."""
        names = {name: k for k, name in enumerate(sorted(set().union(*sets)))}
        indicator = np.zeros((len(sets), max(1, len(names))), np.float32)
        for k, s in enumerate(sets):
            indicator[k, [names[name] for name in s]] = 1
        return indicator @ indicator.T > 0

    def total(self) -> int:
        """Number of oracle pairs."""
        ordered = self.count @ (self.task @ self.count) - self.count @ np.diag(self.task)
        return int(ordered) // 2

    def right(self, pairs: np.ndarray) -> np.ndarray:
        """bool [R]: the two trials share an achieved task."""
        return self.task[self.kind[pairs[:, 0]], self.kind[pairs[:, 1]]]

    def kin(self, pairs: np.ndarray) -> np.ndarray:
        """bool [R]: the two trials achieved tasks of a common group."""
        return self.group[self.kind[pairs[:, 0]], self.kind[pairs[:, 1]]]


def _quality(pairs: int, right: int, kin: int, total: int) -> PairQuality:
    def share(part: int, whole: int) -> float:
        return part / whole if whole else float("nan")

    return PairQuality(pairs, share(right, pairs), share(right, total), share(kin, pairs))


def pair_quality(pairs: np.ndarray, achieved: Achieved, group: Callable[[str], str]) -> PairQuality:
    """Scores pairs [R,2] against the tasks that each of the N trials achieved, and their groups.

    Oracle information: for reports only, nothing that trains or pairs may use it. Raises DataError
    for pairs of other trials.
    """
    pairs = reals(pairs, "pairs")
    if pairs.size == 0:
        pairs = np.zeros((0, 2), np.int64)
    within = pairs.dtype.kind in "iu" and pairs.ndim == 2 and pairs.shape[1] == 2
    if not within or not ((pairs >= 0) & (pairs < len(achieved))).all():
        raise DataError(f"pairs must be [R,2] of indices 0..{len(achieved) - 1}, one of each trial")
    if not len(achieved):
        return _quality(0, 0, 0, 0)
    oracle = _Oracle(achieved, group)
    right, kin = int(oracle.right(pairs).sum()), int(oracle.kin(pairs).sum())
    return _quality(len(pairs), right, kin, oracle.total())


def oracle_pairs(achieved: Achieved, cap: int | None, seed: int) -> np.ndarray:
    """The oracle's pairs (section V-C): trials that share an achieved task, int64 [R,2], i < j.

    With a cap, each trial draws `cap` random partners and the drawn pairs are taken in random order
    while both trials have fewer than `cap`, so that oracle and similarity differ in the choice of
    partners alone.
    """
    check_cap(cap)
    whole(seed, "seed")
    if not len(achieved):
        return np.zeros((0, 2), np.int64)
    oracle, rng, n = _Oracle(achieved), np.random.default_rng(seed), len(achieved)
    found = [np.zeros((0, 2), np.int64)]
    for i in range(n):
        partners = np.flatnonzero(oracle.task[oracle.kind[i]][oracle.kind])
        if cap is None:
            partners = partners[partners > i]
        else:
            partners = partners[partners != i]
            partners = rng.choice(partners, min(cap, len(partners)), replace=False)
        found.append(np.stack([np.full(len(partners), i), partners], 1))
    pairs = np.unique(np.sort(np.concatenate(found), axis=1), axis=0)
    if cap is None:
        return pairs
    order = rng.permutation(len(pairs))
    taken = take_in_turn(pairs[order, 0], pairs[order, 1], np.full(n, cap))
    return pairs[np.sort(order[taken])]


def random_pairs(n: int, count: int, seed: int) -> np.ndarray:
    """`count` different pairs of n trials, uniform without replacement: int64 [R,2], i < j, sorted.

    Raises ConfigError if there are not so many.
    """
    total = whole(n, "n, the number of trials,") * (n - 1) // 2
    whole(seed, "seed")
    if not 0 <= whole(count, "count") <= total:
        raise ConfigError(f"count: {count} pairs of {n} trials; there are {total}")
    # Numbered column by column: pair (i, j) is j (j - 1) / 2 + i.
    rank = np.random.default_rng(seed).choice(total, count, replace=False, shuffle=False)
    j = np.floor((1 + np.sqrt(1 + 8 * rank.astype(np.float64))) / 2).astype(np.int64)
    j -= j * (j - 1) // 2 > rank
    j += j * (j + 1) // 2 <= rank
    pairs = np.stack([rank - j * (j - 1) // 2, j], 1)
    return pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))]


def alpha_curve(
    embedding: np.ndarray,
    achieved: Achieved,
    alphas: Sequence[float],
    group: Callable[[str], str],
    *,
    block: int = 1024,
    cap: int | None = None,
    mutual: bool = False,
) -> list[PairQuality]:
    """`pair_quality` of `cosine_pairs` at each alpha, in one pass and without storing the pairs.

    Raises as `cosine_pairs`, and DataError if embeddings and trials differ in number.
    """
    if not np.ndim(alphas):
        raise ConfigError(f"alphas must be a list of numbers, is {alphas!r}")
    for alpha in alphas:
        check_alpha(alpha)
    if len(embedding) != len(achieved):
        raise DataError(f"{len(embedding)} embeddings but {len(achieved)} trials: one each, please")
    if not len(alphas) or not len(achieved):
        return [_quality(0, 0, 0, 0) for _ in alphas]
    oracle, edges = _Oracle(achieved, group), np.sort(np.asarray(alphas, np.float64))
    counts = np.zeros((3, len(edges) + 1), np.int64)

    def count(cosine: np.ndarray, pairs: np.ndarray) -> None:
        # How many of the sorted alphas a pair exceeds.
        passed = np.searchsorted(edges, cosine, side="left")
        for k, which in enumerate((passed, passed[oracle.right(pairs)], passed[oracle.kin(pairs)])):
            counts[k] += np.bincount(which, minlength=len(edges) + 1)

    if cap is not None or mutual:
        # Taken nearest first, the pairs of a higher alpha are the first pairs of a lower one.
        pairs, _ = cosine_pairs(embedding, float(edges[0]), block=block, cap=cap, mutual=mutual)
        count(Vectors(embedding).cosine(*pairs.T), pairs)
    else:
        vectors = Vectors(embedding)
        for i, j in screen_blocks(vectors, float(edges[0]), None, block):
            count(vectors.cosine(i, j), np.stack([i, j], 1))
    above = counts[:, ::-1].cumsum(1)[:, ::-1]
    total, curve = oracle.total(), []
    for alpha in alphas:
        made, right, kin = above[:, np.searchsorted(edges, alpha) + 1]
        curve.append(_quality(int(made), int(right), int(kin), total))
    return curve
