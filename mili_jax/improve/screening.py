"""Pairs of trials that may lie close, found block by block."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator

import jax
import jax.numpy as jnp
import numpy as np

from mili_jax.given import reals
from mili_jax.types import ConfigError, DataError

MARGIN = 1e-5  # far above the float32 rounding of a product of unit vectors
WORK = 1 << 24  # numbers in a temporary array: 64 MB of float32
NEAR = 1 << 19  # numbers gathered to be looked at again: 2 MB, which stay in a core's cache
MANY = 100_000  # trials from which on the groups are larger

# (row, column) int64 [R] each.
Candidates = tuple[np.ndarray, np.ndarray]


class Vectors:
    """Embeddings [N,Z] and their norms float64 [N]: cosines without a second copy in float64."""

    def __init__(self, embedding: np.ndarray) -> None:
        self._given = reals(embedding, "embedding")
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


def screen_blocks(
    vectors: Vectors, alpha: float, cap: int | None, block: int
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
    vectors: Vectors, alpha: float, cap: int | None, block: int
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


BACKENDS: dict[str, Callable[[Vectors, float, int | None, int], Iterator[Candidates]]] = {
    "blocks": screen_blocks,
    "faiss": _screen_faiss,
}
