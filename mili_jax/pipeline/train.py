"""Stages that train on demonstrations (line 5), and what every training shares."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import logging
import os
from collections.abc import Callable, Mapping, Sequence

import jax
import numpy as np
from ml_collections import ConfigDict

from mili_jax.batches import sampling
from mili_jax.batches.pool import Pool, build_pool, concatenate, hold, read_pool
from mili_jax.batches.sampling import PairTable
from mili_jax.improve import arms
from mili_jax.learning import acting, augment, calibration, mil, step
from mili_jax.learning.hyper import Hyper
from mili_jax.learning.losses import Metrics
from mili_jax.learning.mesh import make_mesh
from mili_jax.learning.mil import MilHyper, Shown
from mili_jax.learning.step import TrainState
from mili_jax.pipeline import loop
from mili_jax.pipeline.demonstrations import DEMOS, demo_splits
from mili_jax.pipeline.run import Run, config_part
from mili_jax.pipeline.schema import SUPPORTS, pair_rows
from mili_jax.policy.policy import Policy, init_params
from mili_jax.types import Batch, EpisodeMeta, Params, PolicyId

EMBEDDED = 256  # episodes in memory when a split is embedded
CALIBRATING = 100  # episodes that an uncalibrated camera is found by
LOG = logging.getLogger(__name__)

_make_train_step = functools.cache(step.make_train_step)  # compiled once for equal trainings
_make_meta_step = functools.cache(mil.make_train_step)
_make_embed = functools.cache(acting.make_embed)
_LEARNING = ("domain", "data", "policy", "train")
LOOP = (*_LEARNING, "improve")


def pretrain(run: Run) -> None:
    """Stage (line 5): one-shot imitation and the latent space, eq. 3 on the demonstrations."""
    inputs = run.dataset.digests(*DEMOS)
    if not run.workdir.begins("pretrain", config_part(run, *_LEARNING), inputs):
        return
    c = run.config.train
    hyper = hyper_of(run.config, c.steps, c.learning_rate)
    train_imitation(run, "pretrain", hyper, c.batch, demonstration_pool(run), _LEARNING, inputs)


def train_baselines(run: Run) -> None:
    """Stages: behaviour cloning (eq. 1) and MIL on the same demonstrations."""
    sections, inputs = (*_LEARNING, "baselines"), run.dataset.digests(*DEMOS)
    for name in run.config.baselines.methods:
        if not run.workdir.begins(name, config_part(run, *sections), inputs):
            continue
        pool, hyper = demonstration_pool(run), baseline_hyper(run.config, name)
        if name == "bc":
            train_imitation(run, name, hyper, run.config.train.batch, pool, sections, inputs)
            continue
        train_mil(run, name, hyper, pool, sections, inputs)


def train_mil(
    run: Run,
    name: str,
    hyper: Hyper,
    pool: Pool,
    sections: Sequence[str],
    inputs: Mapping[str, str] | None = None,
    *,
    table: PairTable | None = None,
    params: Params | None = None,
    seed: int | None = None,
) -> None:
    """Trains MIL on tasks of demonstrations, and on pairs of a table if there is one; the rest as
    in `train_imitation`."""
    config, options = run.config, mil_hyper(run.config, name)
    seed = config.seed if seed is None else seed
    pool = hold(pool, int(config.machine.pool_gb * 1e9))
    if params is None:
        params = mil.init(run.policy, options, jax.random.key(config.seed), config.policy.frames)
        params = {**params, "policy": {**params["policy"], **_found_camera(run, pool)}}
    state = step.new_state(params, hyper)
    batch = functools.partial(
        sampling.sample_tasks,
        pool,
        sampling.group_by_task(pool),
        table,
        seed,
        size=config.baselines.mil_tasks,
        pair_fraction=0.0 if table is None else config.improve.pair_fraction,
        policy_steps=config.baselines.mil_policy_steps,
        felt=run.policy.feels,
    )
    step_fn = _make_meta_step(run.policy, hyper, options, make_mesh())
    facts = _learned_from(pool, table)
    run_training(run, name, hyper, state, step_fn, batch, sections, facts, inputs, seed)


def mil_hyper(config: ConfigDict, name: str) -> MilHyper:
    """What the MIL of that name has: a baseline, or an arm, which goes on from `mil`."""
    c = config.baselines
    return MilHyper(
        support=SUPPORTS.get(name, SUPPORTS["mil"]),
        adapted=c.mil_adapted,
        inner_steps=c.mil_inner_steps,
        inner_rate=c.mil_inner_rate,
        first_order=c.mil_first_order,
        clip=c.mil_clip,
    )


def demonstration_pool(run: Run) -> Pool:
    """All demonstrations that are trained on, the expert's and people's."""
    found = [
        read_pool(run.domain, run.dataset, split, demonstrations=True)
        for split in demo_splits(run.dataset)
    ]
    return found[0] if len(found) == 1 else concatenate(found)


def hyper_of(config: ConfigDict, steps: int, learning_rate: float) -> Hyper:
    c = config.train
    return Hyper(
        steps=steps,
        learning_rate=learning_rate,
        warmup=min(100, steps // 5),
        contrastive=c.contrastive,
        contrastive_weight=c.contrastive_weight,
        recall_weight=c.recall_weight,
        embedding_gradient=c.embedding_gradient,
        demo_dropout=c.demo_dropout,
    )


def baseline_hyper(config: ConfigDict, name: str) -> Hyper:
    c = config.baselines
    if name == "bc":
        hyper = hyper_of(config, c.bc_steps, config.train.learning_rate)
        return dataclasses.replace(hyper, condition=False)
    return hyper_of(config, c.mil_steps, c.mil_learning_rate)


def train_imitation(
    run: Run,
    name: str,
    hyper: Hyper,
    rows: int,
    pool: Pool,
    sections: Sequence[str],
    inputs: Mapping[str, str] | None = None,
    *,
    table: PairTable | None = None,
    params: Params | None = None,
    seed: int | None = None,
) -> None:
    """Trains one-shot imitation (or behaviour cloning) on demonstrations, `rows` of a batch, and a
    table of pairs, from `params` if there are any; `seed` is of what it draws."""
    config, mesh = run.config, make_mesh()
    seed = config.seed if seed is None else seed
    pool = hold(pool, int(config.machine.pool_gb * 1e9))
    if params is None:
        params = init_params(run.policy, jax.random.key(config.seed), config.policy.frames)
        params = {**params, **_found_camera(run, pool)}
    state = step.new_state(params, hyper)
    extra = 0 if table is None else pair_rows(config)
    colours, compared = augment.most_colours(rows), rows if extra else None
    hyper = dataclasses.replace(hyper, colours=colours, compared=compared)
    size, host, hosts = rows + extra, jax.process_index(), jax.process_count()
    batch = functools.partial(
        sampling.sample_batch,
        pool,
        sampling.group_by_task(pool),
        table,
        seed,
        size=size,
        pair_fraction=extra / size,
        policy_steps=config.train.policy_steps,
        frames=config.policy.frames,
        places=config.policy.places,
        truncated=config.train.truncated and hyper.condition,
        felt=run.policy.feels,
        part=slice(size * host // hosts, size * (host + 1) // hosts),
    )
    facts = _learned_from(pool, table)
    step_fn = _make_train_step(run.policy, hyper, mesh)
    # An accelerator is faster than one thread draws batches; a CPU has its own use for the others.
    one = isinstance(pool.image, np.ndarray) and jax.default_backend() == "cpu"
    threads = 1 if one else min(8, os.cpu_count() or 1)
    run_training(run, name, hyper, state, step_fn, batch, sections, facts, inputs, seed, threads)


def _found_camera(run: Run, pool: Pool) -> dict[str, np.ndarray]:
    """What the demonstrations say of where an uncalibrated camera stands, as parameters."""
    if not run.policy.learns_camera or run.spec.tool is None:
        return {}
    some = np.linspace(0, len(pool) - 1, min(len(pool), CALIBRATING)).astype(int)
    steps = [pool.start[i] + np.arange(pool.length[i]) for i in some]
    first = (0,) if run.spec.views > 1 else ()
    episodes = ((pool.image[s][(slice(None), *first)], pool.pose[s]) for s in steps)
    found = calibration.calibrate(episodes, run.spec.tool)
    if found is None:
        LOG.warning("the demonstrations do not say where the camera is; training has to find it")
        return {}
    LOG.info("the camera was found, %.3f of a picture off", found.residual / 2)
    return {"camera": found.matrix}


def _learned_from(pool: Pool, table: PairTable | None) -> dict[str, int]:
    return {
        "pairs": 0 if table is None else int(np.sum(table.episodes[:, 0] != table.episodes[:, 1])),
        "demonstrations": int((pool.task >= 0).sum()),
        "trials": int((pool.task < 0).sum()),
    }


def run_training(
    run: Run,
    name: str,
    hyper: Hyper,
    state: TrainState,
    step_fn: Callable[..., tuple[TrainState, Metrics]],
    batch: Callable[..., Batch],
    sections: Sequence[str],
    facts: Mapping[str, object],
    inputs: Mapping[str, str] | None = None,
    seed: int | None = None,
    threads: int = 1,
) -> None:
    loop.train(
        run.workdir,
        name,
        state,
        step_fn,
        batch,
        steps=hyper.steps,
        config=config_part(run, *sections),
        inputs=inputs or {},
        facts=facts,
        seed=run.config.seed if seed is None else seed,
        checkpoint_every=run.config.train.checkpoint_every,
        threads=threads,
    )


def load_params(run: Run, policy: PolicyId) -> Params:
    """The averaged parameters that a training stage ended with. Raises DataError without them."""
    name = str(policy)
    # The last step and no other: a stage that did not finish has earlier checkpoints too.
    last, frames = run.workdir.read_manifest(name)["steps"], run.config.policy.frames
    adapts = arms.adapts(run.config, policy)
    options = mil_hyper(run.config, policy.arm) if adapts else None
    state = _state_of(run.policy, hyper_of(run.config, 1, 1.0), options, frames)
    params: Params = run.workdir.load_checkpoint(name, state, last).average
    return params


@functools.cache
def _state_of(policy: Policy, hyper: Hyper, options: MilHyper | None, frames: int) -> TrainState:
    """The shapes of a training's state."""
    if options is None:
        return jax.eval_shape(lambda: step.init_state(policy, hyper, 0, frames))
    return jax.eval_shape(lambda: mil.init_state(policy, hyper, options, 0, frames))


