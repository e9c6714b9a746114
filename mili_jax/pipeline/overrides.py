"""Fields of a configuration as people write them on a command line: `section.field=value`."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable

from ml_collections import ConfigDict

from mili_jax.pipeline.schema import FIELDS, TOP, ConfigField
from mili_jax.types import ConfigError

BY_NAME = {field.name: field for field in (*TOP, *FIELDS)}
_TRUTHS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


def override(config: ConfigDict, changes: Iterable[tuple[str, str]]) -> None:
    """Sets fields of a configuration from text.

    Args:
      changes: `section.field` and its value as text: a number, True or False, a word, and for
        several words `a,b` or `('a', 'b')`.

    Raises ConfigError for a field that does not exist, with the name that is nearest, and for a
    value that may not be.
    """
    for name, text in changes:
        config.update_from_flattened_dict({name: converted(find(name), text)})


def find(name: str) -> ConfigField:
    """The field `section.field`. Raises ConfigError, with the name that is nearest."""
    if name in BY_NAME:
        return BY_NAME[name]
    section, _, last = name.rpartition(".")
    inside = [known for known in BY_NAME if section and known.startswith(f"{section}.")]
    where, called = (f"config.{section}", last) if inside else ("config", name)
    raise ConfigError(f"{where} has no field {called!r}{_nearest(name, inside)}")


def _nearest(name: str, inside: list[str]) -> str:
    """inside: the fields of the section that the name has, if there is such a section."""
    last = name.rpartition(".")[2]
    ends = {known.rpartition(".")[2]: known for known in inside}
    near = [ends[end] for end in difflib.get_close_matches(last, ends, 1, 0.75)]
    # Or the right name in the wrong section, or in none.
    found = near or [known for known in BY_NAME if known.rpartition(".")[2] == last]
    found = found or difflib.get_close_matches(name, BY_NAME, 1, 0.75)
    if found:
        return f"; did you mean {' or '.join(f'config.{known}' for known in found)}?"
    if inside:
        return f"; it has {', '.join(ends)}"
    return "; `mili config run` lists all"


def converted(field: ConfigField, text: str) -> object:
    """The value that a text stands for. Raises ConfigError, naming the field, if it may not be."""
    try:
        value = _converted(type(field.default), text.strip())
    except ValueError:
        value = text  # of the wrong type, which the field says
    field.check(value)
    return value


def _converted(kind: type, text: str) -> object:
    """Raises ValueError for a text that stands for nothing of the kind."""
    if kind is bool:
        if text.lower() not in _TRUTHS:
            raise ValueError
        return _TRUTHS[text.lower()]
    if kind is tuple:
        return _words(text)
    if kind is str:
        return _unquoted(text)
    number = kind(text)
    if not math.isfinite(number):
        raise ValueError
    return number


def _words(text: str) -> tuple[str, ...]:
    """`a,b`, `(a, b)`, `('a', 'b')`, `['a']`; nothing and `()` are none."""
    if text[:1] + text[-1:] in ("()", "[]"):
        text = text[1:-1]
    words = [_unquoted(word.strip()) for word in text.split(",")]
    if words[-1] == "":  # ('a',)
        words.pop()
    return tuple(words)


def _unquoted(text: str) -> str:
    if len(text) >= 2 and text[0] == text[-1] and text[0] in "'\"":
        return text[1:-1]
    return text
