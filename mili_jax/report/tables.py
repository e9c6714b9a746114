"""What tables say, line by line, for the page and for text."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from mili_jax.report.methods import SWEEPS, Policy
from mili_jax.report.policies import policy_name, policy_of
from mili_jax.report.rows import CostRow, PairingRow, ResultRow
from mili_jax.report.statistics import Headline, headline, paired_difference
from mili_jax.report.sweeps import sweeps
from mili_jax.report.words import number, percent, signed, span

Lines = list[tuple[str, ...]]


def interval_of(mean: Headline) -> str:
    """The interval of a rate, in per cent."""
    if math.isfinite(mean.low):
        return f"{number(100 * mean.low)}\u2013{number(100 * mean.high)}"
    return "no interval"


def sweep_lines(rows: Sequence[ResultRow], pairing_rows: Sequence[PairingRow]) -> Lines:
    """What is changed, its value, the success, its interval, and the difference to the first."""
    lines: Lines = []
    for kind, points in sweeps(rows, pairing_rows).items():
        changed, scale = SWEEPS[kind]
        for point in points:
            mean, against = headline(point.rows), "\u2013"
            if point is not points[0]:
                result = paired_difference(point.rows, points[0].rows)
                against = signed(100 * result.difference)
                if math.isfinite(result.low):
                    against += f" ({span(result)})"
            value = f"{scale * point.value:g}"
            lines.append((changed, value, percent(mean.rate), interval_of(mean), against))
    return lines


def _by_policy(costs: Sequence[CostRow]) -> dict[Policy, list[CostRow]]:
    found: dict[Policy, list[CostRow]] = {}
    for row in costs:
        found.setdefault(policy_of(row, "cost_of"), []).append(row)
    return found


def cost_lines(costs: Sequence[CostRow]) -> Lines:
    """Policy, gradient steps, seconds (mean of seeds, range)."""
    lines: Lines = []
    for policy, members in _by_policy(costs).items():
        seconds = [row["seconds"] for row in members]
        ends = f"{number(min(seconds), 0)}\u2013{number(max(seconds), 0)}"
        mean = number(float(np.mean(seconds)), 0)
        lines.append((policy_name(policy, costs), f"{int(members[0]['steps']):,}", mean, ends))
    return lines


def adaptation_lines(costs: Sequence[CostRow]) -> Lines:
    """Of what adapts: policy, tasks, share of them whose loss falls (mean, range), the loss."""
    lines: Lines = []
    for policy, members in _by_policy(costs).items():
        found = [row["adaptation"] for row in members if row.get("adaptation")]
        if found:
            shares = [facts["improved"] for facts in found]
            before = float(np.mean([facts["before"] for facts in found]))
            after = float(np.mean([facts["after"] for facts in found]))
            ends = f"{number(100 * min(shares))}\u2013{percent(max(shares))}"
            mean, loss = percent(float(np.mean(shares))), f"{number(before)} to {number(after)}"
            lines.append((policy_name(policy, costs), str(found[0]["tasks"]), mean, ends, loss))
    return lines


def neighbour_lines(costs: Sequence[CostRow]) -> Lines:
    """How often the nearest neighbour of a held-out demonstration shows its own task (mean of
    seeds, range) and its own group (mean): policy and these three."""
    lines: Lines = []
    for policy, members in _by_policy(costs).items():
        found = [row["neighbours"] for row in members if row.get("neighbours")]
        if found:
            tasks = [facts["task"] for facts in found]
            ends = f"{number(100 * min(tasks))}\u2013{percent(max(tasks))}"
            group = percent(float(np.mean([facts["family"] for facts in found])))
            lines.append((policy_name(policy, costs), percent(float(np.mean(tasks))), ends, group))
    return lines
