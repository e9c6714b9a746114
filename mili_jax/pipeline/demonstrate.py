"""Stages: the scripted expert demonstrates."""

from __future__ import annotations

import functools
import time

from ml_collections import ConfigDict

from mili_jax.domains import base
from mili_jax.domains.base import SPLITS
from mili_jax.domains.rollout import Request, Teacher
from mili_jax.pipeline.rolling import roll_out
from mili_jax.pipeline.run import Run, config_part, finish_stage
from mili_jax.pipeline.schema import DEMO_STRIDE, MOST_DEMOS, SEED_STRIDE


def demonstrate(run: Run) -> None:
    """Stages: the scripted expert demonstrates every task of a split; only successes are kept.

    Raises ConfigError for a domain without a simulator, whose episodes people bring.
    """
    base.simulator_of(run.domain, "the stage `demos`")
    for split in SPLITS:
        _demonstrate(run, split)


def _demonstrate(run: Run, split: str) -> None:
    config, name = run.config, f"demos_{split}"
    subset = config_part(run, "domain", "data")
    if split != "train":  # as many tasks of it as are evaluated
        subset["tasks"] = config.evaluate.tasks
    if not run.workdir.begins(name, subset):
        return
    began = time.time()
    requests = demonstration_requests(config, split)
    facts = roll_out(
        run,
        name,
        requests,
        functools.partial(Teacher, config.domain.name, run.spec, config.data.noise),
        f"demonstrations, {split}",
        required=True,
    )
    metas = list(run.dataset.read_metadata(name))
    attempts = sum(1 + m.seed - r.seed for m, r in zip(metas, requests, strict=True))
    finish_stage(run, name, subset, began, attempts=attempts, **facts)


def demonstration_requests(config: ConfigDict, split: str) -> list[Request]:
    """What is asked of the expert: the same for every seed of training."""
    domain = base.load(config.domain.name)
    listed = base.simulator_of(domain, "a demonstration").tasks(split)
    count = config.data.tasks if split == "train" else config.evaluate.tasks
    first = SPLITS.index(split) * SEED_STRIDE
    return [
        Request(
            f"{split}-{i:03d}-{k}",
            task,
            split,
            first + DEMO_STRIDE * (MOST_DEMOS * i + k),
        )
        for i, task in enumerate(listed[:count])
        for k in range(config.data.demonstrations)
    ]
