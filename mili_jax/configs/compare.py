"""Every method and every control on the same demonstrations of 16 tasks and the same 4,000 trials.

    mili compare --config=compare --seeds=0,1,2 --workdir=runs/compare

90 minutes a seed on 2 cores. MILI over as many steps and rows of demonstrations, five seeds: +10.0
points (95% interval +5.3 to +14.6; experiments/results/compare and more_seeds).
"""

from __future__ import annotations

from mili_jax.configs import limited


def fields() -> dict[str, object]:
    """What differs from the defaults."""
    return {
        **limited.fields(),
        "train.steps": 1000,
        "improve.trials": 4000,
        "improve.alpha": 0.97,
        "improve.batch": 12,
        "improve.self_share": 0.75,
        "improve.pair_fraction": 0.75,
        "improve.steps": 1000,
        "improve.learning_rate": 3e-3,
        "baselines.methods": ("bc", "mil", "mil_pose", "mil_video"),
        "improve.arms": (
            *("mili", "control", "more_demos", "oracle"),
            *("pairs_only", "oracle_only", "random_only"),  # as in the paper
            *("self_only", "nearest", "unfiltered"),  # controls
            *("trials_250", "trials_1000", "trials_2000"),  # figure 6
            *("alpha_950", "noise_5", "noise_10", "noise_20"),
        ),
    }
