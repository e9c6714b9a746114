"""Pairing trials that lie close in the latent space of tasks (Singh et al. 2020, alg. 1, l. 17-22).

Embeddings in, pairs and scores out, NumPy only. The search is exact and blocked, so that memory
does not grow with the square of the number of trials, and the pairs found do not depend on the
block: similarities are screened in float32, and whatever lies near a decision is decided again in
float64.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from mili_jax.types import ConfigError, DataError

MARGIN = 1e-5  # far above the float32 rounding of a product of unit vectors


class PairQuality(NamedTuple):
    """Pairs against the oracle; a pair is right if its two trials share an achieved task.

    pairs: how many were made; precision: share that is right; recall: share of all oracle pairs
    that was found; family_precision: share whose trials achieved a task of a common family.
    A share of nothing is nan.
    """

    pairs: int
    precision: float
    recall: float
    family_precision: float


def _unit(embedding: np.ndarray) -> np.ndarray:
    """Embeddings as float64 unit vectors (normalising is part of a cosine)."""
    vectors = np.asarray(embedding, np.float64)
    if vectors.ndim != 2:
        raise DataError(f"embedding must be [N,Z], got shape {vectors.shape}")
    norm = np.linalg.norm(vectors, axis=1, keepdims=True)
    bad = np.flatnonzero(~(np.isfinite(norm[:, 0]) & (norm[:, 0] > 0)))
    if bad.size:
        raise DataError(
            f"embedding row {bad[0]} (of {bad.size} such rows) is zero or not finite, so it has no "
            "direction; check the checkpoint that made it"
        )
    return vectors / norm


def _cosine(unit: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """Float64 cosine of each pair, the same whichever other pairs are asked for."""
    out = np.empty(len(pairs))
    for start in range(0, len(pairs), 1 << 16):
        i, j = pairs[start : start + (1 << 16)].T
        out[start : start + len(i)] = (unit[i] * unit[j]).sum(1)
    # Rows are summed alike, but guard ties against a change of summation order all the same.
    return np.round(out, 12)


def _check_alpha(alpha: float) -> None:
    if not -1 <= alpha <= 1:
        raise ConfigError(
            f"alpha: {alpha} is not a cosine; choose it between -1 and 1 (paper: 0.9)"
        )


def _nominations(
    unit: np.ndarray, alpha: float, cap: int, block: int
) -> tuple[np.ndarray, np.ndarray]:
    """Each trial's `cap` nearest others above alpha: directed pairs [R,2], cosine float64 [R]."""
    n, single = len(unit), unit.astype(np.float32)
    rows = max(1, block * block // max(n, 1))
    found, scores = [], []
    for start in range(0, n, rows):
        stop = min(n, start + rows)
        screen = single[start:stop] @ single.T
        screen[np.arange(stop - start), np.arange(start, stop)] = -np.inf
        floor = np.full(stop - start, alpha)
        if cap < n:
            kth = np.partition(screen, n - cap, axis=1)[:, n - cap]
            floor = np.maximum(floor, kth)
        i, j = np.nonzero(screen > (floor - MARGIN)[:, None])
        pairs = np.stack([i + start, j], 1)
        cosine = _cosine(unit, pairs)
        keep = cosine > alpha
        pairs, cosine = pairs[keep], cosine[keep]
        order = np.lexsort((pairs[:, 1], -cosine, pairs[:, 0]))
        pairs, cosine = pairs[order], cosine[order]
        rank = np.arange(len(pairs)) - np.searchsorted(pairs[:, 0], pairs[:, 0])
        found.append(pairs[rank < cap])
        scores.append(cosine[rank < cap])
    return np.concatenate(found), np.concatenate(scores)


def _capped(
    unit: np.ndarray, alpha: float, cap: int, mutual: bool, block: int
) -> tuple[np.ndarray, np.ndarray]:
    directed, cosine = _nominations(unit, alpha, cap, block)
    pairs, first, votes = np.unique(
        np.sort(directed, axis=1), axis=0, return_index=True, return_counts=True
    )
    cosine = cosine[first]
    if mutual:
        return pairs[votes == 2], cosine[votes == 2]
    keep = _nearest_first(pairs, np.lexsort((pairs[:, 1], pairs[:, 0], -cosine)), cap, len(unit))
    return pairs[keep], cosine[keep]


def _nearest_first(pairs: np.ndarray, order: np.ndarray, cap: int, n: int) -> np.ndarray:
    """Which pairs stay if they are taken in `order` while both trials have fewer than `cap`."""
    room = np.full(n, cap)
    keep = np.zeros(len(pairs), bool)
    for r in order:
        i, j = pairs[r]
        if room[i] and room[j]:
            room[i] -= 1
            room[j] -= 1
            keep[r] = True
    return keep


def cosine_pairs(
    embedding: np.ndarray,
    alpha: float,
    *,
    block: int = 1024,
    cap: int | None = None,
    mutual: bool = False,
) -> tuple[np.ndarray, np.ndarray]:
    """All pairs of trials with cosine above alpha (alg. 1, line 19).

    Args:
      embedding: [N,Z]; normalised here if it is not.
      alpha: threshold, the paper's is 0.9; a cosine equal to it is not enough.
      block: similarities are computed for about block * block pairs at a time.
      cap: most pairs per trial. Each trial nominates its `cap` nearest others; nominated pairs are
        taken nearest first while both trials have fewer than `cap`.
      mutual: keep a pair only if both trials nominate it (needs `cap`).

    Returns pairs int64 [R,2] with i < j, in increasing order, and their similarity float32 [R].
    Raises ConfigError for values out of range, DataError for an embedding without direction.
    """
    _check_alpha(alpha)
    if block < 1:
        raise ConfigError(f"block: {block} is not positive")
    if cap is not None and cap < 1:
        raise ConfigError(f"cap: {cap} pairs per trial; give at least 1, or None for no cap")
    if mutual and cap is None:
        raise ConfigError("mutual: without a cap every near trial is nominated; give a cap as well")
    unit = _unit(embedding)
    if cap is not None and len(unit) > 1:
        pairs, cosine = _capped(unit, alpha, cap, mutual, block)
        return pairs, cosine.astype(np.float32)
    found, scores = [np.zeros((0, 2), np.int64)], [np.zeros(0)]
    single = unit.astype(np.float32)
    for i, j, screen in _tiles(single, block):
        row, column = np.nonzero(screen > alpha - MARGIN)
        pairs = np.stack([row + i, column + j], 1)
        cosine = _cosine(unit, pairs)
        keep = cosine > alpha
        found.append(pairs[keep])
        scores.append(cosine[keep])
    pairs, cosine = np.concatenate(found), np.concatenate(scores)
    order = np.lexsort((pairs[:, 1], pairs[:, 0]))
    return pairs[order], cosine[order].astype(np.float32)


def _tiles(single: np.ndarray, block: int) -> Iterator[tuple[int, int, np.ndarray]]:
    """Tiles of the upper triangle: (first row, first column, cosine), -inf on and below the
    diagonal."""
    for i in range(0, len(single), block):
        for j in range(i, len(single), block):
            screen = single[i : i + block] @ single[j : j + block].T
            if i == j:
                screen[np.tril_indices(len(screen))] = -np.inf
            yield i, j, screen


class _Oracle:
    """Which trials share an achieved task, or a family. Trials with equal sets are one group."""

    def __init__(self, achieved: Sequence[Sequence[str] | set[str] | frozenset[str]]) -> None:
        sets = [frozenset(tasks) for tasks in achieved]
        number: dict[frozenset[str], int] = {}
        self.group = np.array([number.setdefault(s, len(number)) for s in sets], np.int64)
        self.task = self._shared(list(number))
        families = [frozenset(task.split(":")[0] for task in s) for s in number]
        self.family = self._shared(families)
        self.count = np.bincount(self.group, minlength=len(number)).astype(np.int64)

    @staticmethod
    def _shared(sets: list[frozenset[str]]) -> np.ndarray:
        """bool [groups, groups], by one product of indicator matrices."""
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
        return self.task[self.group[pairs[:, 0]], self.group[pairs[:, 1]]]

    def kin(self, pairs: np.ndarray) -> np.ndarray:
        """bool [R]: the two trials achieved tasks of a common family."""
        return self.family[self.group[pairs[:, 0]], self.group[pairs[:, 1]]]


def _quality(pairs: int, right: int, kin: int, total: int) -> PairQuality:
    def share(part: int, whole: int) -> float:
        return part / whole if whole else float("nan")

    return PairQuality(pairs, share(right, pairs), share(right, total), share(kin, pairs))


def pair_quality(pairs: np.ndarray, achieved: Sequence[Sequence[str] | set[str]]) -> PairQuality:
    """Scores pairs [R,2] against what each of the N trials achieved (ids like "grasp:mug_03").

    Oracle information: for reports only, nothing that trains or pairs may use it.
    """
    pairs = np.asarray(pairs, np.int64).reshape(-1, 2)
    if not len(achieved):
        return _quality(0, 0, 0, 0)
    oracle = _Oracle(achieved)
    right, kin = int(oracle.right(pairs).sum()), int(oracle.kin(pairs).sum())
    return _quality(len(pairs), right, kin, oracle.total())


def oracle_pairs(
    achieved: Sequence[Sequence[str] | set[str]], cap: int | None, seed: int
) -> np.ndarray:
    """The oracle's pairs (section V-C): trials that share an achieved task, int64 [R,2], i < j.

    With a cap, each trial draws `cap` random partners and the drawn pairs are taken in random order
    while both trials have fewer than `cap`, so that oracle and similarity differ in the choice of
    partners alone.
    """
    if cap is not None and cap < 1:
        raise ConfigError(f"cap: {cap} pairs per trial; give at least 1, or None for no cap")
    if not len(achieved):
        return np.zeros((0, 2), np.int64)
    oracle, rng, n = _Oracle(achieved), np.random.default_rng(seed), len(achieved)
    found = [np.zeros((0, 2), np.int64)]
    for i in range(n):
        partners = np.flatnonzero(oracle.task[oracle.group[i]][oracle.group])
        if cap is None:
            partners = partners[partners > i]
        else:
            partners = partners[partners != i]
            partners = rng.choice(partners, min(cap, len(partners)), replace=False)
        found.append(np.stack([np.full(len(partners), i), partners], 1))
    pairs = np.unique(np.sort(np.concatenate(found), axis=1), axis=0)
    if cap is None:
        return pairs
    return pairs[_nearest_first(pairs, rng.permutation(len(pairs)), cap, n)]


def random_pairs(n: int, count: int, seed: int) -> np.ndarray:
    """`count` different pairs of n trials, uniform without replacement: int64 [R,2], i < j, sorted.

    Raises ConfigError if there are not so many.
    """
    total = n * (n - 1) // 2
    if not 0 <= count <= total:
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
    achieved: Sequence[Sequence[str] | set[str]],
    alphas: Sequence[float],
    *,
    block: int = 1024,
    cap: int | None = None,
    mutual: bool = False,
) -> list[PairQuality]:
    """`pair_quality` of `cosine_pairs` at each alpha, in one pass and without storing the pairs.

    Raises as `cosine_pairs`, and DataError if embeddings and trials differ in number.
    """
    for alpha in alphas:
        _check_alpha(alpha)
    if len(embedding) != len(achieved):
        raise DataError(f"{len(embedding)} embeddings but {len(achieved)} trials: one each, please")
    if not len(alphas) or not len(achieved):
        return [_quality(0, 0, 0, 0) for _ in alphas]
    oracle, edges = _Oracle(achieved), np.sort(np.asarray(alphas, np.float64))
    counts = np.zeros((3, len(edges) + 1), np.int64)

    def count(cosine: np.ndarray, pairs: np.ndarray) -> None:
        # How many of the sorted alphas a pair exceeds.
        passed = np.searchsorted(edges, cosine, side="left")
        for k, which in enumerate((passed, passed[oracle.right(pairs)], passed[oracle.kin(pairs)])):
            counts[k] += np.bincount(which, minlength=len(edges) + 1)

    if cap is not None or mutual:
        # Taken nearest first, the pairs of a higher alpha are the first pairs of a lower one.
        pairs, _ = cosine_pairs(embedding, float(edges[0]), block=block, cap=cap, mutual=mutual)
        count(_cosine(_unit(embedding), pairs), pairs)
    else:
        unit = _unit(embedding)
        for i, j, screen in _tiles(unit.astype(np.float32), block):
            row, column = np.nonzero(screen > edges[0] - MARGIN)
            cosine = screen[row, column].astype(np.float64)
            pairs = np.stack([row + i, column + j], 1)
            below = np.searchsorted(edges, cosine - MARGIN)
            near = np.flatnonzero(below != np.searchsorted(edges, cosine + MARGIN))
            cosine[near] = _cosine(unit, pairs[near])
            count(cosine, pairs)
    above = counts[:, ::-1].cumsum(1)[:, ::-1]
    total, curve = oracle.total(), []
    for alpha in alphas:
        made, right, kin = above[:, np.searchsorted(edges, alpha) + 1]
        curve.append(_quality(int(made), int(right), int(kin), total))
    return curve
