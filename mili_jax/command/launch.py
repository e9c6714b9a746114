"""Submits seeds, and stages, to a cluster: the same commands as on one machine, in other places.

  mili launch --config=run --workdir=runs/sweep --seeds=0,1,2 --on=slurm \\
      --options=slurm_partition=gpu,gpus_per_node=1,timeout_min=720

does `mili run` for every seed in DIR/seed_<n>. With --stages=each every stage is a job of its own,
after the one before it; --stages=demos,pretrain are these alone. The folder must be one that all
nodes see, and the files of jobs/ in it say what a job printed. What failed or was killed goes on
with the same command; on SLURM a job that is preempted, or whose time (a day, unless --options say
another timeout_min) is over, is queued again by itself.

--on=slurm submits and ends; local (one after the other on this machine) and ray (the cluster of
RAY_ADDRESS, or this machine) wait for all, and end with 1 if any failed.
"""

from __future__ import annotations

import argparse
import difflib
import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mili_jax.command import configurations, jobs
from mili_jax.command.parser import Parser, workdir
from mili_jax.pipeline import console
from mili_jax.types import ConfigError
from mili_jax.workers import commands, stopping

if TYPE_CHECKING:
    from ml_collections import ConfigDict

PLACES = ("local", "slurm", "ray")
# What two stages are called among the binaries in experiments/.
_BINARIES = {"mili": "run", "label": "filter"}


def add_arguments(parser: Parser) -> None:
    parser.usage = "mili launch --config=NAME --workdir=DIR --on=slurm [--seeds=0,1,2]"
    parser.add_workdir()
    parser.add_config()
    parser.add_argument("--seeds", default="0", metavar="N,N", help="a run each; by default 0")
    parser.add_argument("--on", default="local", choices=PLACES, metavar="|".join(PLACES))
    parser.add_argument(
        "--stages",
        default="run",
        metavar="NAMES",
        help="commands in their order; `each` for all stages, each a job; by default run",
    )
    parser.add_argument(
        "--options",
        default="",
        metavar="NAME=VALUE,...",
        help="parameters of submitit's executor, such as timeout_min=720",
    )
    parser.add_stopped()


def run(options: argparse.Namespace) -> None:
    """Launches. Raises ConfigError, and JobError if a job failed."""
    folder, config = workdir(options), configurations.chosen(options, None)
    jobs.refuse_seed(options.changes)
    launch(
        config,
        folder,
        configurations.flags(options),
        options.seeds.split(","),
        options.stages.split(","),
        options.on,
        [pair for pair in options.options.split(",") if pair],
    )


def launch(
    config: ConfigDict,
    folder: Path,
    given: Sequence[str],
    seeds: Sequence[str],
    stages: Sequence[str],
    on: str,
    options: Sequence[str],
) -> None:
    """Submits the jobs and, but for SLURM, waits for them.

    Args:
      given: the flags that give a command this configuration.
      on: one of `PLACES`. options: name=value, for submitit.

    Raises ConfigError, before anything is submitted, and JobError if a job failed.
    """
    from mili_jax.pipeline import schema

    schema.check(config)
    folder = folder.absolute()
    planned = chains(config, folder, given, seeds, stages)
    parameters = _parameters(options)
    source = Path(__file__).resolve().parents[2]
    if (source / "pyproject.toml").exists():  # a checkout, which nodes need not have installed
        os.environ["PYTHONPATH"] = os.pathsep.join([str(source), os.environ.get("PYTHONPATH", "")])
    known: set[int] = set()
    with stopping.asking("the jobs have saved", lambda: commands.stop_started(known)) as asked:
        if on == "ray":
            failed = jobs.on_ray(planned, config, asked)
        else:
            failed = jobs.on_submitit(planned, folder, on, parameters, asked)
        if asked():
            while commands.stop_started(known):
                time.sleep(jobs.LOOK)
            raise stopping.stopped("among its jobs")
    if failed:
        raise commands.JobError("; ".join(failed))


def chains(
    config: ConfigDict,
    folder: Path,
    given: Sequence[str],
    seeds: Sequence[str],
    stages: Sequence[str],
) -> dict[str, list[list[str]]]:
    """The commands of every seed. Raises ConfigError for a seed or a stage that does not exist."""
    from mili_jax.pipeline import algorithm

    listed = [[name] for name in stages if name]
    if not listed:
        raise ConfigError(f"--stages names no stage; it takes each, or some of {_known()}")
    if list(stages) == ["each"]:
        plan = algorithm.plan(config.improve.rounds)
        listed = [[name, *(f"--round={n}" for n in numbers)] for name, numbers in plan]
    found = {}
    for seed in jobs.numbers(seeds):
        tail = [*given, f"--config.seed={seed}", f"--workdir={folder / f'seed_{seed}'}"]
        found[f"seed_{seed}"] = [
            [sys.executable, "-m", "mili_jax.cli", _stage(name), *rest, *tail]
            for name, *rest in listed
        ]
    return found


def _stage(name: str) -> str:
    stage = _BINARIES.get(name, name)
    if stage not in console.STAGES:
        near = difflib.get_close_matches(name, console.STAGES, 1)
        meant = f"did you mean {near[0]}?" if near else f"it takes each, or some of {_known()}"
        raise ConfigError(f"--stages names {name!r}, which is no stage; {meant}")
    return stage


def _known() -> str:
    return ", ".join(console.STAGES)


def _parameters(options: Sequence[str]) -> Mapping[str, int | str]:
    found: dict[str, int | str] = {}
    for option in options:
        name, equals, value = option.partition("=")
        if not name or not equals:
            raise ConfigError(f"--options names {option!r} without a value; write name=value")
        found[name] = int(value) if value.isdecimal() else value
    return found
