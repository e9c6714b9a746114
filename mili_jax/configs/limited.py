"""MILI where little is demonstrated: 16 tasks, three rounds of 6,000 trials, long retraining.

    mili run --config=limited --workdir=runs/limited

A long run, made for an accelerator. MILI over as many steps without trials: +9.8 points (95%
interval +0.6 to +20.2; experiments/results/limited).
"""

from __future__ import annotations


def fields() -> dict[str, object]:
    """What differs from the defaults."""
    return {
        "data.tasks": 16,
        "train.steps": 1200,
        "improve.rounds": 3,
        "improve.trials": 6000,
        "improve.commanded_share": 0.25,
        "improve.steps": 1500,
        "improve.learning_rate": 2e-3,
        "improve.arms": ("mili", "control", "oracle", "pairs_only"),
        "evaluate.conditions": ("right",),
    }
