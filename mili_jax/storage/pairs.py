"""Tables of pairs of episodes, as CSV."""

from __future__ import annotations

import csv
import dataclasses
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np

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
    """The table's text (ids [R], ids [R], cosine [R], the threshold used)."""
    if not len(a) == len(b) == len(similarity):
        raise DataError(f"{path}: {len(a)}, {len(b)}, {len(similarity)} rows do not match")
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_HEADER)
    for first, second, value in zip(a, b, similarity, strict=True):
        # Nine digits bring a float32 back exactly.
        writer.writerow([first, second, f"{value:.9g}", repr(float(alpha))])
    return text.getvalue().encode()


def parse_pairs(path: Path, content: bytes) -> Pairs:
    """Raises DataError naming file and line for what is no pair."""
    rows = csv.reader(io.StringIO(content.decode()), strict=True)
    if next(rows, None) != _HEADER:
        raise DataError(f"{path}, line 1: expected the header {','.join(_HEADER)}")
    a, b, similarity, alpha = [], [], [], []
    try:
        for first, second, value, threshold in rows:
            a.append(first)
            b.append(second)
            similarity.append(float(value))
            alpha.append(float(threshold))
    except (ValueError, csv.Error) as error:
        raise DataError(f"{path}, line {rows.line_num}: {error}; pair again") from None
    return Pairs(tuple(a), tuple(b), np.array(similarity, np.float32), np.array(alpha, float))
