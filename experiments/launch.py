"""Submits seeds, and stages, to a cluster: the same commands as on one machine, in other places.

    python -m experiments.launch --config=experiments/configs/mili.py:run --workdir=runs/sweep \
        --seeds=0,1,2 --on=slurm --options=slurm_partition=gpu,gpus_per_node=1,timeout_min=720

The same as `mili launch`, where more is said of it. The stage `filter` may be called `label` here,
and `run` `mili`, as the binaries are.
"""

from __future__ import annotations

import sys
from pathlib import Path

from absl import flags
from ml_collections import ConfigDict

from experiments import command
from mili_jax.command import launch
from mili_jax.command.jobs import Job

__all__ = ["Job"]
_SEEDS = flags.DEFINE_list("seeds", ["0"], "seeds of training, one run each")
_STAGES = flags.DEFINE_list("stages", ["mili"], "stages in their order; each: one job per stage")
_ON = flags.DEFINE_enum("on", "local", launch.PLACES, "where")
_OPTIONS = flags.DEFINE_list("options", [], "parameters of submitit's executor, name=value")
flags.set_default(command.WORKDIR, "runs/sweep")


def main(config: ConfigDict, folder: Path) -> None:
    given = command.shared_flags(sys.argv[1:])
    launch.launch(config, folder, given, _SEEDS.value, _STAGES.value, _ON.value, _OPTIONS.value)


if __name__ == "__main__":
    command.start(main)
