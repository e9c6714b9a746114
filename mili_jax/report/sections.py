"""The sections of a report's page."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mili_jax.report import comparisons, films, summary
from mili_jax.report.comparisons import DEMO_NAMES
from mili_jax.report.figures import (
    alpha_figure,
    bars_figure,
    curve_panels,
    curves_figure,
    latent_figure,
    sweeps_figure,
)
from mili_jax.report.markup import esc, html_table, picture, section, swatch
from mili_jax.report.statistics import Difference, Headline, Row, family_table, headline
from mili_jax.report.words import basis, discordant, number, percent, signed
from mili_jax.types import FAMILIES


def strip(rows: Sequence[Row], split: str, neighbours: Mapping[str, float]) -> str:
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
                f'<dd class="value">{esc(percent(value))}</dd>'
                f"{_range_glyph(value, math.nan, math.nan)}"
                '<dd class="sub">leave one out, cosine of embeddings</dd></div>'
            )
    if not tiles:
        return ""
    lead = ""
    if policies:
        lead = (
            '<p class="lead">One-shot success on '
            f"<strong>{esc(split)}</strong> tasks: the mean of the family rates, with the "
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
        f'<div class="tile{" hero" if hero else ""}"><dt>{esc(label)}</dt>'
        f'<dd class="value">{esc(percent(mean.rate))}</dd>'
        f"{_range_glyph(mean.rate, mean.low, mean.high)}"
        f'<dd class="sub">{esc(interval)}<br>{mean.tasks} tasks{seeds}{esc(families)}</dd></div>'
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


def success_section(staging: Path, rows: Sequence[Row], split: str) -> str:
    if not rows:
        return ""
    parts = [
        picture(
            staging,
            "success",
            lambda **look: bars_figure(rows, split=split, **look),
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
    return section("success", "Success by family", "".join(parts))


def _success_table(rows: Sequence[Row], split: str) -> str:
    families = [f for f in FAMILIES if any(row["family"] == f for row in rows)]
    any_task = any(row.get("any_task") is not None for row in rows)
    head = "".join(f'<th scope="col">{swatch(family)}{esc(family)}</th>' for family in families)
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
                    f"<td><strong>{esc(percent(entry.rate))}</strong>"
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
                f'<td class="mean"><strong>{esc(percent(mean.rate))}</strong>{interval}'
                f"<small>n = {total}</small></td>"
            )
            if any_task:
                counts = [entry.any_task for entry in table.values()]
                known = [count for count in counts if count is not None]
                share = percent(sum(known) / total) if len(known) == len(counts) else "\u2013"
                cells.append(f"<td>{esc(share)}</td>")
            strong = "" if index else ' class="first"'
            name = "" if index else esc(comparisons.policy_name(policy, rows))
            body.append(
                f'<tr{strong}><th scope="row">{name}<small>{esc(DEMO_NAMES[demo])}</small></th>'
                f"{''.join(cells)}</tr>"
            )
    extra = '<th scope="col">any task</th>' if any_task else ""
    return html_table(
        f"Success on {split} tasks with 95% intervals and episode counts",
        f'<tr><th scope="col">policy</th>{head}<th scope="col">mean</th>{extra}</tr>',
        "".join(body),
    )


def differences_section(rows: Sequence[Row], split: str, margin: float) -> str:
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
    bases = list(dict.fromkeys(basis(result) for result in results))
    items = []
    for item in found:
        details = [basis(item.result)] if item.result and len(bases) > 1 else []
        details += [discordant(item.result)] if item.result else []
        detail = ". ".join(text for text in details if text)
        detail = f'<p class="sub">{esc(detail)}.</p>' if detail else ""
        glyph = _difference_glyph(item.result, reach, item.margin) if item.result else ""
        items.append(
            f'<li><div class="words"><h3>{esc(item.name)}</h3><p>{esc(item.sentence)} '
            f"<strong>{esc(item.verdict)}</strong></p>{detail}"
            f"</div>{glyph}</li>"
        )
    return section(
        "differences",
        "Differences",
        '<p class="lead">Paired bootstrap over the same tasks, in percentage points of the mean '
        f"of the families{esc('; ' + bases[0]) if len(bases) == 1 else ''}.</p>"
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


def sweeps_section(staging: Path, rows: Sequence[Row], pairing_rows: Sequence[Row]) -> str:
    lines = summary.sweep_lines(rows, pairing_rows)
    if not lines:
        return ""
    figure = picture(
        staging,
        "sweeps",
        lambda **look: sweeps_figure(rows, pairing_rows, **look),
        alt="Success of MILI's first round over what was changed; the table below holds the same "
        "numbers.",
        caption="One round of MILI with one thing changed, everything else equal: mean of families "
        "with its 95% interval. No trials: as many steps on demonstrations alone.",
    )
    body = [
        f'<tr><th scope="row">{esc(changed)}</th><td>{esc(value)}</td>'
        f"<td><strong>{esc(rate)}</strong><small>{esc(interval)}</small></td>"
        f"<td>{esc(against)}</td></tr>"
        for changed, value, rate, interval, against in lines
    ]
    table = html_table(
        "Success of one round",
        '<tr><th scope="col">changed</th><th scope="col">value</th><th scope="col">success</th>'
        '<th scope="col">against the first line, points</th></tr>',
        "".join(body),
    )
    return section("sweeps", "One thing changed", figure + table)


def costs_section(costs: Sequence[Row]) -> str:
    if not costs:
        return ""
    parts = [
        html_table(
            "Training of each policy, what it started from included",
            '<tr><th scope="col">policy</th><th scope="col">gradient steps</th>'
            '<th scope="col">seconds, mean of seeds</th><th scope="col">range</th></tr>',
            _cost_body(summary.cost_lines(costs)),
        )
    ]
    if lines := summary.adaptation_lines(costs):
        parts.append(
            html_table(
                "One demonstration of a held-out task, the loss on another before and after "
                "adapting to it",
                '<tr><th scope="col">policy</th><th scope="col">tasks</th>'
                '<th scope="col">lower after, mean of seeds</th><th scope="col">range</th>'
                '<th scope="col">loss, mean</th></tr>',
                _cost_body(lines),
            )
        )
    if lines := summary.neighbour_lines(costs):
        parts.append(
            html_table(
                "How often the nearest neighbour of a held-out demonstration, in the latent space "
                "of the policy, shows the same",
                '<tr><th scope="col">policy</th><th scope="col">task, mean of seeds</th>'
                '<th scope="col">range</th><th scope="col">family, mean</th></tr>',
                _cost_body(lines),
            )
        )
    return section("costs", "What training took", "".join(parts))


def _cost_body(lines: Sequence[tuple[str, ...]]) -> str:
    return "".join(
        f'<tr><th scope="row">{esc(name)}</th>{"".join(f"<td>{esc(cell)}</td>" for cell in cells)}'
        "</tr>"
        for name, *cells in lines
    )


def trials_section(collection: Sequence[Row]) -> str:
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
            f'<tr class="first"><th scope="row">round {esc(entry["round"])}</th><td>{trials:,}</td>'
            f"<td>{useful:,}</td><td>{esc(share)}</td>{counts}</tr>"
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
                f'aria-label="{esc(words)}">{pieces}</div><figcaption>Families achieved in round '
                f"{esc(entry['round'])}: {esc(words)}.</figcaption></figure>"
            )
        if entry.get("confusion"):
            confusions.append(_confusion_table(entry["round"], entry["confusion"]))
    head = "".join(f'<th scope="col">{swatch(f)}{esc(f)}</th>' for f in families)
    table = html_table(
        "Trials collected per round and the families that they achieved",
        '<tr><th scope="col"></th><th scope="col">trials</th><th scope="col">useful</th>'
        f'<th scope="col">share</th>{head}</tr>',
        "".join(lines),
        kind="numbers short",
    )
    return section("trials", "Trials", table + "".join(bars) + "".join(confusions))


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
                f"<small>{esc(percent(share, 0))}</small></td>"
            )
        body.append(
            f'<tr><th scope="row">{swatch(family)}{esc(family)}</th>{"".join(cells)}'
            f"<td>{total:,}</td></tr>"
        )
    head = "".join(f'<th scope="col">{esc(name)}</th>' for name in achieved)
    return html_table(
        f"Round {number}: commanded family (rows) against achieved family (columns), with the "
        "share of the row; a trial that achieves several counts in each",
        f'<tr><th scope="col">commanded</th>{head}<th scope="col">sum</th></tr>',
        "".join(body),
    )


def pairing_section(staging: Path, pairing_rows: Sequence[Row]) -> str:
    if not pairing_rows:
        return ""
    figure = picture(
        staging,
        "pairing",
        lambda **look: alpha_figure(pairing_rows, **look),
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
            f"<td>{esc(percent(row[key])) if row.get(key) is not None else '&ndash;'}</td>"
            for key in ("precision", "family_precision", "recall")
        )
        pairs = f"{int(row['pairs']):,}" if row.get("pairs") is not None else "&ndash;"
        mark = ' class="chosen"' if row.get("chosen") else ""
        note = " (used)" if row.get("chosen") else ""
        body.append(
            f"<tr{mark}><td>{esc(row.get('round', 1))}</td><td>{esc(row.get('seed', 0))}</td>"
            f"<td>{row['alpha']:g}{note}</td><td>{pairs}</td>{shares}</tr>"
        )
    table = html_table(
        "Pairs over alpha",
        '<tr><th scope="col">round</th><th scope="col">seed</th><th scope="col">alpha</th>'
        '<th scope="col">pairs</th><th scope="col">precision</th>'
        '<th scope="col">family precision</th><th scope="col">recall</th></tr>',
        "".join(body),
    )
    if len(body) > 12:
        table = f"<details><summary>All {len(body)} rows</summary>{table}</details>"
    return section("pairing", "Pairing", figure + table)


def latent_section(
    staging: Path, embedding: Mapping[str, Any], neighbours: Mapping[str, float]
) -> str:
    if not embedding or not len(embedding["z"]):
        return ""
    figure = picture(
        staging,
        "latent",
        lambda **look: latent_figure(embedding, **look),
        alt="Scatter plot of embeddings on two principal axes, coloured by task family.",
        caption="Each mark is an episode"
        + (" (small and faint: a trial)" if "trial" in list(embedding.get("kind") or []) else "")
        + ". Two axes show only part of the distances"
        + (": the neighbour accuracies above use all of them." if neighbours else "."),
    )
    return section("latent", "Latent space of tasks", figure)


def curves_section(staging: Path, metrics: Sequence[Row]) -> str:
    if not curve_panels(metrics):
        return ""
    figure = picture(
        staging,
        "curves",
        lambda **look: curves_figure(metrics, **look),
        alt="Training curves by stage.",
        caption="Metrics of training by stage. Faint: single steps. Bold: running mean.",
    )
    return section("training", "Training", figure)


def videos_section(staging: Path, videos: Sequence[Mapping[str, Any]]) -> str:
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
            title = esc(video["title"])
            caption = f"<p>{esc(video['caption'])}</p>" if video.get("caption") else ""
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
            f"<h3>{swatch(family)}{esc(family)} <small>{solved} of {len(clips)} shown succeed"
            f'</small></h3><div class="films">{"".join(shown)}</div>'
        )
    return section(
        "films",
        "Films",
        '<p class="lead">Left the demonstration, right the policy\'s own attempt after seeing it. '
        "A selection, not a sample: the rates are in the tables above.</p>" + "".join(parts),
    )


def provenance_section(
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
    return section("provenance", "Provenance", cards) if cards else ""


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
        f'<tr><th scope="row">{esc(key)}</th><td>{esc(text(value))}</td></tr>'
        for key, value in values.items()
    )
    return html_table(caption, "", body, kind="plain")
