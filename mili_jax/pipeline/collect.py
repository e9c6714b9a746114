"""Stages: trials (lines 9-12) and the filter's answers (line 13)."""

from __future__ import annotations

import dataclasses
import functools
import time
from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np
from ml_collections import ConfigDict

from mili_jax.domains.kitchen import rollout, scenes
from mili_jax.domains.kitchen.env import object_pool
from mili_jax.domains.kitchen.rollout import Player, Trial
from mili_jax.domains.kitchen.world import Scene
from mili_jax.improve import arms, filters
from mili_jax.improve.arms import Arm
from mili_jax.learning.actors import MakeActor
from mili_jax.pipeline.rolling import roll_out
from mili_jax.pipeline.run import Run, config_part, finish_stage, parameters, policy_id
from mili_jax.pipeline.schema import SEED_STRIDE
from mili_jax.pipeline.train import LOOP, embed, load_params
from mili_jax.storage.labels import resolve
from mili_jax.types import FAMILIES, DataError, EpisodeMeta, Task


def even_weights(run: Run, number: int, ids: Sequence[str], weights: np.ndarray) -> np.ndarray:
    """The weights of trials, made even over the families that they resemble if so configured."""
    if not run.config.improve.balance or not ids:
        return weights
    resembles = run.workdir.read_manifest(f"pair_{number}")["resembles"]
    kinds = np.array([FAMILIES.index(resembles[name]) for name in ids])
    return weights / np.bincount(kinds, weights, len(FAMILIES))[kinds]


# Improvement


def collect(run: Run, number: int) -> None:
    """Stage (lines 9-12): trials of the latest policy, each after a random demonstration.

    From the second round on what useful trials did are tasks as well (line 20), see `_followed`.
    """
    name, before = f"round_{number}", arms.start_of(run.config, number)
    inputs = parameters(run, before)
    if not run.workdir.begins(name, config_part(run, *LOOP), inputs):
        return
    began = time.time()
    params = load_params(run, before)
    z, metas = embed(run, params, ["demos_train", *(f"round_{k}" for k in range(1, number))])
    table = {m.episode_id: row for m, row in zip(metas, z, strict=True)}
    demos = [m for m in metas if m.round == 0]
    maker = MakeActor(run.policy, params, table, run.config.improve.temperature)
    size, noise = run.config.data.image_size, run.config.improve.noise
    player = functools.partial(Player, maker, size, noise=noise)
    actor = policy_id(before, inputs)
    trials = list(trial_plan(run.config, number, actor, demos, *_followed(run, number)))
    facts = roll_out(run, name, trials, player, f"trials, round {number}")
    finish_stage(run, name, config_part(run, *LOOP), began, inputs=inputs, **facts)


def _followed(run: Run, number: int) -> tuple[list[EpisodeMeta], np.ndarray]:
    """The earlier trials that those of a round follow, and how often each: float64 [N], sum 1.

    They are the useful ones that came to rest. One with many partners shows what many show, and
    what is easy succeeds most; so a trial comes up as one over one plus its partners, and
    `improve.balance` makes the families that trials resemble even.
    """
    shown: list[EpisodeMeta] = []
    weights: list[np.ndarray] = [np.zeros(0)]
    for past in range(1, number):
        metas, useful, rested = answered_trials(run, past)
        mine = arms.candidates(Arm("mili"), useful, rested, run.config.seed)
        pairs = run.dataset.read_pairs(f"mili_{past}")
        partners = Counter((*pairs.a, *pairs.b))
        ids = [metas[i].episode_id for i in mine]
        rarity = np.array([1 / (1 + partners[name]) for name in ids])
        weights.append(even_weights(run, past, ids, rarity))
        shown += [metas[i] for i in mine]
    weight = np.concatenate(weights)
    return shown, weight / weight.sum() if shown else weight


