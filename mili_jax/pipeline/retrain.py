"""Stages: training on demonstrations and pairs (line 24)."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence

import numpy as np
from ml_collections import ConfigDict

from mili_jax.batches import sampling
from mili_jax.batches.pool import Pool, concatenate, read_pool
from mili_jax.batches.sampling import PairTable
from mili_jax.improve import arms
from mili_jax.improve.arms import Arm
from mili_jax.pipeline.demonstrations import DEMOS
from mili_jax.pipeline.rolling import LOG
from mili_jax.pipeline.run import Run, config_part, parameters
from mili_jax.pipeline.schema import pair_rows
from mili_jax.pipeline.train import (
    LOOP,
    baseline_hyper,
    demonstration_pool,
    hyper_of,
    load_params,
    train_imitation,
    train_mil,
)
from mili_jax.pipeline.trials import answered_trials, even_weights
from mili_jax.types import PolicyId


def retrain(run: Run, number: int) -> None:
    """Stages (line 24): training on demonstrations and the pairs of all rounds so far.

    Every arm of MILI's kind trains as many steps (but for `Arm.share`), from the same start (in
    later rounds from its own last policy) and on as many rows of demonstrations; the rows of pairs
    come on top. MIL's train as many steps as MIL had on the demonstrations, and as many tasks in
    each, from where it stood.
    """
    arms.check_round(run.config, number, 1)
    for policy in arms.policies(run.config, number):
        _retrain(run, policy)


def _retrain(run: Run, policy: PolicyId) -> None:
    c, arm, number = run.config.improve, arms.arm_of(run.config, policy), policy.round
    name, start = str(policy), arms.start_of(run.config, policy)
    inputs = (parameters(run, start) if c.warm_start else {}) | run.dataset.digests(*DEMOS)
    if arm.pairs is not None:
        for past in range(1, number + 1):
            tables = f"pairs_{arm.name}_{past}.csv", f"labels_round_{past}.jsonl"
            inputs |= run.dataset.digests(*tables, f"round_{past}")
    sections = (*LOOP, "baselines") if arm.adapts else LOOP
    if not run.workdir.begins(name, config_part(run, *sections), inputs):
        return
    pool, table = demonstration_pool(run), None
    if arm.pairs is not None:
        pool, table = _with_trials(run, pool, number, arm)
        if table is None:
            LOG.warning("round %d found no pair; it trains on demonstrations alone", number)
    params = load_params(run, start) if c.warm_start else None
    seed = _stream(run.config, number)
    if arm.adapts:
        hyper = baseline_hyper(run.config, arm.name)
        train_mil(run, name, hyper, pool, sections, inputs, table=table, params=params, seed=seed)
        return
    hyper = hyper_of(run.config, max(1, round(arm.share * c.steps)), c.learning_rate)
    rows = c.batch + (pair_rows(run.config) if arm.more_rows else 0)
    hyper = dataclasses.replace(hyper, imitated=None if arm.acts else rows)
    train_imitation(
        run, name, hyper, rows, pool, sections, inputs, table=table, params=params, seed=seed
    )


def _stream(config: ConfigDict, number: int) -> int:
    """The seed of what a retraining draws: every round's own, so that none sees again what the last
    one saw in the same order, and the same for all arms of a round."""
    return int(np.random.SeedSequence((config.seed, number)).generate_state(1)[0] >> 1)


def _with_trials(run: Run, pool: Pool, number: int, arm: Arm) -> tuple[Pool, PairTable | None]:
    """Demonstrations and trials of rounds 1..number, with the pairs that an arm trains on: those of
    its tables, and for `self_share` of the draws one of its candidates with itself, paired or not.

    Seen turned, mirrored and shifted in two ways a trial shows what to do in a picture of the same
    scene, and its pair is right for certain.
    """
    pools = [pool]
    share = arm.self_share(run.config.improve.self_share)
    a: list[str] = []
    b: list[str] = []
    weights: list[np.ndarray] = []
    for past in range(1, number + 1):
        pairs = run.dataset.read_pairs(f"{arm.name}_{past}")
        metas, useful, clear = answered_trials(run, past)
        mine = arms.candidates(arm, useful, clear, run.config.seed)
        own = tuple(metas[i].episode_id for i in mine)
        drawings = [(pairs.a, pairs.b, 1 - share), (own, own, share)]
        drawings = [drawing for drawing in drawings if drawing[0] and drawing[2] > 0]
        used = {name for first, second, _ in drawings for name in (*first, *second)}
        if used:
            trials = f"round_{past}"
            pools.append(
                read_pool(run.domain, run.dataset, trials, False, wanted=used.__contains__)
            )
        for first, second, part in drawings:
            drawn = _weights(run, past, first, second)
            a += first
            b += second
            weights.append(part * drawn / drawn.sum())
    joined = concatenate(pools)
    return joined, sampling.pair_table(joined, a, b, np.concatenate(weights)) if a else None


def _weights(run: Run, number: int, a: Sequence[str], b: Sequence[str]) -> np.ndarray:
    """Sampling weights of pairs: even over the trials, and over the groups that they resemble.

    Without them a trial with many partners, and a group that is easy, would come up most. What a
    trial resembles is the group of the nearest demonstration in the latent space; nobody labels
    it.
    """
    partners = Counter((*a, *b))
    weights = np.array([1 / partners[m] + 1 / partners[n] for m, n in zip(a, b, strict=True)])
    return even_weights(run, number, a, weights)
