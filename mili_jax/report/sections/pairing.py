"""The pairs over alpha."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mili_jax.report.figures.alpha import alpha_figure
from mili_jax.report.markup import esc, html_table, picture, section
from mili_jax.report.rows import PairingRow
from mili_jax.report.words import percent


def pairing_section(staging: Path, pairing_rows: Sequence[PairingRow]) -> str:
    if not pairing_rows:
        return ""
    figure = picture(
        staging,
        "pairing",
        lambda **look: alpha_figure(pairing_rows, **look),
        alt="Precision, recall and group precision of the pairs over the threshold alpha; the "
        "table below holds the same numbers.",
        caption="Pairs whose embeddings have a cosine above alpha, judged by the simulator. "
        "Precision: both trials achieved the same task. Group precision: the same group. Recall: "
        "share of all same-task pairs that were found. Dashed: the alpha that was used.",
    )
    body = []
    for row in sorted(
        pairing_rows, key=lambda r: (r.get("round", 1), str(r.get("seed", 0)), r["alpha"])
    ):
        shares = "".join(
            f"<td>{'&ndash;' if value is None else esc(percent(value))}</td>"
            for value in (row.get("precision"), row.get("family_precision"), row.get("recall"))
        )
        count = row.get("pairs")
        pairs = "&ndash;" if count is None else f"{count:,}"
        mark = ' class="chosen"' if row.get("chosen") else ""
        note = " (used)" if row.get("chosen") else ""
        body.append(
            f"<tr{mark}><td>{esc(row.get('round', 1))}</td><td>{esc(row.get('seed', 0))}</td>"
            f"<td>{row['alpha']:g}{note}</td><td>{pairs}</td>{shares}</tr>"
        )
    table = html_table(
        "Pairs over alpha",
        '<tr><th scope="col">round</th><th scope="col">seed</th><th scope="col">alpha</th>'
        '<th scope="col">pairs</th><th scope="col">precision</th>'
        '<th scope="col">group precision</th><th scope="col">recall</th></tr>',
        "".join(body),
    )
    if len(body) > 12:
        table = f"<details><summary>All {len(body)} rows</summary>{table}</details>"
    return section("pairing", "Pairing", figure + table)