def trial_plan(
    config: ConfigDict,
    number: int,
    policy: str,
    demos: Sequence[EpisodeMeta],
    shown: Sequence[EpisodeMeta] = (),
    weights: np.ndarray | None = None,
) -> Iterator[Trial]:
    """The trials of a round, a function of the seed: new scenes with any training object in them.

    In `commanded_share` of the trials the objects of the demonstration are there; elsewhere the
    robot does what it makes of the demonstration among one of `object_sets` sets of objects, which
    may be such as nobody has demonstrated. The sets come again and again, arranged anew each time:
    two trials form a pair only if they did the same, and with new objects in every trial that would
    hardly happen (Singh et al. 2020 have 60,000 trials in 150 scenes). `trial_share` of the
    demonstrations are earlier trials, if there are any in `shown`, drawn by `weights`: of these
    only the objects around are known, and the task is the one they were commanded, which may not be
    what they show. With noise some begin where a demonstration may, low or with closed fingers.
    """
    c, pool = config.improve, object_pool("train")

    @functools.cache
    def object_set(k: int) -> tuple[str, ...]:
        return _objects(scenes.sample([], pool, np.random.default_rng((config.seed, number, k, 1))))

    for i in range(c.trials):
        rng = np.random.default_rng((config.seed, number, i))
        own = bool(shown) and rng.random() < c.trial_share
        if own:
            demo = shown[int(rng.choice(len(shown), p=weights))]
        else:
            demo = demos[int(rng.integers(len(demos)))]
        there = rng.random() < c.commanded_share
        if there and own:
            scene = scenes.rearrange(_objects(Scene.from_json(demo.scene)), rng)
        elif there or not c.object_sets:
            scene = scenes.sample([Task.parse(demo.task)] if there else [], pool, rng)
        else:
            scene = scenes.rearrange(object_set(int(rng.integers(c.object_sets))), rng)
        if c.noise:
            scene = dataclasses.replace(scene, tool=rollout.first_pose(scene, rng))
        yield Trial(
            episode_id=f"round{number}-{i:06d}",
            task=demo.task,
            scene=scene.to_json(),
            seed=(10 + number) * SEED_STRIDE + i,
            round=number,
            policy=policy,
            demonstration=demo.episode_id,
        )


def _objects(scene: Scene) -> tuple[str, ...]:
    return tuple(placement.object for placement in scene.placements)


def label(run: Run, number: int) -> None:
    """Stage (line 13): the filter F answers yes or no for every trial that nobody has answered."""
    name, split = f"filter_{number}", f"round_{number}"
    inputs = parameters(run, arms.start_of(run.config, number))
    if not run.workdir.begins(name, config_part(run, *LOOP), inputs):
        return
    began, known = time.time(), resolve(run.dataset.read_labels(split))
    metas = [m for m in run.dataset.read_metadata(split) if m.episode_id not in known]
    if metas:
        run.dataset.write_labels(split, filters.simulator(metas))
    answers = resolve(run.dataset.read_labels(split)).values()
    useful = sum(answer is True for answer in answers)
    facts = {"trials": len(answers), "useful": useful, "answered_before": len(known)}
    finish_stage(run, name, config_part(run, *LOOP), began, inputs=inputs, **facts)


def answered_trials(run: Run, number: int) -> tuple[list[EpisodeMeta], np.ndarray, np.ndarray]:
    """A round's N trials, with what F said of each and whether it came to rest, bool [N].

    Raises DataError if F has not answered for all of them.
    """
    split = f"round_{number}"
    metas = list(run.dataset.read_metadata(split))
    answers = resolve(run.dataset.read_labels(split))
    unanswered = [m.episode_id for m in metas if m.episode_id not in answers]
    if unanswered:
        raise DataError(
            f"{run.dataset.path}: {len(unanswered)} of the {len(metas)} trials of {split!r} have "
            f"no label ({unanswered[0]!r} is the first); let `experiments.label` or people answer"
        )
    useful = np.array([answers[m.episode_id] is True for m in metas], bool)
    anyhow = not run.config.improve.rested
    return metas, useful, np.array([m.terminated or anyhow for m in metas], bool)
