"""Prints a configuration with the meaning of every field; a star marks what is not the default.
Without a name it lists the named ones.

  mili config run
  mili config test --config.improve.alpha=0.9
  mili config --workdir=runs/run

A field is changed on the command line by --config.section.field=value: a number, True or False, a
word, and for several words a,b.
"""

from __future__ import annotations

import argparse
import textwrap
from typing import TYPE_CHECKING

from mili_jax.command import configurations
from mili_jax.command.parser import Parser, home
from mili_jax.types import ConfigError

if TYPE_CHECKING:
    from ml_collections import ConfigDict

_WIDTH = 100


def add_arguments(parser: Parser) -> None:
    parser.usage = "mili config [NAME|FILE.py[:name]]"
    parser.add_argument("name", nargs="?", metavar="NAME", help="the same as --config=NAME")
    parser.add_config("Without one, and without a run, the named ones are listed")
    parser.add_argument("--workdir", metavar="DIR", help="a run, whose configuration is printed")


def run(options: argparse.Namespace) -> None:
    """Prints it. Raises ConfigError for a configuration that does not exist or may not be."""
    given = [value for value in (options.name, options.config, options.workdir) if value]
    if len(given) > 1:
        raise ConfigError(f"say one configuration: {given[0]!r} or {given[1]!r}")
    if not given:
        print(configurations.listed())
        return
    options.config = options.name or options.config
    workdir = home(options.workdir) if options.workdir else None
    print(described(configurations.chosen(options, workdir)))


def described(config: ConfigDict) -> str:
    """Every field with its value, its default where that is another, and what it is for. Raises
    ConfigError if it may not be."""
    from mili_jax.pipeline import schema

    schema.check(config)
    parts = [f"{config.name}, seed {config.seed}"]
    for section, fields in schema.sections().items():
        lines = [f"[{section}]"]
        for name, field in fields.items():
            value = config[section][name]
            changed = value != field.default
            limits = [field.wanted] if field.wanted else []
            limits += [f"default {_text(field.default)}"] if changed else []
            meaning = f"{field.meaning} ({'; '.join(limits)})" if limits else field.meaning
            mark = "*" if changed else " "
            head = f"{mark} {name} = {_text(value)}"
            lines += textwrap.wrap(head, _WIDTH, subsequent_indent=" " * 6)
            indent = " " * 6
            lines += textwrap.wrap(meaning, _WIDTH, initial_indent=indent, subsequent_indent=indent)
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


def _text(value: object) -> str:
    """As it is written on a command line."""
    if isinstance(value, tuple):
        return ",".join(value) or "()"
    return str(value)
