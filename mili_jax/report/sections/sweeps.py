"""One round with one thing changed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mili_jax.report import summary
from mili_jax.report.figures.sweeps import sweeps_figure
from mili_jax.report.markup import esc, html_table, picture, section
from mili_jax.report.statistics import Row


def sweeps_section(staging: Path, rows: Sequence[Row], pairing_rows: Sequence[Row]) -> str:
    lines = summary.sweep_lines(rows, pairing_rows)
    if not lines:
        return ""
    figure = picture(
        staging,
        "sweeps",
        lambda **look: sweeps_figure(rows, pairing_rows, **look),
        alt="Success of MILI's first round over what was changed; the table below holds the same "
        "numbers.",
        caption="One round of MILI with one thing changed, everything else equal: mean of families "
        "with its 95% interval. No trials: as many steps on demonstrations alone.",
    )
    body = [
        f'<tr><th scope="row">{esc(changed)}</th><td>{esc(value)}</td>'
        f"<td><strong>{esc(rate)}</strong><small>{esc(interval)}</small></td>"
        f"<td>{esc(against)}</td></tr>"
        for changed, value, rate, interval, against in lines
    ]
    table = html_table(
        "Success of one round",
        '<tr><th scope="col">changed</th><th scope="col">value</th><th scope="col">success</th>'
        '<th scope="col">against the first line, points</th></tr>',
        "".join(body),
    )
    return section("sweeps", "One thing changed", figure + table)
