"""Stages: one-shot success on held-out tasks."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import time
from collections.abc import Mapping, Sequence

import numpy as np
from ml_collections import ConfigDict

from mili_jax.domains import base
from mili_jax.domains.base import SPLITS
from mili_jax.domains.rollout import Player, Trial
from mili_jax.improve import arms
from mili_jax.pipeline import measured, offline
from mili_jax.pipeline.followers import follower
from mili_jax.pipeline.rolling import roll_out
from mili_jax.pipeline.run import Run, config_part, finish_stage, parameters, signature
from mili_jax.pipeline.schema import SEED_STRIDE
from mili_jax.pipeline.train import LOOP, load_params
from mili_jax.types import EpisodeMeta, PolicyId, Task


@dataclasses.dataclass(frozen=True)
class Arrangement:
    """One evaluation episode: the same for every method, seed of training and condition."""

    task: Task
    index: int  # of the episode within its task
    scene: str
    right: str  # id of a demonstration of the task
    wrong: str  # id of a demonstration of another task that the scene affords
    seed: int


def arrangements(config: ConfigDict) -> list[Arrangement]:
    """The evaluation episodes: scenes that hold the objects of the task and of a foil task."""
    simulator = base.simulator_of(base.load(config.domain.name), "an evaluation")
    split, count = config.evaluate.split, config.evaluate.tasks
    listed = simulator.tasks(split)[:count]
    found = []
    for i, task in enumerate(listed):
        for k in range(config.evaluate.episodes):
            rng = np.random.default_rng((config.evaluate.seed, SPLITS.index(split), i, k))
            demos = rng.integers(config.data.demonstrations, size=2)
            j = int(rng.choice([x for x in range(count) if x != i]))
            found.append(
                Arrangement(
                    task=task,
                    index=k,
                    scene=simulator.sample_scene(split, rng, [task], foil=listed[j]),
                    right=f"{split}-{i:03d}-{demos[0]}",
                    wrong=f"{split}-{j:03d}-{demos[1]}",
                    seed=(100 + SPLITS.index(split)) * SEED_STRIDE + 1000 * i + k,
                )
            )
    return found


def evaluate(run: Run, number: int) -> None:
    """Stages: one-shot success on held-out tasks of every policy of a round (0: pre-training).

    The loop's policies and MIL are given the right, a wrong and no demonstration, the others the
    right one alone. Without a simulator nobody can try; then held-out episodes say how near the
    actions come to theirs (`offline`).
    """
    one = _evaluate if run.domain.simulator else offline.evaluate
    for policy, method in arms.policies(run.config, number).items():
        one(run, policy, method)


def _evaluate(run: Run, policy: PolicyId, method: str) -> None:
    stage, split = f"evaluate_{policy}", f"evaluation_{policy}"
    subset, inputs = config_part(run, *LOOP, "evaluate"), parameters(run, policy)
    inputs |= run.dataset.digests(f"demos_{run.config.evaluate.split}")
    if not run.workdir.begins(stage, subset, inputs):
        return
    began, config = time.time(), run.config
    params = load_params(run, policy)
    plan = arrangements(config)
    maker, known = follower(run, policy, params, ["demos_validation", "demos_test"])
    player = functools.partial(Player, maker, config.domain.name, run.spec)
    conditions = measured.conditions(run, policy, method)
    trials = {
        condition: [
            Trial(
                episode_id=f"{policy}-{condition}-{a.task.name}-{a.index}",
                task=a.task.name,
                scene=a.scene,
                seed=a.seed,
                round=policy.round,
                policy=signature(policy, inputs),
                demonstration={"right": a.right, "wrong": a.wrong, "none": ""}[condition],
            )
            for a in plan
        ]
        for condition in conditions
    }
    everything = [trial for condition in conditions for trial in trials[condition]]
    facts = roll_out(run, split, everything, player, f"evaluation of {policy}")
    outcomes = {m.episode_id: m for m in run.dataset.read_metadata(split)}
    about = {**measured.about(run, policy), "method": method}
    run.workdir.write_rows(stage, _rows(about, plan, trials, outcomes))
    finish_stage(run, stage, subset, began, inputs=inputs, **known, **facts)


def _rows(
    about: Mapping[str, object],
    plan: Sequence[Arrangement],
    trials: Mapping[str, Sequence[Trial]],
    outcomes: Mapping[str, EpisodeMeta],
) -> list[dict[str, object]]:
    """A result row per condition and task."""
    scenes: dict[Task, str] = {}
    for a in plan:
        scenes[a.task] = f"{scenes.get(a.task, '')}{a.seed} {a.scene}\n"
    rows = []
    for condition, given in trials.items():
        for task, text in scenes.items():
            # One that was set aside counts as a failure.
            mine = [outcomes.get(t.episode_id) for t in given if t.task == task.name]
            rows.append(
                {
                    **about,
                    "family": task.group,
                    "task": task.name,
                    "demo": condition,
                    "n": len(mine),
                    "successes": sum(m is not None and m.success for m in mine),
                    "any_task": sum(m is not None and bool(m.achieved_tasks) for m in mine),
                    "outcomes": [int(m is not None and m.success) for m in mine],
                    "arrangements": hashlib.sha256(text.encode()).hexdigest()[:12],
                }
            )
    return rows
