"""What a row of the sweep is, and how commands are tried in it."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from mili_jax import cli
from mili_jax.pipeline import console
from mili_jax.types import MiliError


class Row(NamedTuple):
    """One input.

    given: what, in words. call: tries it in an empty folder, which is the current one.
    right: what the typed error says, a regular expression, or what holds for the result.
    files: what is put into the folder first. before: or what puts it there.
    leaves: whether the call may leave files; else the folder holds afterwards what it held before.
    """

    given: str
    call: Callable[[Path], object]
    right: str | Callable[[Any], bool]
    files: Mapping[str, str | bytes] = {}
    before: Callable[[Path], object] | None = None
    leaves: bool = False


class SaidError(MiliError):
    """What a command has said on stderr before it ended with 1."""


def mili(*argv: object) -> str:
    """A command in this process: what it prints. Raises SaidError, without the type of the error,
    if it ends with another code than 0."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = console.exit_code(lambda: cli.execute([str(word) for word in argv]))
    if code:
        kind, _, said = err.getvalue().rstrip("\n").partition(": ")
        raise SaidError(said if kind.endswith("Error") else f"code {code}: {err.getvalue()}")
    return out.getvalue()


def command(*argv: object) -> Callable[[Path], str]:
    """`mili` with these words."""
    return lambda folder: mili(*argv)
