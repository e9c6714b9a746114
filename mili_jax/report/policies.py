"""The policies that result rows are of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mili_jax.report.groups import domain_of, domains_of
from mili_jax.report.methods import VARIANT, Policy, rank
from mili_jax.report.rows import DEMOS, ResultRow
from mili_jax.report.statistics import select

SPLITS: tuple[str, ...] = ("test", "validation", "train")  # the first present leads


def split_of(row: ResultRow) -> str:
    """The split that a row's task is of."""
    return row.get("split") or "test"


def splits_of(rows: Sequence[ResultRow]) -> list[str]:
    """The splits of the rows, the one that leads first."""
    present = {split_of(row) for row in rows}
    return [s for s in (*SPLITS, *sorted(present - set(SPLITS))) if s in present]


def primary_split(rows: Sequence[ResultRow]) -> str:
    """The split that leads: the first of test, validation, train that the rows hold."""
    return next(iter(splits_of(rows)), "test")


def policy_of(row: Mapping[str, object], method: str = "method") -> Policy:
    """The policy of a row whose field `method` names it."""
    number = row.get("round") or 0
    assert isinstance(number, int)
    return Policy(str(row.get("config") or ""), str(row[method]), number, domain_of(row))


def policies_of(rows: Sequence[ResultRow], split: str) -> list[Policy]:
    """The policies evaluated on a split, MILI with one thing changed left out, in the order in
    which they are listed: round by round, the baselines first."""
    domains = list(domains_of(rows))
    found = {policy_of(row) for row in rows if split_of(row) == split}
    return sorted(
        (policy for policy in found if not VARIANT.fullmatch(policy.method)),
        key=lambda p: (domains.index(p.domain), p.config, p.round, rank(p.method), p.method),
    )


def runs_of(policies: Sequence[Policy]) -> list[list[Policy]]:
    """The policies that may be compared with each other: those of one domain and configuration."""
    found: dict[tuple[str, str], list[Policy]] = {}
    for policy in policies:
        found.setdefault((policy.domain, policy.config), []).append(policy)
    return list(found.values())


def rows_of_runs(rows: Sequence[ResultRow]) -> list[list[ResultRow]]:
    """The rows of each domain and configuration, which `runs_of` keeps apart."""
    found: dict[tuple[str, str], list[ResultRow]] = {}
    for row in rows:
        found.setdefault((domain_of(row), row.get("config") or ""), []).append(row)
    return list(found.values())


def conditions(rows: Sequence[ResultRow], policy: Policy, split: str) -> dict[str, list[ResultRow]]:
    """The policy's rows by demo, in the order right, wrong, none; only those present."""
    members = [row for row in rows if split_of(row) == split and policy_of(row) == policy]
    found = {demo: select(members, demo=demo) for demo in DEMOS}
    return {demo: part for demo, part in found.items() if part}


def policy_name(policy: Policy, rows: Sequence[Mapping[str, object]]) -> str:
    """The label, with the configuration and the domain where the rows hold several."""
    configs = {str(row.get("config") or "") for row in rows}
    more = [policy.config] if len(configs) > 1 and policy.config else []
    more += [policy.domain] if len({domain_of(row) for row in rows}) > 1 else []
    return f"{policy.label} ({', '.join(more)})" if more else policy.label


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
