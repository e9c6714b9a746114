"""Verifies a run's folder: every shard, label file, pair table, manifest and checkpoint.

It lists what is damaged, with what has to go for it to be made again, and ends with 1 if anything
is. With --repair all that moves to the folder `damaged` in the run's, and the run's own command
makes exactly that again.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from mili_jax.command.parser import Parser, workdir


def add_arguments(parser: Parser) -> None:
    parser.usage = "mili doctor --workdir=DIR [--repair]"
    parser.add_workdir()
    parser.add_argument("--repair", action="store_true", help="take away what is damaged")


def run(options: argparse.Namespace) -> int:
    """Prints what is damaged. Raises ConfigError while a run uses the folder, DataError if it is no
    workdir."""
    return examine(workdir(options), options.repair)


def examine(path: Path, repair: bool) -> int:
    """Prints what is damaged, and takes it away if asked to; returns the exit code."""
    from mili_jax.storage import doctor

    found = doctor.repair(path) if repair else doctor.examine(path)
    for damage in found:
        print(damage.why)
        for file in damage.drop:
            print(f"    {'moved' if repair else 'to go'}: {file}")
    if not found:
        print(f"{path}: nothing is damaged")
    elif repair:
        print("the run's own command goes on from here")
    else:
        again = "the same with --repair takes it away; then the run's own command makes it again"
        print(again, file=sys.stderr)
        return 1
    return 0
