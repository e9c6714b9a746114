"""Turns a run's rows and arrays into one page that opens from disk, with its figures and films.

`write_report` gets everything by argument, already loaded, and writes a folder: `index.html`,
`figures/*.svg`, `videos/*.mp4` with their posters. The page has no script and asks nothing of a
network; its `<picture>` elements choose among the looks of a figure.
"""

from __future__ import annotations

import html
import math
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from mili_jax import comparisons, figures, films
from mili_jax.comparisons import DEMO_NAMES, number, percent, signed
from mili_jax.statistics import Difference, Headline, Row, family_table, headline
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
            _strip(rows, split, neighbours or {}),
            _success_section(staging, rows, split),
            _differences_section(rows, split, margin),
            _sweeps_section(staging, rows, pairing_rows),
            _costs_section(costs),
            _trials_section(collection),
            _pairing_section(staging, pairing_rows),
            _latent_section(staging, embedding or {}, neighbours or {}),
            _curves_section(staging, metrics),
            _videos_section(staging, videos),
            _provenance_section(config, manifest, rows),
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


def _strip(rows: Sequence[Row], split: str, neighbours: Mapping[str, float]) -> str:
    tiles = []
    policies = comparisons.policies_of(rows, split)
    for config in sorted({policy.config for policy in policies}):
        members = [policy for policy in policies if policy.config == config]
        before, final = comparisons.before_trials(members), comparisons.final_policy(members)
        for policy in members:
            cells = comparisons.conditions(rows, policy, split)
            demo = "right" if "right" in cells else next(iter(cells), None)
            if demo is None:
                continue
            label = comparisons.policy_name(policy, rows)
            if demo != "right":
                label += f" ({DEMO_NAMES[demo]})"
            if policy == before and policy.method != "mili" and final != policy:
                label = f"Before trials: {label[0].lower()}{label[1:]}"
            tiles.append(_rate_tile(label, headline(cells[demo]), hero=policy == final))
        if final is not None:
            cells = comparisons.conditions(rows, final, split)
            for demo, name in (("wrong", "Wrong demonstration"), ("none", "No demonstration")):
                if demo in cells and "right" in cells:
                    label = f"{name}, {comparisons.policy_name(final, rows)}"
                    tiles.append(_rate_tile(label, headline(cells[demo])))
    for key, name in (("task", "by task"), ("family", "by family")):
        value = neighbours.get(key)
        if value is not None and math.isfinite(value):
            tiles.append(
                f'<div class="tile"><dt>Held-out nearest neighbour, {name}</dt>'
                f'<dd class="value">{_e(percent(value))}</dd>'
                f"{_range_glyph(value, math.nan, math.nan)}"
                '<dd class="sub">leave one out, cosine of embeddings</dd></div>'
            )
    if not tiles:
        return ""
    lead = ""
    if policies:
        lead = (
            '<p class="lead">One-shot success on '
            f"<strong>{_e(split)}</strong> tasks: the mean of the family rates, with the "
            "95% interval of a bootstrap over tasks.</p>"
        )
    return (
        '<section aria-labelledby="headline"><h2 id="headline">Headline</h2>'
        f'{lead}<dl class="strip">{"".join(tiles)}</dl></section>'
    )


def _rate_tile(label: str, mean: Headline, *, hero: bool = False) -> str:
    if math.isfinite(mean.low):
        interval = f"{number(100 * mean.low)} to {percent(mean.high)}"
    else:
        interval = "too few tasks for an interval"
    families = "" if len(mean.families) == len(FAMILIES) else f", {', '.join(mean.families)} only"
    seeds = f", {mean.seeds} seeds" if mean.seeds > 1 else ""
    return (
        f'<div class="tile{" hero" if hero else ""}"><dt>{_e(label)}</dt>'
        f'<dd class="value">{_e(percent(mean.rate))}</dd>'
        f"{_range_glyph(mean.rate, mean.low, mean.high)}"
        f'<dd class="sub">{_e(interval)}<br>{mean.tasks} tasks{seeds}{_e(families)}</dd></div>'
    )


