"""What the trials of a round did."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mili_jax.report.markup import esc, html_table, section, swatch
from mili_jax.report.statistics import Row
from mili_jax.report.words import percent
from mili_jax.types import FAMILIES


def trials_section(collection: Sequence[Row]) -> str:
    if not collection:
        return ""
    lines, bars, confusions = [], [], []
    families = [f for f in FAMILIES if any(f in entry.get("achieved", {}) for entry in collection)]
    for entry in collection:
        trials, useful = int(entry["trials"]), int(entry["useful"])
        achieved = entry.get("achieved", {})
        counts = "".join(f"<td>{int(achieved.get(f, 0)):,}</td>" for f in families)
        share = percent(useful / trials) if trials else "\u2013"
        lines.append(
            f'<tr class="first"><th scope="row">round {esc(entry["round"])}</th><td>{trials:,}</td>'
            f"<td>{useful:,}</td><td>{esc(share)}</td>{counts}</tr>"
        )
        total = sum(int(achieved.get(f, 0)) for f in families)
        if total:
            pieces = "".join(
                f'<span class="f-{f}" style="flex-grow:{int(achieved.get(f, 0))}"></span>'
                for f in families
                if achieved.get(f)
            )
            words = ", ".join(f"{f} {percent(achieved.get(f, 0) / total)}" for f in families)
            bars.append(
                f'<figure class="shares"><div class="stack" role="img" '
                f'aria-label="{esc(words)}">{pieces}</div><figcaption>Families achieved in round '
                f"{esc(entry['round'])}: {esc(words)}.</figcaption></figure>"
            )
        if entry.get("confusion"):
            confusions.append(_confusion_table(entry["round"], entry["confusion"]))
    head = "".join(f'<th scope="col">{swatch(f)}{esc(f)}</th>' for f in families)
    table = html_table(
        "Trials collected per round and the families that they achieved",
        '<tr><th scope="col"></th><th scope="col">trials</th><th scope="col">useful</th>'
        f'<th scope="col">share</th>{head}</tr>',
        "".join(lines),
        kind="numbers short",
    )
    return section("trials", "Trials", table + "".join(bars) + "".join(confusions))


def _confusion_table(number: Any, confusion: Mapping[str, Mapping[str, int]]) -> str:
    commanded = [f for f in FAMILIES if f in confusion] + sorted(set(confusion) - set(FAMILIES))
    seen = {name for line in confusion.values() for name in line}
    achieved = [f for f in FAMILIES if f in seen] + sorted(seen - set(FAMILIES))
    body = []
    for family in commanded:
        line = confusion[family]
        total = sum(line.values())
        cells = []
        for name in achieved:
            count = int(line.get(name, 0))
            share = count / total if total else 0.0
            diagonal = " diagonal" if name == family else ""
            cells.append(
                f'<td class="heat{diagonal}" style="--share:{share:.3f}">{count:,}'
                f"<small>{esc(percent(share, 0))}</small></td>"
            )
        body.append(
            f'<tr><th scope="row">{swatch(family)}{esc(family)}</th>{"".join(cells)}'
            f"<td>{total:,}</td></tr>"
        )
    head = "".join(f'<th scope="col">{esc(name)}</th>' for name in achieved)
    return html_table(
        f"Round {number}: commanded family (rows) against achieved family (columns), with the "
        "share of the row; a trial that achieves several counts in each",
        f'<tr><th scope="col">commanded</th>{head}<th scope="col">sum</th></tr>',
        "".join(body),
    )
