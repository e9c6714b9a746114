"""What follows demonstrations: the actor of a trained policy, whichever method trained it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import jax
import numpy as np

from mili_jax.domains.rollout import Actor
from mili_jax.improve import arms
from mili_jax.learning.actors import MakeActor, MakeAdaptingActor
from mili_jax.learning.mil import improvement
from mili_jax.pipeline.run import Run
from mili_jax.pipeline.train import baseline_hyper, embed, mil_hyper, supports_of
from mili_jax.report import statistics
from mili_jax.types import Params, PolicyId


def follower(
    run: Run, policy: PolicyId, params: Params, splits: Sequence[str]
) -> tuple[Callable[[], Actor], dict[str, object]]:
    """Makes the actor of a policy for the demonstrations of some splits, and what can be measured
    of it on them alone: how well its embedding tells tasks apart, or whether adapting to one
    demonstration of a task lowers the loss on another. Nothing where no task has two of them."""
    if arms.adapts(run.config, policy):
        return _adapting(run, policy, params, splits)
    if policy.arm == "bc":  # acts without a demonstration, whichever it is given
        nothing = np.zeros(run.config.policy.embedding_size, np.float32)
        ids = [m.episode_id for split in splits for m in run.dataset.read_metadata(split)]
        return MakeActor(run.policy, params, dict.fromkeys(ids, nothing)), {}
    z, metas = embed(run, params, splits)
    table = {m.episode_id: row for m, row in zip(metas, z, strict=True)}
    maker = MakeActor(run.policy, params, table)
    if len({m.task for m in metas}) == len(metas):
        return maker, {}
    neighbours = {
        "task": statistics.nearest_neighbour(z, [m.task for m in metas]),
        "family": statistics.nearest_neighbour(z, [run.domain.group(m.task) for m in metas]),
    }
    return maker, {"neighbours": neighbours}


def _adapting(
    run: Run, policy: PolicyId, params: Params, splits: Sequence[str]
) -> tuple[Callable[[], Actor], dict[str, object]]:
    hyper, mil = baseline_hyper(run.config, policy.arm), mil_hyper(run.config, policy.arm)
    shown, metas = supports_of(run, splits)
    kinds = np.unique([m.task for m in metas], return_inverse=True)[1]
    table = {m.episode_id: jax.tree.map(lambda a, k=k: a[k], shown) for k, m in enumerate(metas)}
    maker = MakeAdaptingActor(run.policy, hyper, mil, params, table)
    of_task = [np.flatnonzero(kinds == k) for k in range(kinds.max() + 1)]
    of_task = [rows for rows in of_task if len(rows) > 1]
    if not of_task:
        return maker, {}
    support, query = (np.array([rows[k] for rows in of_task]) for k in (0, 1))
    before, after = improvement(run.policy, hyper, mil, params, shown, support, query)
    adaptation = {
        "tasks": len(of_task),
        "before": float(before.mean()),
        "after": float(after.mean()),
        "improved": float(np.mean(after < before)),
    }
    return maker, {"adaptation": adaptation}
