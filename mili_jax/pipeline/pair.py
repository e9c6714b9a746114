"""Stage: pairs of useful trials that lie close (lines 17-22)."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np

from mili_jax.improve import arms, oracle
from mili_jax.improve.arms import Choice, Demonstrations, Trials
from mili_jax.pipeline.demonstrations import DEMOS, demo_splits
from mili_jax.pipeline.run import Run, config_part, finish_stage, parameters
from mili_jax.pipeline.train import LOOP, embed, load_params
from mili_jax.pipeline.trials import answered_trials
from mili_jax.types import EpisodeMeta

ALPHAS = (0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.925, 0.95, 0.97, 0.98, 0.99)


def pair(run: Run, number: int) -> None:
    """Stage (lines 17-22): useful trials that lie close in the latent space become pairs."""
    name, before = f"pair_{number}", arms.actor_of(run.config, number)
    split = f"round_{number}"
    read = f"labels_{split}.jsonl", split, *DEMOS
    inputs = parameters(run, before) | run.dataset.digests(*read)
    if not run.workdir.begins(name, config_part(run, *LOOP), inputs):
        return
    began, c = time.time(), run.config.improve
    params = load_params(run, before)
    metas, useful, clear = answered_trials(run, number)
    z, _ = embed(run, params, [split])
    demo_z, demos = embed(run, params, demo_splits(run.dataset))
    trials = Trials(
        ids=[m.episode_id for m in metas],
        z=z,
        useful=useful,
        clear=clear,
        achieved=[set(m.achieved_tasks) for m in metas],
    )
    how = Choice(c.alpha, c.cap, c.mutual, run.config.seed, run.config.machine.pairing)
    known = Demonstrations([m.episode_id for m in demos], demo_z)
    tables, counts = [], {}
    for policy in arms.policies(run.config, number):
        arm = arms.arm_of(run.config, policy)
        if arm.pairs is not None:
            pairs = arms.choose(arm, trials, known, how)
            tables.append(run.dataset.write_pairs(str(policy), *pairs))
            counts[arm.name] = len(pairs.a)
    nearest = (z @ demo_z.T).argmax(1) if len(z) else np.zeros(0, int)
    resembles = {
        name: run.domain.group(demos[j].task) for name, j in zip(trials.ids, nearest, strict=True)
    }
    mine = arms.candidates(arms.ARMS["mili"], useful, clear, run.config.seed)
    position = {trials.ids[i]: k for k, i in enumerate(mine)}
    used = run.dataset.read_pairs(f"mili_{number}")
    rows = [(position[m], position[n]) for m, n in zip(used.a, used.b, strict=True)]
    _report_pairs(run, number, z[mine], [metas[i] for i in mine], np.array(rows).reshape(-1, 2))
    finish_stage(
        run,
        name,
        config_part(run, *LOOP),
        began,
        candidates=len(mine),
        pairs=counts,
        resembles=resembles,
        inputs=inputs,
        outputs=tables,
    )


def _report_pairs(
    run: Run, number: int, z: np.ndarray, metas: Sequence[EpisodeMeta], pairs: np.ndarray
) -> None:
    """Writes precision and recall of pairs against the oracle over alpha: metrics, never data."""
    config, c = run.config, run.config.improve
    achieved = [set(m.achieved_tasks) for m in metas]
    curve = oracle.alpha_curve(z, achieved, ALPHAS, run.domain.group) if len(z) else []
    scored = [(c.alpha, True, oracle.pair_quality(pairs, achieved, run.domain.group))]
    scored += [(alpha, False, quality) for alpha, quality in zip(ALPHAS, curve, strict=False)]
    run.workdir.write_rows(
        f"pair_{number}",
        [
            {
                "config": config.name,
                "round": number,
                "seed": config.seed,
                "alpha": alpha,
                "chosen": chosen,
                "cap": c.cap if chosen else None,
                "pairs": quality.pairs,
                # A share of nothing is nan, which JSON has no word for.
                **{
                    name: None if np.isnan(value) else value
                    for name, value in quality._asdict().items()
                    if name != "pairs"
                },
            }
            for alpha, chosen, quality in scored
        ],
    )
