"""Every method on the same demonstrations, trials and test arrangements, over several seeds.

    python -m experiments.compare --config=experiments/configs/mili.py:compare --seeds=0,1,2 \
        --workdir=runs/compare

The same as `mili compare`, where more is said of it.
"""

from __future__ import annotations

import sys
from pathlib import Path

from absl import flags
from ml_collections import ConfigDict

from experiments import command
from mili_jax.command import compare

_SEEDS = flags.DEFINE_list("seeds", ["0", "1", "2"], "training seeds")
_JOBS = flags.DEFINE_integer("jobs", 0, "seeds at a time; 0: one per core", lower_bound=0)
flags.set_default(command.WORKDIR, "runs/compare")


def main(config: ConfigDict, folder: Path) -> None:
    given = command.shared_flags(sys.argv[1:])
    compare.compare(config, folder, given, _SEEDS.value, _JOBS.value)


if __name__ == "__main__":
    command.start(main)
