"""The run that tests make: the configuration `test`, made smaller still, and its files."""

from __future__ import annotations

import sys
from pathlib import Path

from experiments.configs.mili import get_config

ROOT = Path(__file__).resolve().parents[1]
SMALL = {
    "data.image_size": 32,
    "data.tasks": 5,
    "data.demonstrations": 2,
    "policy.channels": 8,
    "policy.blocks": 1,
    "policy.places": 4,
    "train.steps": 40,
    "train.checkpoint_every": 5,
    "train.batch": 4,
    "improve.batch": 4,
    "train.policy_steps": 2,
    "improve.trials": 20,
    "improve.steps": 10,
    "improve.alpha": -1.0,
    "evaluate.tasks": 4,
    "evaluate.episodes": 1,
    "machine.processes": 0,  # `finished` has a worker, and must come to the same bits
    "machine.shard": 4,
}


def config(**changes):
    made = get_config("test")
    made.update_from_flattened_dict({**SMALL, **changes})
    return made


def command(module, workdir, *flags):
    """The command line of a binary."""
    small = [f"--config.{field}={value}" for field, value in SMALL.items()]
    flag = "--config=experiments/configs/mili.py:test"
    program = [sys.executable, "-m", f"experiments.{module}", flag, f"--workdir={workdir}"]
    return [*program, *small, *flags]


def data_of(workdir):
    return workdir / "dataset" / "mili" / "1.0.0"


def shards_of(workdir, split):
    return sorted(data_of(workdir).glob(f"mili-{split}.array_record-*"))
