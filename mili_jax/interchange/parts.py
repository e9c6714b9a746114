"""A part of a split of the files: `train`, `train[:20]`, `train[20:25]` or `train[::2]`, by the
numbers of its episodes and counted as Python counts."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from mili_jax.types import ConfigError

_PART = re.compile(r"(.+)\[(-?\d+)?:(-?\d+)?(?::(\d+))?\]")


def split_of(text: str, sizes: Mapping[str, int]) -> str:
    """The split of the files that a text names a part of, or all of."""
    found = None if text in sizes else _PART.fullmatch(text)
    return found[1] if found else text


def numbers_of(text: str, sizes: Mapping[str, int]) -> range:
    """The numbers of the episodes that it names. sizes: episodes by split.

    Raises ConfigError for a step of 0, and for a part that is empty.
    """
    everything = range(sizes[split_of(text, sizes)])
    found = None if text in sizes else _PART.fullmatch(text)
    if found is None:
        return everything
    first, end, step = (None if given is None else int(given) for given in found.groups()[1:])
    if step == 0:
        raise ConfigError(f"splits: {text!r} has a step of 0; it must be at least 1")
    chosen = everything[first:end:step]
    if not chosen:
        raise ConfigError(f"splits: {text!r} has no episode; there are {len(everything)}")
    return chosen


def check_apart(texts: Iterable[str], sizes: Mapping[str, int]) -> None:
    """Raises ConfigError if an episode is in two parts."""
    taken: dict[tuple[str, int], str] = {}
    for text in texts:
        for number in numbers_of(text, sizes):
            other = taken.setdefault((split_of(text, sizes), number), text)
            if other != text:
                raise ConfigError(
                    f"splits: episode {number} is in {other!r} and in {text!r}; an episode goes "
                    "into one split"
                )
