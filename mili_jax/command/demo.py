"""Films a trained policy on tasks that it has never met: a demonstration on the left, what the
robot does after it on the right, and whether the task was done.

  mili demo --out=demo.mp4
  mili demo --task=press:button_75 --task=grasp:tea_caddy_03 --out=demo.mp4

It plays the first test tasks in the order of their list, each in an arrangement drawn by --seed,
and leaves none out. Under a minute on 2 cores.

  mili demo --live

opens the playground instead: you demonstrate a task with the mouse, the policy does it in three
other scenes, and you say whether it did.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from mili_jax.command.parser import Parser, add_page, home, whole
from mili_jax.command.teleop import playground
from mili_jax.types import ConfigError, DataError

if TYPE_CHECKING:
    from mili_jax.pipeline.demo import Take
    from mili_jax.pipeline.oneshot import OneShotPolicy
    from mili_jax.types import EpisodeMeta

COUNT = 8  # attempts: two of each family of the kitchen
MOST = 64


def add_arguments(parser: Parser) -> None:
    parser.usage = "mili demo --out=FILE.mp4 | --live [--task=NAME] [--count=N] [--seed=N]"
    parser.add_argument("--out", metavar="FILE.mp4", help="the film; an older one is replaced")
    parser.add_argument(
        "--task", action="append", default=[], metavar="NAME", help="of the domain; several times"
    )
    parser.add_argument(
        "--count", type=whole(1, MOST), default=COUNT, metavar="N", help=f"attempts; else {COUNT}"
    )
    parser.add_argument(
        "--seed", type=whole(0, 10**4), default=0, metavar="N", help="of the arrangements; else 0"
    )
    parser.add_argument(
        "--policy",
        default="kitchen",
        metavar="NAME",
        help="a shipped policy, a packed folder or a run's; else kitchen",
    )
    parser.add_argument(
        "--live", action="store_true", help="on a page, after a demonstration of yours; no film"
    )
    add_page(parser)


def run(options: argparse.Namespace) -> None:
    """Writes the film and prints what it shows, or serves the playground.

    Raises ConfigError, DataError, SimulationError.
    """
    if options.live:
        if options.out:
            raise ConfigError("--live makes no film; leave --out out")
        playground(None, options, options.policy)
        return
    if not options.out:
        raise ConfigError("mili demo needs --out=FILE.mp4")
    out = home(options.out)
    if out.suffix != ".mp4":
        raise ConfigError(f"--out={options.out}: name a file that ends with .mp4")
    if not out.parent.is_dir():
        raise DataError(f"{out.parent} is no folder; make it, or write the film elsewhere")
    film(options.policy, options.task, options.count, options.seed, out)


def film(name: str, tasks: list[str], count: int, seed: int, out: Path) -> None:
    """Plays, films and prints."""
    from mili_jax.pipeline import demo
    from mili_jax.pipeline.oneshot import load_policy
    from mili_jax.report import reel
    from mili_jax.storage.files import replacing

    policy = load_policy(name)
    asked = demo.takes(policy, tasks, count, seed)
    splits = " and ".join(dict.fromkeys(take.split for take in asked))
    print(f"{_about(policy)}\n{count} attempts at {splits} tasks, seed {seed}:", flush=True)
    width = max(len(take.task.name) for take in asked)
    done = []

    def tell(take: Take, meta: EpisodeMeta) -> None:
        done.append(meta.success)
        print(f"  {take.task.name:<{width}}  {demo.verdict(meta)}", flush=True)

    films = demo.play(policy, asked, tell)
    with replacing(out) as temporary:
        reel.write_reel(temporary, films)
    print(f"{sum(done)} of {count} done\n{out}")


def _about(policy: OneShotPolicy) -> str:
    made = policy.facts["made"]
    return (
        f"The policy {policy.name!r} learned from {made['config']['data']['tasks']} demonstrated "
        "tasks. It sees one demonstration of each new one."
    )
