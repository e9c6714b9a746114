"""Draws the figures of runs again, and writes their tables, from their result rows alone.

  mili figures --rows=runs/compare/results.jsonl --out=figures

--rows may be given several times: what every seed has of all these files is taken together.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from mili_jax.command.parser import Parser, home
from mili_jax.types import ConfigError


def add_arguments(parser: Parser) -> None:
    parser.usage = "mili figures --rows=FILE --out=DIR"
    parser.add_argument(
        "--rows", action="append", metavar="FILE", help="results.jsonl of one run or several"
    )
    parser.add_argument("--out", metavar="DIR", help="folder of the figures")


def run(options: argparse.Namespace) -> None:
    """Writes the figures and prints their paths. Raises ConfigError or DataError."""
    for flag, value in (("--rows=FILE", options.rows), ("--out=DIR", options.out)):
        if not value or (isinstance(value, list) and not all(value)):
            raise ConfigError(f"mili figures needs {flag}")
    draw([home(file) for file in options.rows], home(options.out))


def draw(rows: Sequence[Path], out: Path) -> None:
    """Writes the figures and prints their paths. Raises DataError."""
    from mili_jax.report import results

    for path in results.write_figures(rows, out):
        print(path)
