"""MILI from demonstrations to report in one command; started again, it goes on where it was.

python -m experiments.mili --config=experiments/configs/mili.py:quick --workdir=runs/quick
"""

from __future__ import annotations

import sys
from pathlib import Path

from absl import app, flags
from ml_collections import config_flags

from mili_jax import stages
from mili_jax.types import MiliError

_CONFIG = config_flags.DEFINE_config_file("config", "experiments/configs/mili.py:quick")
_WORKDIR = flags.DEFINE_string("workdir", "runs/quick", "folder of the run")


def main(argv: list[str]) -> None:
    del argv
    try:
        page = stages.run(_CONFIG.value, Path(_WORKDIR.value))
    except MiliError as error:
        sys.exit(f"{type(error).__name__}: {error}")
    print(f"report: {page}")


if __name__ == "__main__":
    app.run(main)
