"""Turns a run's rows and arrays into one page that opens from disk, with its figures and films.

`write_report` gets everything by argument, already loaded, and writes a folder: `index.html`,
`figures/*.svg`, `videos/*.mp4` with their posters. The page has no script and asks nothing of a
network; its `<picture>` elements choose among the looks of a figure.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mili_jax.report import comparisons
from mili_jax.report.markup import esc
from mili_jax.report.sections import (
    costs_section,
    curves_section,
    differences_section,
    latent_section,
    pairing_section,
    provenance_section,
    strip,
    success_section,
    sweeps_section,
    trials_section,
    videos_section,
)
from mili_jax.report.statistics import Row
from mili_jax.report.style import DARK_FAMILY_COLOURS, FAMILY_COLOURS
from mili_jax.types import FAMILIES, ConfigError

_OWN_NAMES = {"index.html", "figures", "videos"}


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
    _require_replaceable(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    staging = out.parent / f".{out.name}.tmp"
    shutil.rmtree(staging, ignore_errors=True)
    (staging / "figures").mkdir(parents=True)
    try:
        split = comparisons.primary_split(rows)
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
        _take_place(staging, out)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return out / "index.html"


def _require_replaceable(out: Path) -> None:
    if not out.exists():
        return
    names = {entry.name for entry in out.iterdir()} if out.is_dir() else {out.name}
    foreign = sorted(names - _OWN_NAMES if "index.html" in names else names)
    if foreign:
        raise ConfigError(
            f"{out} holds {foreign[0]!r}, which no report wrote, and would be replaced: "
            "name an empty folder for the report"
        )


def _take_place(staging: Path, out: Path) -> None:
    old = staging.with_name(f".{out.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if out.exists():
        out.rename(old)
    staging.rename(out)
    shutil.rmtree(old, ignore_errors=True)


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
    families = "".join(
        f".f-{name}{{--c:{FAMILY_COLOURS[name]};--cd:{DARK_FAMILY_COLOURS[name]}}}"
        for name in FAMILIES
    )
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>{esc(title)}</title>\n<style>{_CSS}{families}</style>\n</head>\n<body>\n"
        f'<header><h1>{esc(title)}</h1><p class="sub">{esc(subtitle)}</p>'
        f'<nav aria-label="Sections">{links}</nav></header>\n<main>\n'
        + "\n".join(sections)
        + "\n</main>\n</body>\n</html>\n"
    )


_CSS = """
:root{--bg:#f5f6f8;--card:#fff;--text:#1d2530;--muted:#566070;--line:#e0e5ea;--accent:#0b5f94;
--soft:#eef4f9;--good:#00704f;--bad:#a84300;--heat:0,114,178}
@media (prefers-color-scheme:dark){:root{--bg:#11151a;--card:#1a2028;--text:#e6eaf0;
--muted:#a3afbd;--line:#2c3540;--accent:#6cb8ec;--soft:#202b36;--good:#3ecfa2;--bad:#ff9a5c;
--heat:75,163,221}}
*{box-sizing:border-box}
html{scroll-behavior:smooth}
@media (prefers-reduced-motion:reduce){html{scroll-behavior:auto}}
body{margin:0;background:var(--bg);color:var(--text);font:16px/1.55 system-ui,-apple-system,
"Segoe UI",Roboto,"Noto Sans",Helvetica,Arial,sans-serif;-webkit-text-size-adjust:100%}
header,main{max-width:1120px;margin:0 auto;padding:0 24px}
header{padding-top:48px}
h1{font-size:clamp(1.6rem,4.5vw,2.3rem);line-height:1.2;letter-spacing:-.015em;margin:0 0 6px;
overflow-wrap:anywhere}
h2{font-size:1.25rem;letter-spacing:-.005em;margin:0 0 12px}
h3{font-size:1rem;margin:0 0 4px}
h3 small{color:var(--muted);font-weight:400;margin-left:6px}
p{margin:0}
a{color:var(--accent)}
.sub{color:var(--muted);font-size:.85rem;overflow-wrap:anywhere}
.lead{color:var(--muted);margin-bottom:16px;max-width:72ch}
.lead strong{color:var(--text)}
nav{display:flex;flex-wrap:wrap;gap:4px 18px;margin-top:18px;padding-top:12px;
border-top:1px solid var(--line)}
nav a{font-size:.9rem;text-decoration:none;padding:4px 0}
nav a:hover,nav a:focus-visible{text-decoration:underline}
main{padding-bottom:72px}
section{margin-top:40px;scroll-margin-top:16px}
.card,.tile{background:var(--card);border:1px solid var(--line);border-radius:12px}
.card{padding:24px}
.card>*+*{margin-top:24px}
.card>.lead+*{margin-top:0}
.strip{display:grid;grid-template-columns:repeat(auto-fill,minmax(176px,1fr));gap:12px;margin:0}
.tile{padding:14px 16px 12px;display:flex;flex-direction:column}
.tile dt{font-size:.85rem;line-height:1.35;color:var(--muted);min-height:2.7em;margin-bottom:4px}
.tile dd{margin:0}
.tile .value{font-size:1.75rem;font-weight:650;line-height:1.25;letter-spacing:-.02em;
font-variant-numeric:tabular-nums}
.tile .sub{font-size:.8rem;line-height:1.4;font-variant-numeric:tabular-nums}
.tile.hero{border-color:var(--accent);box-shadow:inset 0 3px 0 var(--accent);background:var(--soft)}
.tile.hero dt{color:var(--text);font-weight:600}
.tile.hero .value{color:var(--accent)}
.glyph svg{display:block;width:100%;height:auto;margin:4px 0 6px}
.track{fill:var(--line)}.band{fill:var(--accent);opacity:.4}.dot{fill:var(--accent)}
.plot,.shares,.film{margin:0}
.plot img{display:block;width:100%;height:auto}
figcaption{color:var(--muted);font-size:.85rem;margin-top:10px;max-width:85ch}
.scroll{overflow-x:auto;border-radius:6px}
.scroll:focus-visible{outline:2px solid var(--accent);outline-offset:4px}
table{border-collapse:collapse;width:100%;font-size:.9rem;font-variant-numeric:tabular-nums}
.caption{color:var(--muted);font-size:.85rem;margin-bottom:6px;max-width:85ch}
th,td{padding:7px 10px;vertical-align:top}
th{font-weight:600;text-align:left}
thead th{border-bottom:1px solid var(--line);color:var(--muted);font-size:.82rem;white-space:nowrap}
td small,th small{display:block;color:var(--muted);font-weight:400;font-size:.78rem;
white-space:nowrap}
.numbers td,.numbers thead th:not(:first-child){text-align:right}
.numbers th:first-child,.numbers td:first-child{padding-left:0}
.numbers.short th{white-space:nowrap}
.numbers .first>*{border-top:1px solid var(--line)}
.numbers thead+tbody .first:first-child>*{border-top:0}
.numbers .mean{background:var(--soft)}
.numbers .chosen td{background:var(--soft);font-weight:600}
.heat{background:rgba(var(--heat),calc(.62*var(--share)))}
td.heat small{color:inherit}
.diagonal{box-shadow:inset 0 0 0 2px rgb(var(--heat))}
.swatch{display:inline-block;width:.72em;height:.72em;border-radius:3px;margin-right:.45em;
background:var(--fill,var(--muted))}
[class*="f-"]{--fill:var(--c)}
@media (prefers-color-scheme:dark){[class*="f-"]{--fill:var(--cd)}}
.f-other{--c:var(--muted);--cd:var(--muted)}
.stack{display:flex;gap:2px;height:18px;border-radius:6px;overflow:hidden}
.stack span{background:var(--fill);flex-basis:0}
.differences{list-style:none;padding:0;margin:0}
.differences li{display:grid;grid-template-columns:minmax(0,1fr) 220px;gap:8px 28px;
align-items:center;padding:14px 0;border-top:1px solid var(--line)}
.differences li:first-child{border-top:0;padding-top:0}
.differences li:last-child{padding-bottom:0}
.difference{width:100%;max-width:320px;height:auto}
.difference .axis{stroke:var(--line);stroke-width:1.5}
.difference .zero{stroke:var(--muted);stroke-width:1.2}
.difference .margin{fill:var(--accent);opacity:.14}
.difference .whisker{stroke:var(--muted);stroke-width:3;stroke-linecap:round}
.difference .dot{fill:var(--muted)}
.difference.shown .whisker{stroke:var(--accent)}.difference.shown .dot{fill:var(--accent)}
.difference text{font-size:10px;fill:var(--muted)}
.films{display:grid;grid-template-columns:repeat(auto-fill,minmax(430px,1fr));gap:20px;
margin-top:10px}
.film video{display:block;width:100%;height:auto;object-fit:contain;object-position:top;
border-radius:6px;background:#000}
.film figcaption{color:var(--text);overflow-wrap:anywhere;margin-top:8px}
.film figcaption p{color:var(--muted)}
.badge{display:inline-block;font-size:.75rem;font-weight:600;padding:0 8px;border-radius:99px;
border:1px solid currentColor;margin-right:4px}
.badge.success{color:var(--good)}.badge.failure{color:var(--bad)}
.pairs{display:grid;grid-template-columns:repeat(auto-fill,minmax(300px,1fr));gap:24px 32px}
.plain th{font-weight:400;color:var(--muted);padding-left:0;width:45%;overflow-wrap:anywhere}
.plain td{overflow-wrap:anywhere}
.plain tr+tr>*{border-top:1px solid var(--line)}
.caption.plain{color:var(--text);font-weight:600;font-size:.9rem}
.caption.plain::first-letter{text-transform:uppercase}
summary{cursor:pointer;color:var(--accent);padding:4px 0}
details[open]>summary{margin-bottom:12px}
@media (max-width:640px){header,main{padding-left:14px;padding-right:14px}header{padding-top:28px}
.card{padding:16px}.strip{grid-template-columns:repeat(2,minmax(0,1fr));gap:8px}
.tile{padding:12px}.tile .value{font-size:1.45rem}.films,.pairs{grid-template-columns:1fr}
.differences li{grid-template-columns:1fr}}
@media print{body{background:#fff}.card,.tile{break-inside:avoid}nav{display:none}}
"""
