"""What result rows become once runs have finished: the report over several seeds, and figures and
tables from nothing but the rows.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from mili_jax import arms, comparisons, figures, report
from mili_jax.episodes import atomic_write, read_lines
from mili_jax.types import ConfigError, DataError
from mili_jax.workdir import Workdir


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
    return report.write_report(
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
        for name, method in arms.policies(config, number).items():
            facts = [workdir.read_manifest(n) for n in arms.lineage(config, name, number)]
            measured = workdir.read_manifest(f"evaluate_{name}")
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


def write_figures(rows: Path, out: Path) -> list[Path]:
    """Draws the figures of runs, `bars.png`, `alpha.png` and `sweeps.png`, and writes their tables
    and differences, `summary.md`, from result rows alone.

    Args:
      rows: a `results.jsonl`.
      out: the folder to write to.

    Raises DataError naming the file if it is missing or damaged.
    """
    read = [row for _, row in read_lines(rows)]
    successes = [row for row in read if "task" in row]
    pairs = [row for row in read if "alpha" in row]
    costs = [row for row in read if "cost_of" in row]
    if not successes:
        raise DataError(f"{rows} holds no result rows; give the results.jsonl of a finished run")
    needed = {"method", "round", "demo", "family", "n", "successes"}
    for row in successes:
        if absent := needed - row.keys():
            raise DataError(f"{rows}: a row of task {row['task']!r} lacks {min(absent)!r}")
    out.mkdir(parents=True, exist_ok=True)
    written = [figures.save_figure(figures.bars_figure(successes), out / "bars.png")]
    if pairs:
        written.append(figures.save_figure(figures.alpha_figure(pairs), out / "alpha.png"))
    if comparisons.sweeps(successes, pairs):
        figure = figures.sweeps_figure(successes, pairs)
        written.append(figures.save_figure(figure, out / "sweeps.png"))
    atomic_write(out / "summary.md", comparisons.summary(successes, pairs, costs))
    return [*written, out / "summary.md"]
