"""How many answers the loop needs, with the simulator's in place of a person's.

    mili run --config=run --config.improve.trials=4000 --config.improve.arms=mili --workdir=runs/all
    python -m benchmarks.answers runs/all --out=runs/400 --answers=400
    python -m benchmarks.answers runs/all --out=runs/random --answers=400 --order=random

The first answers for every trial. The others copy that run, forget its labels, answer for so many
of its trials, let the filter `learned` decide about the rest, and go on from there: pairs,
training, evaluation. With the order `uncertain` the label page's own queue chooses what is asked,
with `random` a drawing does. `--wrong` turns a share of the answers round. The same command goes on
where it was stopped.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
from absl import app, flags

from benchmarks.learned_filter import answer
from mili_jax.pipeline import collect, evaluate, pair, retrain
from mili_jax.pipeline.describe import features
from mili_jax.pipeline.run import Run, open_run
from mili_jax.pipeline.stored import configuration
from mili_jax.storage import verify
from mili_jax.storage.dataset import Dataset
from mili_jax.storage.labels import Answer, Label
from mili_jax.storage.splits import labels_path

_OUT = flags.DEFINE_string("out", None, "folder of the new run", required=True)
_COUNT = flags.DEFINE_integer("answers", 400, "of people")
_ORDER = flags.DEFINE_enum("order", "uncertain", ["uncertain", "random"], "what is asked first")
_SHARE = flags.DEFINE_float("wrong", 0.0, "share of the answers that are wrong", 0.0, 0.5)
SPLIT = "round_1"


def copy(source: Path, target: Path) -> None:
    """The run without its labels, and with a configuration that is still open."""
    part = target.with_name(target.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    shutil.copytree(source, part, ignore=shutil.ignore_patterns("report", "tensorboard", "lock"))
    (part / "manifest.json").unlink()
    labels = labels_path(Dataset(part / "dataset").path, SPLIT)
    labels.unlink()
    verify.forget(labels.parent, [labels.name])
    part.rename(target)


def answers(run: Run, count: int, order: str, wrong: float) -> list[Label]:
    """What the person says, whose hand has the seed of the run."""
    metas = list(run.dataset.read_metadata(SPLIT))
    useful = np.array([meta.useful for meta in metas])
    rng = np.random.default_rng(run.config.seed)
    mine = rng.permutation(len(metas))
    if order == "random":
        asked = mine[:count]
        said = useful[asked] ^ (rng.random(count) < wrong)
    else:
        found, said, _ = answer(features(run, 1)[mine], useful[mine], count, wrong, rng)
        asked = mine[found]
    return [
        Label(metas[k].episode_id, Answer.YES if yes else Answer.NO, "stand-in")
        for k, yes in zip(asked, said, strict=True)
    ]


def main(argv: list[str]) -> None:
    """Prints the filter's own account and the success of MILI."""
    source, target = Path(argv[1]), Path(_OUT.value)
    if not target.exists():
        copy(source, target)
    config = configuration(source)
    with config.unlocked():
        config.improve.filter, config.improve.arms = "learned", ("mili",)
    run = open_run(config, target)
    with run.workdir:
        if not run.dataset.read_labels(SPLIT):
            given = answers(run, _COUNT.value, _ORDER.value, _SHARE.value)
            run.dataset.write_labels(SPLIT, given)
        for stage in (collect.label, pair.pair, retrain.retrain, evaluate.evaluate):
            stage(run, 1)
        facts = run.workdir.read_manifest("filter_1")["filter"]
        rows = (target / "rows" / "evaluate_mili_1.jsonl").read_text().splitlines()
    measured = [row for row in map(json.loads, rows) if "task" in row]
    successes, n = (sum(row[name] for row in measured) for name in ("successes", "n"))
    print(json.dumps(facts))
    print(f"MILI, round 1: {successes / n:.1%} of {n} episodes")


if __name__ == "__main__":
    app.run(main)