def _range_glyph(rate: float, low: float, high: float) -> str:
    """A 0 to 100% track with the interval and the value; the numbers stand beside it."""
    band = ""
    if math.isfinite(low):
        band = f'<rect class="band" x="{100 * low:.1f}" y="1.5" width="{100 * (high - low):.1f}"'
        band += ' height="5" rx="1"/>'
    return (
        '<dd class="glyph" aria-hidden="true"><svg viewBox="-3 0 106 8">'
        f'<rect class="track" x="0" y="3" width="100" height="2" rx="1"/>{band}'
        f'<rect class="dot" x="{100 * rate - 1:.1f}" y="0" width="2" height="8" rx="1"/></svg></dd>'
    )


def _success_section(staging: Path, rows: Sequence[Row], split: str) -> str:
    if not rows:
        return ""
    parts = [
        _picture(
            staging,
            "success",
            lambda **look: figures.bars_figure(rows, split=split, **look),
            alt="Bars of success per family for every policy and condition; "
            "the table below holds the same numbers.",
            caption="Solid: the right demonstration. Hatched: a wrong one (another task of the "
            "same scene). Hollow: none given. Lines are 95% intervals: Wilson per family, "
            "bootstrap over tasks for the mean.",
        )
    ]
    present = {row.get("split", "test") for row in rows}
    for part in sorted(present, key=lambda name: (name != split, name)):
        parts.append(_success_table(rows, part))
    return _section("success", "Success by family", "".join(parts))


def _success_table(rows: Sequence[Row], split: str) -> str:
    families = [f for f in FAMILIES if any(row["family"] == f for row in rows)]
    any_task = any(row.get("any_task") is not None for row in rows)
    head = "".join(f'<th scope="col">{_swatch(family)}{_e(family)}</th>' for family in families)
    body = []
    for policy in comparisons.policies_of(rows, split):
        for index, (demo, members) in enumerate(
            comparisons.conditions(rows, policy, split).items()
        ):
            table = {entry.family: entry for entry in family_table(members)}
            cells = []
            for family in families:
                entry = table.get(family)
                if entry is None:
                    cells.append("<td>&ndash;</td>")
                    continue
                cells.append(
                    f"<td><strong>{_e(percent(entry.rate))}</strong>"
                    f"<small>{number(100 * entry.low)}&ndash;{number(100 * entry.high)}</small>"
                    f"<small>{entry.successes} of {entry.n}</small></td>"
                )
            mean = headline(members)
            interval = (
                f"<small>{number(100 * mean.low)}&ndash;{number(100 * mean.high)}</small>"
                if math.isfinite(mean.low)
                else "<small>no interval</small>"
            )
            total = sum(entry.n for entry in table.values())
            cells.append(
                f'<td class="mean"><strong>{_e(percent(mean.rate))}</strong>{interval}'
                f"<small>n = {total}</small></td>"
            )
            if any_task:
                counts = [entry.any_task for entry in table.values()]
                known = [count for count in counts if count is not None]
                share = percent(sum(known) / total) if len(known) == len(counts) else "\u2013"
                cells.append(f"<td>{_e(share)}</td>")
            strong = "" if index else ' class="first"'
            name = "" if index else _e(comparisons.policy_name(policy, rows))
            body.append(
                f'<tr{strong}><th scope="row">{name}<small>{_e(DEMO_NAMES[demo])}</small></th>'
                f"{''.join(cells)}</tr>"
            )
    extra = '<th scope="col">any task</th>' if any_task else ""
    return _table(
        f"Success on {split} tasks with 95% intervals and episode counts",
        f'<tr><th scope="col">policy</th>{head}<th scope="col">mean</th>{extra}</tr>',
        "".join(body),
    )


def _differences_section(rows: Sequence[Row], split: str, margin: float) -> str:
    found = comparisons.compare(rows, split, margin)
    if not found:
        return ""
    ends = [
        abs(value)
        for item in found
        if item.result is not None
        for value in (item.result.low, item.result.high, item.result.difference, item.margin or 0)
        if math.isfinite(value)
    ]
    reach = max([0.05, *ends]) * 1.08
    results = [item.result for item in found if item.result is not None]
    bases = list(dict.fromkeys(comparisons.basis(result) for result in results))
    items = []
    for item in found:
        details = [comparisons.basis(item.result)] if item.result and len(bases) > 1 else []
        details += [comparisons.discordant(item.result)] if item.result else []
        detail = ". ".join(text for text in details if text)
        detail = f'<p class="sub">{_e(detail)}.</p>' if detail else ""
        glyph = _difference_glyph(item.result, reach, item.margin) if item.result else ""
        items.append(
            f'<li><div class="words"><h3>{_e(item.name)}</h3><p>{_e(item.sentence)} '
            f"<strong>{_e(item.verdict)}</strong></p>{detail}"
            f"</div>{glyph}</li>"
        )
    return _section(
        "differences",
        "Differences",
        '<p class="lead">Paired bootstrap over the same tasks, in percentage points of the mean '
        f"of the families{_e('; ' + bases[0]) if len(bases) == 1 else ''}.</p>"
        f'<ul class="differences">{"".join(items)}</ul>',
    )


