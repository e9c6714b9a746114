"""One round with one thing changed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mili_jax.report import tables
from mili_jax.report.figures.sweeps import sweeps_figure
from mili_jax.report.groups import domain_of, domains_of
from mili_jax.report.markup import esc, html_table, picture, section
from mili_jax.report.rows import PairingRow, ResultRow


def sweeps_section(
    staging: Path, rows: Sequence[ResultRow], pairing_rows: Sequence[PairingRow]
) -> str:
    """The section with a figure and a table per domain that has such rounds, "" without any."""
    parts = [
        _part(staging, [row for row in rows if domain_of(row) == domain], pairing_rows, number)
        for number, domain in enumerate(domains_of(rows), start=1)
    ]
    return section("sweeps", "One thing changed", "".join(parts)) if any(parts) else ""


def _part(
    staging: Path,
    rows: Sequence[ResultRow],
    pairing_rows: Sequence[PairingRow],
    number: int,
) -> str:
    lines = tables.sweep_lines(rows, pairing_rows)
    if not lines:
        return ""
    figure = picture(
        staging,
        "sweeps" if number == 1 else f"sweeps-{number}",
        lambda **look: sweeps_figure(rows, pairing_rows, **look),
        alt="Success of MILI's first round over what was changed; the table below holds the same "
        "numbers.",
        caption="One round of MILI with one thing changed, everything else equal: mean of groups "
        "with its 95% interval. No trials: as many steps on demonstrations alone.",
    )
    body = [
        f'<tr><th scope="row">{esc(changed)}</th><td>{esc(value)}</td>'
        f"<td><strong>{esc(rate)}</strong><small>{esc(interval)}</small></td>"
        f"<td>{esc(against)}</td></tr>"
        for changed, value, rate, interval, against in lines
    ]
    return figure + html_table(
        "Success of one round",
        '<tr><th scope="col">changed</th><th scope="col">value</th><th scope="col">success</th>'
        '<th scope="col">against the first line, points</th></tr>',
        "".join(body),
    )
