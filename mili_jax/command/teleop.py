"""Serves a page on which people drive the simulated robot: by mouse, keys, gamepad or headset.

  mili teleop --workdir=runs/mine --task=place:mug_04:pan_04
  mili teleop --workdir=runs/mine
  mili teleop --playground

It prints the page's address, and serves until ctrl-C. A demonstration that is kept is in the run's
dataset before the page says so, and `mili pretrain` learns from it. Without --task it asks for the
tasks that the run trains on; without --workdir it is practice, and nothing is stored. On the
playground a trained policy sees your demonstration and does the same in three other scenes.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from types import ModuleType

from mili_jax.command import configurations
from mili_jax.command.parser import Parser, add_page, whole, workdir
from mili_jax.types import ConfigError

SLOWEST, FASTEST = 0.1, 5.0  # of the world


def add_arguments(parser: Parser) -> None:
    parser.usage = "mili teleop [DIR] [--task=NAME | --free | --playground] [--port=P] [--no-open]"
    parser.add_workdir()
    parser.add_argument(
        "--task", action="append", default=[], metavar="NAME", help="of the domain; several times"
    )
    parser.add_argument(
        "--free", action="store_true", help="do anything, and say afterwards what it was"
    )
    parser.add_argument(
        "--playground", action="store_true", help="teach the shipped policy; DIR keeps your answers"
    )
    parser.add_config("Of a new folder it is run if none is given; a run has its own")
    add_page(parser)
    parser.add_argument(
        "--seed", type=whole(0, 1000), default=0, metavar="N", help="of the arrangements; else 0"
    )
    parser.add_argument(
        "--speed", type=_speed, default=1.0, metavar="S", help="of the world; 1 is real time"
    )
    parser.add_stopped()


def run(options: argparse.Namespace) -> None:
    """Serves it. Raises ConfigError or DataError, and Stopped in the end."""
    path = workdir(options) if options.place or options.workdir else None
    if options.playground and (options.free or options.config or options.changes):
        raise ConfigError("--playground takes neither --free nor a configuration: it has its own")
    if options.free and options.task:
        raise ConfigError("take --task=NAME or --free")
    if options.playground:
        playground(path, options, "kitchen", options.speed)
        return
    if options.config is None and (path is None or not (path / "manifest.json").exists()):
        options.config = "run"
    config = configurations.chosen(options, path)
    pages = _pages()
    pages.serve(
        config,
        path,
        tasks=options.task,
        free=options.free,
        page=_page(pages, options, options.speed),
    )


def playground(
    path: Path | None, options: argparse.Namespace, policy: str, speed: float = 1.0
) -> None:
    """Serves the playground with a policy, `mili demo --live` too. Raises as `run`."""
    pages = _pages()
    pages.serve_playground(
        path,
        name=policy,
        tasks=options.task,
        page=_page(pages, options, speed),
    )


def _page(pages: ModuleType, options: argparse.Namespace, speed: float) -> object:
    opens = not options.no_open
    return pages.Page(options.port, opens, options.lan, options.seed, speed)


def _pages() -> ModuleType:
    try:
        from mili_jax.people import teleop
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"a page needs the package {error.name}: pip install 'mili-jax[people]'"
        ) from None
    return teleop


def _speed(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no number") from None
    if not SLOWEST <= value <= FASTEST:
        raise argparse.ArgumentTypeError(f"{text} is not {SLOWEST:g} to {FASTEST:g}")
    return value