def _difference_glyph(result: Difference, reach: float, margin: float | None) -> str:
    def at(value: float) -> str:
        return f"{100 + 96 * value / reach:.1f}"

    parts = ['<line class="axis" x1="4" x2="196" y1="20" y2="20"/>']
    if margin is not None:
        parts.append(
            f'<rect class="margin" x="{at(-margin)}" y="10" '
            f'width="{2 * 96 * margin / reach:.1f}" height="20"/>'
        )
    parts.append('<line class="zero" x1="100" x2="100" y1="5" y2="35"/>')
    if math.isfinite(result.low):
        parts.append(
            f'<line class="whisker" x1="{at(result.low)}" x2="{at(result.high)}" y1="20" y2="20"/>'
        )
    parts.append(f'<circle class="dot" cx="{at(result.difference)}" cy="20" r="4"/>')
    parts.append('<text x="100" y="46" text-anchor="middle">0</text>')
    parts.append(f'<text x="196" y="46" text-anchor="end">{signed(100 * reach, 0)}</text>')
    parts.append(f'<text x="4" y="46">{signed(-100 * reach, 0)}</text>')
    kind = "shown" if result.shown and margin is None else "open"
    return (
        f'<svg class="difference {kind}" viewBox="0 0 200 50" aria-hidden="true">'
        f"{''.join(parts)}</svg>"
    )


def _sweeps_section(staging: Path, rows: Sequence[Row], pairing_rows: Sequence[Row]) -> str:
    lines = comparisons.sweep_lines(rows, pairing_rows)
    if not lines:
        return ""
    figure = _picture(
        staging,
        "sweeps",
        lambda **look: figures.sweeps_figure(rows, pairing_rows, **look),
        alt="Success of MILI's first round over what was changed; the table below holds the same "
        "numbers.",
        caption="One round of MILI with one thing changed, everything else equal: mean of families "
        "with its 95% interval. No trials: as many steps on demonstrations alone.",
    )
    body = [
        f'<tr><th scope="row">{_e(changed)}</th><td>{_e(value)}</td>'
        f"<td><strong>{_e(rate)}</strong><small>{_e(interval)}</small></td>"
        f"<td>{_e(against)}</td></tr>"
        for changed, value, rate, interval, against in lines
    ]
    table = _table(
        "Success of one round",
        '<tr><th scope="col">changed</th><th scope="col">value</th><th scope="col">success</th>'
        '<th scope="col">against the first line, points</th></tr>',
        "".join(body),
    )
    return _section("sweeps", "One thing changed", figure + table)


def _costs_section(costs: Sequence[Row]) -> str:
    if not costs:
        return ""
    parts = [
        _table(
            "Training of each policy, what it started from included",
            '<tr><th scope="col">policy</th><th scope="col">gradient steps</th>'
            '<th scope="col">seconds, mean of seeds</th><th scope="col">range</th></tr>',
            _cost_body(comparisons.cost_lines(costs)),
        )
    ]
    if lines := comparisons.adaptation_lines(costs):
        parts.append(
            _table(
                "One demonstration of a held-out task, the loss on another before and after "
                "adapting to it",
                '<tr><th scope="col">policy</th><th scope="col">tasks</th>'
                '<th scope="col">lower after, mean of seeds</th><th scope="col">range</th>'
                '<th scope="col">loss, mean</th></tr>',
                _cost_body(lines),
            )
        )
    if lines := comparisons.neighbour_lines(costs):
        parts.append(
            _table(
                "How often the nearest neighbour of a held-out demonstration, in the latent space "
                "of the policy, shows the same",
                '<tr><th scope="col">policy</th><th scope="col">task, mean of seeds</th>'
                '<th scope="col">range</th><th scope="col">family, mean</th></tr>',
                _cost_body(lines),
            )
        )
    return _section("costs", "What training took", "".join(parts))


