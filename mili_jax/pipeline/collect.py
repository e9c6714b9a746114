"""Stages: trials (lines 9-12) and the filter's answers (line 13)."""

from __future__ import annotations

import functools
import hashlib
import sys
import time
from collections import Counter

import numpy as np

from mili_jax import plugins
from mili_jax.domains import base
from mili_jax.domains.rollout import Player
from mili_jax.improve import arms
from mili_jax.improve.exploration import trial_plan
from mili_jax.improve.filters import FILTERS, Filter, Unanswered
from mili_jax.learning.actors import MakeActor
from mili_jax.pipeline.demonstrations import demo_splits
from mili_jax.pipeline.describe import features
from mili_jax.pipeline.rolling import roll_out
from mili_jax.pipeline.run import Run, config_part, finish_stage, parameters, signature
from mili_jax.pipeline.schema import SEED_STRIDE
from mili_jax.pipeline.train import LOOP, embed, load_params
from mili_jax.pipeline.trials import answered_trials, even_weights
from mili_jax.storage.files import Manifest, as_lines
from mili_jax.storage.labels import Kind, resolve
from mili_jax.types import EpisodeMeta


def collect(run: Run, number: int) -> None:
    """Stage (lines 9-12): trials of the latest policy, each after a random demonstration.

    From the second round on what useful trials did are tasks as well (line 20), see `_followed`.
    Raises ConfigError for a domain without a simulator, whose trials people bring.
    """
    name, before = f"round_{number}", arms.actor_of(run.config, number)
    base.simulator_of(run.domain, "the stage `collect`")
    inputs = parameters(run, before)
    if not run.workdir.begins(name, config_part(run, *LOOP), inputs):
        return
    began, config = time.time(), run.config
    params, past = load_params(run, before), [f"round_{k}" for k in range(1, number)]
    z, metas = embed(run, params, [*demo_splits(run.dataset), *past])
    table = {m.episode_id: row for m, row in zip(metas, z, strict=True)}
    demos = [m for m in metas if m.round == 0]
    maker = MakeActor(run.policy, params, table, config.improve.temperature)
    player = functools.partial(
        Player, maker, config.domain.name, run.spec, noise=config.improve.noise
    )
    seed, actor = (10 + number) * SEED_STRIDE, signature(before, inputs)
    followed = _followed(run, number)
    trials = list(trial_plan(config, run.domain, number, actor, seed, demos, *followed))
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
        metas, useful, clear = answered_trials(run, past)
        mine = arms.candidates(arms.ARMS["mili"], useful, clear, run.config.seed)
        pairs = run.dataset.read_pairs(f"mili_{past}")
        partners = Counter((*pairs.a, *pairs.b))
        ids = [metas[i].episode_id for i in mine]
        rarity = np.array([1 / (1 + partners[name]) for name in ids])
        weights.append(even_weights(run, past, ids, rarity))
        shown += [metas[i] for i in mine]
    weight = np.concatenate(weights)
    return shown, weight / weight.sum() if shown else weight


def label(run: Run, number: int) -> None:
    """Stage (line 13): the filter F answers yes or no for every trial that nobody has answered.

    Answers of people stay as they are. A filter that learns from them (`Filter`) is asked again
    when there are more of them.
    """
    name, split = f"filter_{number}", f"round_{number}"
    inputs = parameters(run, arms.actor_of(run.config, number)) | run.dataset.digests(split)
    chosen: Filter = plugins.find("filters", run.config.improve.filter, FILTERS)
    again = getattr(chosen, "again", False)
    if again:
        inputs["people's answers"] = _digest(run, split)
    if not run.workdir.begins(name, config_part(run, *LOOP), inputs):
        return
    began, given = time.time(), run.dataset.read_labels(split)
    known = resolve(x for x in given if not (again and x.kind is Kind.CLASSIFIER))
    ids = {m.episode_id for m in run.dataset.read_metadata(split)} - known.keys()
    report: Manifest = {}
    if ids:
        described = functools.partial(features, run, number)
        asked = Unanswered(run.dataset, split, frozenset(ids), described, report)
        run.dataset.write_labels(split, chosen(asked))
    answers = resolve(run.dataset.read_labels(split)).values()
    useful = sum(answer is True for answer in answers)
    print(
        f"{split}: {len(answers)} answers, {len(known)} of them from before; {useful} useful",
        file=sys.stderr,
    )
    facts: Manifest = {
        "trials": len(answers),
        "useful": useful,
        "answered_before": len(known),
    }
    if report:
        facts["filter"] = report
    finish_stage(run, name, config_part(run, *LOOP), began, inputs=inputs, **facts)


def _digest(run: Run, split: str) -> str:
    """Of what people have answered."""
    given = run.dataset.read_labels(split)
    people = as_lines(x.row() for x in given if x.kind is Kind.PERSON)
    return hashlib.sha256(people).hexdigest()
