"""Which trial is asked about next.

Trials are numbers 0..N-1. A trial is asked about once, and some of them twice:

  uncertain first   of most trials, those whose score is nearest to 1/2
  audit slice       a tenth of the trials, drawn at random whatever their score; every fourth
                    question comes from it in random order, so that what is answered of it at any
                    time is a random sample of all trials
  asked twice       a tenth of the trials is asked again: of another annotator, or of the same one
                    after at least `GAP` other answers

Questions are drawn in batches and sorted by score into pages, so that most of a page has the same
answer. A page belongs to whoever it was given to until they have answered or its lease has run out.
"""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from mili_jax.improve import audit
from mili_jax.improve.audit import uniform

PAGES = 8  # in a batch
AUDIT_SHARE = 4  # every so manieth question is one of the audit slice
REPEATS = 5  # one of so many questions of a page may be one that is asked twice
GAP = 30  # answers of the same annotator between the first asking and the second
LEASE = 600.0  # s
_TWICE, _ORDER = 2, 3  # streams of `uniform`


@dataclasses.dataclass(frozen=True)
class Question:
    """A trial, and 1 if this annotator has not been asked about it, else 2."""

    trial: int
    asked: int = 1


@dataclasses.dataclass(frozen=True)
class Page:
    """Questions that are answered together. likely: whether most of them are useful, as far as is
    known; None if nothing is."""

    number: int
    questions: tuple[Question, ...]
    likely: bool | None


@dataclasses.dataclass
class _Lease:
    page: Page
    until: float


