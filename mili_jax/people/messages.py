"""What a page sends, as JSON: taken apart field by field, and refused where it is anything else."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn

from mili_jax.people.gate import RefusedError
from mili_jax.storage import fields
from mili_jax.types import DataError

_CLIENT = re.compile(r"[a-z0-9]{8,40}")
LONGEST_NAME = 40  # of an annotator


def parse(
    body: bytes | Mapping[str, object], wanted: Mapping[str, Callable[[object], Any]]
) -> dict[str, Any]:
    """The fields of an object, each through its function. Raises RefusedError (400) naming the one
    that is missing, unknown or cannot be meant."""
    found = load(body) if isinstance(body, bytes) else body
    if found.keys() != wanted.keys():
        odd = sorted(found.keys() ^ wanted.keys())[0]
        what = "unknown" if odd in found else "missing"
        raise RefusedError(400, f"the field {odd[:40]!r} is {what}")
    made = {}
    for name, function in wanted.items():
        try:
            made[name] = function(found[name])
        except (DataError, ValueError, TypeError) as error:
            raise RefusedError(400, f"the field {name!r}: {str(error)[:160]}") from None
    return made


def load(body: bytes) -> dict[str, object]:
    """An object, its fields not looked at yet. Raises RefusedError (400) for anything else."""
    try:
        found = json.loads(body, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise RefusedError(400, f"the message is no JSON ({str(error)[:80]})") from None
    if not isinstance(found, dict):
        raise RefusedError(400, "the message is no object")
    return found


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is no number")


def annotator(value: object) -> str:
    """Who answers: a name of one line, at most 40 letters."""
    name = fields.name(value, "name").strip()
    if not 1 <= len(name) <= LONGEST_NAME:
        raise ValueError(f"a name has 1 to {LONGEST_NAME} letters")
    return name


def client(value: object) -> str:
    """A tab of a browser, by a random word that it has made."""
    if not isinstance(value, str) or not _CLIENT.fullmatch(value):
        raise ValueError("it must be 8 to 40 letters and digits")
    return value


def whole(least: int, most: int) -> Callable[[object], int]:
    """A whole number in these bounds."""

    def check(value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise ValueError(f"it must be a whole number, {least} to {most}")
        return value

    return check


def number(least: float, most: float) -> Callable[[object], float]:
    """A number in these bounds; no bound lets what is not finite pass."""

    def check(value: object) -> float:
        if (
            isinstance(value, bool)
            or not isinstance(value, int | float)
            or not least <= value <= most
        ):
            raise ValueError(f"it must be a number, {least:g} to {most:g}")
        return float(value)

    return check


def boolean(value: object) -> bool:
    """true or false."""
    if not isinstance(value, bool):
        raise ValueError("it must be true or false")
    return value


def one_of(words: Sequence[str]) -> Callable[[object], str]:
    """One of these words."""

    def check(value: object) -> str:
        if not isinstance(value, str) or value not in words:
            raise ValueError(f"it must be one of {', '.join(words)}")
        return value

    return check


def some(item: Callable[[object], Any], most: int) -> Callable[[object], list[Any]]:
    """A list of at most so many."""

    def check(value: object) -> list[Any]:
        if not isinstance(value, list) or len(value) > most:
            raise ValueError(f"it must be a list of at most {most}")
        return [item(each) for each in value]

    return check


def row(*items: Callable[[object], Any]) -> Callable[[object], tuple[Any, ...]]:
    """A list with these things in it."""

    def check(value: object) -> tuple[Any, ...]:
        if not isinstance(value, list) or len(value) != len(items):
            raise ValueError(f"it must be a list of {len(items)}")
        return tuple(item(each) for item, each in zip(items, value, strict=True))

    return check
