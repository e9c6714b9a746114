"""What checks annotations of shapes in `test_shapes.py`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from beartype import beartype

F = TypeVar("F", bound=Callable)


def functions(function: F) -> F:
    """Functions and methods are checked, records are not: a tree operation makes them again, and
    its leaves may have more axes, or fewer, or be no arrays at all."""
    return function if function.__name__ == "__init__" else beartype(function)
