"""What commands share, whoever reads their flags: which stages there are, and how a command ends.

Little is imported here: importing a stage takes seconds, in which signals must be heard already.
"""

from __future__ import annotations

import dataclasses
import errno
import importlib
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from mili_jax.types import ConfigError, DataError, MiliError
from mili_jax.workers import stopping

if TYPE_CHECKING:
    from ml_collections import ConfigDict

# Of a file or a disk, and of nothing that the code did: one line says it all.
_OF_FILES = {
    *(errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS),
    *(errno.EACCES, errno.EPERM, errno.ENAMETOOLONG),
}


@dataclasses.dataclass(frozen=True)
class Stage:
    """A command that works on an open run.

    function: its module and name in `mili_jax.pipeline`; called with the run, and with a round if
      the stage has rounds. A path that it returns is printed.
    first_round: the first round that the stage has, None if it has none.
    several_hosts: whether hosts may share it, each by running the command with its own number.
    """

    function: str
    first_round: int | None = None
    several_hosts: bool = False


STAGES = {
    "run": Stage("algorithm.run_all"),
    "demos": Stage("demonstrate.demonstrate"),
    "pretrain": Stage("train.pretrain", several_hosts=True),
    "baselines": Stage("train.train_baselines"),
    "collect": Stage("collect.collect", first_round=1),
    "filter": Stage("collect.label", first_round=1),
    "pair": Stage("pair.pair", first_round=1),
    "retrain": Stage("retrain.retrain", first_round=1, several_hosts=True),
    "evaluate": Stage("evaluate.evaluate", first_round=0),
    "report": Stage("report.write_report"),
}


@dataclasses.dataclass(frozen=True)
class Hosts:
    """The hosts that share a training. coordinator: address:port of number 0, "" for one alone.

    Raises ConfigError for what does not fit together.
    """

    coordinator: str = ""
    count: int = 1
    number: int = 0

    def __post_init__(self) -> None:
        if self.number >= self.count:
            raise ConfigError(
                f"--host={self.number} of --hosts={self.count}: they are numbered from 0"
            )
        if (self.count > 1) != bool(self.coordinator):
            raise ConfigError(
                "several hosts need --hosts=N and --coordinator=HOST:PORT, which is host 0's"
            )


def run_stage(
    stage: Stage,
    config: ConfigDict,
    workdir: Path,
    number: int | None = None,
    hosts: Hosts = Hosts(),
) -> None:
    """Opens the run and does the stage; prints the path that it returns.

    number: the round, of a stage that has rounds.
    """
    from mili_jax.pipeline.run import join_hosts, open_run

    home, _, name = stage.function.partition(".")
    function = getattr(importlib.import_module(f"mili_jax.pipeline.{home}"), name)
    if hosts.count > 1:
        join_hosts(hosts.coordinator, hosts.count, hosts.number)
    _require_device()
    run = open_run(config, workdir)
    with run.workdir:
        page = function(run, *(() if number is None else (number,)))
    if page is not None:
        print(page)


def _require_device() -> None:
    """Raises ConfigError, before any work, if JAX_PLATFORMS asks for what is not there."""
    if asked := os.environ.get("JAX_PLATFORMS"):
        import jax

        try:
            jax.devices()
        except RuntimeError as error:
            said = str(error).splitlines()[0]
            raise ConfigError(
                f"JAX_PLATFORMS={asked}: {said}; unset it or name a platform that is here"
            ) from error


def exit_code(command: Callable[[], int | None]) -> int:
    """Does the command. Its errors become one line and 1; a signal ends it as `workers.stopping`
    says. Before: `stopping.listen`."""
    try:
        # Figures go to files: a backend that is not there, or a notebook's, is nobody's wish here.
        os.environ["MPLBACKEND"] = "agg"
        code = command() or 0
        if sys.stdout is not None:  # it may be closed
            sys.stdout.flush()
        return code
    except MiliError as error:
        return _failed(error)
    except stopping.Stopped as stopped:
        print(stopped, file=sys.stderr)
        return int(stopped.code or 0)
    except BrokenPipeError:
        # Whoever read has gone, as `head` does. Python would try once more when it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        if error.errno not in _OF_FILES:
            raise
        where = f"{error.filename}: " if error.filename else ""
        return _failed(DataError(f"{where}{error.strerror}; free space or fix permissions"))


def _failed(error: MiliError) -> int:
    said = "\\n".join(str(error).splitlines())  # a path may have ends of lines
    print(f"{type(error).__name__}: {said}", file=sys.stderr)
    return 1
