"""Writes a trained policy as a folder of its own, which can be copied or shipped, with its model
card. `mili_jax.load_policy(DIR)` gives it back.

  mili pack runs/run --policy=pretrain --out=runs/packed

The card is made from the run's own rows. A folder that was packed before is replaced, anything else
is left alone.
"""

from __future__ import annotations

import argparse

from mili_jax.command.parser import Parser, home, workdir
from mili_jax.types import ConfigError


def add_arguments(parser: Parser) -> None:
    parser.usage = "mili pack --workdir=DIR --out=DIR [--policy=NAME] [--note=TEXT]"
    parser.add_workdir()
    parser.add_argument("--out", metavar="DIR", help="folder to write, whose name it gets")
    parser.add_argument(
        "--policy",
        default="",
        metavar="NAME",
        help="of the run, pretrain or mili_1 for instance; else what the loop ends with",
    )
    parser.add_argument(
        "--note", default="", metavar="TEXT", help="a sentence for the card, beside its facts"
    )


def run(options: argparse.Namespace) -> None:
    """Writes it and prints its size and place. Raises ConfigError or DataError."""
    path = workdir(options)
    if not options.out:
        raise ConfigError("mili pack needs --out=DIR")
    out = home(options.out)
    from mili_jax.pipeline.pack import pack
    from mili_jax.storage import packed

    made = pack(path, out, options.policy, options.note)
    size = sum((out / name).stat().st_size for name in (*packed.FILES, packed.SUMS))
    print(f"{made.facts['made']['policy']}, {size / 2**20:.1f} MB, {len(made.rows)} result rows")
    print(out)
