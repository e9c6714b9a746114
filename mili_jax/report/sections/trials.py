"""What the trials of a round did."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mili_jax.report.groups import in_order
from mili_jax.report.markup import colour_class, esc, html_table, name, section, swatch
from mili_jax.report.palette import place
from mili_jax.report.rows import CollectionRow
from mili_jax.report.words import percent


def trials_section(collection: Sequence[CollectionRow], groups: Sequence[str]) -> str:
    """The section; groups: all of the domain, in the order of their colours."""
    if not collection:
        return ""
    shown = [g for g in groups if any(g in (row.get("achieved") or {}) for row in collection)]
    lines, bars, confusions = [], [], []
    for row in collection:
        trials, useful = row["trials"], row["useful"]
        achieved = row.get("achieved") or {}
        counts = "".join(f"<td>{achieved.get(g, 0):,}</td>" for g in shown)
        answered = row.get("answered", trials)
        share = percent(useful / answered) if answered else "\u2013"
        who = f"<small>{row['by_people']:,} by people</small>" if row.get("by_people") else ""
        lines.append(
            f'<tr class="first"><th scope="row">round {esc(row["round"])}</th><td>{trials:,}</td>'
            f"<td>{answered:,}{who}</td><td>{useful:,}</td><td>{esc(share)}</td>{counts}</tr>"
        )
        bars.append(_shares(row, shown, groups))
        if row.get("confusion"):
            confusions.append(_confusion(row["round"], row["confusion"], groups))
    head = "".join(f'<th scope="col">{swatch(groups, g)}{name(g)}</th>' for g in shown)
    table = html_table(
        "Trials collected per round and the groups that they achieved",
        '<tr><th scope="col"></th><th scope="col">trials</th><th scope="col">answered</th>'
        f'<th scope="col">useful</th><th scope="col">share of these</th>{head}</tr>',
        "".join(lines),
        kind="numbers short",
    )
    return section("trials", "Trials", table + "".join(bars) + "".join(confusions))


def _shares(row: CollectionRow, shown: Sequence[str], groups: Sequence[str]) -> str:
    """The groups that a round achieved, as parts of one bar."""
    achieved = row.get("achieved") or {}
    total = sum(achieved.get(g, 0) for g in shown)
    if not total:
        return ""
    pieces = "".join(
        f'<span class="{colour_class(place(groups, g))}" style="flex-grow:{achieved[g]}"></span>'
        for g in shown
        if achieved.get(g)
    )
    words = ", ".join(f"{g} {percent(achieved.get(g, 0) / total)}" for g in shown)
    return (
        f'<figure class="shares"><div class="stack" role="img" aria-label="{esc(words)}">'
        f"{pieces}</div><figcaption>Groups achieved in round {esc(row['round'])}: {esc(words)}."
        "</figcaption></figure>"
    )


def _confusion(
    number: int, confusion: Mapping[str, Mapping[str, int]], groups: Sequence[str]
) -> str:
    commanded = [g for g in in_order([*groups, *confusion]) if g in confusion]
    seen = dict.fromkeys(name for line in confusion.values() for name in line)
    achieved = [g for g in dict.fromkeys([*groups, *seen, "none"]) if g in seen and g != "none"]
    achieved += ["none"] if "none" in seen else []
    body = []
    for group in commanded:
        line = confusion[group]
        total = sum(line.values())
        cells = []
        for other in achieved:
            count = line.get(other, 0)
            share = count / total if total else 0.0
            diagonal = " diagonal" if other == group else ""
            cells.append(
                f'<td class="heat{diagonal}" style="--share:{share:.3f}">{count:,}'
                f"<small>{esc(percent(share, 0))}</small></td>"
            )
        body.append(
            f'<tr><th scope="row">{swatch(groups, group)}{name(group)}</th>{"".join(cells)}'
            f"<td>{total:,}</td></tr>"
        )
    head = "".join(f'<th scope="col">{name(other)}</th>' for other in achieved)
    return html_table(
        f"Round {number}: commanded group (rows) against achieved group (columns), with the share "
        "of the row; a trial that achieves several counts in each",
        f'<tr><th scope="col">commanded</th>{head}<th scope="col">sum</th></tr>',
        "".join(body),
    )