def _cost_body(lines: Sequence[tuple[str, ...]]) -> str:
    return "".join(
        f'<tr><th scope="row">{_e(name)}</th>{"".join(f"<td>{_e(cell)}</td>" for cell in cells)}'
        "</tr>"
        for name, *cells in lines
    )


def _trials_section(collection: Sequence[Row]) -> str:
    if not collection:
        return ""
    lines, bars, confusions = [], [], []
    families = [f for f in FAMILIES if any(f in entry.get("achieved", {}) for entry in collection)]
    for entry in collection:
        trials, useful = int(entry["trials"]), int(entry["useful"])
        achieved = entry.get("achieved", {})
        counts = "".join(f"<td>{int(achieved.get(f, 0)):,}</td>" for f in families)
        share = percent(useful / trials) if trials else "\u2013"
        lines.append(
            f'<tr class="first"><th scope="row">round {_e(entry["round"])}</th><td>{trials:,}</td>'
            f"<td>{useful:,}</td><td>{_e(share)}</td>{counts}</tr>"
        )
        total = sum(int(achieved.get(f, 0)) for f in families)
        if total:
            pieces = "".join(
                f'<span class="f-{f}" style="flex-grow:{int(achieved.get(f, 0))}"></span>'
                for f in families
                if achieved.get(f)
            )
            words = ", ".join(f"{f} {percent(achieved.get(f, 0) / total)}" for f in families)
            bars.append(
                f'<figure class="shares"><div class="stack" role="img" '
                f'aria-label="{_e(words)}">{pieces}</div><figcaption>Families achieved in round '
                f"{_e(entry['round'])}: {_e(words)}.</figcaption></figure>"
            )
        if entry.get("confusion"):
            confusions.append(_confusion_table(entry["round"], entry["confusion"]))
    head = "".join(f'<th scope="col">{_swatch(f)}{_e(f)}</th>' for f in families)
    table = _table(
        "Trials collected per round and the families that they achieved",
        '<tr><th scope="col"></th><th scope="col">trials</th><th scope="col">useful</th>'
        f'<th scope="col">share</th>{head}</tr>',
        "".join(lines),
        kind="numbers short",
    )
    return _section("trials", "Trials", table + "".join(bars) + "".join(confusions))


def _confusion_table(number: Any, confusion: Mapping[str, Mapping[str, int]]) -> str:
    commanded = [f for f in FAMILIES if f in confusion] + sorted(set(confusion) - set(FAMILIES))
    seen = {name for line in confusion.values() for name in line}
    achieved = [f for f in FAMILIES if f in seen] + sorted(seen - set(FAMILIES))
    body = []
    for family in commanded:
        line = confusion[family]
        total = sum(line.values())
        cells = []
        for name in achieved:
            count = int(line.get(name, 0))
            share = count / total if total else 0.0
            diagonal = " diagonal" if name == family else ""
            cells.append(
                f'<td class="heat{diagonal}" style="--share:{share:.3f}">{count:,}'
                f"<small>{_e(percent(share, 0))}</small></td>"
            )
        body.append(
            f'<tr><th scope="row">{_swatch(family)}{_e(family)}</th>{"".join(cells)}'
            f"<td>{total:,}</td></tr>"
        )
    head = "".join(f'<th scope="col">{_e(name)}</th>' for name in achieved)
    return _table(
        f"Round {number}: commanded family (rows) against achieved family (columns), with the "
        "share of the row; a trial that achieves several counts in each",
        f'<tr><th scope="col">commanded</th>{head}<th scope="col">sum</th></tr>',
        "".join(body),
    )


