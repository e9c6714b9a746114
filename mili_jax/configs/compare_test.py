"""Every method of `compare`, small: it checks that everything runs, not that anything is learned.

mili compare --config=compare_test --seeds=0,1 --workdir=runs/compare_test
"""

from __future__ import annotations

from mili_jax.configs import test


def fields() -> dict[str, object]:
    """What differs from the defaults."""
    return {
        **test.fields(),
        "improve.rounds": 2,
        "baselines.methods": ("bc", "mil", "mil_video"),
        "baselines.bc_steps": 20,
        "baselines.mil_steps": 6,
        "baselines.mil_tasks": 4,
        "baselines.mil_policy_steps": 2,
        "improve.arms": (
            *("mili", "control", "more_demos", "oracle", "random_only", "nearest"),
            *("self_only", "trials_24", "mil_pairs", "mil_more"),
        ),
        "evaluate.conditions": ("right",),
    }
