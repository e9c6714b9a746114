"""What result rows become once runs have finished: the report over several seeds, and figures and
tables from nothing but the rows.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from mili_jax.improve import arms
from mili_jax.report import comparisons, style, summary
from mili_jax.report.figures import alpha_figure, bars_figure, sweeps_figure
from mili_jax.report.page import write_report
from mili_jax.storage.files import atomic_write, read_lines
from mili_jax.storage.workdir import Workdir
from mili_jax.types import ConfigError, DataError


def write_comparison(folders: Sequence[Path], out: Path) -> Path:
    """The report of several finished runs, one per seed, from their result rows alone.

    Writes `out`/index.html, the rows of all runs as `results.jsonl` beside that folder, and returns
    the path of the page. Raises DataError naming a run without rows, or a policy that one run has
    evaluated and another has not; ConfigError for a seed that comes twice.
    """
    rows: list[dict[str, Any]] = []
    seeds: dict[int, Path] = {}
    policies_of: dict[Path, set[tuple[str, int]]] = {}
    for folder in folders:
        found = Workdir(folder).read_rows()
        measured = [row for row in found if "task" in row]
        if not measured:
            raise DataError(f"{folder} holds no result rows; let its run finish")
        seed = measured[0]["seed"]
        if seed in seeds:
            raise ConfigError(f"{folder} and {seeds[seed]} are both of seed {seed}; give one")
        seeds[seed] = folder
        policies_of[folder] = {(row["method"], row["round"]) for row in measured}
        rows += found
    everything = set().union(*policies_of.values())
    for folder, present in policies_of.items():
        missing = sorted(everything - present)
        if missing:
            method, number = missing[0]
            raise DataError(
                f"{folder} has no rows of {method!r} after round {number}, which another seed has; "
                "let its run finish"
            )
    costs = [row for folder in folders for row in _costs(folder)]
    first = Workdir(folders[0])
    lines = [json.dumps(row, sort_keys=True) for row in (*rows, *costs)]
    atomic_write(out.parent / "results.jsonl", "\n".join(lines) + "\n")
    return write_report(
        out,
        title="One-shot imitation: every method on the same data",
        config=first.config,
        manifest=first.provenance(),
        rows=[row for row in rows if "task" in row],
        pairing_rows=[row for row in rows if "alpha" in row],
        costs=costs,
    )


def _costs(folder: Path) -> list[dict[str, Any]]:
    """What the policies of a finished run cost: gradient steps and seconds of the trainings that
    led to each; and what their evaluation measured on held-out demonstrations alone."""
    workdir = Workdir(folder)
    config = ConfigDict(workdir.config)
    costs = []
    for number in range(config.improve.rounds + 1):
        for policy, method in arms.policies(config, number).items():
            facts = [workdir.read_manifest(str(p)) for p in arms.lineage(config, policy)]
            measured = workdir.read_manifest(f"evaluate_{policy}")
            kinds = ("adaptation", "neighbours")
            costs.append(
                {
                    "config": config.name,
                    "cost_of": method,
                    "round": number,
                    "seed": config.seed,
                    "steps": sum(f["steps"] for f in facts),
                    "seconds": round(sum(f["seconds"] for f in facts), 1),
                    **{kind: measured[kind] for kind in kinds if kind in measured},
                }
            )
    return costs


def write_figures(files: Sequence[Path], out: Path) -> list[Path]:
    """Draws the figures of runs, `bars.png`, `alpha.png` and `sweeps.png`, and writes their tables
    and differences, `summary.md`, from result rows alone.

    Several files are taken as one, say three seeds of everything and two more of what matters most.
    Then policies that one seed has and another of the same configuration has not are left out, for
    a mean over other seeds could not be compared.

    Args:
      files: `results.jsonl` of one run or several.
      out: the folder to write to.

    Raises DataError naming the file if one is missing or damaged, or holds a seed that another
    holds too; and if no policy is left.
    """
    read: list[dict[str, Any]] = []
    home: dict[tuple[Any, ...], int] = {}
    for i, path in enumerate(files):
        found = [row for _, row in read_lines(path)]
        successes = [row for row in found if "task" in row]
        if not successes:
            raise DataError(
                f"{path} holds no result rows; give the results.jsonl of a finished run"
            )
        needed = {"method", "round", "demo", "family", "n", "successes"}
        for row in successes:
            if absent := needed - row.keys():
                raise DataError(f"{path}: a row of task {row['task']!r} lacks {min(absent)!r}")
            run = (row.get("config"), row.get("seed"))
            if (other := home.setdefault(run, i)) != i:
                raise DataError(
                    f"{path} and {files[other]} both hold seed {run[1]} of {run[0]!r}: give one"
                )
        read += found
    if len(files) > 1:
        read = _of_every_seed(read)
    successes = [row for row in read if "task" in row]
    if not successes:
        raise DataError(f"{', '.join(map(str, files))}: no policy that every seed has")
    pairs = [row for row in read if "alpha" in row]
    costs = [row for row in read if "cost_of" in row]
    out.mkdir(parents=True, exist_ok=True)
    written = [style.save_figure(bars_figure(successes), out / "bars.png")]
    if pairs:
        written.append(style.save_figure(alpha_figure(pairs), out / "alpha.png"))
    if comparisons.sweeps(successes, pairs):
        figure = sweeps_figure(successes, pairs)
        written.append(style.save_figure(figure, out / "sweeps.png"))
    atomic_write(out / "summary.md", summary.summary(successes, pairs, costs))
    return [*written, out / "summary.md"]


def _of_every_seed(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows of what every seed of their configuration has: of policies, and of rounds' pairs."""

    def subject(row: dict[str, Any]) -> tuple[Any, ...]:
        kind = ("task" in row, "cost_of" in row, row.get("split"), row.get("demo"))
        return row.get("config"), row.get("method", row.get("cost_of")), row["round"], kind

    seeds: dict[Any, set[Any]] = {}
    having: dict[Any, set[Any]] = {}
    for row in rows:
        seeds.setdefault(row.get("config"), set()).add(row.get("seed"))
        having.setdefault(subject(row), set()).add(row.get("seed"))
    return [row for row in rows if having[subject(row)] == seeds[row.get("config")]]
