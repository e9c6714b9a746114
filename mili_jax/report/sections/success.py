"""Success per group, drawn and as a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from mili_jax.report.figures.bars import bars_figure
from mili_jax.report.groups import domain_of, domains_of, groups_of
from mili_jax.report.markup import esc, html_table, name, picture, section, swatch
from mili_jax.report.methods import DEMO_NAMES
from mili_jax.report.policies import (
    conditions,
    policies_of,
    policy_name,
    primary_split,
    splits_of,
)
from mili_jax.report.rows import ResultRow
from mili_jax.report.statistics import GroupRate, group_table, headline
from mili_jax.report.tables import interval_of
from mili_jax.report.words import number, percent


def success_section(
    staging: Path, rows: Sequence[ResultRow], groups: Mapping[str, Sequence[str]]
) -> str:
    """The section with a figure per domain and a table per domain and split; "" without rows.

    groups: of each domain, in the order of their colours.
    """
    parts = []
    for number_of, domain in enumerate(domains_of(rows), start=1):
        of = [row for row in rows if domain_of(row) == domain]
        where = "" if len(domains_of(rows)) == 1 else f" of {domain}"
        parts.append(_figure(staging, of, groups[domain], where, number_of))
        parts += [_table(of, split, groups[domain], where) for split in splits_of(of)]
    return section("success", "Success by group", "".join(parts)) if parts else ""


def _figure(
    staging: Path, rows: Sequence[ResultRow], groups: Sequence[str], where: str, number_of: int
) -> str:
    split = primary_split(rows)
    return picture(
        staging,
        "success" if number_of == 1 else f"success-{number_of}",
        lambda **look: bars_figure(rows, groups, split=split, **look),
        alt=f"Bars of success on {split} tasks{where} per group for every policy and condition; "
        "the table below holds the same numbers.",
        caption=f"Success on {split} tasks{where}. Solid: the right demonstration. Hatched: a "
        "wrong one (another task of the same scene). Hollow: none given. Lines are 95% intervals: "
        "Wilson per group, bootstrap over tasks for the mean.",
    )


def _table(rows: Sequence[ResultRow], split: str, order: Sequence[str], where: str) -> str:
    groups = [group for group in order if group in groups_of(rows)]
    any_task = any(row.get("any_task") is not None for row in rows)
    body = []
    for policy in policies_of(rows, split):
        for index, (demo, members) in enumerate(conditions(rows, policy, split).items()):
            title, first = "", ""
            if index == 0:
                title, first = name(policy_name(policy, rows)), ' class="first"'
            body.append(
                f'<tr{first}><th scope="row">{title}'
                f"<small>{esc(DEMO_NAMES[demo])}</small></th>"
                f"{_cells(members, groups, any_task)}</tr>"
            )
    head = "".join(f'<th scope="col">{swatch(order, g)}{name(g)}</th>' for g in groups)
    extra = '<th scope="col">any task</th>' if any_task else ""
    return html_table(
        f"Success on {split} tasks{where} with 95% intervals and episode counts",
        f'<tr><th scope="col">policy</th>{head}<th scope="col">mean</th>{extra}</tr>',
        "".join(body),
    )


def _cells(members: Sequence[ResultRow], groups: Sequence[str], any_task: bool) -> str:
    table = {entry.group: entry for entry in group_table(members)}
    cells = [_cell(table.get(group)) for group in groups]
    mean, total = headline(members), sum(entry.n for entry in table.values())
    cells.append(
        f'<td class="mean"><strong>{esc(percent(mean.rate))}</strong>'
        f"<small>{esc(interval_of(mean))}</small><small>n = {total}</small></td>"
    )
    if any_task:
        counts = [entry.any_task for entry in table.values()]
        achieved = [count for count in counts if count is not None]
        share = percent(sum(achieved) / total) if len(achieved) == len(counts) else "\u2013"
        cells.append(f"<td>{esc(share)}</td>")
    return "".join(cells)


def _cell(entry: GroupRate | None) -> str:
    if entry is None:
        return "<td>&ndash;</td>"
    return (
        f"<td><strong>{esc(percent(entry.rate))}</strong>"
        f"<small>{number(100 * entry.low)}&ndash;{number(100 * entry.high)}</small>"
        f"<small>{entry.successes} of {entry.n}</small></td>"
    )
