"""Success per family, drawn and as a table."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from mili_jax.report import policies
from mili_jax.report.figures.bars import bars_figure
from mili_jax.report.markup import esc, html_table, picture, section, swatch
from mili_jax.report.methods import DEMO_NAMES
from mili_jax.report.statistics import Row, family_table, headline
from mili_jax.report.words import number, percent
from mili_jax.types import FAMILIES


def success_section(staging: Path, rows: Sequence[Row], split: str) -> str:
    if not rows:
        return ""
    parts = [
        picture(
            staging,
            "success",
            lambda **look: bars_figure(rows, split=split, **look),
            alt="Bars of success per family for every policy and condition; "
            "the table below holds the same numbers.",
            caption="Solid: the right demonstration. Hatched: a wrong one (another task of the "
            "same scene). Hollow: none given. Lines are 95% intervals: Wilson per family, "
            "bootstrap over tasks for the mean.",
        )
    ]
    present = {row.get("split", "test") for row in rows}
    for part in sorted(present, key=lambda name: (name != split, name)):
        parts.append(_success_table(rows, part))
    return section("success", "Success by family", "".join(parts))


def _success_table(rows: Sequence[Row], split: str) -> str:
    families = [f for f in FAMILIES if any(row["family"] == f for row in rows)]
    any_task = any(row.get("any_task") is not None for row in rows)
    head = "".join(f'<th scope="col">{swatch(family)}{esc(family)}</th>' for family in families)
    body = []
    for policy in policies.policies_of(rows, split):
        for index, (demo, members) in enumerate(policies.conditions(rows, policy, split).items()):
            table = {entry.family: entry for entry in family_table(members)}
            cells = []
            for family in families:
                entry = table.get(family)
                if entry is None:
                    cells.append("<td>&ndash;</td>")
                    continue
                cells.append(
                    f"<td><strong>{esc(percent(entry.rate))}</strong>"
                    f"<small>{number(100 * entry.low)}&ndash;{number(100 * entry.high)}</small>"
                    f"<small>{entry.successes} of {entry.n}</small></td>"
                )
            mean = headline(members)
            interval = (
                f"<small>{number(100 * mean.low)}&ndash;{number(100 * mean.high)}</small>"
                if math.isfinite(mean.low)
                else "<small>no interval</small>"
            )
            total = sum(entry.n for entry in table.values())
            cells.append(
                f'<td class="mean"><strong>{esc(percent(mean.rate))}</strong>{interval}'
                f"<small>n = {total}</small></td>"
            )
            if any_task:
                counts = [entry.any_task for entry in table.values()]
                known = [count for count in counts if count is not None]
                share = percent(sum(known) / total) if len(known) == len(counts) else "\u2013"
                cells.append(f"<td>{esc(share)}</td>")
            strong = "" if index else ' class="first"'
            name = "" if index else esc(policies.policy_name(policy, rows))
            body.append(
                f'<tr{strong}><th scope="row">{name}<small>{esc(DEMO_NAMES[demo])}</small></th>'
                f"{''.join(cells)}</tr>"
            )
    extra = '<th scope="col">any task</th>' if any_task else ""
    return html_table(
        f"Success on {split} tasks with 95% intervals and episode counts",
        f'<tr><th scope="col">policy</th>{head}<th scope="col">mean</th>{extra}</tr>',
        "".join(body),
    )
