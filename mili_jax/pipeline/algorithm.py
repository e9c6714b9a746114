"""Algorithm 1 as stages that talk through files: demonstrations, pre-training, trials, filter,
pairing, retraining, evaluation, report.

The only module that sees both halves, the simulator and the learner. A stage reads what earlier
stages committed, writes its own, and its manifest last; one whose manifest is there is skipped. So
a run that was killed goes on with the same command. The manifest says what the stage was made from
(which parameters, labels, pairs): when these are others now, the same command makes it again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from mili_jax.pipeline.collect import collect, label
from mili_jax.pipeline.demonstrate import demonstrate
from mili_jax.pipeline.demonstrations import demo_splits
from mili_jax.pipeline.evaluate import evaluate
from mili_jax.pipeline.pair import pair
from mili_jax.pipeline.report import write_report
from mili_jax.pipeline.retrain import retrain
from mili_jax.pipeline.run import Run
from mili_jax.pipeline.train import pretrain, train_baselines
from mili_jax.report.folder import check_folder
from mili_jax.types import ConfigError


def plan(rounds: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Algorithm 1 in its order: the commands of experiments/, each with its round if it has one."""
    for name in ("demos", "pretrain", "baselines"):
        yield name, ()
    yield "evaluate", (0,)
    for number in range(1, rounds + 1):
        for name in ("collect", "label", "pair", "retrain", "evaluate"):
            yield name, (number,)
    yield "report", ()


def run_all(run: Run) -> Path:
    """The whole of Algorithm 1 and its report; returns the path of the report's page.

    Without a simulator it begins with the episodes that people have brought. Raises ConfigError if
    there are none.
    """
    steps: dict[str, Callable[..., object]] = {
        "demos": demonstrate,
        "pretrain": pretrain,
        "baselines": train_baselines,
        "collect": collect,
        "label": label,
        "pair": pair,
        "retrain": retrain,
        "evaluate": evaluate,
        "report": write_report,
    }
    check_folder(run.workdir.path / "report")  # before hours of work, not after
    brought: set[str] = set() if run.domain.simulator else _brought(run)
    made: object = None
    for name, numbers in plan(run.config.improve.rounds):
        if name not in brought:
            made = steps[name](run, *numbers)
    assert isinstance(made, Path)  # the report comes last
    return made


def _brought(run: Run) -> set[str]:
    """The stages whose episodes people bring. Raises ConfigError for those that are not there."""
    there = run.dataset.splits()
    rounds = [f"round_{number}" for number in range(1, run.config.improve.rounds + 1)]
    for split in [*demo_splits(run.dataset), *rounds, f"demos_{run.config.evaluate.split}"]:
        if split not in there:
            raise ConfigError(
                f"{run.dataset.path} has no episodes of the split {split!r}, and the domain "
                f"{run.domain.name!r} has no simulator to make any: `mili import` brings yours "
                "(docs/other_robots.md)"
            )
    return {"demos", "collect"}
