"""One-shot imitation and a round of trials on Meta-World: the four unseen tasks of published work.

pip install 'mili-jax[metaworld]'
mili run --config=metaworld --workdir=runs/metaworld
"""

from __future__ import annotations


def fields() -> dict[str, object]:
    """What differs from the defaults."""
    return {
        "domain.name": "metaworld",
        "data.tasks": 34,
        "data.demonstrations": 20,
        "policy.embedding": "path_anchored",
        "policy.head": "path_mixture",
        "policy.embedding_size": 1440,
        "policy.places": 26,
        "train.steps": 800,
        "train.batch": 24,
        "train.policy_steps": 2,
        "train.truncated": False,
        "train.demo_dropout": 0.0,
        # A scene holds one task, and no objects of others.
        "improve.commanded_share": 1.0,
        "improve.object_sets": 0,
        "improve.trials": 600,
        "improve.batch": 24,
        "improve.arms": ("mili", "control"),
        "evaluate.tasks": 4,
        "evaluate.episodes": 100,
        "evaluate.conditions": ("right", "wrong"),
        "machine.processes": 1,
    }
