"""Every field of a configuration, its type and what must hold for it (`check`)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ml_collections import ConfigDict

from mili_jax.improve import arms, screening
from mili_jax.improve.arms import BASELINES
from mili_jax.learning import mil
from mili_jax.learning.hyper import CONTRASTIVE
from mili_jax.learning.mil import ADAPTED
from mili_jax.policy.embeddings.pose_anchored import SIZES
from mili_jax.policy.policy import EMBEDDINGS, HEADS
from mili_jax.types import ConfigError

# What each MIL among `BASELINES` is shown.
SUPPORTS = dict(zip(("mil", "mil_pose", "mil_video"), mil.SUPPORTS, strict=True))
BACKENDS = ("local", "ray")  # where jobs run

# Between the seeds of splits and rounds, and of demonstrations in a split: `check` sees to it that
# no two overlap.
SEED_STRIDE = 1_000_000
DEMO_STRIDE = 90  # more than the attempts at one
MOST_DEMOS = 20  # of one task
_POSITIVE: Callable[[Any], bool] = lambda v: v > 0  # noqa: E731
_SHARE: Callable[[Any], bool] = lambda v: 0 <= v <= 1  # noqa: E731
_COUNT: Callable[[Any], bool] = lambda v: v >= 0  # noqa: E731

# Every field, its type and what holds for it.
_SCHEMA: dict[str, dict[str, tuple[type, Callable[[Any], bool], str]]] = {
    "data": {
        "image_size": (int, lambda v: 32 <= v <= 512 and v % 4 == 0, "a multiple of 4, 32..512"),
        "tasks": (int, lambda v: 1 <= v <= 520, "1..520"),
        "demonstrations": (int, lambda v: 2 <= v <= MOST_DEMOS, f"2..{MOST_DEMOS}"),
        "noise": (float, _COUNT, "at least 0"),
    },
    "policy": {
        "embedding": (str, lambda v: v in EMBEDDINGS, f"one of {sorted(EMBEDDINGS)}"),
        "head": (str, lambda v: v in HEADS, f"one of {sorted(HEADS)}"),
        "embedding_size": (int, lambda v: v > SIZES, f"more than {SIZES}"),
        "channels": (int, _POSITIVE, "positive"),
        "blocks": (int, _COUNT, "at least 0"),
        "frames": (int, lambda v: v >= 2, "at least 2"),
        "places": (int, lambda v: v >= 4, "at least 4"),
    },
    "train": {
        "steps": (int, _POSITIVE, "positive"),
        "batch": (int, lambda v: v >= 4 and v % 4 == 0, "a multiple of 4, the colour groups"),
        "policy_steps": (int, _POSITIVE, "positive"),
        "learning_rate": (float, _POSITIVE, "positive"),
        "contrastive": (str, lambda v: v in CONTRASTIVE, "hinge or supervised"),
        "contrastive_weight": (float, _COUNT, "at least 0"),
        "truncated": (bool, lambda v: True, ""),
        "recall_weight": (float, _COUNT, "at least 0"),
        "demo_dropout": (float, _SHARE, "0..1"),
        "checkpoint_every": (int, _POSITIVE, "positive"),
        "bfloat16": (bool, lambda v: True, ""),
    },
    "improve": {
        # More of either and the seeds of trials would be those of evaluation (`SEED_STRIDE`).
        "rounds": (int, lambda v: 0 <= v < 80, "0..79"),
        "trials": (int, lambda v: 0 < v < SEED_STRIDE, f"1..{SEED_STRIDE - 1}"),
        "commanded_share": (float, _SHARE, "0..1"),
        "object_sets": (int, _COUNT, "at least 0"),
        "trial_share": (float, _SHARE, "0..1"),
        "temperature": (float, _COUNT, "at least 0"),
        "noise": (float, _COUNT, "at least 0"),
        "alpha": (float, lambda v: -1 <= v <= 1, "a cosine, -1..1"),
        "cap": (int, _POSITIVE, "positive"),
        "mutual": (bool, lambda v: True, ""),
        "balance": (bool, lambda v: True, ""),
        "rested": (bool, lambda v: True, ""),
        "batch": (int, lambda v: v >= 4 and v % 4 == 0, "a multiple of 4, the colour groups"),
        "self_share": (float, _SHARE, "0..1"),
        "pair_fraction": (float, lambda v: 0 <= v < 1, "at least 0 and below 1"),
        "steps": (int, _POSITIVE, "positive"),
        "learning_rate": (float, _POSITIVE, "positive"),
        "warm_start": (bool, lambda v: True, ""),
        "arms": (tuple, lambda v: v and v[0] == "mili" and len(set(v)) == len(v), "mili first"),
    },
    "baselines": {
        "methods": (
            tuple,
            lambda v: len(set(v)) == len(v) and set(v) <= set(BASELINES),
            f"any of {sorted(BASELINES)}",
        ),
        "bc_steps": (int, _POSITIVE, "positive"),
        "mil_steps": (int, _POSITIVE, "positive"),
        "mil_tasks": (int, lambda v: v >= 4 and v % 4 == 0, "a multiple of 4, the colour groups"),
        "mil_policy_steps": (int, _POSITIVE, "positive"),
        "mil_learning_rate": (float, _POSITIVE, "positive"),
        "mil_adapted": (str, lambda v: v in ADAPTED, f"one of {ADAPTED}"),
        "mil_inner_steps": (int, _POSITIVE, "positive"),
        "mil_inner_rate": (float, _POSITIVE, "positive"),
        "mil_first_order": (bool, lambda v: True, ""),
        "mil_clip": (float, _COUNT, "at least 0"),
    },
    "evaluate": {
        "split": (str, lambda v: v in ("validation", "test"), "validation or test"),
        "tasks": (int, lambda v: 2 <= v <= 40, "2..40"),
        "episodes": (int, lambda v: 1 <= v <= 1000, "1..1000"),
        "seed": (int, _COUNT, "at least 0"),
        "conditions": (
            tuple,
            lambda v: (
                v
                and set(v) <= {"right", "wrong", "none"}
                and v[0] == "right"
                and len(set(v)) == len(v)
            ),
            "right first, then any of wrong, none",
        ),
        "videos": (int, _COUNT, "at least 0"),
    },
    "machine": {
        "backend": (str, lambda v: v in BACKENDS, f"one of {BACKENDS}"),
        "processes": (int, _COUNT, "at least 0"),
        "pairing": (str, lambda v: v in screening.BACKENDS, f"one of {sorted(screening.BACKENDS)}"),
        "shard": (int, _POSITIVE, "positive"),
        "pool_gb": (float, _COUNT, "at least 0"),
    },
}


def check(config: ConfigDict) -> None:
    """Raises ConfigError naming the first field that is unknown, missing, mistyped or wrong."""
    known = {"name", "seed", *_SCHEMA}
    if set(config) != known:
        raise ConfigError(
            f"config: unknown {sorted(set(config) - known)}, missing {sorted(known - set(config))}"
        )
    for section, fields in _SCHEMA.items():
        given = config[section]
        for field in sorted(set(given) | set(fields)):
            name = f"config.{section}.{field}"
            if field not in fields:
                raise ConfigError(f"{name} is unknown; {section} has {sorted(fields)}")
            if field not in given:
                raise ConfigError(f"{name} is missing")
            kind, holds, wanted = fields[field]
            value = given[field]
            typed = isinstance(value, (int, float) if kind is float else kind)
            if not typed or (isinstance(value, bool) and kind is not bool) or not holds(value):
                raise ConfigError(f"{name} = {value!r} must be {kind.__name__}, {wanted}")
    # The compiled step takes it as a 32-bit integer.
    if not isinstance(config.seed, int) or not 0 <= config.seed < 2**31:
        raise ConfigError(f"config.seed = {config.seed!r} must be int, 0..{2**31 - 1}")
    trials = config.improve.trials
    for name in config.improve.arms:
        arm = arms.parse(name)
        if arm.kind == "trials" and arm.value > trials:
            raise ConfigError(
                f"config.improve.arms: {name!r} is more than config.improve.trials = {trials}"
            )
        if arm.adapts and "mil" not in config.baselines.methods:
            raise ConfigError(
                f"config.improve.arms: {name!r} goes on from MIL; add 'mil' to "
                "config.baselines.methods"
            )
    for name in config.baselines.methods:
        if name in SUPPORTS:
            mil.check(config.policy.head, SUPPORTS[name])