def _pairing_section(staging: Path, pairing_rows: Sequence[Row]) -> str:
    if not pairing_rows:
        return ""
    figure = _picture(
        staging,
        "pairing",
        lambda **look: figures.alpha_figure(pairing_rows, **look),
        alt="Precision, recall and family precision of the pairs over the threshold alpha; the "
        "table below holds the same numbers.",
        caption="Pairs whose embeddings have a cosine above alpha, judged by the simulator. "
        "Precision: both trials achieved the same task. Family precision: the same family. Recall: "
        "share of all same-task pairs that were found. Dashed: the alpha that was used.",
    )
    body = []
    for row in sorted(
        pairing_rows, key=lambda r: (r.get("round", 1), str(r.get("seed", 0)), r["alpha"])
    ):
        shares = "".join(
            f"<td>{_e(percent(row[key])) if row.get(key) is not None else '&ndash;'}</td>"
            for key in ("precision", "family_precision", "recall")
        )
        pairs = f"{int(row['pairs']):,}" if row.get("pairs") is not None else "&ndash;"
        mark = ' class="chosen"' if row.get("chosen") else ""
        note = " (used)" if row.get("chosen") else ""
        body.append(
            f"<tr{mark}><td>{_e(row.get('round', 1))}</td><td>{_e(row.get('seed', 0))}</td>"
            f"<td>{row['alpha']:g}{note}</td><td>{pairs}</td>{shares}</tr>"
        )
    table = _table(
        "Pairs over alpha",
        '<tr><th scope="col">round</th><th scope="col">seed</th><th scope="col">alpha</th>'
        '<th scope="col">pairs</th><th scope="col">precision</th>'
        '<th scope="col">family precision</th><th scope="col">recall</th></tr>',
        "".join(body),
    )
    if len(body) > 12:
        table = f"<details><summary>All {len(body)} rows</summary>{table}</details>"
    return _section("pairing", "Pairing", figure + table)


def _latent_section(
    staging: Path, embedding: Mapping[str, Any], neighbours: Mapping[str, float]
) -> str:
    if not embedding or not len(embedding["z"]):
        return ""
    figure = _picture(
        staging,
        "latent",
        lambda **look: figures.latent_figure(embedding, **look),
        alt="Scatter plot of embeddings on two principal axes, coloured by task family.",
        caption="Each mark is an episode"
        + (" (small and faint: a trial)" if "trial" in list(embedding.get("kind") or []) else "")
        + ". Two axes show only part of the distances"
        + (": the neighbour accuracies above use all of them." if neighbours else "."),
    )
    return _section("latent", "Latent space of tasks", figure)


def _curves_section(staging: Path, metrics: Sequence[Row]) -> str:
    if not figures.curve_panels(metrics):
        return ""
    figure = _picture(
        staging,
        "curves",
        lambda **look: figures.curves_figure(metrics, **look),
        alt="Training curves by stage.",
        caption="Metrics of training by stage. Faint: single steps. Bold: running mean.",
    )
    return _section("training", "Training", figure)


def _videos_section(staging: Path, videos: Sequence[Mapping[str, Any]]) -> str:
    if not videos:
        return ""
    folder = staging / "videos"
    folder.mkdir()
    by_family: dict[str, list[Mapping[str, Any]]] = {}
    for video in videos:
        by_family.setdefault(str(video["family"]), []).append(video)
    families = [f for f in FAMILIES if f in by_family] + sorted(set(by_family) - set(FAMILIES))
    parts, number = [], 0
    for family in families:
        clips = sorted(by_family[family], key=lambda video: not video["success"])
        shown = []
        for video in clips:
            success = bool(video["success"])
            outcome = "success" if success else "failure"
            stem = f"{number:02d}-{re.sub(r'[^a-z0-9]+', '-', family.lower())}-{outcome}"
            number += 1
            width, height = films.write_video(
                folder / f"{stem}.mp4", video["demo"], video["attempt"], success=success
            )
            title = _e(video["title"])
            caption = f"<p>{_e(video['caption'])}</p>" if video.get("caption") else ""
            shown.append(
                f'<figure class="film"><video controls loop muted playsinline preload="metadata" '
                # Room below the picture, so that a browser's controls do not cover the table.
                f'style="aspect-ratio:{width}/{round(1.36 * height)}" poster="videos/{stem}.png" '
                f'aria-label="{title}, {outcome}: demonstration left, attempt right">'
                f'<source src="videos/{stem}.mp4" type="video/mp4"></video>'
                f'<figcaption><span class="badge {outcome}">{outcome}</span> '
                f"<strong>{title}</strong>{caption}</figcaption></figure>"
            )
        solved = sum(bool(video["success"]) for video in clips)
        parts.append(
            f"<h3>{_swatch(family)}{_e(family)} <small>{solved} of {len(clips)} shown succeed"
            f'</small></h3><div class="films">{"".join(shown)}</div>'
        )
    return _section(
        "films",
        "Films",
        '<p class="lead">Left the demonstration, right the policy\'s own attempt after seeing it. '
        "A selection, not a sample: the rates are in the tables above.</p>" + "".join(parts),
    )


