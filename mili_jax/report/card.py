"""The model card of a policy, from its facts and its result rows alone."""

from __future__ import annotations

from collections.abc import Sequence

from mili_jax.report.methods import DEMO_NAMES, Policy
from mili_jax.report.policies import split_of
from mili_jax.report.row_checks import check_results
from mili_jax.report.rows import DEMOS, ResultRow
from mili_jax.report.statistics import group_table, headline
from mili_jax.report.summary import table
from mili_jax.report.words import percent
from mili_jax.storage.files import Manifest


def model_card(facts: Manifest, rows: Sequence[Manifest]) -> str:
    """Markdown. facts: as `pipeline.pack` makes them. Raises DataError for a damaged row."""
    made, spec = facts["made"], facts["spec"]
    label = Policy("", made["method"], made["round"]).label
    cameras = ", ".join(f"`{camera['name']}`" for camera in spec["cameras"])
    numbers = ", ".join(
        f"`{field['name']}` ({field['unit']})" for field in spec["action"]["fields"]
    )
    lines = [
        f"# {facts['name']}",
        "",
        f"A policy of mili-jax that does a task after one demonstration of it. "
        f"Method: {label}. Domain: `{facts['domain']}`.",
        "",
        "```python",
        "import mili_jax",
        "",
        f'policy = mili_jax.load_policy("{facts["name"]}")  # or the path of a packed folder',
        "```",
        "",
        "## What it takes and gives",
        "",
        *table(
            ["", ""],
            [
                ["pictures", f"{spec['height']} x {spec['width']} pixels of {cameras}"],
                ["action", f"{numbers}{', as a change' if spec['delta'] else ''}"],
                ["demonstration", "pictures and poses of one episode of the same robot"],
                ["parameters", f"{facts['parameters']['count']:,}"],
                *([["needs", ", ".join(made["needs"])]] if made.get("needs") else []),
            ],
        ),
        "",
        "## What it was trained on",
        "",
        *_training(made),
        "",
        "## How well it does",
        "",
        *_success(check_results(rows), made.get("seen", 0)),
        "",
        "## Limits",
        "",
        *_limits(facts, rows),
        "",
        "## Where it is from",
        "",
        f"`mili pack` wrote this page from `policy.json` and `rows.jsonl`. It was trained "
        f"at commit {_commit(made)}{_measured(rows)}, with JAX {made['versions'].get('jax')}. "
        f"The SHA-256 of the parameters is `{facts['parameters']['sha256'][:16]}...`.",
    ]
    return "\n".join(lines) + "\n"


def _commit(facts: Manifest) -> str:
    """Short, but with the mark of a checkout that had changes."""
    commit, changed, _ = str(facts.get("commit") or "unknown").partition("+")
    return f"{commit[:12]}{' with changes' if changed else ''}"


def _measured(rows: Sequence[Manifest]) -> str:
    return f" and measured at {_commit(rows[0])}" if rows else ""


def _training(made: Manifest) -> list[str]:
    config = made["config"]
    data, changed = config["data"], f"`{config['name']}`"
    by = "of a scripted expert" if made["simulator"] else "of people"
    lines = [
        f"- Demonstrations {by}: {data['tasks']} tasks, {data['demonstrations']} of each.",
        f"- {made['steps']:,} gradient steps, configuration {changed}, seed {made['seed']}.",
    ]
    if made["trials"]:
        lines.append(f"- It could learn from {made['trials']:,} trials of its own.")
    else:
        lines.append("- No trials of its own.")
    if made.get("note"):
        lines.append(f"- {made['note']}")
    return lines


def _success(rows: Sequence[ResultRow], seen: int) -> list[str]:
    """Success by condition and group, and the mean; a sentence if nobody has measured it."""
    if not rows:
        return ["Nobody has measured it."]
    split = split_of(rows[0])
    of = {demo: [row for row in rows if row.get("demo", "right") == demo] for demo in DEMOS}
    found = {demo: group_table(members) for demo, members in of.items() if members}
    groups = [rate.group for rate in next(iter(found.values()))]
    body = []
    for demo, rates in found.items():
        mean = headline(of[demo])
        cells = [f"{percent(r.rate, 0)} ({100 * r.low:.0f}-{100 * r.high:.0f})" for r in rates]
        interval = f" ({100 * mean.low:.1f}-{100 * mean.high:.1f})" if mean.low >= 0 else ""
        body.append([DEMO_NAMES[demo], *cells, f"**{percent(mean.rate)}**{interval}"])
    first = found[next(iter(found))]
    episodes = sum(rate.n for rate in first)
    tasks = sum(rate.tasks for rate in first)
    return [
        f"Share of episodes that end with the commanded task done. There are {tasks} tasks of the "
        f"split `{split}`, {_unseen(seen, tasks)}, and {episodes} episodes of each kind.",
        "",
        *table(["", *groups, "mean"], body),
        "",
        "In brackets are 95% intervals: for a family Wilson's over episodes, for the mean a "
        "bootstrap over tasks.",
    ]


def _unseen(seen: int, tasks: int) -> str:
    """What training knows of the tasks that it was measured on."""
    if not seen:
        return "which training has not seen"
    return (
        "all of which training has seen" if seen == tasks else f"{seen} of which training has seen"
    )


def _limits(facts: Manifest, rows: Sequence[Manifest]) -> list[str]:
    made = facts["made"]
    lines = [
        f"- One training, with seed {made['seed']}. The intervals say how it does on other tasks, "
        "not how another training would do.",
        "- It takes the robot above and no other: these cameras, this size, these numbers.",
    ]
    if made["simulator"]:
        lines += [
            "- It was trained and measured in simulation. It has not been on a robot.",
            "- It was shown demonstrations of a scripted expert, never those of people.",
        ]
    if facts["spec"]["tool"] is not None and facts["networks"]["head"] == "anchored_mixture":
        lines.append("- It assumes that an episode is about at most two places on a table.")
    if facts["mil"] is not None:
        lines.append("- It takes gradient steps on the demonstration before it acts.")
    if not any(row.get("demo", "right") != "right" for row in rows):
        lines.append("- What it does after a wrong demonstration, or none, was not measured.")
    return lines
