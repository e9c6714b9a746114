"""Lists the robots and worlds that config.domain.name can choose: those that come along, and those
that installed packages register with the entry-point group `mili_jax.domains`. Of each: its
cameras, which config.data.cameras can choose, the groups of its tasks, and how many tasks it has.
With --tasks it lists the names of the tasks instead.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from mili_jax.command.parser import Parser
from mili_jax.types import ConfigError

if TYPE_CHECKING:
    from mili_jax.domains.base import Domain

_SIZE = 64  # of a picture, in pixels: any will do to see which cameras take it


def add_arguments(parser: Parser) -> None:
    parser.usage = "mili domains [--tasks=SPLIT]"
    parser.add_argument(
        "--tasks",
        choices=("train", "validation", "test"),
        metavar="SPLIT",
        help="the names of all tasks of train, validation or test instead",
    )


def run(options: argparse.Namespace) -> None:
    """Prints them; of one that cannot be loaded, why."""
    from mili_jax import plugins
    from mili_jax.domains import base

    if options.tasks:
        _list_tasks(options.tasks)
        return
    places = {**plugins.registered("domains"), **base.BUILT_IN}
    for name in [*base.BUILT_IN, *sorted(places.keys() - base.BUILT_IN)]:
        print(f"{name} ({places[name]})")
        try:
            lines = _about(base.load(name))
        except ConfigError as error:
            lines = [("broken", str(error))]
        for label, text in lines:
            print(f"    {label:<9} {text}")


def _list_tasks(split: str) -> None:
    """A line a task, with its domain."""
    from mili_jax import plugins
    from mili_jax.domains import base

    for name in [*base.BUILT_IN, *sorted(plugins.registered("domains").keys() - base.BUILT_IN)]:
        simulator = base.load(name).simulator
        for task in simulator.tasks(split) if simulator else ():
            print(f"{name} {task.name}")


def _about(domain: Domain) -> list[tuple[str, str]]:
    from mili_jax.domains import base

    spec = domain.spec(_SIZE, ())
    cameras = "those of its dataset"
    if spec is not None:
        taken = [camera.name for camera in spec.cameras]
        others = [name for name in getattr(domain, "cameras", ()) if name not in taken]
        cameras = ", ".join([f"{name} (its own choice)" for name in taken] + others)
    tasks = "none; there is no simulator, so episodes are yours to bring"
    if domain.simulator is not None:
        counts = {split: len(domain.simulator.tasks(split)) for split in base.SPLITS}
        tasks = ", ".join(f"{count} {split}" for split, count in counts.items())
    return [("cameras", cameras), ("groups", ", ".join(domain.groups)), ("tasks", tasks)]
