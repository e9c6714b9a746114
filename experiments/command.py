"""What the binaries share: their flags, which `mili` has as well under the same names.

A binary names a stage of `mili_jax.pipeline.console`:

    command.main("pretrain")

By its name, because importing it takes seconds, in which signals must be heard already.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from absl import app, flags
from ml_collections import ConfigDict, config_flags

from mili_jax.pipeline import console
from mili_jax.types import ConfigError, MiliError
from mili_jax.workers import stopping

_CONFIG = config_flags.DEFINE_config_file(
    "config", "experiments/configs/mili.py:run", "file:name; --config.a.b=v changes a field"
)
WORKDIR = flags.DEFINE_string("workdir", "runs/run", "folder of the run")
_STOPPED = flags.DEFINE_integer(
    "stopped_exit_code", None, "of a command that a signal ends; else 128 + the signal's number"
)


def main(name: str) -> None:
    """Does the stage of that name on the run of --config and --workdir; with --round if the stage
    has rounds, and with --coordinator, --hosts and --host if several hosts may share it."""
    stage = console.STAGES[name]
    if stage.several_hosts:
        flags.DEFINE_string("coordinator", "", "address:port of the first of several hosts")
        flags.DEFINE_integer("hosts", 1, "how many hosts share the stage", lower_bound=1)
        flags.DEFINE_integer("host", 0, "which of them this is", lower_bound=0)
    if stage.first_round is not None:
        flags.DEFINE_integer("round", stage.first_round, "round of improvement", lower_bound=0)

    def run(config: ConfigDict, path: Path) -> None:
        given, hosts = flags.FLAGS, console.Hosts()
        if stage.several_hosts:
            hosts = console.Hosts(given.coordinator, given.hosts, given.host)
        number = None if stage.first_round is None else given.round
        console.run_stage(stage, config, path, number, hosts)

    start(run)


def start(function: Callable[[ConfigDict, Path], object]) -> None:
    """Calls the function with --config and --workdir; its errors become one line and exit 1.

    A signal ends it as `workers.stopping` says, with exit code 130 for ctrl-C, 143 for SIGTERM.
    """
    stopping.listen()

    def run(argv: list[str]) -> int:
        stopping.listen(_STOPPED.value)

        def command() -> None:
            if argv[1:]:
                raise ConfigError(f"what is {' '.join(argv[1:])!r}? Flags begin with --")
            if not WORKDIR.value:
                raise ConfigError("--workdir names no folder")
            function(_CONFIG.value, Path(WORKDIR.value))

        return console.exit_code(command)

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


def _parse(argv: list[str]) -> list[str]:
    try:
        changes, others = _changes(argv)
        rest = flags.FLAGS(others)
        config = flags.FLAGS["config"].value  # a file that is missing raises here
        from mili_jax.pipeline import overrides

        overrides.override(config, changes)
        return rest
    except MiliError as error:
        sys.exit(f"{type(error).__name__}: {error}")
    except (KeyError, AttributeError) as error:
        name = str(error).strip("\"'")
        sys.exit(f"ConfigError: a --config flag names {name!r}, which the configuration has not")
    except (flags.Error, TypeError, ValueError, OSError) as error:
        # Of a configuration file that raised, the message holds the whole traceback.
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        sys.exit(f"ConfigError: {' '.join(dict.fromkeys((lines[0], lines[-1])))}")


def _changes(argv: Sequence[str]) -> tuple[list[tuple[str, str]], list[str]]:
    """What a command line changes in the configuration, and the rest of it.

    The values are read as `mili` reads them, `a,b` as two words. What is true without a value, and
    --noconfig.a.b, is left to absl.
    """
    from mili_jax.pipeline.overrides import BY_NAME

    changes, others = [], []
    words = iter(argv)
    for word in words:
        name, equals, value = word.removeprefix("--config.").partition("=")
        if not word.startswith("--config."):
            others.append(word)
        elif equals:
            changes.append((name, value))
        elif name in BY_NAME and not isinstance(BY_NAME[name].default, bool):
            changes.append((name, next(words, "")))
        else:
            others.append(word)
    return changes, others
