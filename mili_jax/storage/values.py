"""Plain values, as files hold them, and what may differ between two configurations of a run."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, TypeGuard, overload

from mili_jax.types import ConfigError

_NAME_RULE = re.compile(r"[a-z][a-z0-9_]*")
_ABSENT = "(absent)"


@overload
def plain(value: Mapping[str, object], field: str = ...) -> dict[str, object]: ...
@overload
def plain(value: object, field: str = ...) -> object: ...
def plain(value: object, field: str = "config") -> object:
    """The value as JSON would bring it back: mappings, lists, text, numbers, booleans, None.

    Anything with `items` counts as a mapping, so an `ml_collections.ConfigDict` does.
    Raises ConfigError naming the field that is none of these, or is not finite.
    """
    if hasattr(value, "items"):
        return {str(key): plain(item, f"{field}.{key}") for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item, f"{field}[{index}]") for index, item in enumerate(value)]
    if isinstance(value, Path):
        return str(value)
    array: Any = value
    if getattr(array, "ndim", None) == 0:  # a number of numpy's or of JAX's
        value = array.item()
    if isinstance(value, float) and not math.isfinite(value):
        raise ConfigError(f"{field} is {value}; it must be finite to be kept in a file")
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise ConfigError(
        f"{field} is of type {type(value).__name__}; use text, numbers, lists or mappings"
    )


def check_same(
    stored: object, asked: object, path: Path, grows: Collection[str] = (), field: str = "config"
) -> None:
    """Raises ConfigError, naming the first field in which a configuration is not the stored one.

    path: of the workdir that it is stored in. grows: fields, such as "improve.rounds", whose number
    may be higher than the stored one.
    """
    if isinstance(stored, dict) and isinstance(asked, dict):
        for key in sorted(stored.keys() | asked.keys()):
            one, other = stored.get(key, _ABSENT), asked.get(key, _ABSENT)
            check_same(one, other, path, grows, f"{field}.{key}")
        return
    if stored == asked:
        return
    said = f"workdir {path} was made with {field} = {stored!r}, now it is {asked!r}"
    if field.partition(".")[2] in grows and _is_number(stored) and _is_number(asked):
        if stored < asked:
            return
        raise ConfigError(f"{said}; it may only grow: take another workdir for less")
    raise ConfigError(
        f"{said}; choose another workdir or go back to that value, as a "
        "command without --config does"
    )


def _is_number(value: object) -> TypeGuard[int | float]:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def without(config: Mapping[str, object], fields: Collection[str]) -> dict[str, object]:
    """A (nested) mapping without these fields, such as "improve.rounds"."""
    kept = {}
    for key, value in config.items():
        inner = [f.partition(".")[2] for f in fields if f.partition(".")[0] == key]
        if "" not in inner:
            kept[key] = without(value, inner) if inner and isinstance(value, Mapping) else value
    return kept


def checked_name(name: str) -> str:
    """The name. Raises ConfigError if it can name neither a stage nor a checkpoint."""
    if not isinstance(name, str) or not _NAME_RULE.fullmatch(name):
        raise ConfigError(f"{name!r} cannot name a stage or checkpoint: use a-z, 0-9 and _")
    return name
