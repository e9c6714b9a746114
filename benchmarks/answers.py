"""How many answers the loop needs, with the simulator's in place of a person's.

    for stage in demos pretrain collect; do
      mili $stage runs/base --config=run --config.improve.trials=4000 \
        --config.improve.filter=learned --config.improve.arms=mili
    done
    python -m benchmarks.answers runs/base --out=runs/all --answers=4000
    python -m benchmarks.answers runs/base --out=runs/400 --answers=400
    python -m benchmarks.answers runs/base --out=runs/random --answers=400 --order=random

Each copies that run, answers for so many of its trials, lets the filter `learned` decide about the
rest, and goes on: pairs, training, evaluation. With the order `uncertain` the label page's own
queue chooses what is asked, with `random` a drawing does. `--wrong` turns a share of the answers
round. The same command goes on where it was stopped.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
from absl import app, flags

from benchmarks.stand_in import answer
from mili_jax.pipeline import collect, evaluate, pair, retrain
from mili_jax.pipeline.describe import features
from mili_jax.pipeline.run import Run, open_run
from mili_jax.pipeline.stored import configuration
from mili_jax.storage.labels import Answer, Kind, Label

_OUT = flags.DEFINE_string("out", None, "folder of the new run", required=True)
_COUNT = flags.DEFINE_integer("answers", 400, "of people")
_ORDER = flags.DEFINE_enum("order", "uncertain", ["uncertain", "random"], "what is asked first")
_SHARE = flags.DEFINE_float("wrong", 0.0, "share of the answers that are wrong", 0.0, 0.5)
SPLIT = "round_1"


def copy(source: Path, target: Path) -> None:
    """The run as it is, in a folder of its own."""
    part = target.with_name(target.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    shutil.copytree(source, part, ignore=shutil.ignore_patterns("tensorboard", "lock"))
    part.rename(target)


def answers(run: Run, count: int, order: str, wrong: float) -> list[Label]:
    """What the person says, whose hand has the seed of the run."""
    metas = list(run.dataset.read_metadata(SPLIT))
    useful = np.array([meta.useful for meta in metas])
    rng = np.random.default_rng(run.config.seed)
    if order == "random":
        asked = rng.permutation(len(metas))[:count]
        said = useful[asked] ^ (rng.random(count) < wrong)
    else:  # by the trials' own numbers, on which the audit slice depends
        asked, said, _ = answer(features(run, 1), useful, count, wrong, rng)
    return [
        Label(metas[k].episode_id, Answer.YES if yes else Answer.NO, "stand-in")
        for k, yes in zip(asked, said, strict=True)
    ]


def main(argv: list[str]) -> None:
    """Prints the filter's own account and the success of MILI."""
    source, target = Path(argv[1]), Path(_OUT.value)
    if not target.exists():
        copy(source, target)
    run = open_run(configuration(target), target)
    with run.workdir:
        people = [x for x in run.dataset.read_labels(SPLIT) if x.kind is Kind.PERSON]
        if not people:
            given = answers(run, _COUNT.value, _ORDER.value, _SHARE.value)
            run.dataset.write_labels(SPLIT, given)
        for stage in (collect.label, pair.pair, retrain.retrain, evaluate.evaluate):
            stage(run, 1)
        made = run.workdir.read_manifest("filter_1")
        facts = {name: made.get(name) for name in ("answered_before", "useful", "filter")}
        rows = (target / "rows" / "evaluate_mili_1.jsonl").read_text().splitlines()
    measured = [row for row in map(json.loads, rows) if "task" in row]
    successes, n = (sum(row[name] for row in measured) for name in ("successes", "n"))
    print(json.dumps(facts))
    print(f"MILI, round 1: {successes / n:.1%} of {n} episodes")


if __name__ == "__main__":
    app.run(main)
