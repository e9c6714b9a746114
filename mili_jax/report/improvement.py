"""The three policies that show what a round of trials gives."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from mili_jax.report.methods import known
from mili_jax.report.policies import (
    before_trials,
    conditions,
    policies_of,
    primary_split,
    runs_of,
)
from mili_jax.report.rows import ResultRow


class Arm(NamedTuple):
    """What was measured of one of them, given the right demonstration."""

    name: str
    rows: list[ResultRow]


_CONTROLS = {
    "more_demonstrations": "equal steps and rows, demonstrations alone",
    "meta_imitation": "equal steps, demonstrations alone",
}


def arms_of_a_round(rows: Sequence[ResultRow]) -> list[Arm]:
    """Before the trials, the control (with as many rows, else with as many steps), and MILI after
    the last round that has that control.

    Empty if one of them is missing, or the rows are of several domains or configurations.
    """
    split = primary_split(rows)
    runs = runs_of(policies_of(rows, split))
    before = before_trials(runs[0]) if len(runs) == 1 else None
    if before is None:
        return []
    cells = {
        (known(policy.method), policy.round): conditions(rows, policy, split).get("right", [])
        for policy in runs[0]
    }
    start = conditions(rows, before, split).get("right", [])
    for control, name in _CONTROLS.items():
        for number in sorted({number for _, number in cells if number}, reverse=True):
            mine, theirs = cells.get(("mili", number)), cells.get((control, number))
            if start and mine and theirs:
                rounds = f"{number} round{'s' if number > 1 else ''}"
                return [
                    Arm("before the trials", start),
                    Arm(name, theirs),
                    Arm(f"MILI, {rounds} of its own trials", mine),
                ]
    return []
