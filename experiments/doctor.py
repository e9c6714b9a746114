"""Verifies a run's folder: every shard, label file, pair table, manifest and checkpoint.

    python -m experiments.doctor --workdir=runs/run

lists what is damaged, with what has to go for it to be made again, and ends with 1 if anything is.
With --repair all that moves to runs/run/damaged, and the run's own command makes it again.
"""

from __future__ import annotations

import sys
from pathlib import Path

from absl import app, flags

from mili_jax.command import doctor
from mili_jax.pipeline import console
from mili_jax.workers import stopping

_WORKDIR = flags.DEFINE_string("workdir", None, "folder of the run", required=True)
_REPAIR = flags.DEFINE_bool("repair", False, "take away what is damaged")


def main(argv: list[str]) -> int:
    if argv[1:]:
        sys.exit(f"ConfigError: what is {' '.join(argv[1:])!r}? Flags begin with --")
    return console.exit_code(lambda: doctor.examine(Path(_WORKDIR.value), _REPAIR.value))


if __name__ == "__main__":
    stopping.listen()
    app.run(main)
