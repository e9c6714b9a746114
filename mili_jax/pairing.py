"""Pairing trials that lie close in the latent space of tasks (Singh et al. 2020, alg. 1, l. 17-22).

Embeddings in, pairs and scores out. The search is exact, and what it holds at a time does not grow
with the square of the number of trials: similarities are screened in float32, block by block, and
whatever lies near a decision is decided again in float64. So the pairs depend neither on the block
nor on what screened them.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mili_jax.types import ConfigError, DataError

MARGIN = 1e-5  # far above the float32 rounding of a product of unit vectors
WORK = 1 << 24  # numbers in a temporary array: 64 MB of float32
NEAR = 1 << 19  # numbers gathered to be looked at again: 2 MB, which stay in a core's cache
MANY = 100_000  # trials from which on the groups are larger
BAND = 1 << 21  # nominated pairs sorted at a time
TURN = 1 << 16  # pairs looked at together when they are taken in turn

# (row, column) int64 [R] each.
Candidates = tuple[np.ndarray, np.ndarray]


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


class _Vectors:
    """Embeddings [N,Z] and their norms float64 [N]: cosines without a second copy in float64."""

    def __init__(self, embedding: np.ndarray) -> None:
        self._given = np.asarray(embedding)
        if self._given.ndim != 2:
            raise DataError(f"embedding must be [N,Z], got shape {self._given.shape}")
        self._rows = max(1, WORK // max(1, 8 * self._given.shape[1]))
        parts = [np.linalg.norm(self._wide(part), axis=1) for part in self._parts(len(self))]
        self._norm = np.concatenate([np.zeros(0), *parts])
        bad = np.flatnonzero(~(np.isfinite(self._norm) & (self._norm > 0)))
        if bad.size:
            raise DataError(
                f"embedding row {bad[0]} (of {bad.size} such rows) is zero or not finite, so it "
                "has no direction; check the checkpoint that made it"
            )

    def __len__(self) -> int:
        return len(self._given)

    def _parts(self, count: int) -> Iterator[slice]:
        return (slice(start, start + self._rows) for start in range(0, count, self._rows))

    def _wide(self, rows: slice | np.ndarray) -> np.ndarray:
        return self._given[rows].astype(np.float64)

    def unit(self, multiple: int) -> np.ndarray:
        """Unit vectors float32 [N',Z], the last one repeated up to a multiple of rows."""
        n = len(self)
        out = np.empty((n + -n % multiple, self._given.shape[1]), np.float32)
        for part in self._parts(n):
            out[:n][part] = self._wide(part) / self._norm[part, None]
        out[n:] = out[n - 1 : n]
        return out

    def cosine(self, i: np.ndarray, j: np.ndarray) -> np.ndarray:
        """Float64 cosine of each pair, the same whichever other pairs are asked for."""
        out = np.empty(len(i))
        for part in self._parts(len(i)):
            a, b = i[part], j[part]
            out[part] = (self._wide(a) * self._wide(b)).sum(1) / (self._norm[a] * self._norm[b])
        # Rows are summed alike, but guard ties against a change of summation order all the same.
        return np.round(out, 12)


# Screening: pairs that may lie above alpha, and every pair that does is among them. Without a cap a
# pair comes once, its smaller index first; with one a trial's `cap` nearest others come under the
# trial, all of one trial together.


@functools.partial(jax.jit, static_argnames=("rows", "columns", "group"))
def _greatest(
    unit: jax.Array, start: int, first: int, rows: int, columns: int, group: int
) -> jax.Array:
    """Of the trials from `start` on the greatest cosine with every group of trials: [N/group,rows],
    -2 for the blocks of columns before the `first`."""
    those = jax.lax.dynamic_slice_in_dim(unit, start, rows)

    def block(k: int, out: jax.Array) -> jax.Array:
        others = jax.lax.dynamic_slice_in_dim(unit, k * columns, columns)
        cosine = jnp.einsum("cz,rz->cr", others, those, precision="highest")
        greatest = cosine.reshape(columns // group, group, rows).max(1)
        return jax.lax.dynamic_update_slice_in_dim(out, greatest, k * (columns // group), 0)

    out = jnp.full((len(unit) // group, rows), -2.0)
    return jax.lax.fori_loop(first, len(unit) // columns, block, out)


def _screen_blocks(
    vectors: _Vectors, alpha: float, cap: int | None, block: int
) -> Iterator[Candidates]:
    """By matrix products of which only the maxima over groups of trials are kept: few groups hold
    anything near, and those are looked at again."""
    n = len(vectors)
    group = 16 if n < MANY else 64
    groups = -(-n // group)
    most = max(1, min(-(-block // group), groups, WORK // (4 * n)))
    rows = group * most
    columns = rows * min(-(-block // rows), -(-n // rows))
    unit = vectors.unit(columns)
    table = jnp.asarray(unit)
    starts = range(0, n, rows)

    def strip(start: int) -> jax.Array:
        first = start // columns if cap is None else 0
        return _greatest(table, start, first, rows, columns, group)

    ahead = strip(0)
    for start in starts:
        greatest = np.asarray(ahead)[:groups, : n - start]
        if start + rows < n:
            ahead = strip(start + rows)  # computed while this one is looked at
        hit, row = np.nonzero(greatest > alpha - MARGIN)
        if cap is None:
            order = np.argsort(row, kind="stable")
            hit, row = hit[order], row[order]
            floor = np.full(len(row), alpha - MARGIN)
        else:
            near = greatest[hit, row]
            order = np.argsort(4.0 * row - near)  # by row, the nearest first
            hit, row, near = hit[order], row[order], near[order]
            # A trial's `cap` nearest others reach to where so many groups do, and one more, which
            # may be great for the trial itself.
            begin = np.searchsorted(row, np.arange(rows + 1))
            last = begin[:-1] + cap
            floor = np.full(rows, alpha)
            full = last < begin[1:]
            floor[full] = np.maximum(alpha, near[last[full]])
            floor = floor[row] - MARGIN
            chosen = near > floor
            hit, row, floor = hit[chosen], row[chosen], floor[chosen]
        yield from _refine(unit, n, row + start, hit, floor, group, once=cap is None)


def _refine(
    unit: np.ndarray,
    n: int,
    row: np.ndarray,
    hit: np.ndarray,
    floor: np.ndarray,
    group: int,
    once: bool,
) -> Iterator[Candidates]:
    """The pairs above a floor of trials `row` (increasing) with groups `hit`, int [R] both.

    All pairs of a trial come at once, and no more trials than fit into `NEAR`.
    """
    members = unit.reshape(-1, group, unit.shape[1])
    # The place of a trial's last group in all that is to be looked at.
    load = np.searchsorted(row, row, side="right") * group * unit.shape[1] // NEAR
    splits = np.flatnonzero(np.diff(load)) + 1
    for r, g, f in zip(*(np.split(a, splits) for a in (row, hit, floor)), strict=True):
        cosine = np.einsum("hkz,hz->hk", members[g], unit[r])
        h, k = np.nonzero(cosine > f[:, None])
        i, j = r[h], g[h] * group + k
        wanted = (j < n) & ((i < j) if once else (i != j))
        yield i[wanted], j[wanted]


def _screen_faiss(
    vectors: _Vectors, alpha: float, cap: int | None, block: int
) -> Iterator[Candidates]:
    """By faiss's exhaustive index. Raises ConfigError if faiss is not installed."""
    try:
        import faiss
    except ImportError as error:
        raise ConfigError(
            "pairing by 'faiss' needs it installed: pip install -e '.[ann]', or take 'blocks'"
        ) from error
    n, spare = len(vectors), 8
    unit = vectors.unit(1)
    index = faiss.IndexFlatIP(unit.shape[1])
    index.add(unit)
    for start in range(0, n, block):
        rows = unit[start : start + block]
        if cap is None or cap + 1 + spare > n:
            limits, _, j = index.range_search(rows, alpha - MARGIN)
            i = start + np.repeat(np.arange(len(rows)), np.diff(limits.astype(np.int64)))
            once = i < j if cap is None else i != j
            yield i[once], j[once]
            continue
        cosine, j = index.search(rows, cap + 1 + spare)
        floor = np.maximum(alpha, cosine[:, cap]) - MARGIN
        more = cosine[:, -1] > floor  # there may be others as near as the last of these
        r, k = np.nonzero((cosine > floor[:, None]) & ~more[:, None])
        i, j = r + start, j[r, k]
        yield i[i != j], j[i != j]
        for row in np.flatnonzero(more):
            found = index.range_search(rows[row : row + 1], float(floor[row]))[2]
            found = found[found != row + start]
            yield np.full(len(found), row + start), found


BACKENDS: dict[str, Callable[[_Vectors, float, int | None, int], Iterator[Candidates]]] = {
    "blocks": _screen_blocks,
    "faiss": _screen_faiss,
}


def _nominate(
    vectors: _Vectors, alpha: float, cap: int, screened: Iterator[Candidates]
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
    vectors: _Vectors, alpha: float, cap: int, mutual: bool, screened: Iterator[Candidates]
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
            taken = _take_in_turn(i[order], j[order], room)
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


def _take_in_turn(i: np.ndarray, j: np.ndarray, room: np.ndarray) -> np.ndarray:
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
    _check_alpha(alpha)
    if block < 1:
        raise ConfigError(f"block: {block} is not positive")
    if backend not in BACKENDS:
        raise ConfigError(f"backend: {backend!r} is unknown; use one of {sorted(BACKENDS)}")
    if cap is not None and cap < 1:
        raise ConfigError(f"cap: {cap} pairs per trial; give at least 1, or None for no cap")
    if mutual and cap is None:
        raise ConfigError("mutual: without a cap every near trial is nominated; give a cap as well")
    vectors = _Vectors(embedding)
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


def _check_alpha(alpha: float) -> None:
    if not -1 <= alpha <= 1:
        raise ConfigError(
            f"alpha: {alpha} is not a cosine; choose it between -1 and 1 (paper: 0.9)"
        )


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
    order = rng.permutation(len(pairs))
    taken = _take_in_turn(pairs[order, 0], pairs[order, 1], np.full(n, cap))
    return pairs[np.sort(order[taken])]


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
        count(_Vectors(embedding).cosine(*pairs.T), pairs)
    else:
        vectors = _Vectors(embedding)
        for i, j in _screen_blocks(vectors, float(edges[0]), None, block):
            count(vectors.cosine(i, j), np.stack([i, j], 1))
    above = counts[:, ::-1].cumsum(1)[:, ::-1]
    total, curve = oracle.total(), []
    for alpha in alphas:
        made, right, kin = above[:, np.searchsorted(edges, alpha) + 1]
        curve.append(_quality(int(made), int(right), int(kin), total))
    return curve
