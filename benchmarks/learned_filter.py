"""How many answers the learned filter saves, with the simulator's in place of a person's.

    python -m benchmarks.learned_filter RUN --answers=200,400

RUN is the folder of a finished run. The label page's own queue chooses what is asked, and the
filter orders it as on the page. An order is one drawing of which trial has which number; on that
the audit slice and the queue depend. Precision and recall are of useful among all trials that the
filter decides. `--wrong` turns a share of the answers round.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from absl import app, flags

from benchmarks.stand_in import answer
from mili_jax.improve.classifier import Decision
from mili_jax.pipeline.describe import features
from mili_jax.pipeline.run import open_stored

_ROUND = flags.DEFINE_integer("round", 1, "whose trials")
_ANSWERS = flags.DEFINE_list("answers", ["200", "400"], "of people")
_ORDERS = flags.DEFINE_integer("orders", 5, "of the trials")
_WRONG = flags.DEFINE_float("wrong", 0.0, "share of the answers that are wrong", 0.0, 0.5)


def shares(useful: np.ndarray, asked: np.ndarray, found: Decision | None) -> tuple[float, ...]:
    """Precision, recall of what is decided, and the share of the rest that is decided."""
    if found is None:
        return np.nan, np.nan, 0.0
    decided = found.yes | found.no
    right = (found.yes & useful).sum()
    precision = right / found.yes.sum() if found.yes.any() else np.nan
    recall = right / (decided & useful).sum() if (decided & useful).any() else np.nan
    return float(precision), float(recall), float(decided.sum() / (len(useful) - len(asked)))


def spread(values: np.ndarray) -> str:
    """Mean, smallest and largest, in per cent."""
    known = 100 * values[np.isfinite(values)]
    if not len(known):
        return "none"
    return f"{known.mean():.0f}% ({known.min():.0f}-{known.max():.0f})"


def main(argv: list[str]) -> None:
    """Prints a row per number of answers."""
    run = open_stored(Path(argv[1]))
    x, split = features(run, _ROUND.value), f"round_{_ROUND.value}"
    useful = np.array([m.useful for m in run.dataset.read_metadata(split)])
    print(f"{len(useful)} trials, {useful.mean():.0%} of them useful; {_WRONG.value:.0%} wrong")
    print("| answers | decides anything in | precision | recall | of the rest it decides |")
    print("|---|---|---|---|---|")
    for count in map(int, _ANSWERS.value):
        found = []
        for order in range(_ORDERS.value):
            rng = np.random.default_rng(order)
            mine = rng.permutation(len(useful))
            asked, _, decision = answer(x[mine], useful[mine], count, _WRONG.value, rng)
            found.append(shares(useful[mine], asked, decision))
        precision, recall, part = np.array(found).T
        cells = spread(precision), spread(recall), spread(part)
        print(f"| {count} | {(part > 0).sum()} of {len(part)} | {' | '.join(cells)} |")


if __name__ == "__main__":
    app.run(main)
