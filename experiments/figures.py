"""Draws the figures of runs again, and writes their tables, from their result rows alone.

    python -m experiments.figures --rows=experiments/results/quick/results.jsonl \
        --out=experiments/results/quick

--rows may be given several times: what every seed has of all these files is taken together. The
README's figure is `improvement.png` of compare and more_seeds:

    python -m experiments.figures --rows=experiments/results/compare/results.jsonl \
        --rows=experiments/results/more_seeds/results.jsonl --out=experiments/results/more_seeds
"""

from __future__ import annotations

import sys
from pathlib import Path

from absl import app, flags

from mili_jax.report import results
from mili_jax.types import ConfigError, MiliError

_ROWS = flags.DEFINE_multi_string("rows", "experiments/results/quick/results.jsonl", "result rows")
_OUT = flags.DEFINE_string("out", "experiments/results/quick", "folder of the figures")


def main(argv: list[str]) -> None:
    """Writes the figures and prints their paths."""
    try:
        if argv[1:]:
            raise ConfigError(f"what is {argv[1]!r}? Give --rows and --out")
        for path in results.write_figures([Path(rows) for rows in _ROWS.value], Path(_OUT.value)):
            print(path)
    except MiliError as error:
        sys.exit(f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    app.run(main)
