"""What result rows become once runs have finished: the report over several seeds, and figures and
tables from nothing but the rows.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

from matplotlib.figure import Figure
from ml_collections import ConfigDict

from mili_jax.report import summary
from mili_jax.report.figures.alpha import alpha_figure
from mili_jax.report.figures.bars import bars_figure
from mili_jax.report.figures.canvas import render
from mili_jax.report.figures.improvement import improvement_figure
from mili_jax.report.figures.rounds import rounds_figure
from mili_jax.report.figures.sweeps import sweeps_figure
from mili_jax.report.folder import check_folder, require_writable
from mili_jax.report.groups import domain_of, domains_of, one_domain
from mili_jax.report.improvement import arms_of_a_round
from mili_jax.report.page import write_report
from mili_jax.report.policies import primary_split
from mili_jax.report.rounds import series
from mili_jax.report.rowfiles import read_files
from mili_jax.report.rows import PairingRow, ResultRow
from mili_jax.report.sweeps import sweeps
from mili_jax.storage.files import atomic_write, make_directory, replacing
from mili_jax.storage.workdir import Workdir
from mili_jax.types import ConfigError, DataError


def write_comparison(folders: Sequence[Path], out: Path) -> Path:
    """The report of several finished runs, one per seed, from their result rows alone.

    Writes `out`/index.html, the rows of all runs as `results.jsonl` beside that folder, and returns
    the path of the page. Raises DataError naming a run without rows, or a policy that one run has
    evaluated and another has not; ConfigError for a seed that comes twice, and for runs of unlike
    domains.
    """
    if not folders:
        raise ConfigError("no run is given; a comparison needs the folders of finished runs")
    check_folder(out)
    rows: list[Mapping[str, object]] = []
    seeds: dict[int, Path] = {}
    policies_of: dict[Path, set[tuple[str, int]]] = {}
    for folder in folders:
        found = Workdir(folder).read_rows()
        # `write_report` checks them.
        measured = cast(list[ResultRow], [row for row in found if "task" in row])
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
    one_domain([row for row in rows if "task" in row])
    costs = [row for folder in folders for row in _costs(folder, rows[0].get("domain"))]
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


def _costs(folder: Path, domain: object) -> list[dict[str, object]]:
    """What the policies of a finished run cost: gradient steps and seconds of the trainings that
    led to each; and what their evaluation measured on held-out demonstrations alone."""
    from mili_jax.improve import arms  # brings JAX, which no figure needs

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
                    **({"domain": domain} if domain else {}),
                }
            )
    return costs


def write_figures(files: Sequence[Path], out: Path) -> list[Path]:
    """Draws the figures of runs and writes their tables and differences, `summary.md`, from result
    rows alone.

    `bars.png` has every policy. `improvement.png` and `improvement-dark.png` show what a round of
    trials gives, `rounds.png` success over rounds, `alpha.png` the quality of the pairs,
    `sweeps.png` MILI with one thing changed, each where the rows hold it. Of several domains each
    has its own figures, from the second on with its number in their names.

    Args:
      files: `results.jsonl` of one run or several, taken as one (`rowfiles.read_files`).
      out: the folder to write to.

    Raises as `rowfiles.read_files`; DataError if the file system refuses. Then the old files stay.
    """
    require_writable(out)
    rows = read_files(files)
    drawn: dict[str, bytes] = {}
    for number, domain in enumerate(domains_of(rows.results), start=1):
        results = [row for row in rows.results if domain_of(row) == domain]
        pairing = [row for row in rows.pairing if domain_of(row) == domain]
        for name, figure in _figures(results, pairing).items():
            drawn[f"{name}.png" if number == 1 else f"{name}-{number}.png"] = render(figure, "png")
    text = summary.summary(rows.results, rows.pairing, rows.costs)
    make_directory(out)
    with contextlib.ExitStack() as files_kept:  # all are written before the first takes its place
        for name, content in {**drawn, "summary.md": text.encode()}.items():
            files_kept.enter_context(replacing(out / name)).write_bytes(content)
    return [out / name for name in (*drawn, "summary.md")]


def _figures(rows: Sequence[ResultRow], pairing_rows: Sequence[PairingRow]) -> Mapping[str, Figure]:
    """All figures that rows of one domain give, by their names."""
    figures = {"bars": bars_figure(rows)}
    if arms_of_a_round(rows):
        figures["improvement"] = improvement_figure(rows)
        figures["improvement-dark"] = improvement_figure(rows, dark=True)
    split = primary_split(rows)
    if series(rows, split):
        figures["rounds"] = rounds_figure(rows, split)
    if pairing_rows:
        figures["alpha"] = alpha_figure(pairing_rows)
    if sweeps(rows, pairing_rows):
        figures["sweeps"] = sweeps_figure(rows, pairing_rows)
    return figures
