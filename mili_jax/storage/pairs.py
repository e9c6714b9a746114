"""Tables of pairs of episodes, as CSV."""

from __future__ import annotations

import csv
import dataclasses
import io
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from mili_jax.storage import fields
from mili_jax.types import DataError

_HEADER = ["a", "b", "similarity", "alpha"]


@dataclasses.dataclass(frozen=True)
class Pairs:
    """R pairs of episode ids, similarity float32 [R] (cosine), alpha float64 [R] (threshold)."""

    a: tuple[str, ...]
    b: tuple[str, ...]
    similarity: np.ndarray
    alpha: np.ndarray

    def __len__(self) -> int:
        return len(self.a)


def format_pairs(
    path: Path, a: Sequence[str], b: Sequence[str], similarity: np.ndarray, alpha: float
) -> bytes:
    """The table's text (ids [R], ids [R], cosine [R], the threshold used).

    Raises DataError, naming `path` and the field, for what could not be read back.
    """
    try:
        first, second = (fields.texts(_listed(ids), name) for ids, name in ((a, "a"), (b, "b")))
        cosine = _float32(_listed(similarity))
        alpha = fields.number(alpha, "alpha")
        if not len(first) == len(second) == len(cosine):
            raise DataError(f"{len(first)}, {len(second)}, {len(cosine)} rows do not match")
        # Nine digits bring a float32 back exactly.
        rows = [
            [m, n, f"{value:.9g}", repr(alpha)]
            for m, n, value in zip(first, second, cosine, strict=True)
        ]
        content = _written([_HEADER, *rows])
        if not _comes_back([_HEADER, *rows], content):
            for i, row in enumerate(rows):
                for name, value in zip("ab", row[:2], strict=True):
                    if not _comes_back([[value]], _written([[value]])):
                        raise DataError(f"{name}[{i}] is {value[:60]!r}, which CSV cannot hold")
    except DataError as error:
        raise DataError(f"{path}: {error}") from None
    return content


def _float32(values: object) -> np.ndarray:
    if not isinstance(values, (list, tuple)):
        raise DataError(f"similarity is of type {type(values).__name__}; it must be numbers [R]")
    numbers = [fields.number(value, f"similarity[{i}]") for i, value in enumerate(values)]
    with np.errstate(over="ignore"):
        found = np.array(numbers, np.float32)
    for i in np.flatnonzero(~np.isfinite(found)):
        raise DataError(f"similarity[{i}] is {numbers[i]:g}, more than float32 can hold")
    return found


def _listed(values: object) -> object:
    return list(values) if isinstance(values, np.ndarray) and values.ndim else values


def _written(rows: Iterable[Sequence[str]]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()


def _comes_back(rows: list[list[str]], content: bytes) -> bool:
    try:
        return list(csv.reader(io.StringIO(content.decode()), strict=True)) == rows
    except csv.Error:
        return False


def parse_pairs(path: Path, content: bytes) -> Pairs:
    """The table in a file. Raises DataError naming file and line for what is no pair."""
    pairs, bad = split_pairs(path, content)
    for error in bad:
        raise error
    return pairs


def split_pairs(path: Path, content: bytes) -> tuple[Pairs, list[DataError]]:
    """The rows of a table that can be read, and what is wrong with each of the others."""
    a, b, similarity, alpha = [], [], [], []
    bad = []
    rows = csv.reader(io.StringIO(content.decode("utf-8-sig", errors="replace")), strict=True)
    try:
        if next(rows, None) != _HEADER:
            bad.append(DataError(f"{path}, line 1: expected the header {','.join(_HEADER)}"))
        for row in rows:
            try:
                first, second, value, threshold = row
                numbers = float(value), float(threshold)
                if not np.isfinite(numbers).all():
                    raise ValueError(f"{value}, {threshold} must be finite")
            except ValueError as error:
                bad.append(DataError(f"{path}, line {rows.line_num}: {error}; pair again"))
                continue
            a.append(first)
            b.append(second)
            similarity.append(numbers[0])
            alpha.append(numbers[1])
    except csv.Error as error:
        bad.append(DataError(f"{path}, line {rows.line_num}: {error}; pair again"))
    pairs = Pairs(tuple(a), tuple(b), np.array(similarity, np.float32), np.array(alpha, float))
    return pairs, bad
