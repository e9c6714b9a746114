"""How far people agree with themselves and with each other: Cohen's kappa."""

from __future__ import annotations

import collections
import itertools
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from mili_jax.storage.labels import Answer, Kind, Label


class Agreement(NamedTuple):
    """Of n trials that were answered twice, the share of equal answers, and Cohen's kappa: 1 where
    all are equal, 0 where as many are as chance would give. kappa is None where chance alone would
    make all equal, or n is 0."""

    n: int
    share: float
    kappa: float | None


def cohen(pairs: Sequence[tuple[Answer, Answer]]) -> Agreement:
    """Of pairs of answers, the first ones by one annotator and the second ones by another.

    kappa = (p_o - p_e) / (1 - p_e): p_o is the share of equal pairs, p_e what independent answers
    with the same frequencies would have (Cohen 1960).
    """
    n = len(pairs)
    if not n:
        return Agreement(0, 0.0, None)
    same = sum(a == b for a, b in pairs) / n
    first, second = (collections.Counter(side) for side in zip(*pairs, strict=True))
    chance = sum(first[answer] * second[answer] for answer in Answer) / n**2
    return Agreement(n, same, None if chance == 1 else (same - chance) / (1 - chance))


def within(labels: Iterable[Label]) -> Agreement:
    """Of people with themselves: those that were asked a second time, and their first answer."""
    last = _last(labels)
    pairs = [
        (answer, last[name, who, 2])
        for (name, who, asked), answer in last.items()
        if asked == 1 and (name, who, 2) in last
    ]
    return cohen(pairs)


def between(labels: Iterable[Label]) -> Agreement:
    """Of any two people with each other, on what each saw for the first time."""
    by_trial: dict[str, dict[str, Answer]] = {}
    for (name, who, asked), answer in _last(labels).items():
        if asked == 1:
            by_trial.setdefault(name, {})[who] = answer
    pairs = [
        (given[a], given[b])
        for given in by_trial.values()
        for a, b in itertools.combinations(sorted(given), 2)
    ]
    return cohen(pairs)


def _last(labels: Iterable[Label]) -> dict[tuple[str, str, int], Answer]:
    """The last answer of each person to each asking: corrections count, what they correct does
    not."""
    people = (label for label in labels if label.kind is Kind.PERSON)
    return {(label.episode_id, label.annotator, label.asked): label.answer for label in people}
