"""The flags of a subcommand: what cannot be meant is refused in one line, with what is nearest."""

from __future__ import annotations

import argparse
import difflib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from mili_jax.types import ConfigError

_WIDTH = 96
_CONFIG = "--config."


class _Formatter(argparse.RawDescriptionHelpFormatter):
    """Shows a flag as it is written: `--workdir=DIR`."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=26, width=_WIDTH)

    def _format_action_invocation(self, action: argparse.Action) -> str:
        flags = [flag for flag in action.option_strings if flag.startswith("--")]
        if not flags:
            return super()._format_action_invocation(action)
        return flags[0] if action.nargs == 0 else f"{flags[0]}={action.metavar}"


class Parser(argparse.ArgumentParser):
    """Reads the command line of `mili <command>`.

    command: the subcommand's name.
    """

    def __init__(self, command: str, description: str) -> None:
        super().__init__(
            prog=f"mili {command}",
            description=description.strip(),
            formatter_class=_Formatter,
            allow_abbrev=False,
            add_help=False,
        )
        self.command = command
        self._changes = False
        self._optionals.title = "flags"
        self.add_argument("--help", "-h", action="help", help="show this and end")

    def parse(self, argv: Sequence[str]) -> argparse.Namespace:
        """The options; of the configuration `changes` has each field with its text.

        Raises ConfigError for what cannot be meant.
        """
        changes: list[tuple[str, str]] = []
        rest = []
        for word in argv:
            if self._changes and word.startswith(_CONFIG):
                name, equals, value = word.removeprefix(_CONFIG).partition("=")
                if not equals:
                    raise ConfigError(f"write {word}=value, with an equals sign")
                changes.append((name, value))
            else:
                rest.append(word)
        self._refuse_twice(rest)
        options, unknown = self.parse_known_args(rest)
        if unknown:
            raise ConfigError(self._what_is(unknown[0]))
        options.command, options.changes = self.command, changes
        return options

    def error(self, message: str) -> NoReturn:
        """What argparse calls when it does not understand."""
        raise ConfigError(f"{self.prog}: {message.removeprefix('argument ')}")

    def _refuse_twice(self, words: Sequence[str]) -> None:
        """Raises ConfigError for a flag that is given twice, and not the same: one of them would be
        passed over without a word."""
        seen: dict[str, str] = {}
        for word in words:
            flag, equals, value = word.partition("=")
            action = self._option_string_actions.get(flag)
            once = action is not None and not isinstance(action, argparse._AppendAction)
            if equals and once and seen.setdefault(flag, value) != value:
                raise ConfigError(f"{flag} is given twice, as {seen[flag]!r} and {value!r}")

    def _what_is(self, word: str) -> str:
        flag = word.partition("=")[0]
        flags = [known for known in self._option_string_actions if known.startswith("--")]
        if not word.startswith("-"):
            return f"what is {word!r}? Flags of {self.prog} begin with --"
        if self._changes and flag.startswith("--noconfig."):
            return f"write --{flag.removeprefix('--no')}=False instead of {flag}"
        near = difflib.get_close_matches(flag, flags, 1, 0.6)
        meant = f"did you mean {near[0]}?" if near else f"`{self.prog} --help` lists them"
        return f"{self.prog} has no flag {flag}; {meant}"

    # What several subcommands take

    def add_workdir(self) -> None:
        """`--workdir=DIR`, or just `DIR`."""
        self.add_argument("place", nargs="?", metavar="DIR", help=argparse.SUPPRESS)
        self.add_argument("--workdir", metavar="DIR", help="folder of the run, or just DIR")

    def add_config(self, needless: str = "") -> None:
        """`--config=...` and what changes fields of it. needless: in words, when it is not
        needed."""
        self._changes = True
        self.add_argument(
            "--config",
            metavar="NAME",
            help="a named configuration, or FILE.py[:name] with get_config()"
            + (f". {needless}" if needless else ""),
        )
        self.add_argument(
            "--config.section.field",
            metavar="VALUE",
            dest="_",
            help="changes a field of it; `mili config` explains all fields",
        )

    def add_stopped(self) -> None:
        """`--stopped_exit_code`, for whoever starts commands."""
        self.add_argument(
            "--stopped-exit-code",
            "--stopped_exit_code",
            type=whole(0, 255),
            metavar="CODE",
            help="of a command that a signal has ended; else 128 and the signal's number",
        )


def add_page(parser: Parser) -> None:
    """Where a page is served, and whether a browser opens it."""
    parser.add_argument(
        "--port",
        type=whole(0, 65535),
        metavar="P",
        help="of the page; 0 for any free one, by default 8421 or any free one",
    )
    parser.add_argument(
        "--no-open", action="store_true", help="do not open it in this machine's browser"
    )
    parser.add_argument(
        "--lan", action="store_true", help="for other machines in this network, encrypted"
    )


def workdir(options: argparse.Namespace) -> Path:
    """The folder of `Parser.add_workdir`. Raises ConfigError if there is none, or two."""
    if options.place is not None and options.workdir is not None:
        raise ConfigError(f"what is {options.place!r} beside --workdir={options.workdir}?")
    place = options.place if options.workdir is None else options.workdir
    if not place:
        raise ConfigError("say which folder the run is in: --workdir=DIR")
    return home(place)


def home(place: str) -> Path:
    """A path; ~ may stand for the home folder, which a shell leaves as it is after `--flag=`.

    Raises ConfigError for that of a user who is not there.
    """
    found = os.path.expanduser(place)
    if found.startswith("~"):
        user = found.partition("/")[0]
        raise ConfigError(f"{place}: there is no home folder {user}; write ./{place} for its name")
    return Path(found)


class whole:  # noqa: N801
    """The type of a flag that is a whole number."""

    def __init__(self, least: int, most: int | None = None) -> None:
        self.least, self.most = least, most

    def __call__(self, text: str) -> int:
        """Raises ArgumentTypeError, in words, for what is none or out of range."""
        limit = f"{self.least} or more" if self.most is None else f"{self.least} to {self.most}"
        try:
            number = int(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is no whole number") from None
        if number < self.least or (self.most is not None and number > self.most):
            raise argparse.ArgumentTypeError(f"{number} is not {limit}")
        return number
