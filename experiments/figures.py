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

from mili_jax.command import figures
from mili_jax.pipeline import console
from mili_jax.workers import stopping

_ROWS = flags.DEFINE_multi_string("rows", "experiments/results/quick/results.jsonl", "result rows")
_OUT = flags.DEFINE_string("out", "experiments/results/quick", "folder of the figures")


def main(argv: list[str]) -> int:
    if argv[1:]:
        sys.exit(f"ConfigError: what is {argv[1]!r}? Give --rows and --out")
    rows = [Path(file) for file in _ROWS.value]
    return console.exit_code(lambda: figures.draw(rows, Path(_OUT.value)))


if __name__ == "__main__":
    stopping.listen()
    app.run(main)
