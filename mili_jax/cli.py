"""The command `mili`: which subcommands there are, and what happens before one of them runs.

A subcommand is a line of `COMMANDS` and a module (`mili_jax.command` says what it has), which is
imported when it is asked for. Nothing else is imported here: `mili --help` should be there at once,
and every worker process that a run starts imports this file again.
"""

from __future__ import annotations

import difflib
import importlib
import logging
import os
import sys
from collections.abc import Sequence
from typing import NamedTuple

from mili_jax.workers import stopping


class Command(NamedTuple):
    """A subcommand: its group in `mili --help`, its module and what it does, in one line."""

    group: str
    module: str
    summary: str


_LOOP, _STAGES, _LOOK, _OWN = "The loop", "Its stages, in their order", "Looking", "Your own robot"
_PEOPLE = "People"
_STAGE, _LOGS = "mili_jax.command.stage", "mili_jax.command.logs"
COMMANDS = {
    "demo": Command(_LOOP, "mili_jax.command.demo", "see a trained policy act: a film in a minute"),
    "run": Command(_LOOP, _STAGE, "demonstrate, train, try, filter, pair, retrain, report"),
    "compare": Command(_LOOP, "mili_jax.command.compare", "the same over several seeds, together"),
    "launch": Command(
        _LOOP, "mili_jax.command.launch", "seeds or stages as jobs: SLURM, Ray, here"
    ),
    "demos": Command(_STAGES, _STAGE, "the scripted expert demonstrates"),
    "pretrain": Command(_STAGES, _STAGE, "learn one-shot imitation from demonstrations"),
    "baselines": Command(_STAGES, _STAGE, "train what the loop is compared with"),
    "collect": Command(_STAGES, _STAGE, "let the policy try by itself"),
    "filter": Command(_STAGES, _STAGE, "answer which trials were useful, automatically"),
    "pair": Command(_STAGES, _STAGE, "make tasks of trials that are alike"),
    "retrain": Command(_STAGES, _STAGE, "learn from demonstrations and pairs"),
    "evaluate": Command(_STAGES, _STAGE, "measure success on tasks that are new to the policy"),
    "report": Command(_STAGES, _STAGE, "write the page with figures, tables and films"),
    "pack": Command(_LOOK, "mili_jax.command.pack", "a trained policy as a folder of its own"),
    "label": Command(
        _PEOPLE, "mili_jax.command.label", "answer which trials were useful, on a page"
    ),
    "teleop": Command(
        _PEOPLE, "mili_jax.command.teleop", "demonstrate by mouse, gamepad or headset, on a page"
    ),
    "config": Command(
        _LOOK, "mili_jax.command.config", "a configuration, and what its fields mean"
    ),
    "figures": Command(_LOOK, "mili_jax.command.figures", "figures and tables from result rows"),
    "doctor": Command(
        _LOOK, "mili_jax.command.doctor", "find and take away damaged files of a run"
    ),
    "import": Command(_OWN, _LOGS, "bring its episodes into a dataset"),
    "look": Command(_OWN, _LOGS, "see what is in a dataset, and what is odd"),
    "export": Command(_OWN, _LOGS, "write a dataset as LeRobot, robomimic or RLDS"),
    "domains": Command(_OWN, "mili_jax.command.domains", "which robots and worlds there are"),
}
_HEAD = """mili: a robot policy that does a new task after one demonstration of it, and gets better
from its own trials.

usage: mili COMMAND [flags]      `mili COMMAND --help` says what a command takes
"""
_TAIL = """
Exit codes
  0              done
  1              refused or failed; the last line on stderr says what happened and what to do
  129, 130, 143  stopped by a closed terminal, by ctrl-C, by SIGTERM; the same command goes on

Example: the whole loop, small
  mili run --config=test --workdir=runs/test
"""


def main() -> int:
    """The entry point: does what the command line says and returns the exit code."""
    stopping.listen()
    from mili_jax.pipeline import console

    return console.exit_code(lambda: execute(sys.argv[1:]))


def execute(argv: Sequence[str]) -> int:
    """Does a command and returns its exit code. Raises MiliError, and SystemExit after `--help`."""
    from mili_jax.command.parser import Parser
    from mili_jax.types import ConfigError

    name, *rest = argv or [""]
    if name in ("", "--help", "-h"):
        print(help_text())
        return 0 if name else 1
    if name == "--version":
        print(f"mili {importlib.import_module('mili_jax').__version__}")
        return 0
    if name not in COMMANDS:
        kind = "flag" if name.startswith("-") else "command"
        near = difflib.get_close_matches(name, (*COMMANDS, "--help", "--version"), 1, 0.6)
        meant = f"did you mean {near[0]}?" if near else "`mili --help` lists them"
        raise ConfigError(f"mili has no {kind} {name}; {meant}")
    try:
        os.getcwd()
    except FileNotFoundError:
        raise ConfigError("the current folder is gone; change to one that is there") from None
    module = importlib.import_module(COMMANDS[name].module)
    parser = Parser(name, module.__doc__ or "")
    module.add_arguments(parser)
    options = parser.parse(rest)
    if getattr(options, "stopped_exit_code", None) is not None:
        stopping.listen(options.stopped_exit_code)
    logging.basicConfig(format="%(levelname)s: %(message)s")
    _see_here()
    return module.run(options) or 0


def help_text() -> str:
    """What `mili --help` prints."""
    lines = [_HEAD.strip()]
    for group in dict.fromkeys(command.group for command in COMMANDS.values()):
        mine = {name: c.summary for name, c in COMMANDS.items() if c.group == group}
        lines += ["", group, *(f"  {name:<12} {summary}" for name, summary in mine.items())]
    return "\n".join([*lines, _TAIL.rstrip()])


def _see_here() -> None:
    """Modules in the current folder can be named as heads, filters or domains, `module:attribute`,
    by `mili` as by `python -m`. What is installed goes first."""
    here = os.getcwd()
    if not sys.flags.safe_path and here not in sys.path and "" not in sys.path:
        sys.path.append(here)


if __name__ == "__main__":
    sys.exit(main())
