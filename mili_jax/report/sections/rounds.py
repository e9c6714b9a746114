"""Success over rounds, and what the gain of one is due to."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mili_jax.report.attribution import HEAD, attribution_lines
from mili_jax.report.figures.rounds import rounds_figure
from mili_jax.report.markup import esc, html_table, name, picture, section
from mili_jax.report.policies import primary_split, rows_of_runs
from mili_jax.report.rounds import round_lines, series
from mili_jax.report.rows import ResultRow


def rounds_section(staging: Path, rows: Sequence[ResultRow]) -> str:
    """The section with a figure and a table per run of two rounds or more, "" without any."""
    parts: list[str] = []
    for of in rows_of_runs(rows):
        split = primary_split(of)
        found = series(of, split)
        if not found:
            continue
        parts.append(
            picture(
                staging,
                f"rounds-{len(parts) + 1}" if parts else "rounds",
                lambda of=of, split=split, **look: rounds_figure(of, split, **look),
                alt=f"Success on {split} tasks over the rounds; the table below holds the same "
                "numbers.",
                caption=f"Success on {split} tasks before the trials and after each round, mean of "
                "groups with 95% intervals over tasks and seeds. The scale does not begin at 0.",
            )
        )
        head = "".join(f'<th scope="col">{name(one.name)}</th>' for one in found)
        body = "".join(
            f'<tr class="first"><th scope="row">{esc(first)}</th>'
            f"{''.join(f'<td>{_cell(cell)}</td>' for cell in cells)}</tr>"
            for first, *cells in round_lines(found)
        )
        parts.append(
            html_table(
                "Success by round, and what MILI has more than each in points",
                f'<tr><th scope="col">round</th>{head}</tr>',
                body,
            )
        )
    return section("rounds", "Round by round", "".join(parts)) if parts else ""


def attribution_section(rows: Sequence[ResultRow]) -> str:
    """The section with a table per run that has such arms, "" without any."""
    parts = []
    for of in rows_of_runs(rows):
        for run, lines in attribution_lines(of, primary_split(of)):
            head = "".join(f'<th scope="col">{esc(text)}</th>' for text in HEAD)
            body = "".join(
                f'<tr class="first"><th scope="row">{esc(arm)}<small>{esc(learns)}</small></th>'
                f"{''.join(f'<td>{_cell(cell)}</td>' for cell in cells)}</tr>"
                for arm, learns, *cells in lines
            )
            caption = "Arms of the first round, differences in points with 95% intervals"
            if len(rows_of_runs(rows)) > 1:
                caption = f"{run}: {caption}"
            parts.append(html_table(caption, f"<tr>{head}</tr>", body, kind="numbers wordy"))
    lead = (
        '<p class="lead">All arms start from one policy and take as many steps. What an arm has '
        "above the control is what its own kind of learning gives. What MILI has above an arm is "
        "what that arm lacks.</p>"
    )
    return section("due", "What the gain is due to", lead + "".join(parts)) if parts else ""


def _cell(text: str) -> str:
    """ "66.2% (59.2-73.4); MILI +5.3 (-0.7 to +10.7)" on lines of their own."""
    first, *rest = text.split("; ")
    value, space, interval = first.partition(" (")
    small = [f"({interval}"] if space else []
    return f"<strong>{esc(value)}</strong>" + "".join(
        f"<small>{esc(part)}</small>" for part in [*small, *rest]
    )