def _provenance_section(
    config: Mapping[str, Any], manifest: Mapping[str, Any], rows: Sequence[Row]
) -> str:
    scalars = {k: v for k, v in manifest.items() if not isinstance(v, Mapping)}
    for key, plural in (("commit", "commits"), ("seed", "seeds")):
        found = sorted({row[key] for row in rows if row.get(key) is not None}, key=str)
        if found and key not in scalars and plural not in scalars:
            scalars[key if len(found) == 1 else plural] = found[0] if len(found) == 1 else found
    parts = [_pairs_table("Run", scalars)] if scalars else []
    for key, value in manifest.items():
        if isinstance(value, Mapping) and value:
            parts.append(_pairs_table(key.replace("_", " "), _flatten(value)))
    cards = f'<div class="pairs">{"".join(parts)}</div>' if parts else ""
    if config:
        table = _pairs_table("Config", _flatten(config))
        cards += f"<details><summary>Config ({len(_flatten(config))} values)</summary>{table}"
        cards += "</details>"
    return _section("provenance", "Provenance", cards) if cards else ""


def _flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            flat.update(_flatten(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def _pairs_table(caption: str, values: Mapping[str, Any]) -> str:
    def text(value: Any) -> str:
        if isinstance(value, float):
            return f"{value:.6g}"
        if isinstance(value, list | tuple):
            return ", ".join(text(item) for item in value)
        return str(value)

    body = "".join(
        f'<tr><th scope="row">{_e(key)}</th><td>{_e(text(value))}</td></tr>'
        for key, value in values.items()
    )
    return _table(caption, "", body, kind="plain")


def _e(value: Any) -> str:
    return html.escape(str(value), quote=True)


def _swatch(family: str) -> str:
    known = family if family in FAMILIES else "other"
    return f'<i class="swatch f-{known}" aria-hidden="true"></i>'


def _section(key: str, title: str, body: str) -> str:
    return (
        f'<section aria-labelledby="{key}"><h2 id="{key}">{_e(title)}</h2>'
        f'<div class="card">{body}</div></section>'
    )


def _table(caption: str, head: str, body: str, kind: str = "numbers") -> str:
    thead = f"<thead>{head}</thead>" if head else ""
    return (
        f'<div><p class="caption {kind}">{_e(caption)}</p>'
        f'<div class="scroll" role="region" tabindex="0" aria-label="{_e(caption)}">'
        f'<table class="{kind}" aria-label="{_e(caption)}">{thead}<tbody>{body}</tbody></table>'
        "</div></div>"
    )


def _picture(
    staging: Path, stem: str, draw: Callable[..., Figure], *, alt: str, caption: str
) -> str:
    """Draws a figure four times (light or dark, wide or narrow) and lets the page choose."""
    sources, wide = [], ""
    for narrow in (True, False):
        for dark in (True, False):
            figure = draw(dark=dark, narrow=narrow)
            name = f"figures/{stem}{'-narrow' if narrow else ''}{'-dark' if dark else ''}.svg"
            figures.save_figure(figure, staging / name)
            width, height = (round(96 * inches) for inches in figure.get_size_inches())
            size = f'width="{width}" height="{height}"'
            media = ["(max-width: 640px)"] if narrow else []
            media += ["(prefers-color-scheme: dark)"] if dark else []
            if media:
                sources.append(f'<source media="{" and ".join(media)}" srcset="{name}" {size}>')
            else:
                wide = f'<img src="{name}" alt="{_e(alt)}" {size}>'
    return (
        f'<figure class="plot"><picture>{"".join(sources)}{wide}</picture>'
        f"<figcaption>{_e(caption)}</figcaption></figure>"
    )


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
        f".f-{name}{{--c:{figures.FAMILY_COLOURS[name]};--cd:{figures.DARK_FAMILY_COLOURS[name]}}}"
        for name in FAMILIES
    )
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>{_e(title)}</title>\n<style>{_CSS}{families}</style>\n</head>\n<body>\n"
        f'<header><h1>{_e(title)}</h1><p class="sub">{_e(subtitle)}</p>'
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
