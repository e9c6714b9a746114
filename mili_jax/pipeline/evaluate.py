"""Stages: one-shot success on held-out objects."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from mili_jax.domains.kitchen import scenes, tasks
from mili_jax.domains.kitchen.env import object_pool
from mili_jax.domains.kitchen.rollout import Actor, Player, Trial
from mili_jax.domains.kitchen.tasks import SPLITS
from mili_jax.domains.kitchen.world import Scene
from mili_jax.improve import arms
from mili_jax.learning.actors import MakeActor, MakeAdaptingActor
from mili_jax.learning.mil import improvement
from mili_jax.pipeline.rolling import roll_out
from mili_jax.pipeline.run import Run, config_part, finish_stage, parameters, policy_id
from mili_jax.pipeline.schema import SEED_STRIDE
from mili_jax.pipeline.train import LOOP, baseline_hyper, embed, load_params, mil_hyper, supports_of
from mili_jax.report import statistics
from mili_jax.storage.workdir import source_commit
from mili_jax.types import Task

# Evaluation


@dataclasses.dataclass(frozen=True)
class Arrangement:
    """One evaluation episode: the same for every method, seed of training and condition."""

    task: Task
    index: int  # of the episode within its task
    scene: Scene
    right: str  # id of a demonstration of the task
    wrong: str  # id of a demonstration of another task that the scene affords
    seed: int


def arrangements(config: ConfigDict) -> list[Arrangement]:
    """The evaluation episodes: scenes that hold the objects of the task and of a foil task."""
    split, count = config.evaluate.split, config.evaluate.tasks
    listed = tasks.load_tasks()[split][:count]
    pool = object_pool(split)
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
                    scene=scenes.sample([task], pool, rng, foil=listed[j]),
                    right=f"{split}-{i:03d}-{demos[0]}",
                    wrong=f"{split}-{j:03d}-{demos[1]}",
                    seed=(100 + SPLITS.index(split)) * SEED_STRIDE + 1000 * i + k,
                )
            )
    return found


def evaluate(run: Run, number: int) -> None:
    """Stages: one-shot success on held-out objects of every policy of a round (0: pre-training).

    The loop's policies and MIL are given the right, a wrong and no demonstration, what stands
    beside them the right one alone.
    """
    for name, method in arms.policies(run.config, number).items():
        _evaluate(run, name, method, number)


def _evaluate(run: Run, name: str, method: str, number: int) -> None:
    stage = f"evaluate_{name}"
    subset, inputs = config_part(run, *LOOP, "evaluate"), parameters(run, name)
    if not run.workdir.begins(stage, subset, inputs):
        return
    began, config = time.time(), run.config
    params = load_params(run, name)
    plan = arrangements(config)
    maker, measured = _held_out(run, name, params)
    player = functools.partial(Player, maker, config.data.image_size)
    conditions = config.evaluate.conditions
    if method not in (("mili",) if number else ("meta_imitation", "mil")):
        conditions = conditions[:1]
    trials = [
        Trial(
            episode_id=f"{name}-{condition}-{a.task.id}-{a.index}",
            task=a.task.id,
            scene=a.scene.to_json(),
            seed=a.seed,
            round=number,
            policy=policy_id(name, inputs),
            demonstration={"right": a.right, "wrong": a.wrong, "none": ""}[condition],
        )
        for condition in conditions
        for a in plan
    ]
    facts = roll_out(run, f"evaluation_{name}", trials, player, f"evaluation of {name}")
    outcomes = {m.episode_id: m for m in run.dataset.read_metadata(f"evaluation_{name}")}
    rows, commit = [], source_commit()
    scenes_of: dict[str, str] = {}
    for a in plan:
        scenes_of[a.task.id] = f"{scenes_of.get(a.task.id, '')}{a.seed} {a.scene.to_json()}\n"
    steps = [run.workdir.read_manifest(n)["steps"] for n in arms.lineage(config, name, number)]
    cost = {"steps": sum(steps), "trials": arms.trials_seen(config, name, number)}
    for c, condition in enumerate(conditions):
        part = trials[c * len(plan) : (c + 1) * len(plan)]
        for task in dict.fromkeys(a.task for a in plan):
            # One that was set aside counts as a failure.
            mine = [outcomes.get(t.episode_id) for t in part if t.task == task.id]
            rows.append(
                {
                    "config": config.name,
                    "commit": commit,
                    "method": method,
                    "round": number,
                    "seed": config.seed,
                    "split": config.evaluate.split,
                    "family": task.family,
                    "task": task.id,
                    "demo": condition,
                    "n": len(mine),
                    "successes": sum(m is not None and m.success for m in mine),
                    "any_task": sum(m is not None and bool(m.achieved_tasks) for m in mine),
                    "outcomes": [int(m is not None and m.success) for m in mine],
                    "arrangements": hashlib.sha256(scenes_of[task.id].encode()).hexdigest()[:12],
                    **cost,
                }
            )
    run.workdir.write_rows(stage, rows)
    finish_stage(run, stage, subset, began, inputs=inputs, **measured, **facts)


def _held_out(run: Run, name: str, params: Any) -> tuple[Callable[[], Actor], dict]:
    """Makes the actor of a policy for held-out demonstrations, and what can be measured of it on
    them alone: how well its embedding tells tasks apart, or whether adapting to one demonstration
    of a task lowers the loss on another."""
    held = [f"demos_{s}" for s in ("validation", "test")]
    if arms.adapts(name):
        hyper, mil = baseline_hyper(run.config, name), mil_hyper(run.config, name)
        shown, metas = supports_of(run, held)
        ids = [m.episode_id for m in metas]
        kinds = np.unique([m.task for m in metas], return_inverse=True)[1]
        of_task = [np.flatnonzero(kinds == k) for k in range(kinds.max() + 1)]
        support, query = (np.array([rows[k] for rows in of_task]) for k in (0, 1))
        before, after = improvement(run.policy, hyper, mil, params, shown, support, query)
        table = {i: jax.tree.map(lambda a: a[k], shown) for k, i in enumerate(ids)}  # noqa: B023
        adaptation = {
            "tasks": len(of_task),
            "before": float(before.mean()),
            "after": float(after.mean()),
            "improved": float(np.mean(after < before)),
        }
        maker = MakeAdaptingActor(run.policy, hyper, mil, params, table)
        return maker, {"adaptation": adaptation}
    if name == "bc":  # acts without a demonstration, whichever it is given
        nothing = np.zeros(run.config.policy.embedding_size, np.float32)
        ids = [m.episode_id for split in held for m in run.dataset.read_metadata(split)]
        return MakeActor(run.policy, params, dict.fromkeys(ids, nothing)), {}
    z, metas = embed(run, params, held)
    neighbours = {
        "task": statistics.nearest_neighbour(z, [m.task for m in metas]),
        "family": statistics.nearest_neighbour(z, [Task.parse(m.task).family for m in metas]),
    }
    table = {m.episode_id: row for m, row in zip(metas, z, strict=True)}
    return MakeActor(run.policy, params, table), {"neighbours": neighbours}
