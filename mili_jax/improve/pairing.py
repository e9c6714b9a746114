"""Pairing trials that lie close in the latent space of tasks (Singh et al. 2020, alg. 1, l. 17-22).

Embeddings in, pairs and scores out. The search is exact, and what it holds at a time does not grow
with the square of the number of trials: similarities are screened in float32, block by block, and
whatever lies near a decision is decided again in float64. So the pairs depend neither on the block
nor on what screened them.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from mili_jax.given import number, whole
from mili_jax.improve.screening import BACKENDS, WORK, Candidates, Vectors
from mili_jax.types import ConfigError

BAND = 1 << 21  # nominated pairs sorted at a time
TURN = 1 << 16  # pairs looked at together when they are taken in turn


def _nominate(
    vectors: Vectors, alpha: float, cap: int, screened: Iterator[Candidates]
) -> tuple[np.ndarray, np.ndarray]:
    """Each trial's `cap` nearest others above alpha, nearest first, of equals the smaller index:
    int32 [N,cap], -1 where there are fewer, and their cosine float64 [N,cap]."""
    nearest = np.full((len(vectors), cap), -1, np.int32)
    cosine = np.zeros((len(vectors), cap))
    for i, j in screened:
        c = vectors.cosine(i, j)
        order = np.lexsort((j, -c, i))
        order = order[c[order] > alpha]
        i, j, c = i[order], j[order], c[order]
        rank = np.arange(len(i)) - np.searchsorted(i, i)
        chosen = rank < cap
        i, rank = i[chosen], rank[chosen]
        nearest[i, rank], cosine[i, rank] = j[chosen], c[chosen]
    return nearest, cosine


def _capped(
    vectors: Vectors, alpha: float, cap: int, mutual: bool, screened: Iterator[Candidates]
) -> tuple[np.ndarray, np.ndarray]:
    """Pairs int64 [R,2] and similarity float32 [R], see `cosine_pairs`. At the paper's cap and 10^6
    trials every array of N * cap numbers counts: they are indexed flat, and dropped early."""
    n, cap = len(vectors), min(cap, len(vectors) - 1)
    nearest, cosine = _nominate(vectors, alpha, cap, screened)
    keep = np.zeros((n, cap), bool)
    rows = max(1, WORK // cap**2)
    for start in range(0, n, rows):
        part = nearest[start : start + rows]
        own = np.arange(start, start + len(part), dtype=np.int32)[:, None]
        back = (nearest[part] == own[:, :, None]).any(-1)
        # A pair that both nominate is kept where its smaller index nominates.
        keep[start : start + rows] = (part >= 0) & (
            (own < part) & back if mutual else (own < part) | ~back
        )
    if not mutual:
        room = np.full(n, cap)
        for flat in _bands(cosine, keep):
            i, j = flat // cap, nearest.ravel()[flat].astype(np.int64)
            i, j = np.minimum(i, j), np.maximum(i, j)
            order = np.lexsort((j, i, -cosine.ravel()[flat]))
            taken = take_in_turn(i[order], j[order], room)
            keep.ravel()[flat[order[~taken]]] = False
    flat = np.flatnonzero(keep)
    similarity = cosine.ravel()[flat].astype(np.float32)
    del cosine, keep
    i, j = flat // cap, nearest.ravel()[flat].astype(np.int64)
    del flat, nearest
    number = np.minimum(i, j) * n + np.maximum(i, j)
    del i, j
    order = np.argsort(number)
    number, similarity = number[order], similarity[order]
    del order
    pairs = np.empty((len(number), 2), np.int64)
    np.divmod(number, n, out=(pairs[:, 0], pairs[:, 1]))
    return pairs, similarity


def _bands(cosine: np.ndarray, keep: np.ndarray) -> Iterator[np.ndarray]:
    """The flat indices of what is kept, in bands of falling cosine, about `BAND` at a
    time."""
    count = np.count_nonzero(keep)
    some = slice(None, None, 1 + len(keep) // 10_000)
    shares = np.linspace(1, 0, 2 + count // BAND)[1:-1]
    edges = np.quantile(cosine[some][keep[some]], shares) if len(shares) else []
    above = np.inf
    for below in (*edges, -np.inf):
        yield np.flatnonzero(keep & (cosine <= above) & (cosine > below))
        above = below


def take_in_turn(i: np.ndarray, j: np.ndarray, room: np.ndarray) -> np.ndarray:
    """Which pairs [R] stay if each takes a place of both its trials while there is `room` [N],
    which is brought up to date."""
    taken = np.zeros(len(i), bool)
    demand = np.zeros_like(room)
    for start in range(0, len(i), TURN):
        a, b = i[start : start + TURN], j[start : start + TURN]
        open_ = np.flatnonzero((room[a] > 0) & (room[b] > 0))
        a, b = a[open_], b[open_]
        for side in (a, b):
            np.add.at(demand, side, 1)
        # A trial with room for all that want it refuses nobody, whatever the order.
        tight = demand > room
        sure = ~(tight[a] | tight[b])
        for side in (a, b):
            np.subtract.at(room, side[sure], 1)
            demand[side] = 0
        unsure = open_[~sure]
        for r, m, k in zip(unsure.tolist(), a[~sure].tolist(), b[~sure].tolist(), strict=True):
            if room[m] and room[k]:
                room[m] -= 1
                room[k] -= 1
                taken[start + r] = True
        taken[start + open_[sure]] = True
    return taken


def cosine_pairs(
    embedding: np.ndarray,
    alpha: float,
    *,
    block: int = 1024,
    cap: int | None = None,
    mutual: bool = False,
    backend: str = "blocks",
) -> tuple[np.ndarray, np.ndarray]:
    """All pairs of trials with cosine above alpha (alg. 1, line 19).

    Args:
      embedding: [N,Z]; normalised here if it is not.
      alpha: threshold, the paper's is 0.9; a cosine equal to it is not enough.
      block: similarities are computed for about block * block pairs at a time.
      cap: most pairs per trial. Each trial nominates its `cap` nearest others; nominated pairs are
        taken nearest first while both trials have fewer than `cap`. Bounds the memory, which is
        otherwise that of the pairs found.
      mutual: keep a pair only if both trials nominate it (needs `cap`).
      backend: what screens, a key of BACKENDS; the pairs are the same.

    Returns pairs int64 [R,2] with i < j, in increasing order, and their similarity float32 [R].
    Raises ConfigError for values out of range or a backend that is not installed, DataError for an
    embedding without direction.
    """
    check_alpha(alpha)
    whole(block, "block", 1)
    if backend not in BACKENDS:
        raise ConfigError(f"backend: {backend!r} is unknown; use one of {sorted(BACKENDS)}")
    check_cap(cap)
    if mutual and cap is None:
        raise ConfigError("mutual: without a cap every near trial is nominated; give a cap as well")
    vectors = Vectors(embedding)
    if len(vectors) < 2:
        return np.zeros((0, 2), np.int64), np.zeros(0, np.float32)
    screened = BACKENDS[backend](vectors, alpha, cap, block)
    if cap is not None:
        return _capped(vectors, alpha, cap, mutual, screened)
    found, scores = [np.zeros((0, 2), np.int64)], [np.zeros(0, np.float32)]
    for i, j in screened:
        cosine = vectors.cosine(i, j)
        near = cosine > alpha
        found.append(np.stack([i[near], j[near]], 1))
        scores.append(cosine[near].astype(np.float32))
    pairs, similarity = np.concatenate(found), np.concatenate(scores)
    order = np.lexsort((pairs[:, 1], pairs[:, 0]))
    return pairs[order], similarity[order]


def check_alpha(alpha: float) -> None:
    if not -1 <= number(alpha, "alpha") <= 1:
        raise ConfigError(
            f"alpha: {alpha} is not a cosine; choose it between -1 and 1 (paper: 0.9)"
        )


def check_cap(cap: int | None) -> None:
    if cap is not None:
        whole(cap, "cap, the most pairs of a trial (None: no cap),", 1)
