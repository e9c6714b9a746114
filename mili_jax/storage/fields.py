"""Values that somebody hands in to be stored: checked, and converted to what a file holds.

Each function returns the plain Python value, or raises DataError that names the field and says what
was given. Numpy's scalars and arrays of no dimension count as what they hold.
"""

from __future__ import annotations

import math
import unicodedata

from mili_jax.given import plain
from mili_jax.types import DataError

NAME_LENGTH = 500  # characters of an episode's id or an annotator's name


def text(value: object, field: str) -> str:
    """A text that UTF-8 can say."""
    value = plain(value)
    if not isinstance(value, str):
        raise _refused(value, field, "a text")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise _refused(value, field, "a text without lone surrogates") from None
    return str(value)


def name(value: object, field: str) -> str:
    """A text of one line that can name something: 1 to 500 characters, none of them a control."""
    value = text(value, field)
    if not 0 < len(value) <= NAME_LENGTH:
        raise DataError(f"{field} has {len(value)} characters; it must have 1 to {NAME_LENGTH}")
    if any(unicodedata.category(c) in ("Cc", "Zl", "Zp") for c in value):
        raise _refused(value, field, "one line without control characters")
    return value


def texts(value: object, field: str) -> tuple[str, ...]:
    """Texts in their order. A text alone is none: its letters are not meant."""
    if not isinstance(value, (tuple, list)):
        raise _refused(value, field, "a tuple of texts")
    return tuple(text(item, f"{field}[{i}]") for i, item in enumerate(value))


def boolean(value: object, field: str) -> bool:
    """True or False, or the whole number 1 or 0."""
    found = plain(value)
    if isinstance(found, int) and found in (0, 1):
        return bool(found)
    raise _refused(value, field, "True or False")


def integer(value: object, field: str) -> int:
    """A whole number of 64 bits."""
    found = plain(value)
    if not isinstance(found, int) or isinstance(found, bool) or not -(2**63) <= found < 2**63:
        raise _refused(value, field, "a whole number of 64 bits")
    return int(found)


def number(value: object, field: str) -> float:
    """A finite number."""
    held = plain(value)
    if isinstance(held, (int, float)) and not isinstance(held, bool):
        try:
            if math.isfinite(found := float(held)):
                return found
        except OverflowError:
            pass
    raise _refused(value, field, "a finite number")


def _refused(value: object, field: str, wanted: str) -> DataError:
    shown = repr(value)
    shown = shown if len(shown) <= 60 else f"{shown[:57]}..."
    return DataError(f"{field} is {shown} ({type(value).__name__}); it must be {wanted}")
