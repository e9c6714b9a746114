"""Answers of the filter F, line by line."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

from mili_jax.storage.files import parse_lines
from mili_jax.types import DataError


@dataclasses.dataclass(frozen=True)
class Label:
    """One answer of the filter F: is this trial useful, says whom, when (ISO 8601, "" unknown)."""

    episode_id: str
    useful: bool
    by: str
    time: str = ""


def parse_labels(path: Path, content: bytes) -> Iterator[Label]:
    """Raises DataError naming file and line for what is no label."""
    for number, row in parse_lines(path, content):
        try:
            label = Label(**row)
        except TypeError as error:
            raise DataError(f"{path}, line {number}: not a label ({error})") from None
        if not isinstance(label.useful, bool) or not isinstance(label.episode_id, str):
            raise DataError(f"{path}, line {number}: needs a text episode_id and a bool useful")
        yield label