def supports_of(run: Run, splits: Sequence[str]) -> tuple[Shown, list[EpisodeMeta]]:
    """The steps that MIL adapts to, of every episode of the splits, and the episodes' facts."""
    episodes = [e for split in splits for e in run.dataset.read(split)]
    pool = build_pool(run.domain, episodes, demonstrations=False)
    steps = run.config.baselines.mil_policy_steps
    fields = sampling.steps_along(pool, np.arange(len(pool)), steps, felt=run.policy.feels)
    return Shown(*fields), [e.meta for e in episodes]


def embed(run: Run, params: Params, splits: Sequence[str]) -> tuple[np.ndarray, list[EpisodeMeta]]:
    """Embeds every episode of the splits: z float32 [N,Z] and the episodes' facts."""
    function = _make_embed(run.policy)
    c = run.config.policy
    parts, metas = [], []
    for split in splits:
        stored = run.dataset.read(split)
        # A split may be larger than the memory.
        while episodes := list(itertools.islice(stored, EMBEDDED)):
            pool = build_pool(run.domain, episodes, demonstrations=False)
            inputs = sampling.demo_inputs(pool, np.arange(len(pool)), c.frames, c.places)
            parts.append(acting.embed_all(function, params, *inputs))
            metas += [e.meta for e in episodes]
    return np.concatenate(parts), metas
