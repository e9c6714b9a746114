"""Values that somebody hands in: checked at the border, and kept as plain Python values.

Each function returns the value, or raises an error that says what it is of and what it must be.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from mili_jax.types import ConfigError, DataError, MiliError


def plain(value: object) -> object:
    """Numpy's scalars and arrays of no dimension as what they hold."""
    return value.item() if getattr(value, "ndim", None) == 0 and hasattr(value, "item") else value


def number(value: object, what: str, positive: bool = False) -> float:
    """A finite number."""
    found: Any = plain(value)
    typed = isinstance(found, (int, float)) and not isinstance(found, bool)
    if typed and math.isfinite(found) and (found > 0 or not positive):
        return found
    wanted = "positive number" if positive else "finite number"
    raise ConfigError(f"{what} is {value!r} ({type(value).__name__}); it must be a {wanted}")


def whole(
    value: object,
    what: str,
    low: int = 0,
    high: int | None = None,
    error: type[MiliError] = ConfigError,
) -> int:
    """A whole number within bounds."""
    found = plain(value)
    typed = isinstance(found, int) and not isinstance(found, bool)
    if typed and isinstance(found, int) and low <= found and (high is None or found <= high):
        return found
    limits = f"at least {low}" if high is None else f"{low}..{high}"
    raise error(f"{what} must be {limits}, a whole number, is {value!r}")


def reals(values: object, what: str) -> np.ndarray:
    """An array of real numbers, of whatever shape. Raises DataError."""
    try:
        found = np.asarray(values)
    except ValueError:  # rows of unlike lengths
        found = np.zeros((), object)
    if found.dtype.kind not in "fiub" and found.size:
        raise DataError(f"{what} must be an array of real numbers, is {str(values)[:60]!r}")
    return found