class Queue:
    """What is left to ask, of whom. Not for several threads.

    Args:
      count: trials, N.
      twice: share of the trials that is asked twice.
      now: seconds on some clock.
    """

    def __init__(
        self,
        count: int,
        twice: float = 0.1,
        now: Callable[[], float] = lambda: 0.0,
    ) -> None:
        self.count = count
        self._now = now
        self._audit = audit.audit_slice(count)
        self._twice = uniform(count, _TWICE) < twice
        self._order = uniform(count, _ORDER)
        self._score = np.full(count, np.nan, np.float32)
        self._askings = np.zeros(count, np.int8)  # (annotator, asked) that were answered
        self._gone = np.zeros(count, bool)  # cannot be shown
        self._held = np.zeros(count, np.int16)  # pages that have it at the moment
        self._batch: collections.deque[list[int]] = collections.deque()
        self._leases: dict[str, list[_Lease]] = {}
        self._answered: dict[str, int] = collections.Counter()
        # (annotator, trial) -> askings answered, and after how many answers of theirs the last
        self._seen: dict[tuple[str, int], tuple[int, int]] = {}
        self._pages = 0

    # What happened

    def record(self, annotator: str, trial: int, asked: int) -> None:
        """An answer was given. The same one again, or a correction, changes nothing."""
        before, _ = self._seen.get((annotator, trial), (0, 0))
        if asked <= before:
            return
        self._answered[annotator] += 1
        self._askings[trial] += 1
        self._seen[annotator, trial] = asked, self._answered[annotator]

    def give_up(self, trial: int) -> None:
        """This trial cannot be shown: it is not asked about any more."""
        self._gone[trial] = True
        for client in list(self._leases):
            self.release(client, [Question(trial, 1), Question(trial, 2)])

    def rescore(self, scores: np.ndarray) -> None:
        """P(useful) of every trial, float [N], NaN where nothing is known; from the next batch
        on."""
        if scores.shape != (self.count,):
            raise ValueError(f"scores are {scores.shape}; there are {self.count} trials")
        self._score = scores.astype(np.float32)

    # What is left

    @property
    def answered(self) -> int:
        """Trials that somebody has answered."""
        return int((self._askings > 0).sum())

    @property
    def left(self) -> int:
        """Trials that nobody has answered and that can be shown."""
        return int(((self._askings == 0) & ~self._gone).sum())

    @property
    def gone(self) -> int:
        return int(self._gone.sum())

    def answered_by(self, annotator: str) -> int:
        """Questions that they have answered, those asked twice counted twice."""
        return self._answered[annotator]

    def is_repeated(self, trial: int) -> bool:
        """Whether it is one of those that are asked twice."""
        return bool(self._twice[trial])

    # Pages

    def pages_of(self, client: str) -> list[Page]:
        """The pages that this client was given and has not answered, the oldest first."""
        self._expire()
        return [lease.page for lease in self._leases.get(client, ())]

    def page(self, client: str, annotator: str, size: int) -> Page | None:
        """A new page of at most `size` questions for a client; None if nothing is left to ask."""
        self._expire()
        repeats = self._repeats(annotator)
        fresh = self._fresh(size)
        room = max(size // REPEATS, size - len(fresh)) if fresh else size
        likely = self._likely(fresh)
        again = self._alike(repeats, likely, min(room, size))
        kept = fresh[: size - len(again)]
        self._put_back(fresh[len(kept) :])
        questions = [Question(t, 1) for t in kept]
        questions += [Question(t, self._next_asking(annotator, t)) for t in again]
        if not questions:
            return None
        questions.sort(key=lambda q: self._order[q.trial])  # none shows by its place
        self._pages += 1
        page = Page(self._pages, tuple(questions), likely)
        self._lease(client, page)
        return page

    def claim(self, client: str, questions: Iterable[Question]) -> None:
        """A client that was here before this server says which questions it still has."""
        held = {q for lease in self._leases.get(client, ()) for q in lease.page.questions}
        missing = tuple(q for q in questions if q not in held and not self._gone[q.trial])
        if missing:
            self._pages += 1
            self._lease(client, Page(self._pages, missing, None))

    def release(self, client: str, questions: Iterable[Question]) -> None:
        """These questions of a client were answered, or are given back."""
        done = set(questions)
        left = []
        for lease in self._leases.pop(client, []):
            rest = tuple(q for q in lease.page.questions if q not in done)
            for q in lease.page.questions:
                self._held[q.trial] -= q in done
            if rest:
                left.append(_Lease(dataclasses.replace(lease.page, questions=rest), lease.until))
        if left:
            self._leases[client] = left

    def upcoming(self, size: int) -> list[int]:
        """Trials that will be on the next pages of so many questions, the next ones first."""
        if not self._batch:
            self._draw(size)
        return [trial for page in self._batch for trial in page]

    def _lease(self, client: str, page: Page) -> None:
        for q in page.questions:
            self._held[q.trial] += 1
        self._leases.setdefault(client, []).append(_Lease(page, self._now() + LEASE))

    def _expire(self) -> None:
        now = self._now()
        for client, leases in list(self._leases.items()):
            for lease in [lease for lease in leases if lease.until < now]:
                self.release(client, lease.page.questions)

    def _fresh(self, size: int) -> list[int]:
        """Up to `size` trials that nobody has answered or holds, alike in their scores."""
        found: list[int] = []
        while len(found) < size:
            # Not across two batches: the end of one is unlike the beginning of the next.
            if not self._batch and (found or not self._draw(size)):
                break
            found += [t for t in self._batch.popleft() if self._is_open(t)]
        self._put_back(found[size:])
        return found[:size]

    def _is_open(self, trial: int) -> bool:
        return not (self._askings[trial] or self._held[trial] or self._gone[trial])

    def _put_back(self, trials: Sequence[int]) -> None:
        if trials:
            self._batch.appendleft(list(trials))

    def _draw(self, size: int) -> bool:
        """Fills the batch; False if there is nothing to fill it with."""
        open_ = (self._askings == 0) & (self._held == 0) & ~self._gone
        most = PAGES * size
        audit = _first(self._order, np.flatnonzero(open_ & self._audit), most)
        others = np.flatnonzero(open_ & ~self._audit)
        sure = np.nan_to_num(np.abs(self._score - 0.5), nan=0.0)
        others = _first(np.round(sure, 4) + 1e-6 * self._order, others, most)
        share = max(most // AUDIT_SHARE, most - len(others))
        audit = audit[:share]
        drawn = np.concatenate([audit, others[: most - len(audit)]]).astype(int)
        known = np.nan_to_num(self._score[drawn], nan=0.5)
        drawn = drawn[np.lexsort((self._order[drawn], known))]
        self._batch.extend(drawn[i : i + size].tolist() for i in range(0, len(drawn), size))
        return bool(len(drawn))

    def _repeats(self, annotator: str) -> list[int]:
        """Trials that are asked twice, were answered once, and are due for this annotator: first
        those that somebody else has answered."""
        due = np.flatnonzero(self._twice & (self._askings == 1) & (self._held == 0) & ~self._gone)
        mine = self._answered[annotator]
        nothing_else = not self.left
        found = []
        for trial in due.tolist():
            _, at = self._seen.get((annotator, trial), (0, -GAP))
            if nothing_else or mine - at >= GAP:
                found.append(trial)
        return sorted(found, key=lambda t: ((annotator, t) in self._seen, self._order[t]))

    def _alike(self, trials: list[int], likely: bool | None, most: int) -> list[int]:
        """The first `most`, those whose score fits the page before the others."""
        if likely is None:
            return trials[:most]
        fits = [(self._score[t] > 0.5) == likely for t in trials]
        return [t for _, t in sorted(zip(fits, trials, strict=True), key=lambda x: not x[0])][:most]

    def _likely(self, trials: Sequence[int]) -> bool | None:
        known = self._score[list(trials)] if trials else np.zeros(0)
        known = known[~np.isnan(known)]
        return bool(known.mean() > 0.5) if len(known) else None

    def _next_asking(self, annotator: str, trial: int) -> int:
        return min(self._seen.get((annotator, trial), (0, 0))[0] + 1, 2)


def _first(key: np.ndarray, among: np.ndarray, most: int) -> np.ndarray:
    """Those of `among`, int [n], with the lowest keys, in that order, at most so many."""
    values = key[among]
    if len(among) > most:
        keep = np.argpartition(values, most)[:most]
        among, values = among[keep], values[keep]
    return among[np.argsort(values, kind="stable")]
