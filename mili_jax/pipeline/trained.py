"""A policy of a run with all that is to be known of it, apart from the run's folder."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np
from ml_collections import ConfigDict

from mili_jax.domains import base
from mili_jax.improve import arms
from mili_jax.pipeline.demonstrations import demo_splits
from mili_jax.pipeline.earlier import refuse_earlier
from mili_jax.pipeline.run import Run, open_stored, parameters
from mili_jax.pipeline.train import baseline_hyper, load_params, mil_hyper
from mili_jax.policy.policy import EMBEDDINGS, HEADS
from mili_jax.report.card import model_card
from mili_jax.storage.files import Manifest
from mili_jax.storage.packed import Packed
from mili_jax.storage.trees import content_digest
from mili_jax.types import ConfigError, DataError, Params, PolicyId


def of_run(workdir: Path, policy: str = "") -> Packed:
    """A policy of a run, with the card that it would be packed with.

    Args:
      policy: which of those that the run trained, "pretrain" or "mili_1" for instance; else the
        one that the loop ends with.

    The run is only read, and may go on meanwhile. Raises ConfigError for a policy that it does not
    train, DataError for one that is not trained yet and for a damaged run.
    """
    if not (workdir / "manifest.json").exists():
        raise DataError(f"{workdir} holds no run: it has no manifest.json")
    refuse_earlier(workdir.absolute())
    run = open_stored(workdir)
    config = run.config
    chosen = _chosen(run, policy)
    method = arms.policies(config, chosen.round)[chosen]
    params = jax.tree.map(np.asarray, load_params(run, chosen))
    adapts = None
    if arms.adapts(config, chosen):
        adapts = {
            "hyper": dataclasses.asdict(baseline_hyper(config, chosen.arm)),
            "options": dataclasses.asdict(mil_hyper(config, chosen.arm)),
        }
    networks = ("embedding", "head", "embedding_size", "channels", "blocks")
    stage = run.workdir.read_manifest(str(chosen))
    evaluated = {"method": method, "round": chosen.round}
    rows = [row for row in _measured(run, chosen) if evaluated.items() <= row.items()]
    facts = {
        "domain": config.domain.name,
        "spec": json.loads(run.spec.to_json()),
        "networks": {
            **{field: config.policy[field] for field in networks},
            "bfloat16": config.train.bfloat16,
        },
        "shown": {
            "frames": config.policy.frames,
            "places": config.policy.places,
            "steps": config.baselines.mil_policy_steps,
        },
        "mil": adapts,
        "made": {
            "policy": str(chosen),
            "method": method,
            "round": chosen.round,
            "seed": config.seed,
            "steps": sum(
                run.workdir.read_manifest(str(p))["steps"] for p in arms.lineage(config, chosen)
            ),
            "trials": arms.trials_seen(config, chosen),
            "commit": stage["commit"],
            "versions": run.workdir.manifest()["versions"],
            "simulator": run.domain.simulator is not None,
            "seen": _seen(run, rows),
            "needs": _needs(config),
            "config": json.loads(json.dumps(config.to_dict())),
        },
        "parameters": {"count": _count(params), "sha256": content_digest(params)},
    }
    return Packed(facts, params, rows, model_card({"name": workdir.name, **facts}, rows))


def _seen(run: Run, rows: Sequence[Manifest]) -> int:
    """How many of the tasks that it was measured on were demonstrated to it."""
    there = run.dataset.splits()
    shown = [split for split in demo_splits(run.dataset) if split in there]
    known = {m.task for split in shown for m in run.dataset.read_metadata(split)}
    return len(known & {row["task"] for row in rows})


def _needs(config: ConfigDict) -> list[str]:
    """The parts that do not come with this package: whoever loads the policy needs them as well."""
    parts = (
        ("domain", config.domain.name, base.BUILT_IN),
        ("embedding", config.policy.embedding, EMBEDDINGS),
        ("head", config.policy.head, HEADS),
    )
    return [f"{kind} `{name}`" for kind, name, own in parts if name not in own]


def _chosen(run: Run, policy: str) -> PolicyId:
    """Raises ConfigError for a policy that the configuration does not train, DataError for one that
    is not trained yet."""
    known = [p for number in range(run.config.improve.rounds + 1) for p in _round(run, number)]
    chosen = PolicyId.parse(policy) if policy else arms.last_policy(run.config)
    if chosen not in known:
        raise ConfigError(
            f"the run {run.workdir.path} trains no policy {policy!r}; it trains "
            f"{', '.join(map(str, known))}"
        )
    ready = [str(p) for p in known if (run.workdir.path / "stages" / f"{p}.json").exists()]
    if str(chosen) not in ready:
        there = "it has none"
        if ready:
            there = f"it has {', '.join(ready)}: say --policy={ready[-1]}, in Python "
            there += f"policy={ready[-1]!r}"
        raise DataError(f"the run {run.workdir.path} has not trained {chosen} yet; {there}")
    return chosen


def _round(run: Run, number: int) -> list[PolicyId]:
    return list(arms.policies(run.config, number))


def _measured(run: Run, policy: PolicyId) -> list[Manifest]:
    """The result rows of the run, if the policy was evaluated with the parameters that it has."""
    stage = f"evaluate_{policy}"
    if not (run.workdir.path / "stages" / f"{stage}.json").exists():
        return []
    inputs = run.workdir.read_manifest(stage)["inputs"]
    if not parameters(run, policy).items() <= inputs.items():
        return []
    return [row for row in run.workdir.read_rows() if "task" in row]


def _count(params: Params) -> int:
    return sum(int(leaf.size) for leaf in jax.tree.leaves(params))
