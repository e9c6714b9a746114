"""What a row of the sweep is, and how commands are tried in it."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

from ml_collections import ConfigDict
from runs import ROOT

from mili_jax import cli
from mili_jax.pipeline import console
from mili_jax.pipeline.run import Run, open_run
from mili_jax.types import MiliError

LIMIT = 120  # s for a process
_begin: Any = subprocess.Popen


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


def _no_work(config: ConfigDict, path: Path) -> Run:
    """`open_run` for what should have been refused by now."""
    with open_run(config, path).workdir:
        raise AssertionError(f"work began in {path}")


def _no_process(argv: Sequence[str], **given: object) -> subprocess.Popen[bytes]:
    if "mili_jax.cli" in argv:
        raise AssertionError(f"a command began: {argv}")
    return _begin(argv, **given)


def mili(*argv: object) -> str:
    """A command in this process: what it prints. Raises SaidError, without the type of the error,
    if it ends with another code than 0."""
    out, err = io.StringIO(), io.StringIO()
    with (
        mock.patch("mili_jax.pipeline.run.open_run", _no_work),
        mock.patch("subprocess.Popen", _no_process),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        code = console.exit_code(lambda: cli.execute([str(word) for word in argv]))
    if code:
        kind, _, said = err.getvalue().rstrip("\n").partition(": ")
        raise SaidError(said if kind.endswith("Error") else f"code {code}: {err.getvalue()}")
    return out.getvalue()


def process(*argv: object, **environment: str | None) -> str:
    """A command in a process of its own: as `mili`. environment: what is another there, None what
    is not there."""
    given = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
    done = subprocess.run(
        [sys.executable, "-m", "mili_jax.cli", *map(str, argv)],
        env={name: value for name, value in given.items() if value is not None},
        capture_output=True,
        text=True,
        errors="replace",
        timeout=LIMIT,
    )
    if done.returncode:
        kind, _, said = done.stderr.rstrip("\n").partition(": ")
        raise SaidError(said if kind.endswith("Error") else f"{done.returncode}: {done.stderr}")
    return done.stdout + done.stderr


def command(*argv: object) -> Callable[[Path], str]:
    """`mili` with these words."""
    return lambda folder: mili(*argv)
