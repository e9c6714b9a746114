"""Turns a run's rows and arrays into one page that opens from disk, with its figures and films.

`write_report` gets everything by argument, already loaded, and writes a folder: `index.html`,
`figures/*.svg`, `videos/*.mp4` with their posters. The page has no script and asks nothing of a
network; its `<picture>` elements choose among the looks of a figure.
"""

from __future__ import annotations

import importlib.resources
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from mili_jax.report import palette
from mili_jax.report.content import Content
from mili_jax.report.folder import GENERATOR, check_folder, replacing_folder
from mili_jax.report.gain import Gain, gains
from mili_jax.report.markup import colour_class, esc
from mili_jax.report.policies import primary_split, split_of
from mili_jax.report.rows import ErrorRow, Raw, ResultRow
from mili_jax.report.sections.claims import claims, notes
from mili_jax.report.sections.costs import costs_section
from mili_jax.report.sections.differences import differences_section
from mili_jax.report.sections.errors import error_gains, errors_section
from mili_jax.report.sections.headline import strip
from mili_jax.report.sections.learning import curves_section, latent_section
from mili_jax.report.sections.pairing import pairing_section
from mili_jax.report.sections.provenance import provenance_section
from mili_jax.report.sections.rounds import attribution_section, rounds_section
from mili_jax.report.sections.success import success_section
from mili_jax.report.sections.sweeps import sweeps_section
from mili_jax.report.sections.trials import trials_section
from mili_jax.report.sections.videos import videos_section


def write_report(
    out: Path,
    *,
    title: str,
    config: Mapping[str, object],
    manifest: Mapping[str, object],
    rows: Sequence[Raw],
    errors: Sequence[Raw] = (),
    pairing_rows: Sequence[Raw] = (),
    metrics: Sequence[Raw] = (),
    embedding: Mapping[str, object] | None = None,
    neighbours: Mapping[str, float] | None = None,
    collection: Sequence[Raw] = (),
    videos: Sequence[Raw] = (),
    costs: Sequence[Raw] = (),
    margin: float = 0.05,
    groups: Sequence[str] = (),
    warnings: Sequence[str] = (),
) -> Path:
    """Writes the folder `out` and returns the path of its `index.html`. Empty parts are left out.

    rows: `rows.ResultRow`s, of any methods, rounds, seeds, splits, conditions and
      domains.
      "meta_imitation" at round 0 is the policy before trials (else "mili" at round 0); at a later
      round it is the control that trains as many steps on demonstrations alone.
    errors: `rows.ErrorRow`s, of a domain without a simulator.
    pairing_rows: {"config", "round", "seed", "alpha", "chosen", "pairs", "precision", "recall",
      "family_precision"}, one per alpha; a value may be None.
    metrics: {"stage", "step", name: value, ...}; names holding the word nll, contrastive or
      accuracy are drawn.
    embedding: "z" [N,Z], "family", "task", "split" of length N, optionally "kind" ("demo" or
      "trial").
    neighbours: held-out nearest-neighbour accuracy, {"task": ..., "family": ...} in [0, 1].
    collection: one per round, {"round", "trials", "useful", "achieved": {group: episodes},
      "confusion": {commanded group: {achieved group or "none": episodes}}}.
    videos: {"title", "family", "success", "demo" uint8 [T,H,W,3], "attempt" uint8 [T',H,W,3],
      "caption"}.
    costs: {"cost_of": method, "round", "seed", "steps", "seconds"} of training a policy and what it
      was trained from; of one that adapts also "adaptation", {"tasks", "improved" (the share of
      them whose loss falls), "before", "after"}; of one with a latent space "neighbours", as
      above.
    margin: of the equivalence test against oracle pairs, as a share of successes.
    groups: of the domain, in the order of reports; without it as the rows name them.
    warnings: what a reader should know before the numbers.

    Everything is checked before anything is drawn, and written to a hidden folder beside `out`,
    which then takes its place. Raises ConfigError when `out` holds files that are not a report's;
    DataError when an array or a row does not have the form above, or the file system refuses. The
    old page stays then.
    """
    out = Path(out)
    check_folder(out)
    content = Content.check(
        rows=rows,
        errors=errors,
        pairing_rows=pairing_rows,
        metrics=metrics,
        embedding=embedding,
        neighbours=neighbours,
        collection=collection,
        videos=videos,
        costs=costs,
        margin=margin,
        groups=groups,
    )
    found = first_of(content.rows, content.errors)
    with replacing_folder(out) as staging:
        (staging / "figures").mkdir()
        page = _page(
            title,
            claims(found) + notes(warnings),
            _subtitle(manifest, content.rows, found),
            [*_sections(staging, content), provenance_section(config, manifest, content.rows)],
        )
        (staging / "index.html").write_text(page, encoding="utf-8")
        if not any((staging / "figures").iterdir()):
            (staging / "figures").rmdir()
    return out / "index.html"


