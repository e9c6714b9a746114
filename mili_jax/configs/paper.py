"""The size of the paper: 100 x 100 pixels, 200 demonstrated tasks, 60,000 trials in 150 scenes.

    mili run --config=paper --workdir=runs/paper

A day on 2 cores, or half an hour of training on an H100 and the trials on 16 cores
(experiments/results/paper).
"""

from __future__ import annotations


def fields() -> dict[str, object]:
    """What differs from the defaults."""
    return {
        "data.image_size": 100,
        "train.steps": 40_000,
        "train.batch": 64,
        "improve.trials": 60_000,
        "improve.object_sets": 150,
        "improve.batch": 64,
        "improve.steps": 20_000,
        "train.checkpoint_every": 1000,
    }
