"""What the gain of a round is due to: arms between the control and MILI, each with one thing more.

All of them start where MILI starts and take as many steps. What an arm has more than the control is
what its own kind of learning gives; what MILI has beyond an arm is what the arm lacks.
"""

from __future__ import annotations

from collections.abc import Sequence

from mili_jax.report.methods import Policy, known
from mili_jax.report.policies import before_trials, conditions, policies_of, runs_of
from mili_jax.report.rounds import difference_text
from mili_jax.report.rows import ResultRow
from mili_jax.report.statistics import headline
from mili_jax.report.tables import Lines, interval_of
from mili_jax.report.words import percent

ARMS = {  # what an arm learns from beside the demonstrations
    "meta_imitation": "nothing: as many steps on demonstrations alone",
    "more_demonstrations": "nothing: as many steps on as many rows of demonstrations",
    "pictures_only": "the pictures of trials, not what was done in them",
    "useless_only": "trials that came to nothing",
    "mili_self_only": "useful trials, each shown with itself",
    "mili": "useful trials, paired with each other",
}
_PARTS = ("pictures_only", "useless_only", "mili_self_only")
HEAD = (
    "arm, and what it learns from beside demonstrations",
    *("success", "above as many steps", "MILI above it"),
)


def attribution_lines(rows: Sequence[ResultRow], split: str) -> list[tuple[str, Lines]]:
    """A table per run that has MILI, its control and at least one arm between them, with the name
    of the run: the policy that the round started from, then the arms. Of each its name, what it
    learns from, success, what it has above the control, and what MILI has above it."""
    found = []
    for policies in runs_of(policies_of(rows, split)):
        cells = {
            known(policy.method): conditions(rows, policy, split).get("right", [])
            for policy in policies
            if policy.round == 1
        }
        control, mili = cells.get("meta_imitation"), cells.get("mili")
        if not control or not mili or not any(cells.get(name) for name in _PARTS):
            continue
        lines: Lines = []
        start = before_trials(policies)
        first = conditions(rows, start, split).get("right") if start else None
        if first:
            lines.append(_line("Before the trials", "", first, control, mili))
        for name, learns in ARMS.items():
            if members := cells.get(name):
                title = Policy("", name, 1).label.removesuffix(", round 1")
                lines.append(_line(title, learns, members, control, mili))
        found.append((", ".join(dict.fromkeys([policies[0].config, policies[0].domain])), lines))
    return found


def _line(
    name: str,
    learns: str,
    members: Sequence[ResultRow],
    control: Sequence[ResultRow],
    mili: Sequence[ResultRow],
) -> tuple[str, ...]:
    mean = headline(members)
    above = "\u2013" if members is control else difference_text(members, control)
    left = "\u2013" if members is mili else difference_text(mili, members)
    return name, learns, f"{percent(mean.rate)} ({interval_of(mean)})", above, left
