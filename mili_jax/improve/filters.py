"""The filter F: was a trial useful, yes or no? It never says which task was done.

A filter is given the trials that nobody has answered for, with their pictures, and answers for
those that it can. The configuration names one (`improve.filter`); one of your own is a function as
well, found by an entry point of the group `mili_jax.filters` or as "module:attribute".
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator

import numpy as np

from mili_jax.improve import classifier
from mili_jax.storage.dataset import Dataset
from mili_jax.storage.files import Manifest
from mili_jax.storage.labels import Answer, Kind, Label, resolve
from mili_jax.types import DataError, Episode, EpisodeMeta


@dataclasses.dataclass(frozen=True)
class Unanswered:
    """The trials of a split that nobody has answered for, by their ids.

    features: makes features of all N trials of the split, [N,F] in their order, from the pictures
      alone; rows of nan for damaged ones. None where there is no policy.
    report: numbers that the filter wants to be kept with the stage.

    `success` and `achieved_tasks` of an episode are the oracle's: a filter may not read them.
    """

    dataset: Dataset
    split: str
    ids: frozenset[str]
    features: Callable[[], np.ndarray] | None = None
    report: Manifest = dataclasses.field(default_factory=dict)

    def metas(self) -> Iterator[EpisodeMeta]:
        """What is known of each."""
        return (m for m in self.dataset.read_metadata(self.split) if m.episode_id in self.ids)

    def episodes(self) -> Iterator[Episode]:
        """Each with its pictures, one at a time in memory."""
        found = self.dataset.read(self.split)
        return (e for e in found if e.meta.episode_id in self.ids)


# One whose attribute `again` is true is asked about what classifiers have answered before, too, and
# again whenever people have answered more.
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


LEARNED = "learned filter"  # the annotator


class Learned:
    """A classifier that is trained on what people have answered so far (`classifier.decide`).

    It answers where it is sure and leaves the rest to people. After more answers it answers again:
    then it also takes back what it is not sure of any more.
    """

    again = True

    def __call__(self, trials: Unanswered) -> list[Label]:
        """Raises DataError where there is no policy, or too few answers of people."""
        given = trials.dataset.read_labels(trials.split)
        people = resolve(label for label in given if label.kind is Kind.PERSON)
        names = [m.episode_id for m in trials.dataset.read_metadata(trials.split)]
        known = [(k, people[name]) for k, name in enumerate(names) if people.get(name) is not None]
        where = f"{trials.dataset.path}, {trials.split!r}"
        if trials.features is None:
            raise DataError(f"{where}: the learned filter needs a policy, whose encoder it uses")
        number = trials.split.removeprefix("round_")
        advice = f"answer more with `mili label --round={number}`, then the same command goes on"
        if len(known) < classifier.LEAST:
            raise DataError(
                f"{where}: people have answered for {len(known)} of {len(names)} trials; the "
                f"learned filter needs {min(classifier.LEAST, len(names))}: {advice}"
            )
        index = np.array([k for k, _ in known])
        found = classifier.decide(trials.features(), index, np.array([u for _, u in known], bool))
        if found is None:
            raise DataError(
                f"{where}: nearly all {len(known)} answers of people are equal, from which nothing "
                f"can be learned: {advice}"
            )
        trials.report.update(
            people=len(known),
            saved=found.sure,
            precision=round(found.precision, 4) if found.sure else None,
            recall=round(found.recall, 4) if found.sure else None,
            coverage=round(found.coverage, 4),
            audited=found.audited,
        )
        before = {x.episode_id: x.answer for x in given if x.annotator == LEARNED}
        answers = {
            name: Answer.YES if found.yes[k] else Answer.NO if found.no[k] else Answer.UNSURE
            for k, name in enumerate(names)
            if name in trials.ids
        }
        return [
            Label(name, answer, LEARNED, Kind.CLASSIFIER)
            for name, answer in answers.items()
            if answer is not before.get(name, Answer.UNSURE)
        ]


FILTERS: dict[str, Filter] = {"simulator": simulator, "nobody": nobody, "learned": Learned()}
