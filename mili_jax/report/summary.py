"""The tables of a report as text."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np

from mili_jax.report.comparisons import compare
from mili_jax.report.methods import DEMO_NAMES, SWEEPS, Policy
from mili_jax.report.policies import conditions, policies_of, policy_name
from mili_jax.report.statistics import Row, family_table, headline, paired_difference
from mili_jax.report.sweeps import sweeps
from mili_jax.report.words import number, percent, signed, span
from mili_jax.types import FAMILIES, ConfigError


def sweep_lines(rows: Sequence[Row], pairing_rows: Sequence[Row]) -> Sequence[tuple[str, ...]]:
    """What is changed, its value, the success, its interval, and the difference to the first."""
    lines = []
    for kind, points in sweeps(rows, pairing_rows).items():
        changed, scale = SWEEPS[kind]
        for point in points:
            mean, against = headline(point.rows), "\u2013"
            if point is not points[0]:
                result = paired_difference(point.rows, points[0].rows)
                against = signed(100 * result.difference)
                if math.isfinite(result.low):
                    against += f" ({span(result)})"
            interval = "no interval"
            if math.isfinite(mean.low):
                interval = f"{number(100 * mean.low)}\u2013{number(100 * mean.high)}"
            value = f"{scale * point.value:g}"
            lines.append((changed, value, percent(mean.rate), interval, against))
    return lines


def _by_policy(costs: Sequence[Row]) -> dict[Policy, list[Row]]:
    groups: dict[Policy, list[Row]] = {}
    for row in costs:
        policy = Policy(str(row.get("config", "")), str(row["cost_of"]), int(row["round"]))
        groups.setdefault(policy, []).append(row)
    return groups


def cost_lines(costs: Sequence[Row]) -> Sequence[tuple[str, ...]]:
    """Policy, gradient steps, seconds (mean of seeds, range)."""
    lines = []
    for policy, members in _by_policy(costs).items():
        seconds = [row["seconds"] for row in members]
        ends = f"{number(min(seconds), 0)}\u2013{number(max(seconds), 0)}"
        mean = number(float(np.mean(seconds)), 0)
        lines.append((policy_name(policy, costs), f"{int(members[0]['steps']):,}", mean, ends))
    return lines


def adaptation_lines(costs: Sequence[Row]) -> Sequence[tuple[str, ...]]:
    """Of what adapts: policy, tasks, share of them whose loss falls (mean, range), the loss."""
    lines = []
    for policy, members in _by_policy(costs).items():
        found = [row["adaptation"] for row in members if row.get("adaptation")]
        if found:
            shares = [facts["improved"] for facts in found]
            before, after = (np.mean([facts[k] for facts in found]) for k in ("before", "after"))
            ends = f"{number(100 * min(shares))}\u2013{percent(max(shares))}"
            mean, loss = percent(float(np.mean(shares))), f"{number(before)} to {number(after)}"
            lines.append((policy_name(policy, costs), str(found[0]["tasks"]), mean, ends, loss))
    return lines


def neighbour_lines(costs: Sequence[Row]) -> Sequence[tuple[str, ...]]:
    """How often the nearest neighbour of a held-out demonstration shows its own task (mean of
    seeds, range) and its own family (mean): policy and these three."""
    lines = []
    for policy, members in _by_policy(costs).items():
        found = [row["neighbours"] for row in members if row.get("neighbours")]
        if found:
            tasks = [facts["task"] for facts in found]
            ends = f"{number(100 * min(tasks))}\u2013{percent(max(tasks))}"
            family = percent(float(np.mean([facts["family"] for facts in found])))
            lines.append((policy_name(policy, costs), percent(float(np.mean(tasks))), ends, family))
    return lines


def summary(
    rows: Sequence[Row],
    pairing_rows: Sequence[Row] = (),
    costs: Sequence[Row] = (),
    margin: float = 0.05,
) -> str:
    """What the page says in numbers, as Markdown: success tables and paired differences, split by
    split; MILI with one thing changed; what training took. Arguments as in `write_report`.

    Raises as `statistics.headline`; ConfigError without rows.
    """
    if not rows:
        raise ConfigError("no result rows to sum up")
    families = [f for f in FAMILIES if any(row["family"] == f for row in rows)]
    lines: list[str] = []

    def cells(members: Sequence[Row]) -> Iterator[str]:
        table = {entry.family: entry for entry in family_table(members)}
        for entry in (table[f] for f in families):
            yield f"{percent(entry.rate, 0)} ({100 * entry.low:.0f}-{100 * entry.high:.0f})"
        mean = headline(members)
        interval = f" ({100 * mean.low:.1f}-{100 * mean.high:.1f})" if mean.low >= 0 else ""
        yield f"**{percent(mean.rate)}**{interval}"

    for split in dict.fromkeys(row.get("split", "test") for row in rows):
        lines += ["| " + " | ".join([f"{split} tasks", *families, "mean"]) + " |"]
        lines += ["|---" * (len(families) + 2) + "|"]
        for policy in policies_of(rows, split):
            for demo, members in conditions(rows, policy, split).items():
                name = policy_name(policy, rows) + (
                    "" if demo == "right" else f", {DEMO_NAMES[demo]}"
                )
                lines.append("| " + " | ".join([name, *cells(members)]) + " |")
        found = compare(rows, split, margin)
        lines += ["", *(f"- {c.name}: {c.sentence} {c.verdict}" for c in found), ""]
    tables = (
        ("changed", "value", "success", "interval", "against the first line, points"),
        sweep_lines(rows, pairing_rows),
    ), (
        ("training, with what it started from", "gradient steps", "seconds, mean", "range"),
        cost_lines(costs),
    ), (
        ("adapting to one demonstration", "held-out tasks", "loss lower after", "range", "loss"),
        adaptation_lines(costs),
    ), (
        ("nearest neighbour of a held-out demonstration", "same task", "range", "same family"),
        neighbour_lines(costs),
    )  # fmt: skip
    for head, body in tables:
        if body:
            lines += [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
            lines += [*(f"| {' | '.join(line)} |" for line in body), ""]
    return "\n".join(lines)
