"""What result rows say of the policy that they measure."""

from __future__ import annotations

from mili_jax.improve import arms
from mili_jax.pipeline.run import Run
from mili_jax.storage.provenance import source_commit
from mili_jax.types import PolicyId


def about(run: Run, policy: PolicyId) -> dict[str, object]:
    """The fields that all rows of a policy share, whatever was measured."""
    config = run.config
    trained = [run.workdir.read_manifest(str(p))["steps"] for p in arms.lineage(config, policy)]
    return {
        "config": config.name,
        "domain": config.domain.name,
        "commit": source_commit(),
        "round": policy.round,
        "seed": config.seed,
        "split": config.evaluate.split,
        "steps": sum(trained),
        "trials": _trials(run, policy),
    }


def _trials(run: Run, policy: PolicyId) -> int:
    """How many trials it and those that it was trained from have seen; at most as many as people
    have brought, where there is no simulator."""
    seen = arms.trials_seen(run.config, policy)
    if run.domain.simulator is None:
        there = run.dataset.splits()
        rounds = range(1, policy.round + 1)
        seen = min(seen, sum(there.get(f"round_{number}", 0) for number in rounds))
    return seen


def conditions(run: Run, policy: PolicyId, method: str) -> tuple[str, ...]:
    """Which demonstrations it is given: the loop's policies and MIL all that are configured, the
    others the first of them."""
    given: tuple[str, ...] = tuple(run.config.evaluate.conditions)
    all_of_them = method in (("mili",) if policy.round else ("meta_imitation", "mil"))
    return given if all_of_them else given[:1]