def first_of(rows: Sequence[ResultRow], errors: Sequence[ErrorRow] = ()) -> list[Gain]:
    """What a page says first."""
    return gains(rows) or error_gains(errors)


def _sections(staging: Path, content: Content) -> list[str]:
    rows, split = content.rows, primary_split(content.rows)
    groups = content.groups[content.lead]
    return [
        videos_section(staging, content.films, groups),
        strip(rows, split, content.neighbours),
        success_section(staging, rows, content.groups),
        errors_section(content.errors),
        rounds_section(staging, rows),
        attribution_section(rows),
        differences_section(rows, split, content.margin),
        sweeps_section(staging, rows, content.pairing_rows),
        costs_section(content.costs),
        trials_section(content.collection, groups),
        pairing_section(staging, content.pairing_rows),
        latent_section(staging, content.embedding, groups, content.neighbours),
        curves_section(staging, content.metrics),
    ]


def _subtitle(
    manifest: Mapping[str, object], rows: Sequence[ResultRow], found: Sequence[Gain]
) -> str:
    parts = []
    configs = sorted({str(row["config"]) for row in rows if row.get("config")})
    if configs:
        parts.append(f"config {', '.join(configs)}")
    commits = sorted({str(row["commit"]) for row in rows if row.get("commit")})
    commit = manifest.get("commit") or ", ".join(name[:10] for name in commits)
    if commit:
        parts.append(f"commit {str(commit)[:40]}")
    parts += list(dict.fromkeys(gain.basis for gain in found if gain.basis))
    if rows:
        split = primary_split(rows)
        episodes = sum(row["n"] for row in rows if split_of(row) == split)
        parts.append(f"{episodes:,} {split} episodes")
    return " \u00b7 ".join(parts)


def _page(title: str, first: str, subtitle: str, sections: Sequence[str]) -> str:
    found = (re.search(r'<h2 id="([a-z]+)">([^<]+)</h2>', part) for part in sections)
    links = "".join(f'<a href="#{m[1]}">{m[2]}</a>' for m in found if m)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"{GENERATOR}\n<title>{esc(title)}</title>\n<style>{_style()}</style>\n</head>\n<body>\n"
        f'<header><h1 dir="auto">{esc(title)}</h1>{first}<p class="sub">{esc(subtitle)}</p>'
        f'<nav aria-label="Sections">{links}</nav></header>\n<main>\n'
        + "\n".join(part for part in sections if part)
        + "\n</main>\n</body>\n</html>\n"
    )


def _style() -> str:
    """The style sheet, with the colours of groups."""
    css = importlib.resources.files("mili_jax.report").joinpath("page.css").read_text("utf-8")
    pairs: list[tuple[int | None, str, str]] = [
        (at, *both) for at, both in enumerate(zip(palette.LIGHT, palette.DARK, strict=True))
    ]
    pairs.append((None, palette.GREY_LIGHT, palette.GREY_DARK))
    return css + "".join(
        f".{colour_class(at)}{{--c:{light};--cd:{dark}}}\n" for at, light, dark in pairs
    )
