"""The policies that result rows are of."""

from __future__ import annotations

from collections.abc import Sequence

from mili_jax.report.methods import METHODS, VARIANT, Policy
from mili_jax.report.statistics import DEMOS, Row, select

SPLITS: tuple[str, ...] = ("test", "validation", "train")  # the first present leads


def primary_split(rows: Sequence[Row]) -> str:
    """The split that leads: the first of test, validation, train that the rows hold."""
    present = {row.get("split", "test") for row in rows}
    for split in (*SPLITS, *sorted(present - set(SPLITS))):
        if split in present:
            return split
    return "test"


def policies_of(rows: Sequence[Row], split: str) -> list[Policy]:
    """The policies evaluated on a split, MILI with one thing changed left out, in the order in
    which they are listed: round by round, the baselines first."""
    order = list(METHODS)
    policies = {
        Policy(str(row.get("config", "")), str(row["method"]), int(row.get("round", 0)))
        for row in rows
        if row.get("split", "test") == split and not VARIANT.fullmatch(str(row["method"]))
    }
    return sorted(
        policies,
        key=lambda p: (
            p.config,
            p.round,
            order.index(p.method) if p.method in order else len(order),
            p.method,
        ),
    )


def conditions(rows: Sequence[Row], policy: Policy, split: str) -> dict[str, list[Row]]:
    """The policy's rows by demo, in the order right, wrong, none; only those present."""
    members = [
        row
        for row in rows
        if row.get("split", "test") == split
        and str(row.get("config", "")) == policy.config
        and row["method"] == policy.method
        and int(row.get("round", 0)) == policy.round
    ]
    found = {demo: select(members, demo=demo) for demo in DEMOS}
    return {demo: part for demo, part in found.items() if part}


def policy_name(policy: Policy, rows: Sequence[Row]) -> str:
    """The label, with the configuration where the rows hold several."""
    several = len({row.get("config", "") for row in rows}) > 1
    return f"{policy.label} ({policy.config})" if several else policy.label


def before_trials(policies: Sequence[Policy]) -> Policy | None:
    """The policy that acts in the first trials."""
    for method in ("meta_imitation", "mili"):
        for policy in policies:
            if policy.method == method and policy.round == 0:
                return policy
    return None


def final_policy(policies: Sequence[Policy]) -> Policy | None:
    """The policy that the page is about: MILI's last round, or what comes closest."""
    for method in ("mili", "oracle", "random_pairs", "meta_imitation", "mil", "bc"):
        members = [policy for policy in policies if policy.method == method]
        if members:
            return max(members, key=lambda policy: policy.round)
    return policies[-1] if policies else None
