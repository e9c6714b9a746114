"""Answers of people on their way to the label file, where each is before it is acknowledged."""

from __future__ import annotations

import dataclasses
import datetime
import statistics
import threading
import time
from collections import Counter, deque

import numpy as np

from mili_jax.people import agreement
from mili_jax.people.questions import Page, Question, Queue
from mili_jax.people.trials import Trials
from mili_jax.storage.labels import Answer, Kind, Label

ACTIVE = 60.0  # s after the last sign of an annotator in which they count as here
RECENT = 200  # answers over which the seconds per answer are taken
LONGEST = 3600.0  # s that an answer can have taken


@dataclasses.dataclass(frozen=True)
class Given:
    """An answer as a page sends it; `question` says of what."""

    question: Question
    answer: Answer
    seconds: float


class Answers:
    """The answers of a split, and what is left to ask. Any thread may use it.

    The same answer twice is one: a page that got no acknowledgement sends it again. What differs
    from the annotator's last answer to the same asking is a correction, and is kept as well.
    """

    def __init__(self, trials: Trials, queue: Queue) -> None:
        self.trials, self.queue = trials, queue
        self._lock = threading.Lock()
        # (trial, annotator, asked) -> answer
        self._last: dict[tuple[int, str, int], Answer] = {}
        self._seconds: deque[float] = deque(maxlen=RECENT)
        self._seen: dict[str, tuple[str, float]] = {}  # client -> (annotator, when)
        self._labels_read = False

    @property
    def ready(self) -> bool:
        """Whether earlier answers are known, so that nothing is asked again without a reason."""
        return self._labels_read

    def load(self) -> None:
        """Reads the answers that are there. Raises DataError if they are damaged.

        Where people have answered before, the names of all trials are needed: it waits for
        `Trials.read_names`.
        """
        labels = self.trials.dataset.read_labels(self.trials.split)
        people = [label for label in labels if label.kind is Kind.PERSON]
        if people:
            self.trials.read_names()
            names = self.trials.names
            if names is None:  # it was asked to end
                return
            number = {name: k for k, name in enumerate(names) if name is not None}
            with self._lock:
                for label in people:
                    if (trial := number.get(label.episode_id)) is not None:
                        self._take(trial, label)
        self._labels_read = True

    def _take(self, trial: int, label: Label) -> None:
        self._last[trial, label.annotator, label.asked] = label.answer
        self.queue.record(label.annotator, trial, label.asked)

    # Pages

    def page(self, client: str, annotator: str, size: int, held: list[Question]) -> Page | None:
        """The next page for a client: one that it was given and never got, else a new one.

        held: questions that it has on its pages, or has answered and not sent yet.
        """
        with self._lock:
            self._seen[client] = annotator, time.monotonic()
            here = set(held)
            given = self.queue.pages_of(client)
            # An answer may have overtaken this message: what it answered is not asked again.
            open_ = [q for q in held if (q.trial, annotator, q.asked) not in self._last]
            self.queue.claim(client, open_)
            for page in given:
                if not here & set(page.questions):
                    return page
            return self.queue.page(client, annotator, size)

    def upcoming(self, size: int, most: int) -> list[int]:
        """The first of the trials that will be on the next pages of so many questions."""
        with self._lock:
            return self.queue.upcoming(size)[:most]

    def give_up(self, trial: int) -> None:
        with self._lock:
            self.queue.give_up(trial)

    def rescore(self, scores: np.ndarray) -> None:
        with self._lock:
            self.queue.rescore(scores)

    # Answers

    def give(self, client: str, annotator: str, given: list[Given]) -> int:
        """Keeps answers; returns how many were new. They are on the disk when it returns.

        Raises DataError if the disk refuses them: none of them is kept then.
        """
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
        with self._lock:
            self._seen[client] = annotator, time.monotonic()
            fresh: dict[tuple[int, str, int], Label] = {}
            for each in given:
                key = each.question.trial, annotator, each.question.asked
                if self._last.get(key) is each.answer:
                    fresh.pop(key, None)
                    continue
                fresh[key] = Label(
                    self.trials.name(each.question.trial),
                    each.answer,
                    annotator,
                    Kind.PERSON,
                    now,
                    round(min(each.seconds, LONGEST), 3),
                    each.question.asked,
                )
            if fresh:
                self.trials.dataset.write_labels(self.trials.split, fresh.values())
            for (trial, _, _), label in fresh.items():
                self._take(trial, label)
                self._seconds.append(label.seconds or 0.0)
            self.queue.release(client, [each.question for each in given])
            return len(fresh)

    def last(self, trial: int, annotator: str, asked: int) -> Answer | None:
        """What this annotator said."""
        with self._lock:
            return self._last.get((trial, annotator, asked))

    def numbers(self) -> tuple[list[int], list[bool | None]]:
        """Trials that people have answered, and what most of them say of each: True, False or None
        for a tie or where all are unsure."""
        with self._lock:
            last: dict[int, dict[str, Answer]] = {}
            for (trial, who, _), answer in self._last.items():
                last.setdefault(trial, {})[who] = answer  # of two askings the second
        said: list[bool | None] = []
        for answers in last.values():
            lead = sum((a is Answer.YES) - (a is Answer.NO) for a in answers.values())
            said.append(None if lead == 0 else lead > 0)
        return list(last), said

    def progress(self, annotator: str) -> dict[str, object]:
        """What a page shows of how far it is."""
        with self._lock:
            now = time.monotonic()
            here = {who for who, at in self._seen.values() if now - at < ACTIVE} - {annotator}
            counts = Counter(str(answer) for answer in self._last.values())
            labels = [
                Label(str(trial), answer, who, asked=asked)
                for (trial, who, asked), answer in self._last.items()
                if asked == 2 or self.queue.is_repeated(trial)
            ]
            seconds = list(self._seconds)
            shown: dict[str, object] = {
                "total": len(self.trials),
                "answered": self.queue.answered,
                "left": self.queue.left,
                "damaged": self.queue.gone,
                "mine": self.queue.answered_by(annotator),
                "others": sorted(here),
                "counts": {str(answer): counts[str(answer)] for answer in Answer},
                "seconds": round(statistics.median(seconds), 2) if seconds else None,
            }
        shown["self"] = _said(agreement.within(labels))
        shown["between"] = _said(agreement.between(labels))
        return shown


def _said(found: agreement.Agreement) -> dict[str, object]:
    kappa = None if found.kappa is None else round(found.kappa, 3)
    return {"n": found.n, "share": round(found.share, 3), "kappa": kappa}
