"""Answers to "did this trial do anything useful?", as people and machines give them.

A file holds all answers that were ever given, one a line; nothing is overwritten. What training
reads is one rule, `resolve`:

  - Of each annotator the last answer for an episode counts.
  - Where a person has answered, people alone count. A classifier's or a simulator's answer counts
    only where no person has given one, be it unsure.
  - The answer is what more of them say, yes or no. Who is unsure says neither, and a tie is no
    answer.
"""

from __future__ import annotations

import dataclasses
import datetime
import enum
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from mili_jax.storage import fields
from mili_jax.storage.files import Manifest, parse_line
from mili_jax.types import DataError


class Answer(enum.StrEnum):
    """Whether a trial did anything useful."""

    YES = "yes"
    NO = "no"
    UNSURE = "unsure"

    @staticmethod
    def of(value: object) -> Answer:
        """The answer that is meant: one of these, its word, or True or False.

        Raises DataError for anything else.
        """
        if isinstance(value, str) and value in list(Answer):
            return Answer(value)
        try:
            return Answer.YES if fields.boolean(value, "answer") else Answer.NO
        except DataError as error:
            raise DataError(f"{error}, or one of {', '.join(Answer)}") from None


class Kind(enum.StrEnum):
    """What an annotator is. People overrule the others."""

    PERSON = "person"
    CLASSIFIER = "classifier"
    SIMULATOR = "simulator"


@dataclasses.dataclass(frozen=True)
class Label:
    """One answer.

    annotator: who gave it; a machine that answers again under its name overrules itself.
    time: when, ISO 8601, "" if unknown. seconds: that the answer took, None if unknown.
    asked: 1 where the annotator saw the episode for the first time, 2 where it was shown again to
      see whether the answer is the same. A correction has the number of what it corrects.

    Values are converted (see `fields` and `Answer.of`). Raises DataError naming the field that
    cannot be meant.
    """

    episode_id: str
    answer: Answer
    annotator: str
    kind: Kind = Kind.PERSON
    time: str = ""
    seconds: float | None = None
    asked: int = 1

    def __post_init__(self) -> None:
        episode_id = fields.text(self.episode_id, "episode_id")
        try:
            checked = {
                "episode_id": episode_id,
                "answer": Answer.of(self.answer),
                "annotator": fields.name(self.annotator, "annotator"),
                "kind": _kind(self.kind),
                "time": _time(self.time),
                "seconds": None if self.seconds is None else _seconds(self.seconds),
                "asked": _asked(self.asked),
            }
        except DataError as error:
            raise DataError(f"label of {episode_id[:60]!r}: {error}") from None
        for field, value in checked.items():
            object.__setattr__(self, field, value)

    def row(self) -> dict[str, object]:
        """What a label file holds of it. A first asking is not mentioned: files from before there
        were others have the same lines."""
        row = dataclasses.asdict(self)
        return {k: v for k, v in row.items() if (k, v) != ("asked", 1)}


def _kind(value: object) -> Kind:
    if isinstance(value, str) and value in list(Kind):
        return Kind(value)
    raise DataError(f"kind is {value!r}; it must be one of {', '.join(Kind)}")


def _time(value: object) -> str:
    if isinstance(value, datetime.datetime):
        return value.isoformat()
    value = fields.text(value, "time")
    try:
        if value:
            datetime.datetime.fromisoformat(value)
    except ValueError:
        raise DataError(f"time is {value[:60]!r}; it must be ISO 8601, or '' if unknown") from None
    return value


def _asked(value: object) -> int:
    if (found := fields.integer(value, "asked")) < 1:
        raise DataError(f"asked is {found}; it counts from 1")
    return found


def _seconds(value: object) -> float:
    if (found := fields.number(value, "seconds")) < 0:
        raise DataError(f"seconds is {found}; it must not be negative")
    return found


def resolve(answers: Iterable[Label]) -> dict[str, bool | None]:
    """What training reads of all answers, in the order in which they were given: by episode id
    True, False, or None where the rule above gives no answer. An episode that nobody has answered
    is not in it."""
    given: dict[str, dict[tuple[Kind, str], Answer]] = {}
    for label in answers:
        given.setdefault(label.episode_id, {})[label.kind, label.annotator] = label.answer
    return {episode_id: _verdict(last) for episode_id, last in given.items()}


def _verdict(last: Mapping[tuple[Kind, str], Answer]) -> bool | None:
    people = [answer for (kind, _), answer in last.items() if kind is Kind.PERSON]
    counted = people or list(last.values())
    lead = counted.count(Answer.YES) - counted.count(Answer.NO)
    return None if lead == 0 else lead > 0


def parse_labels(path: Path, content: bytes) -> Iterator[Label]:
    """The answers of a label file, in its order. Raises DataError naming file and line for what is
    no answer."""
    for number, line in _lines(content):
        yield _parse(path, number, line)


def split_labels(path: Path, content: bytes) -> tuple[bytes, list[DataError]]:
    """The lines of a label file that can be read, and what is wrong with each of the others."""
    good, bad = [], []
    for number, line in _lines(content):
        try:
            _parse(path, number, line)
            good.append(line + b"\n")
        except DataError as error:
            bad.append(error)
    return b"".join(good), bad


def _lines(content: bytes) -> Iterator[tuple[int, bytes]]:
    lines = content.split(b"\n")
    return enumerate(lines[:-1] if lines[-1] == b"" else lines, start=1)


def _parse(path: Path, number: int, line: bytes) -> Label:
    row: Manifest = parse_line(path, number, line)  # of any type: `Label` checks them
    try:
        return Label(**(_of_old(row) if "useful" in row else row))
    except (DataError, TypeError) as error:
        raise DataError(f"{path}, line {number}: not a label ({error})") from None


def _of_old(row: Mapping[str, object]) -> dict[str, object]:
    """A line from before there were three answers: `useful`, a bool, and `by`, who said so."""
    by, time = row.get("by"), row.get("time", "")
    kinds = (Kind.SIMULATOR, Kind.CLASSIFIER)
    try:
        time = _time(time)
    except DataError:  # nobody looked at it when it was written
        time = ""
    return {
        "episode_id": row.get("episode_id"),
        "answer": fields.boolean(row["useful"], "useful"),
        "annotator": by or "unknown",
        # Only the loop itself signed as a machine; whoever else answered may have been a person.
        "kind": Kind(by) if isinstance(by, str) and by in list(kinds) else Kind.PERSON,
        "time": time,
    }
