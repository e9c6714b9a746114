"""`mili import`, `mili look` and `mili export`: episodes of other robots, in and out."""

from __future__ import annotations

import argparse

from mili_jax.command.parser import Parser, home, whole
from mili_jax.types import ConfigError

_TEXTS = {
    "import": """
Brings episodes of another robot into a dataset: all of them, or none.

  mili import logs/bridge_dataset --format=rlds --out=runs/bridge/dataset

Without --map a mapping is guessed, printed and used. It says which field is which picture, which
numbers are pose and action, in which unit, and where the task's name is from. Where only you can
know something it is left open: the command writes the mapping beside --out and stops.""",
    "look": """
Looks at a dataset before anything trains on it: prints ranges, lengths, tasks and what is odd, and
writes a page with a contact sheet.

  mili look runs/bridge/dataset""",
    "export": """
Writes a dataset in another format, and reads every episode back before it counts.

  mili export runs/arm/dataset --format=lerobot --out=arm_lerobot --fps=10""",
}
_PLACES = {"import": "FILE", "look": "DATASET", "export": "DATASET"}
_FORMATS = "rlds, lerobot or robomimic"


def add_arguments(parser: Parser) -> None:
    """The flags of the command that `parser.command` names."""
    name = parser.command
    parser.description = _TEXTS[name].strip()
    flags = {"import": " --format=NAME --out=DATASET", "look": ""}
    parser.usage = f"mili {name} {_PLACES[name]}{flags.get(name, ' --format=NAME --out=PLACE')}"
    parser.add_argument("place", nargs="?", metavar=_PLACES[name], help="a folder or a file")
    if name == "import":
        parser.add_argument(
            "--format", metavar="NAME", help=f"of the files: {_FORMATS}, or your own"
        )
        parser.add_argument("--out", metavar="DATASET", help="folder of the dataset; a new one")
        parser.add_argument("--map", metavar="FILE", help="a mapping, instead of a guessed one")
        parser.add_argument(
            "--partial",
            action="store_true",
            help="take what there is of a folder that promises more",
        )
        parser.add_argument(
            "--processes",
            type=whole(1),
            metavar="N",
            help="that work at a time; one for each core, 8 at most",
        )
        return
    parser.add_argument(
        "--splits", metavar="A,B", help="of the dataset, with commas between them; else all"
    )
    if name == "look":
        parser.add_argument("--out", metavar="DIR", help="of the page; else `look` in the dataset")
        return
    parser.add_argument("--format", metavar="NAME", help=f"to write: {_FORMATS}")
    parser.add_argument("--out", metavar="PLACE", help="a new folder, or a new file of robomimic")
    parser.add_argument("--fps", type=_rate, metavar="F", help="steps a second, if none is known")
    parser.add_argument("--lossless", action="store_true", help="PNG instead of video")


def run(options: argparse.Namespace) -> None:
    """Does it. Raises ConfigError or DataError."""
    name = options.command
    for flag, value in (
        (_PLACES[name], options.place),
        ("--format=NAME", "look" if name == "look" else options.format),
        ("--out=...", "look" if name == "look" else options.out),
    ):
        if not value:
            raise ConfigError(f"mili {name} needs {flag}")
    from mili_jax.interchange import commands

    place = str(home(options.place))
    out = None if options.out is None else str(home(options.out))
    if name == "import":
        plan = None if options.map is None else str(home(options.map))
        commands.import_(place, options.format, plan, str(out), options.partial, options.processes)
        return
    splits = None if options.splits is None else [s for s in options.splits.split(",") if s]
    if splits == []:
        raise ConfigError("--splits names no split; leave it out for all")
    if name == "look":
        commands.look(place, out, splits)
    else:
        commands.export(place, options.format, str(out), splits, options.fps, options.lossless)


def _rate(text: str) -> float:
    """Raises ArgumentTypeError, in words, for what is no rate."""
    try:
        rate = float(text)
    except ValueError:
        rate = 0.0
    if not 0 < rate < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of steps a second")
    return rate
