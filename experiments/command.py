"""What the binaries share: their flags, a quiet console, errors as one line, and how they end.

A binary names one function of `mili_jax.pipeline`:

    command.main("train.pretrain", several_hosts=True)
    command.main("collect.collect", first_round=1)

By its name, because importing it takes seconds, in which signals must be heard already.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from absl import app, flags
from ml_collections import ConfigDict, config_flags

from mili_jax.types import ConfigError, MiliError
from mili_jax.workers import stopping

_CONFIG = config_flags.DEFINE_config_file(
    "config", "experiments/configs/mili.py:quick", "file:name; --config.a.b=v changes a field"
)
WORKDIR = flags.DEFINE_string("workdir", "runs/quick", "folder of the run")
_STOPPED = flags.DEFINE_integer(
    "stopped_exit_code", None, "of a command that a signal ends; else 128 + the signal's number"
)


def main(stage: str, first_round: int | None = None, several_hosts: bool = False) -> None:
    """Runs a stage on the run of --config and --workdir; its errors become one line and exit 1.

    Args:
      stage: module and function of `mili_jax.pipeline`, called with the open run, and with --round
        if the stage has rounds. A path that it returns is printed.
      first_round: the first round that the stage has, the default of --round.
      several_hosts: whether hosts may share the stage: each runs the command with its own --host.
    """
    if several_hosts:
        flags.DEFINE_string("coordinator", "", "address:port of the first of several hosts")
        flags.DEFINE_integer("hosts", 1, "how many hosts share the stage", lower_bound=1)
        flags.DEFINE_integer("host", 0, "which of them this is", lower_bound=0)
    if first_round is not None:
        flags.DEFINE_integer("round", first_round, "round of improvement", lower_bound=0)

    def run(config: ConfigDict, path: Path) -> None:
        from mili_jax.pipeline.run import join_hosts, open_run

        home, _, name = stage.partition(".")
        function = getattr(importlib.import_module(f"mili_jax.pipeline.{home}"), name)
        if several_hosts and flags.FLAGS.hosts > 1:
            given = flags.FLAGS
            join_hosts(given.coordinator, given.hosts, given.host)
        this = open_run(config, path)
        with this.workdir:
            numbers = () if first_round is None else (flags.FLAGS.round,)
            page = function(this, *numbers)
        if page is not None:
            print(page)

    start(run)


def start(function: Callable[[ConfigDict, Path], None]) -> None:
    """Calls the function with --config and --workdir; its errors become one line and exit 1.

    A signal ends it as `workers.stopping` says, with exit code 130 for ctrl-C, 143 for SIGTERM.
    """
    stopping.listen()

    def run(argv: list[str]) -> None:
        stopping.listen(_STOPPED.value)
        try:
            if argv[1:]:
                raise ConfigError(f"what is {' '.join(argv[1:])!r}? Flags begin with --")
            if not WORKDIR.value:
                raise ConfigError("--workdir names no folder")
            function(_with_lists(_CONFIG.value), Path(WORKDIR.value))
        except MiliError as error:
            sys.exit(f"{type(error).__name__}: {error}")
        except stopping.Stopped as stopped:
            print(stopped, file=sys.stderr)
            sys.exit(stopped.code)

    # Before what the user says, so that the user has the last word.
    argv = [sys.argv[0], "--verbosity=-1", *sys.argv[1:]]
    app.run(run, argv, flags_parser=_parse)


def shared_flags(argv: Sequence[str]) -> list[str]:
    """The --config flags of a command, for the commands that it starts in whatever folder.

    Raises ConfigError for one whose value is a word of its own.
    """
    given = [flag.lstrip("-") for flag in argv]
    found = [flag for flag in given if flag.startswith(("config", "noconfig"))]
    for flag in found:
        name, equals, value = flag.removeprefix("no").partition("=")
        if flag.startswith("no"):
            raise ConfigError(f"write --{name}=False instead of --{flag}, so that jobs get it too")
        if not equals:
            raise ConfigError(f"write --{name}=value, with an equals sign, so that jobs get it too")
        if name == "config":
            path, colon, kind = value.partition(":")
            found[found.index(flag)] = f"config={Path(path).absolute()}{colon}{kind}"
    return [f"--{flag}" for flag in found]


def numbers(seeds: Sequence[str]) -> list[int]:
    """The seeds of --seeds. Raises ConfigError for what is no number or comes twice."""
    for seed in seeds:
        if not seed.isdigit():
            raise ConfigError(f"--seeds names {seed!r}, which is no number")
    found = [int(seed) for seed in seeds]
    if not found:
        raise ConfigError("--seeds names no seed")
    if len(set(found)) < len(found):
        raise ConfigError(f"--seeds={','.join(seeds)} names a seed twice")
    return found


def _with_lists(config: ConfigDict) -> ConfigDict:
    """The configuration with `a,b` for the tuple of a and b, as a flag may write it."""
    for section in config.values():
        for field, value in section.items() if isinstance(section, ConfigDict) else ():
            if isinstance(value, tuple) and all(isinstance(item, str) for item in value):
                names = [name for item in value for name in item.split(",")]
                section[field] = tuple(filter(None, map(str.strip, names)))
    return config


def _parse(argv: list[str]) -> list[str]:
    try:
        rest = flags.FLAGS(argv)
        getattr(flags.FLAGS["config"].value, "name", None)  # a file that is missing raises here
        return rest
    except (KeyError, AttributeError) as error:
        name = str(error).strip("\"'")
        sys.exit(f"ConfigError: a --config flag names {name!r}, which the configuration has not")
    except Exception as error:  # a configuration file is a program, and may raise anything
        # Of one that raised, the message holds the whole traceback.
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        said = " ".join(dict.fromkeys((lines[0], lines[-1]))) if lines else type(error).__name__
        sys.exit(f"ConfigError: {said}")
