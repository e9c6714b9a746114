"""Verifies a run's folder: every shard, label file, pair table, manifest and checkpoint.

    python -m experiments.doctor --workdir=runs/quick

lists what is damaged, with what has to go for it to be made again, and ends with 1 if anything is.
With --repair all that moves to runs/quick/damaged, and the run's own command makes it again.
"""

from __future__ import annotations

import sys
from pathlib import Path

from absl import app, flags

from mili_jax.storage import doctor
from mili_jax.types import MiliError

_WORKDIR = flags.DEFINE_string("workdir", None, "folder of the run", required=True)
_REPAIR = flags.DEFINE_bool("repair", False, "take away what is damaged")


def main(argv: list[str]) -> None:
    if argv[1:]:
        sys.exit(f"ConfigError: what is {' '.join(argv[1:])!r}? Flags begin with --")
    path = Path(_WORKDIR.value)
    try:
        found = doctor.repair(path) if _REPAIR.value else doctor.examine(path)
    except MiliError as error:
        sys.exit(f"{type(error).__name__}: {error}")
    for damage in found:
        print(damage.why)
        for file in damage.drop:
            print(f"    {'moved' if _REPAIR.value else 'to go'}: {file}")
    if not found:
        print(f"{path}: nothing is damaged")
    elif _REPAIR.value:
        print("the run's own command goes on from here")
    else:
        sys.exit("the same with --repair takes it away; then the run's own command makes it again")


if __name__ == "__main__":
    app.run(main)
