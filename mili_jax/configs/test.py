"""The whole loop, small: it checks that everything runs, not that anything is learned.

    mili run --config=test --workdir=runs/test

Under three minutes on 2 cores.
"""

from __future__ import annotations


def fields() -> dict[str, object]:
    """What differs from the defaults."""
    return {
        "data.tasks": 16,
        "train.steps": 60,
        "train.batch": 8,
        "train.checkpoint_every": 30,
        "improve.trials": 48,
        "improve.batch": 8,
        "improve.steps": 20,
        "improve.alpha": 0.0,
        "improve.rested": False,
        "evaluate.tasks": 8,
        "evaluate.episodes": 2,
        "evaluate.videos": 1,
        "machine.shard": 16,
    }
