"""The tables of a report as text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from mili_jax.report import tables
from mili_jax.report.attribution import HEAD, attribution_lines
from mili_jax.report.comparisons import compare
from mili_jax.report.gain import Claim, gains
from mili_jax.report.groups import domain_of, domains_of, groups_of
from mili_jax.report.methods import DEMO_NAMES
from mili_jax.report.policies import (
    conditions,
    policies_of,
    policy_name,
    primary_split,
    rows_of_runs,
    split_of,
)
from mili_jax.report.rounds import round_lines, series
from mili_jax.report.rows import CostRow, PairingRow, ResultRow
from mili_jax.report.statistics import group_table, headline
from mili_jax.report.words import clean, percent
from mili_jax.types import ConfigError


def summary(
    rows: Sequence[ResultRow],
    pairing_rows: Sequence[PairingRow] = (),
    costs: Sequence[CostRow] = (),
    margin: float = 0.05,
) -> str:
    """What the page says in numbers, as Markdown: success tables and paired differences, split by
    split; MILI with one thing changed; what training took. Arguments as in `write_report`.

    Raises as `statistics.headline`; ConfigError without rows.
    """
    if not rows:
        raise ConfigError("no result rows to sum up")
    lines: list[str] = []
    for gain in gains(rows):
        for i, claim in enumerate(gain.claims):
            subject = f"{cell_text(gain.subject)}: " if gain.subject and i == 0 else ""
            lines += [f"{subject}{_claim(claim)}", ""]
    for split in dict.fromkeys(split_of(row) for row in rows):
        for domain in domains_of(rows):
            lines += _success(rows, split, domain)
        found = compare(rows, split, margin)
        lines += [*(_item(c.name, c.sentence, c.verdict) for c in found), ""]
    lines += _rounds(rows)
    for head, body in (
        *(_sweeps(rows, pairing_rows, domain) for domain in domains_of(rows)),
        (
            ("training, with what it started from", "gradient steps", "seconds, mean", "range"),
            tables.cost_lines(costs),
        ),
        (
            (
                "adapting to one demonstration",
                "held-out tasks",
                "loss lower after",
                "range",
                "loss",
            ),
            tables.adaptation_lines(costs),
        ),
        (
            ("nearest neighbour of a held-out demonstration", "same task", "range", "same group"),
            tables.neighbour_lines(costs),
        ),
    ):
        if body:
            lines += [*table(head, body), ""]
    return "\n".join(lines)


def table(head: Sequence[str], body: Sequence[Sequence[str]]) -> list[str]:
    """The lines of a Markdown table."""
    return [_line(head), "|---" * len(head) + "|", *(_line(cells) for cells in body)]


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell_text(cell) for cell in cells)} |"


def cell_text(text: str) -> str:
    """Text that stays within its cell, whatever a task or method is called."""
    return clean(text).replace("|", "\\|").replace("<", "&lt;")


def _item(name: str, sentence: str, verdict: str) -> str:
    return f"- {cell_text(name)}: {cell_text(sentence)} {verdict}"


def _claim(claim: Claim) -> str:
    """The sentence, with its number in bold."""
    before, after = (text.replace("<", "&lt;") for text in (claim.before, claim.after))
    return f"{before}**{cell_text(claim.number)}**{after}"


def _success(rows: Sequence[ResultRow], split: str, domain: str) -> list[str]:
    of = [row for row in rows if domain_of(row) == domain]
    groups = groups_of(of)

    def cells(members: Sequence[ResultRow]) -> Iterator[str]:
        found = {entry.group: entry for entry in group_table(members)}
        for entry in map(found.get, groups):
            if entry is None:
                yield "\u2013"
            else:
                yield f"{percent(entry.rate, 0)} ({100 * entry.low:.0f}-{100 * entry.high:.0f})"
        mean = headline(members)
        interval = f" ({100 * mean.low:.1f}-{100 * mean.high:.1f})" if mean.low >= 0 else ""
        yield f"**{percent(mean.rate)}**{interval}"

    body = []
    for policy in policies_of(of, split):
        for demo, members in conditions(of, policy, split).items():
            name = policy_name(policy, rows)
            name += "" if demo == "right" else f", {DEMO_NAMES[demo]}"
            body.append([name, *cells(members)])
    if not body:
        return []
    what = f"{split} tasks" if len(domains_of(rows)) == 1 else f"{split} tasks of {domain}"
    return [*table([what, *groups, "mean"], body), ""]


def _rounds(rows: Sequence[ResultRow]) -> list[str]:
    """Success over rounds, and what the gain of the first is due to, run by run."""
    lines: list[str] = []
    for of in rows_of_runs(rows):
        split = primary_split(of)
        if found := series(of, split):
            lines += [*table(["round", *(one.name for one in found)], round_lines(found)), ""]
        for _, body in attribution_lines(of, split):
            arms = [(f"{arm}: {learns}" if learns else arm, *rest) for arm, learns, *rest in body]
            lines += [*table(HEAD, arms), ""]
    return lines


def _sweeps(
    rows: Sequence[ResultRow], pairing_rows: Sequence[PairingRow], domain: str
) -> tuple[tuple[str, ...], tables.Lines]:
    of = [row for row in rows if domain_of(row) == domain]
    head = ("changed", "value", "success", "interval", "against the first line, points")
    return head, tables.sweep_lines(of, pairing_rows)
