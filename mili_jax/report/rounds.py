"""Success over the rounds of trials, of what learns from them and of its controls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from mili_jax.report.methods import Policy, known
from mili_jax.report.policies import before_trials, conditions, policies_of, runs_of
from mili_jax.report.rows import ResultRow
from mili_jax.report.statistics import Difference, headline, paired_difference
from mili_jax.report.tables import Lines, interval_of
from mili_jax.report.words import percent, signed, span
from mili_jax.types import ConfigError

CONTROLS = ("meta_imitation", "early_stopped", "more_demonstrations")  # shown from one round on


class Series(NamedTuple):
    """A method by round: round 0 is the policy before the trials. `rows` have the right demo."""

    method: str
    name: str
    rows: Mapping[int, Sequence[ResultRow]]


def series(rows: Sequence[ResultRow], split: str) -> list[Series]:
    """MILI, then its controls, then what else went on for two rounds, of one domain and
    configuration.

    Empty if MILI has fewer than two rounds, or the rows are of several configurations.
    """
    runs = runs_of(policies_of(rows, split))
    if len(runs) != 1:
        return []
    cells: dict[str, dict[int, Sequence[ResultRow]]] = {}
    for policy in runs[0]:
        right = conditions(rows, policy, split).get("right")
        if policy.round > 0 and right:
            cells.setdefault(known(policy.method), {})[policy.round] = right
    if len(cells.get("mili", {})) < 2:
        return []
    before = before_trials(runs[0])
    start = conditions(rows, before, split).get("right") if before else None
    order = ["mili", *(name for name in CONTROLS if name in cells)]
    order += [name for name, found in cells.items() if len(found) > 1 and name not in order]
    return [
        Series(
            name,
            Policy("", name, 1).label.removesuffix(", round 1"),
            {0: start, **cells[name]} if start else cells[name],
        )
        for name in order
    ]


def round_lines(found: Sequence[Series]) -> Lines:
    """Of each round: its number, then of each series success with its interval, and of all but the
    first also what the first has more."""
    numbers = sorted({number for one in found for number in one.rows})
    lines: Lines = []
    for number in numbers:
        cells = [str(number) if number else "before"]
        for one in found:
            rows = one.rows.get(number)
            if rows is None:
                cells.append("\u2013")
                continue
            mean = headline(rows)
            text = f"{percent(mean.rate)} ({interval_of(mean)})"
            lead = found[0].rows.get(number)
            if number and one is not found[0] and lead is not None:
                text += f"; {found[0].name} {difference_text(lead, rows)}"
            cells.append(text)
        lines.append(tuple(cells))
    return lines


def difference_text(a: Sequence[ResultRow], b: Sequence[ResultRow]) -> str:
    """Points that a has more than b, with the interval: "+5.3 (-0.7 to +10.7), not shown"."""
    try:
        result = paired_difference(a, b)
    except ConfigError:
        return "not measured on the same tasks"
    return points_text(result)


def points_text(result: Difference) -> str:
    """The points of a difference, with the interval."""
    points = signed(100 * result.difference)
    if result.low != result.low:  # nan
        return f"{points}, no interval"
    return f"{points} ({span(result)}){'' if result.shown else ', not shown'}"
