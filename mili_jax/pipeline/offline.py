"""Stage: how near a policy's actions come to those of held-out episodes, where there is no
simulator to try it in.

The policy sees the pictures and poses of an episode one after the other, as its robot did, after a
demonstration of the same task, of another task, or none. What it would have done is held against
what was done. That says whether it follows what it is shown; it does not say whether a robot would
succeed. A policy that feels its fingers takes what it would have sent them for what was sent.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Mapping, Sequence

import numpy as np

from mili_jax.domains.rollout import LOCKSTEP, Actor, Trial
from mili_jax.pipeline import measured
from mili_jax.pipeline.demonstrations import demo_splits
from mili_jax.pipeline.followers import follower
from mili_jax.pipeline.run import Run, config_part, finish_stage, parameters
from mili_jax.pipeline.train import LOOP, load_params
from mili_jax.policy.ranges import half_ranges, turns
from mili_jax.spec import Layout
from mili_jax.types import ConfigError, Episode, EpisodeMeta, PolicyId

MEAN = "mean_action"  # what does the mean of all training actions, for comparison


def evaluate(run: Run, policy: PolicyId, method: str) -> None:
    """A row per task and condition, see `report.rows.ErrorRow`; beside those of pre-training the
    ones of `MEAN`.

    Raises ConfigError where no episode is held out.
    """
    config = run.config
    stage, held = f"evaluate_{policy}", f"demos_{config.evaluate.split}"
    if held not in run.dataset.splits():
        raise ConfigError(
            f"{run.dataset.path} has no split {held!r} of held-out episodes: import some under "
            "that name (docs/other_robots.md), or set config.evaluate.split to one that is there"
        )
    shown = [*demo_splits(run.dataset), held]
    subset, inputs = config_part(run, *LOOP, "evaluate"), parameters(run, policy)
    inputs |= run.dataset.digests(*shown)
    if not run.workdir.begins(stage, subset, inputs):
        return
    began, about = time.time(), measured.about(run, policy)
    maker, known = follower(run, policy, load_params(run, policy), shown)
    metas = list(run.dataset.read_metadata(held))
    there = [m for split in shown for m in run.dataset.read_metadata(split)]
    lessons = {
        condition: _lessons(metas, there, condition, config.evaluate.seed)
        for condition in measured.conditions(run, policy, method)
    }
    rows = []
    for condition, found in _errors(run, maker(), held, lessons).items():
        rows += _rows({**about, "error_of": method}, condition, metas, found)
    if policy == PolicyId("pretrain"):
        of_mean = _errors_of_mean(run, held)
        rows += _rows({**about, "steps": 0, "error_of": MEAN}, "none", metas, of_mean)
    run.workdir.write_rows(stage, rows)
    finish_stage(run, stage, subset, began, inputs=inputs, episodes=len(metas), **known)


def _lessons(
    asked: Sequence[EpisodeMeta], there: Sequence[EpisodeMeta], condition: str, seed: int
) -> list[str | None]:
    """What each episode is shown: another episode's id, "" for nothing, None where there is none
    of that kind. The same for every policy."""
    of_task: dict[str, list[str]] = {}
    for meta in there:
        of_task.setdefault(meta.task, []).append(meta.episode_id)
    found: list[str | None] = []
    for k, mine in enumerate(asked):
        rng = np.random.default_rng((seed, k, condition == "wrong"))
        others = [task for task in of_task if task != mine.task]
        if condition == "none":
            found.append("")
        elif condition == "wrong":
            found.append(str(rng.choice(of_task[rng.choice(others)])) if others else None)
        else:
            same = [name for name in of_task[mine.task] if name != mine.episode_id]
            found.append(str(rng.choice(same)) if same else None)
    return found


def _errors(
    run: Run, actor: Actor, held: str, lessons: Mapping[str, Sequence[str | None]]
) -> dict[str, list[float | None]]:
    """Of each episode after its demonstration, by condition, as `_apart`; None where there is no
    such demonstration. Few pictures are held at a time."""
    layout, stored, first = run.spec.action, run.dataset.read(held), 0
    errors: dict[str, list[float | None]] = {condition: [] for condition in lessons}
    while group := list(itertools.islice(stored, LOCKSTEP)):
        for condition, found in lessons.items():
            mine = found[first : first + len(group)]
            own = _acted(actor, group, ["" if lesson is None else lesson for lesson in mine])
            errors[condition] += [
                None if lesson is None else _apart(layout, acted, episode.action)
                for lesson, acted, episode in zip(mine, own, group, strict=True)
            ]
        first += len(group)
    return errors


def _errors_of_mean(run: Run, held: str) -> list[float]:
    """Of each episode, of whoever always does the mean of the training actions."""
    mean = _mean_action(run)
    return [_apart(run.spec.action, mean, episode.action) for episode in run.dataset.read(held)]


def _acted(actor: Actor, group: Sequence[Episode], lessons: Sequence[str]) -> list[np.ndarray]:
    """What the policy would have done in each of some episodes after its lesson, [T,A] each."""
    rest = LOCKSTEP - len(group)  # one shape, compiled once
    rows = [*group, *[group[-1]] * rest]
    act = actor(
        [
            Trial(e.meta.episode_id, e.meta.task, e.meta.scene, e.meta.seed, demonstration=lesson)
            for e, lesson in zip(rows, [*lessons, *[lessons[-1]] * rest], strict=True)
        ]
    )
    done = []
    for t in range(max(map(len, group))):
        at = [(e, min(t, len(e) - 1)) for e in rows]
        done.append(
            act(np.stack([e.image[k] for e, k in at]), np.stack([e.pose[k] for e, k in at]))
        )
    return [np.stack([action[i] for action in done[: len(e)]]) for i, e in enumerate(group)]


def _mean_action(run: Run) -> np.ndarray:
    """Of all steps of the demonstrations that training reads, [A]."""
    total, steps = np.zeros(len(run.spec.action)), 0
    for split in demo_splits(run.dataset):
        for episode in run.dataset.read(split):
            total += episode.action.sum(0)
            steps += len(episode)
    return total / steps


def _apart(layout: Layout, own: np.ndarray, done: np.ndarray) -> float:
    """How far actions [T,A] lie from those that were done, as a share of the numbers' ranges:
    the mean over steps and numbers; angles the shorter way round."""
    apart = own - done.astype(np.float64)
    for i, period in turns(layout):
        apart[:, i] = (apart[:, i] + period / 2) % period - period / 2
    return float(np.mean(np.abs(apart) / (2 * half_ranges(layout))))


def _rows(
    about: dict[str, object],
    condition: str,
    metas: Sequence[EpisodeMeta],
    errors: Sequence[float | None],
) -> list[dict[str, object]]:
    of_task: dict[str, list[tuple[str, float]]] = {}
    for meta, error in zip(metas, errors, strict=True):
        if error is not None:
            of_task.setdefault(meta.task, []).append((meta.episode_id, round(error, 6)))
    return [
        {
            **about,
            "about": task,
            "demo": condition,
            "episodes": [name for name, _ in found],
            "errors": [error for _, error in found],
        }
        for task, found in of_task.items()
    ]
