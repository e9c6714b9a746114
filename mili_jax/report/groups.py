"""The groups of tasks that rows are of, in the order of reports, and the domain they belong to.

A domain names its own groups. Rows carry the group of their task as `family`, and the domain as
`domain`, which is the kitchen where they say nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from mili_jax.report.rows import Raw
from mili_jax.types import ConfigError

KITCHEN = "kitchen"
_KNOWN = {KITCHEN: ("press", "grasp", "push", "place")}


def domain_of(row: Raw) -> str:
    """The domain of a row."""
    return str(row.get("domain") or KITCHEN)


def run_of(row: Raw) -> tuple[str, str, str]:
    """The domain, configuration and seed of a row, whatever types somebody has given them."""
    return domain_of(row), repr(row.get("config")), repr(row.get("seed"))


def domains_of(rows: Iterable[Raw]) -> tuple[str, ...]:
    """The domains of rows, in order of first appearance."""
    return tuple(dict.fromkeys(domain_of(row) for row in rows))


def of_the_same_runs(rows: Iterable[Raw], results: Sequence[Raw]) -> list[Raw]:
    """Rows about pairs or costs with the domain of the run that they are of, where they do not say:
    that of the result rows of their configuration and seed, or the one of all result rows."""
    domains = domains_of(results)
    if not domains:
        return list(rows)
    runs = {run_of(row)[1:]: domain_of(row) for row in results}
    return [
        row if row.get("domain") else {**row, "domain": runs.get(run_of(row)[1:], domains[0])}
        for row in rows
    ]


def in_order(names: Iterable[str], domain: str = KITCHEN) -> tuple[str, ...]:
    """Each name once: those that the domain is known for in their order, then the others as they
    come."""
    given = dict.fromkeys(names)
    known = [name for name in _KNOWN.get(domain, ()) if name in given]
    return tuple(dict.fromkeys([*known, *given]))


def groups_of(rows: Sequence[Raw]) -> tuple[str, ...]:
    """The groups of rows of one domain, in the order of reports.

    Raises ConfigError for rows of several domains: nothing is averaged over those.
    """
    return in_order((str(row["family"]) for row in rows), one_domain(rows))


def one_domain(rows: Sequence[Raw]) -> str:
    """The domain of the rows. Raises ConfigError if they are of several."""
    found = domains_of(rows)
    if len(found) > 1:
        raise ConfigError(
            f"rows of several domains, {', '.join(map(repr, found))}, cannot be averaged: select "
            "those of one"
        )
    return found[0] if found else KITCHEN
