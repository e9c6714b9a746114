"""Turns a run's rows and arrays into one page that opens from disk, with its figures and films.

`write_report` gets everything by argument, already loaded, and writes a folder: `index.html`,
`figures/*.svg`, `videos/*.mp4` with their posters. The page has no script and asks nothing of a
network; its `<picture>` elements choose among the looks of a figure.
"""

from __future__ import annotations

import importlib.resources
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mili_jax.report.figures.style import DARK_FAMILY_COLOURS, FAMILY_COLOURS
from mili_jax.report.folder import require_replaceable, take_place
from mili_jax.report.markup import esc
from mili_jax.report.policies import primary_split
from mili_jax.report.sections.costs import costs_section
from mili_jax.report.sections.differences import differences_section
from mili_jax.report.sections.headline import strip
from mili_jax.report.sections.learning import curves_section, latent_section
from mili_jax.report.sections.pairing import pairing_section
from mili_jax.report.sections.provenance import provenance_section
from mili_jax.report.sections.success import success_section
from mili_jax.report.sections.sweeps import sweeps_section
from mili_jax.report.sections.trials import trials_section
from mili_jax.report.sections.videos import videos_section
from mili_jax.report.statistics import Row
from mili_jax.types import FAMILIES


def write_report(
    out: Path,
    *,
    title: str,
    config: Mapping[str, Any],
    manifest: Mapping[str, Any],
    rows: Sequence[Row],
    pairing_rows: Sequence[Row] = (),
    metrics: Sequence[Row] = (),
    embedding: Mapping[str, Any] | None = None,
    neighbours: Mapping[str, float] | None = None,
    collection: Sequence[Row] = (),
    videos: Sequence[Mapping[str, Any]] = (),
    costs: Sequence[Row] = (),
    margin: float = 0.05,
) -> Path:
    """Writes the folder `out` and returns the path of its `index.html`. Empty parts are left out.

    rows: result rows (see `statistics`), of any methods, rounds, seeds, splits and conditions.
      "meta_imitation" at round 0 is the policy before trials (else "mili" at round 0); at a later
      round it is the control that trains as many steps on demonstrations alone.
    pairing_rows: {"config", "round", "seed", "alpha", "chosen", "pairs", "precision", "recall",
      "family_precision"}, one per alpha; a value may be None.
    metrics: {"stage", "step", name: value, ...}; names holding the word nll, contrastive or
      accuracy are drawn.
    embedding: "z" [N,Z], "family", "task", "split" of length N, optionally "kind" ("demo" or
      "trial").
    neighbours: held-out nearest-neighbour accuracy, {"task": ..., "family": ...} in [0, 1].
    collection: one per round, {"round", "trials", "useful", "achieved": {family: episodes},
      "confusion": {commanded family: {achieved family or "none": episodes}}}.
    videos: {"title", "family", "success", "demo" uint8 [T,H,W,3], "attempt" uint8 [T',H,W,3],
      "caption"}.
    costs: {"cost_of": method, "round", "seed", "steps", "seconds"} of training a policy and what it
      was trained from; of one that adapts also "adaptation", {"tasks", "improved" (the share of
      them whose loss falls), "before", "after"}; of one with a latent space "neighbours", as
      above.
    margin: of the equivalence test against oracle pairs, as a share of successes.

    Everything is written to a hidden folder beside `out`, which then takes its place, so a killed
    run leaves the old page or none. Raises ConfigError when `out` holds files that are not a
    report's, DataError when an array or a row does not have the form above.
    """
    out = Path(out)
    require_replaceable(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    staging = out.parent / f".{out.name}.tmp"
    shutil.rmtree(staging, ignore_errors=True)
    (staging / "figures").mkdir(parents=True)
    try:
        split = primary_split(rows)
        sections = [
            strip(rows, split, neighbours or {}),
            success_section(staging, rows, split),
            differences_section(rows, split, margin),
            sweeps_section(staging, rows, pairing_rows),
            costs_section(costs),
            trials_section(collection),
            pairing_section(staging, pairing_rows),
            latent_section(staging, embedding or {}, neighbours or {}),
            curves_section(staging, metrics),
            videos_section(staging, videos),
            provenance_section(config, manifest, rows),
        ]
        page = _page(title, _subtitle(manifest, rows, split), [part for part in sections if part])
        (staging / "index.html").write_text(page, encoding="utf-8")
        if not any((staging / "figures").iterdir()):
            (staging / "figures").rmdir()
        take_place(staging, out)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return out / "index.html"


def _subtitle(manifest: Mapping[str, Any], rows: Sequence[Row], split: str) -> str:
    parts = []
    configs = sorted({str(row["config"]) for row in rows if row.get("config")})
    if configs:
        parts.append(f"config {', '.join(configs)}")
    commits = sorted({str(row["commit"]) for row in rows if row.get("commit")})
    commit = manifest.get("commit") or ", ".join(name[:10] for name in commits)
    if commit:
        parts.append(f"commit {str(commit)[:40]}")
    seeds = sorted({str(row.get("seed", 0)) for row in rows})
    if rows:
        parts.append(f"{len(seeds)} seed{'s' if len(seeds) > 1 else ''}")
        chosen = [row for row in rows if row.get("split", "test") == split]
        parts.append(f"{sum(int(row['n']) for row in chosen):,} {split} episodes")
    return " \u00b7 ".join(parts)


def _page(title: str, subtitle: str, sections: Sequence[str]) -> str:
    found = (re.search(r'<h2 id="([a-z]+)">([^<]+)</h2>', part) for part in sections)
    links = "".join(f'<a href="#{m[1]}">{m[2]}</a>' for m in found if m)
    css = importlib.resources.files("mili_jax.report").joinpath("page.css").read_text("utf-8")
    families = "".join(
        f".f-{name}{{--c:{FAMILY_COLOURS[name]};--cd:{DARK_FAMILY_COLOURS[name]}}}"
        for name in FAMILIES
    )
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>{esc(title)}</title>\n<style>{css}{families}</style>\n</head>\n<body>\n"
        f'<header><h1>{esc(title)}</h1><p class="sub">{esc(subtitle)}</p>'
        f'<nav aria-label="Sections">{links}</nav></header>\n<main>\n'
        + "\n".join(sections)
        + "\n</main>\n</body>\n</html>\n"
    )
