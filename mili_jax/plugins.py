"""What others bring: a name of ours, a name that their package registers, or `module:attribute`."""

from __future__ import annotations

import functools
import importlib
import importlib.metadata
from collections.abc import Mapping
from typing import Any

from mili_jax.types import ConfigError


def registered(kind: str) -> dict[str, str]:
    """The entry points of the group `mili_jax.<kind>`, where each leads."""
    points = importlib.metadata.entry_points(group=f"mili_jax.{kind}")
    return {point.name: point.value for point in points}


def known(kind: str, name: str, own: Mapping[str, object]) -> bool:
    """Whether `find` would look for it at all; nothing is imported."""
    return name in own or ":" in name or name in registered(kind)


def find(kind: str, name: str, own: Mapping[str, object]) -> Any:
    """The object of that name: one of `own`, an entry point of the group `mili_jax.<kind>`, or what
    "module:attribute" leads to.

    `own` may hold such texts, too, for what should not be imported before it is asked for. Raises
    ConfigError for an unknown name and for what cannot be imported.
    """
    others = {} if name in own else registered(kind)
    where = own[name] if name in own else others.get(name, name)
    if not isinstance(where, str):
        return where
    module, _, attribute = where.partition(":")
    if not attribute and name in others:
        raise ConfigError(
            f"{kind}: {name!r} is registered as {where!r}, which names no attribute of a module; "
            "write it as 'module:attribute' in the pyproject.toml of its package"
        )
    if not attribute:
        raise ConfigError(
            f"{kind}: there is no {name!r}; known are {sorted({*own, *others})}. Yours is "
            f"given as 'module:attribute' or registered by the entry-point group 'mili_jax.{kind}'"
        )
    try:
        return functools.reduce(getattr, attribute.split("."), importlib.import_module(module))
    except (Exception, SystemExit) as error:  # whatever somebody else's module raises
        raise ConfigError(
            f"{kind}: {name!r} cannot be loaded from {where!r} ({type(error).__name__}: {error})"
        ) from error
