"""The filter F: was a trial useful, yes or no? It never says which task was done.

A filter is given the trials that nobody has answered for, with their pictures, and answers for
those that it can. The configuration names one (`improve.filter`); one of your own is a function as
well, found by an entry point of the group `mili_jax.filters` or as "module:attribute".
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator

from mili_jax.storage.dataset import Dataset
from mili_jax.storage.labels import Answer, Kind, Label
from mili_jax.types import Episode, EpisodeMeta


@dataclasses.dataclass(frozen=True)
class Unanswered:
    """The trials of a split that nobody has answered for, by their ids.

    `success` and `achieved_tasks` of an episode are the oracle's: a filter may not read them.
    """

    dataset: Dataset
    split: str
    ids: frozenset[str]

    def metas(self) -> Iterator[EpisodeMeta]:
        """What is known of each."""
        return (m for m in self.dataset.read_metadata(self.split) if m.episode_id in self.ids)

    def episodes(self) -> Iterator[Episode]:
        """Each with its pictures, one at a time in memory."""
        found = self.dataset.read(self.split)
        return (e for e in found if e.meta.episode_id in self.ids)


Filter = Callable[[Unanswered], list[Label]]


def simulator(trials: Unanswered) -> list[Label]:
    """F by the simulator's own check: some afforded task achieved, nothing off the table.

    Reads the task-agnostic `useful` bit alone.
    """
    return [
        Label(m.episode_id, Answer.of(m.useful), "simulator", Kind.SIMULATOR)
        for m in trials.metas()
    ]


def nobody(trials: Unanswered) -> list[Label]:
    """No answer: people give them all."""
    return []


FILTERS: dict[str, Filter] = {"simulator": simulator, "nobody": nobody}
