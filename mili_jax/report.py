"""Turns a run's rows and arrays into figures, films and one page that opens from disk.

`write_report` gets everything by argument, already loaded, and writes a folder: `index.html`,
`figures/*.svg`, `videos/*.mp4` with their posters. The page has no script and asks nothing of a
network. The figure functions work from rows alone, so that a committed file of result rows is
enough to draw a figure again (`save_figure`).

Figures exist for a light and a dark page and for a wide and a narrow one; the page's `<picture>`
elements choose. Family colours are those of Okabe and Ito (2008), which people with colour-vision
deficiencies can tell apart; the same family has the same colour everywhere.
"""

from __future__ import annotations

import dataclasses
import html
import itertools
import math
import re
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import av
import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import Normal, Stroke
from PIL import Image

from mili_jax.statistics import (
    DEMOS,
    Difference,
    Headline,
    Row,
    equivalence,
    family_table,
    headline,
    paired_difference,
    select,
)
from mili_jax.types import FAMILIES, ConfigError, DataError

FAMILY_COLOURS = {"press": "#0072b2", "grasp": "#e69f00", "push": "#009e73", "place": "#cc79a7"}
_DARK_FAMILY_COLOURS = {
    "press": "#4ba3dd",
    "grasp": "#f0b03a",
    "push": "#2bbd92",
    "place": "#e092bf",
}
SUCCESS_COLOUR = (0, 158, 115)
FAILURE_COLOUR = (213, 94, 0)

_METHODS = {  # in the order in which they are listed within a round
    "bc": "Behaviour cloning",
    "mil_video": "MIL, video",
    "mil_video_pose": "MIL, video and poses",
    "mil": "MIL",
    "meta_imitation": "Meta-imitation",
    "random_pairs_only": "Random pairs, pairs alone",
    "random_pairs": "Random pairs",
    "nearest_demonstration": "Trials with demonstrations",
    "no_filter": "MILI without filter",
    "mili_pairs_only": "MILI, pairs alone",
    "mili": "MILI",
    "oracle_pairs_only": "Oracle pairs, pairs alone",
    "oracle": "Oracle pairs",
}
_DEMO_NAMES = {
    "right": "right demonstration",
    "wrong": "wrong demonstration",
    "none": "no demonstration",
}
_SPLITS: tuple[str, ...] = ("test", "validation", "train")  # the first present leads
# MILI with one thing changed: what, and by how much.
_VARIANT = re.compile(r"mili_(trials|alpha|noise)_(\d+)")
_OWN_NAMES = {"index.html", "figures", "videos"}
_FPS = 7
_BORDER = 4  # pixels of colour around a film


@dataclasses.dataclass(frozen=True)
class _Theme:
    text: str
    muted: str
    grid: str
    paper: str
    mean: str
    families: Mapping[str, str]
    lines: tuple[str, ...]


_LIGHT = _Theme(
    text="#1d2530",
    muted="#566070",
    grid="#e3e7ec",
    paper="#ffffff",
    mean="#3b4656",
    families=FAMILY_COLOURS,
    lines=("#35495e", "#d55e00", "#3a9bd1", "#8c6d31", "#7f3c8d", "#4c7a34"),
)
_DARK = _Theme(
    text="#e6eaf0",
    muted="#a3afbd",
    grid="#2c3540",
    paper="#1a2028",
    mean="#c3ccd8",
    families=_DARK_FAMILY_COLOURS,
    lines=("#cfd8e3", "#ff8f4a", "#6fc0f0", "#d9b65c", "#c792ea", "#9bcf7f"),
)


@dataclasses.dataclass(frozen=True)
class _Policy:
    """What was evaluated: one method after one round, under one config."""

    config: str
    method: str
    round: int

    @property
    def label(self) -> str:
        if variant := _VARIANT.fullmatch(self.method):
            what, scale = _SWEEPS[variant[1]]
            return f"MILI, round {self.round}, {what}: {scale * int(variant[2]):g}"
        if self.method == "meta_imitation" and self.round > 0:
            return f"Equal steps, demos only, round {self.round}"
        name = _METHODS.get(self.method, self.method)
        if self.method == "mili" and self.round == 0:
            return f"{name}, before trials"
        return f"{name}, round {self.round}" if self.round else name


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
      them whose loss falls), "before", "after"}.
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
        split = _primary_split(rows)
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


def save_figure(figure: Figure, path: Path) -> Path:
    """Saves as the suffix says (.svg or .png, 200 dpi), the same bytes for the same figure."""
    svg = path.suffix == ".svg"
    metadata = {"Date": None, "Creator": None} if svg else {"Software": None}
    path.parent.mkdir(parents=True, exist_ok=True)
    with matplotlib.rc_context({"svg.hashsalt": "mili_jax", "svg.fonttype": "path"}):
        figure.savefig(path, dpi=160 if svg else 200, metadata=metadata)
    return path


def bars_figure(
    rows: Sequence[Row], *, split: str | None = None, dark: bool = False, narrow: bool = False
) -> Figure:
    """Success per family and in the mean, one bar per policy and condition, on one split.

    Families carry Wilson intervals, the mean a bootstrap interval over tasks. Solid bars are the
    right demonstration, hatched ones a wrong one, hollow ones none. Without `split` it is the first
    of test, validation, train that the rows hold. Raises as `statistics.headline`.
    """
    theme = _DARK if dark else _LIGHT
    split = split or _primary_split(rows)
    lines: list[tuple[float, str, bool, str, list[Row]]] = []
    y = 0.0
    for policy in _policies(rows, split):
        for index, (demo, members) in enumerate(_conditions(rows, policy, split).items()):
            name = _name(policy, rows) if index == 0 else _DEMO_NAMES[demo]
            if index == 0 and demo != "right":
                name += f" ({_DEMO_NAMES[demo]})"
            lines.append((y, name, index == 0, demo, members))
            y += 1
        y += 0.6
    if not lines:
        raise ConfigError(f"no result rows on split {split!r} to draw")
    families = [f for f in FAMILIES if any(row["family"] == f for row in rows)]
    panels = [*families, "mean"]
    if narrow:
        figure = _figure(theme, 4.6, 0.4 + len(panels) * (0.55 + 0.21 * y))
        axes = figure.subplots(len(panels), 1, squeeze=False)[:, 0]
    else:
        figure = _figure(theme, 11.0, 0.9 + 0.27 * y)
        axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for axis, panel in zip(axes, panels, strict=True):
        colour = theme.families.get(panel, theme.mean)
        for at, _, _, demo, members in lines:
            shown = _rate(members, panel)
            if shown is not None:
                _bar(axis, theme, at, *shown, demo=demo, colour=colour)
        axis.set_title(
            f"mean of {len(families)} families" if panel == "mean" else panel,
            color=theme.text,
            fontsize=10,
            fontweight="bold",
            loc="left",
        )
        axis.set_xlim(0, 1.22)
        axis.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", "", "50", "", "100%"])
        axis.set_ylim(y - 0.9, -0.7)
        axis.set_yticks([at for at, *_ in lines], [name for _, name, *_ in lines])
        axis.grid(axis="x", color=theme.grid, linewidth=0.8)
        if narrow or axis is axes[0]:
            for label, (_, _, strong, _, _) in zip(axis.get_yticklabels(), lines, strict=True):
                label.set_color(theme.text if strong else theme.muted)
                label.set_fontsize(8.5 if strong else 7.5)
        _quiet(axis, theme, keep=("left",))
    return figure


def _rate(members: Sequence[Row], panel: str) -> tuple[float, float, float] | None:
    if panel == "mean":
        mean = headline(members)
        return mean.rate, mean.low, mean.high
    for entry in family_table(members):
        if entry.family == panel:
            return entry.rate, entry.low, entry.high
    return None


def _bar(
    axis: Axes,
    theme: _Theme,
    y: float,
    rate: float,
    low: float,
    high: float,
    *,
    demo: str,
    colour: str,
) -> None:
    axis.barh(
        y,
        rate,
        height=0.78,
        facecolor=colour if demo == "right" else "none",
        edgecolor=colour,
        hatch="/////" if demo == "wrong" else None,
        linewidth=1.0,
    )
    end = rate
    if math.isfinite(low):
        axis.plot(  # with a rim of paper, to be seen on a bar of any colour
            [low, high],
            [y, y],
            color=theme.text,
            linewidth=1.2,
            solid_capstyle="butt",
            path_effects=[Stroke(linewidth=3.2, foreground=theme.paper), Normal()],
        )
        end = max(rate, high)
    strong = demo == "right"
    axis.text(
        end + 0.025,
        y,
        f"{100 * rate:.0f}",
        va="center",
        fontsize=8.5 if strong else 7.5,
        fontweight="bold" if strong else "normal",
        color=theme.text if strong else theme.muted,
    )


def alpha_figure(
    pairing_rows: Sequence[Row], *, dark: bool = False, narrow: bool = False
) -> Figure:
    """Pairing precision, recall and family precision over alpha, one panel per round.

    Lines are means over seeds, bands their range; a dashed line marks each alpha that was used.
    Raises ConfigError without rows, DataError on a row without "alpha".
    """
    theme = _DARK if dark else _LIGHT
    if not pairing_rows:
        raise ConfigError("no pairing rows to draw")
    for row in pairing_rows:
        if not isinstance(row.get("alpha"), int | float):
            raise DataError(f"pairing row lacks a number 'alpha': {dict(row)}")
    rounds = sorted({row.get("round", 1) for row in pairing_rows})
    figure, axes = _panels(theme, len(rounds), narrow=narrow)
    styles = (
        ("family_precision", "family precision", "s", theme.lines[2]),
        ("precision", "precision (exact task)", "o", theme.lines[1]),
        ("recall", "recall", "^", theme.lines[0]),
    )
    for axis, number in zip(axes, rounds, strict=True):
        members = [row for row in pairing_rows if row.get("round", 1) == number]
        for field, name, marker, colour in styles:
            by_alpha: dict[float, list[float]] = {}
            # The pairs that were used may be capped: the curve is that of the threshold alone.
            for row in [row for row in members if not row.get("chosen")] or members:
                if row.get(field) is not None:
                    by_alpha.setdefault(row["alpha"], []).append(row[field])
            if not by_alpha:
                continue
            alphas = sorted(by_alpha)
            values = [by_alpha[alpha] for alpha in alphas]
            axis.plot(
                alphas,
                [float(np.mean(v)) for v in values],
                marker=marker,
                markersize=4.5,
                color=colour,
                label=name,
                linewidth=1.6,
            )
            if any(len(v) > 1 for v in values):
                lows, highs = [min(v) for v in values], [max(v) for v in values]
                axis.fill_between(alphas, lows, highs, color=colour, alpha=0.18, linewidth=0)
        for alpha in sorted({row["alpha"] for row in members if row.get("chosen")}):
            axis.axvline(alpha, color=theme.muted, linestyle=(0, (4, 3)), linewidth=1.1)
            axis.annotate(
                f"chosen {alpha:g} ",
                (alpha, 1.03),
                color=theme.text,
                fontsize=8,
                ha="right",
                annotation_clip=False,
            )
        axis.set_ylim(-0.02, 1.1)
        axis.set_yticks([0, 0.25, 0.5, 0.75, 1], ["0", "25", "50", "75", "100%"])
        axis.set_xlabel("alpha (least cosine of a pair)", color=theme.muted, fontsize=8.5)
        axis.set_title(f"round {number}", color=theme.text, fontsize=10, loc="left")
        axis.grid(axis="y", color=theme.grid, linewidth=0.8)
        _quiet(axis, theme)
    handles, labels = axes[0].get_legend_handles_labels()
    if handles:
        _legend(figure, theme, handles, labels, narrow=narrow)
    return figure


def sweeps(rows: Sequence[Row], pairing_rows: Sequence[Row] = ()) -> dict[str, list[_Point]]:
    """MILI's first round with one thing changed: trials, alpha (in thousandths) and label noise (in
    per cent), each the rows of its variants over the value, in order, with MILI itself among them
    (and at 0 trials its control). Only what has variants is there, and of the split that leads only
    what was given the right demonstration."""
    split = _primary_split(rows)
    rows = [row for row in rows if row.get("split", "test") == split and row["demo"] == "right"]
    mili = [row for row in rows if row["method"] == "mili" and row.get("round") == 1]
    control = [row for row in rows if row["method"] == "meta_imitation" and row.get("round") == 1]
    found: dict[str, dict[int, list[Row]]] = {}
    for row in rows:
        match = _VARIANT.fullmatch(str(row["method"]))
        if match and row.get("round") == 1:
            found.setdefault(match[1], {}).setdefault(int(match[2]), []).append(row)
    own: dict[str, int | None] = {"noise": 0}
    own["trials"] = next((int(row["trials"]) for row in mili if row.get("trials")), None)
    chosen = [row["alpha"] for row in pairing_rows if row.get("chosen") and row.get("round") == 1]
    own["alpha"] = round(1000 * chosen[0]) if chosen else None
    for kind, points in found.items():
        at = own[kind]
        if mili and at is not None:
            points.setdefault(at, mili)
        if kind == "trials" and control:
            points[0] = control
    return {
        kind: [_Point(value, points[value]) for value in sorted(points)]
        for kind, points in sorted(found.items(), reverse=True)
    }


class _Point(NamedTuple):
    value: int
    rows: Sequence[Row]


_SWEEPS = {  # axis, how a value reads there, scale
    "trials": ("trials of the round", 1.0),
    "alpha": ("alpha (least cosine of a pair)", 1e-3),
    "noise": ("answers of the filter turned round, %", 1.0),
}


def sweeps_figure(
    rows: Sequence[Row],
    pairing_rows: Sequence[Row] = (),
    *,
    dark: bool = False,
    narrow: bool = False,
) -> Figure:
    """Success (mean of families, 95% interval over tasks and seeds) of what `sweeps` finds.

    Raises ConfigError if there is nothing, and as `statistics.headline`.
    """
    theme = _DARK if dark else _LIGHT
    found = sweeps(rows, pairing_rows)
    if not found:
        raise ConfigError("no row of a variant of MILI to draw")
    figure, axes = _panels(theme, len(found), narrow=narrow)
    for axis, (kind, points) in zip(axes, found.items(), strict=True):
        label, scale = _SWEEPS[kind]
        means = [headline(point.rows) for point in points]
        at = [scale * point.value for point in points]
        rate = np.array([mean.rate for mean in means])
        low, high = (np.array([getattr(m, end) for m in means]) for end in ("low", "high"))
        axis.fill_between(at, low, high, color=theme.lines[0], alpha=0.15, linewidth=0)
        axis.plot(at, rate, marker="o", markersize=4.5, color=theme.lines[0], linewidth=1.6)
        for x, y in zip(at, rate, strict=True):
            axis.annotate(
                f"{100 * y:.0f}",
                (x, y),
                (0, 6),
                textcoords="offset points",
                ha="center",
                fontsize=8,
                color=theme.text,
            )
        axis.set_ylim(0, 1)
        axis.set_yticks([0, 0.25, 0.5, 0.75, 1], ["0", "25", "50", "75", "100%"])
        axis.set_xlabel(label, color=theme.muted, fontsize=8.5)
        axis.set_title(f"over {kind}", color=theme.text, fontsize=10, loc="left")
        axis.grid(axis="y", color=theme.grid, linewidth=0.8)
        _quiet(axis, theme)
    return figure


def latent_figure(
    embedding: Mapping[str, Any], *, dark: bool = False, narrow: bool = False
) -> Figure:
    """The latent space of tasks on its two principal axes: colour is family, marker is split.

    embedding as in `write_report`; items of kind "trial" are small and faint. Raises DataError when
    the lists and "z" disagree in length or "z" is not finite.
    """
    theme = _DARK if dark else _LIGHT
    z, family, split, kind = _embedding_columns(embedding)
    places, shares = _principal_axes(z, family)
    figure = _figure(theme, *((4.6, 4.8) if narrow else (11.0, 5.8)))
    axis = figure.subplots()
    splits = [name for name in reversed(_SPLITS) if name in split]
    splits += sorted(set(split) - set(splits))
    markers = dict(zip(splits, ("o", "^", "D", "s", "P", "X") * len(splits), strict=False))
    families = [f for f in FAMILIES if f in family] + sorted(set(family) - set(FAMILIES))
    for name in families:
        colour = theme.families.get(name, theme.muted)
        for part in splits:
            for trial in (True, False):
                chosen = np.array(
                    [
                        f == name and s == part and (k == "trial") is trial
                        for f, s, k in zip(family, split, kind, strict=True)
                    ]
                )
                axis.scatter(
                    places[chosen, 0],
                    places[chosen, 1],
                    s=7 if trial else 24,
                    alpha=0.35 if trial else 0.85,
                    marker=markers[part],
                    color=colour,
                    edgecolors="none" if trial or part == "train" else theme.text,
                    linewidths=0.5,
                    zorder=2 if trial else 3,
                    rasterized=len(z) > 1500,  # thousands of vector markers make a slow page
                )
    handles = [
        Line2D([], [], linestyle="", marker="o", color=theme.families.get(name, theme.muted))
        for name in families
    ]
    handles += [
        Line2D([], [], linestyle="", marker=markers[s], color=theme.muted, markeredgecolor="none")
        for s in splits
    ]
    _legend(figure, theme, handles, [*families, *splits], narrow=narrow)
    look: dict[str, Any] = {"color": theme.muted, "fontsize": 8.5}
    axis.set_xlabel(f"first axis between families ({100 * shares[0]:.0f}% of variance)", **look)
    axis.set_ylabel(f"second axis between families ({100 * shares[1]:.0f}% of variance)", **look)
    axis.set_aspect("equal", adjustable="datalim")
    axis.grid(color=theme.grid, linewidth=0.8)
    _quiet(axis, theme)
    return figure


def curves_figure(metrics: Sequence[Row], *, dark: bool = False, narrow: bool = False) -> Figure:
    """Training curves, one panel each for nll, contrastive and accuracy, one colour per stage.

    A metric belongs to a panel when the panel's word is part of its name ("validation/nll"); other
    names of a panel than its first are dashed. Long noisy series are faint behind their running
    mean. Raises ConfigError when no metric can be drawn.
    """
    theme = _DARK if dark else _LIGHT
    panels = _curve_panels(metrics)
    if not panels:
        raise ConfigError("no metrics named nll, contrastive or accuracy to draw")
    stages = list(dict.fromkeys(str(row.get("stage", "")) for row in metrics))
    figure, axes = _panels(theme, len(panels), narrow=narrow)
    handles: dict[str, Line2D] = {}
    for axis, (word, names) in zip(axes, panels.items(), strict=True):
        for number, stage in enumerate(stages):
            colour = theme.lines[number % len(theme.lines)]
            for order, name in enumerate(names):
                for steps, values in _series(metrics, stage, name):
                    dashes = ("-", (0, (4, 2)), (0, (1, 1.5)))[min(order, 2)]
                    label = stage if len(names) == 1 or order == 0 else f"{stage} {name}"
                    line = _curve(axis, steps, values, colour, dashes)
                    handles.setdefault(label, line)
        axis.set_title(word, color=theme.text, fontsize=10, loc="left")
        axis.set_xlabel("step", color=theme.muted, fontsize=8.5)
        axis.grid(color=theme.grid, linewidth=0.8)
        _quiet(axis, theme)
        if word == "accuracy":
            axis.set_ylim(-0.02, 1.02)
    _legend(figure, theme, list(handles.values()), list(handles), narrow=narrow)
    return figure


def _curve_panels(metrics: Sequence[Row]) -> dict[str, list[str]]:
    names = sorted(
        {
            key
            for row in metrics
            for key, value in row.items()
            if key not in ("stage", "step", "seed") and isinstance(value, int | float)
        },
        key=lambda name: (len(name), name),
    )
    panels = {}
    for word in ("nll", "contrastive", "accuracy"):
        members = [name for name in names if word in re.split(r"[^a-z]+", name.lower())]
        if members:
            panels[word] = members[:3]
    return panels


def _series(
    metrics: Sequence[Row], stage: str, name: str
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(steps, values) of one metric in one stage, once per seed, in the order of steps."""
    members = [
        row
        for row in metrics
        if str(row.get("stage", "")) == stage and isinstance(row.get(name), int | float)
    ]
    for seed in dict.fromkeys(row.get("seed") for row in members):
        points = sorted(
            (float(row["step"]), float(row[name])) for row in members if row.get("seed") == seed
        )
        steps, values = np.array(points).T
        finite = np.isfinite(values)
        if finite.any():
            yield steps[finite], values[finite]


def _curve(axis: Axes, steps: np.ndarray, values: np.ndarray, colour: str, dashes: Any) -> Line2D:
    if len(values) > 60:
        axis.plot(steps, values, color=colour, alpha=0.22, linewidth=0.8)
        window = max(5, len(values) // 30)
        kernel = np.ones(window)
        weight = np.convolve(np.ones_like(values), kernel, mode="same")
        values = np.convolve(values, kernel, mode="same") / weight
    marker = "o" if len(values) == 1 else None
    (line,) = axis.plot(
        steps, values, color=colour, linewidth=1.6, linestyle=dashes, marker=marker, markersize=4
    )
    return line


def _embedding_columns(
    embedding: Mapping[str, Any],
) -> tuple[np.ndarray, list[str], list[str], list[str]]:
    z = np.asarray(embedding.get("z"), np.float64)
    if z.ndim != 2 or len(z) == 0:
        raise DataError(f"embedding['z'] must be [N,Z], got shape {z.shape}")
    if not np.isfinite(z).all():
        raise DataError("embedding['z'] holds values that are not finite")

    def column(name: str, default: str | None) -> list[str]:
        values = embedding.get(name)
        if values is None and default is not None:
            values = [default] * len(z)
        if values is None or len(values) != len(z):
            raise DataError(f"embedding[{name!r}] must hold {len(z)} values, one per row of 'z'")
        return [str(value) for value in values]

    return z, column("family", None), column("split", "all"), column("kind", "demo")


def _principal_axes(z: np.ndarray, family: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """[N,Z] -> coordinates [N,2] on two axes, and the shares of the variance along them [2].

    The axes are the principal ones of the families' means, which show how far families lie apart;
    with fewer than three families those of the points.
    """
    centred = z - z.mean(axis=0)
    names = np.array(family)
    means = np.stack([centred[names == name].mean(axis=0) for name in sorted(set(family))])
    _, _, axes = np.linalg.svd(means if len(means) > 2 else centred, full_matrices=False)
    axes = axes[:2]
    # The sign of a singular vector is arbitrary: fix it, so that the picture does not flip.
    largest = np.abs(axes).argmax(axis=1)
    axes = axes * np.sign(axes[np.arange(len(axes)), largest])[:, None]
    total = float((centred**2).sum())
    places, shares = np.zeros((len(z), 2)), np.zeros(2)
    places[:, : len(axes)] = centred @ axes.T
    if total > 0:
        shares = (places**2).sum(axis=0) / total
    return places, shares


def _figure(theme: _Theme, width: float, height: float) -> Figure:
    figure = Figure(figsize=(width, height), layout="constrained")
    figure.set_facecolor(theme.paper)
    return figure


def _panels(theme: _Theme, count: int, *, narrow: bool) -> tuple[Figure, list[Axes]]:
    if narrow:
        figure = _figure(theme, 4.6, 0.5 + 2.5 * count)
        return figure, list(figure.subplots(count, 1, squeeze=False)[:, 0])
    columns = min(count, 3)
    lines = math.ceil(count / columns)
    figure = _figure(theme, 11.0, 0.5 + 3.1 * lines)
    axes = figure.subplots(lines, columns, squeeze=False).ravel()
    for spare in axes[count:]:
        spare.remove()
    return figure, list(axes[:count])


def _quiet(axis: Axes, theme: _Theme, keep: Sequence[str] = ("left", "bottom")) -> None:
    axis.set_facecolor(theme.paper)
    axis.set_axisbelow(True)
    for side, spine in axis.spines.items():
        spine.set_visible(side in keep)
        spine.set_color(theme.grid)
    axis.tick_params(length=0, labelsize=8.5)
    axis.tick_params(axis="x", labelcolor=theme.muted)
    if not axis.get_yticklabels() or keep != ("left",):
        axis.tick_params(axis="y", labelcolor=theme.muted)


def _legend(
    figure: Figure, theme: _Theme, handles: Sequence[Any], labels: Sequence[str], *, narrow: bool
) -> None:
    columns = 7
    if narrow:
        columns = 2 if max(len(label) for label in labels) > 12 else 3
    figure.legend(
        handles,
        labels,
        loc="outside upper left",
        ncols=min(len(labels), columns),
        frameon=False,
        fontsize=8.5,
        labelcolor=theme.text,
        handletextpad=0.5,
        columnspacing=1.4,
    )


def write_video(
    path: Path, demo: np.ndarray, attempt: np.ndarray, *, success: bool, fps: int = _FPS
) -> tuple[int, int]:
    """Writes an H.264 film, demonstration left and attempt right, and its poster (.png) beside it.

    demo uint8 [T,H,W,3], attempt uint8 [T',H,W,3]; both start together, the shorter one waits on
    its last frame, and both hold theirs for a second. Pixels are repeated, not blended, until there
    are at least 256 of them. Returns the film's (width, height), both even as yuv420p needs.
    Raises DataError when an array is not of this form.
    """
    for name, clip in (("demo", demo), ("attempt", attempt)):
        if clip.dtype != np.uint8 or clip.ndim != 4 or clip.shape[-1] != 3 or not clip.size:
            raise DataError(
                f"video {path.stem}: {name} must be uint8 [T,H,W,3] with T > 0, got "
                f"{clip.dtype} {clip.shape}"
            )
    if demo.shape[1:] != attempt.shape[1:]:
        raise DataError(
            f"video {path.stem}: demo frames are {demo.shape[1:]}, attempt frames "
            f"{attempt.shape[1:]}; they must be alike"
        )
    count = max(len(demo), len(attempt)) + fps
    first = _side_by_side(demo[0], attempt[0], success=success)
    height, width = first.shape[:2]
    with av.open(str(path), "w", options={"movflags": "+faststart"}) as container:
        stream = container.add_stream(
            "libx264", rate=fps, options={"crf": "20", "preset": "veryfast"}
        )
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for t in range(count):
            image = _side_by_side(
                demo[min(t, len(demo) - 1)], attempt[min(t, len(attempt) - 1)], success=success
            )
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
    poster = _side_by_side(demo[-1], attempt[-1], success=success)
    Image.fromarray(poster).save(path.with_suffix(".png"), optimize=True)
    return width, height


def _side_by_side(left: np.ndarray, right: np.ndarray, *, success: bool) -> np.ndarray:
    """Two frames [H,W,3], enlarged, on one canvas with even sides and a border."""
    factor = math.ceil(256 / min(left.shape[:2]))
    left, right = (frame.repeat(factor, 0).repeat(factor, 1) for frame in (left, right))
    height, width = left.shape[:2]
    canvas_height = height + 2 * _BORDER
    canvas_width = 2 * width + 3 * _BORDER
    canvas = np.empty((canvas_height + canvas_height % 2, canvas_width + canvas_width % 2, 3), "u1")
    canvas[:] = SUCCESS_COLOUR if success else FAILURE_COLOUR
    canvas[_BORDER : _BORDER + height, _BORDER : _BORDER + width] = left
    canvas[_BORDER : _BORDER + height, 2 * _BORDER + width : 2 * _BORDER + 2 * width] = right
    return canvas


def _primary_split(rows: Sequence[Row]) -> str:
    present = {row.get("split", "test") for row in rows}
    for split in (*_SPLITS, *sorted(present - set(_SPLITS))):
        if split in present:
            return split
    return "test"


def _policies(rows: Sequence[Row], split: str) -> list[_Policy]:
    order = list(_METHODS)
    policies = {
        _Policy(str(row.get("config", "")), str(row["method"]), int(row.get("round", 0)))
        for row in rows
        if row.get("split", "test") == split and not _VARIANT.fullmatch(str(row["method"]))
    }
    return sorted(
        policies,
        key=lambda p: (
            p.config,
            p.round,
            order.index(p.method) if p.method in order else len(order),
            p.method,
        ),
    )


def _conditions(rows: Sequence[Row], policy: _Policy, split: str) -> dict[str, list[Row]]:
    """The policy's rows by demo, in the order right, wrong, none; only those present."""
    members = [
        row
        for row in rows
        if row.get("split", "test") == split
        and str(row.get("config", "")) == policy.config
        and row["method"] == policy.method
        and int(row.get("round", 0)) == policy.round
    ]
    found = {demo: select(members, demo=demo) for demo in DEMOS}
    return {demo: part for demo, part in found.items() if part}


def _name(policy: _Policy, rows: Sequence[Row]) -> str:
    several = len({row.get("config", "") for row in rows}) > 1
    return f"{policy.label} ({policy.config})" if several else policy.label


def _before(policies: Sequence[_Policy]) -> _Policy | None:
    for method in ("meta_imitation", "mili"):
        for policy in policies:
            if policy.method == method and policy.round == 0:
                return policy
    return None


def _final(policies: Sequence[_Policy]) -> _Policy | None:
    """The policy that the page is about: MILI's last round, or what comes closest."""
    for method in ("mili", "oracle", "random_pairs", "meta_imitation", "mil", "bc"):
        members = [policy for policy in policies if policy.method == method]
        if members:
            return max(members, key=lambda policy: policy.round)
    return policies[-1] if policies else None


# With what a method is compared in its round, and what it should be as good as.
_RIVALS = {
    "mili": (
        "meta_imitation",
        "random_pairs",
        "nearest_demonstration",
        "no_filter",
        "mili_pairs_only",
    ),
    "mili_pairs_only": ("meta_imitation", "random_pairs_only"),
    "oracle": ("meta_imitation",),
}
_PEERS = {"mili": "oracle", "mili_pairs_only": "oracle_pairs_only"}


@dataclasses.dataclass(frozen=True)
class _Comparison:
    """An entry of the differences section; `result` is None where the rows do not match."""

    name: str
    sentence: str
    verdict: str
    result: Difference | None
    margin: float | None = None


def _comparisons(rows: Sequence[Row], split: str, margin: float) -> list[_Comparison]:
    found: list[_Comparison] = []
    for config in sorted({policy.config for policy in _policies(rows, split)}):
        policies = [p for p in _policies(rows, split) if p.config == config]
        before, final = _before(policies), _final(policies)
        cells = {policy: _conditions(rows, policy, split) for policy in policies}
        by_key = {(policy.method, policy.round): policy for policy in policies}
        pairs: list[tuple[_Policy | None, _Policy | None]] = []
        for policy in policies:
            if policy.method == "mili":  # what the trials gave, and what the last round added
                pairs.append((policy, before))
                pairs.append((policy, by_key.get(("mili", policy.round - 1))))
            pairs += [
                (policy, by_key.get((method, policy.round)))
                for method in _RIVALS.get(policy.method, ())
            ]
        bc, *mil = [by_key.get((m, 0)) for m in ("bc", "mil", "mil_video_pose", "mil_video")]
        # The control of the first round has taken as many steps as behaviour cloning.
        pairs += [(before, bc), (by_key.get(("meta_imitation", 1)), bc)]
        pairs += [(before, policy) for policy in mil]
        pairs += list(itertools.pairwise(mil))  # the more a demonstration shows, the better
        for a, b in dict.fromkeys(pairs):
            if a is not None and b is not None and a != b and _both(cells, a, b):
                names = _name(a, rows), _name(b, rows)
                found.append(_difference(*names, cells[a]["right"], cells[b]["right"]))
        for policy in policies:
            peer = by_key.get((_PEERS.get(policy.method, ""), policy.round))
            if peer is not None and _both(cells, policy, peer):
                names = _name(policy, rows), _name(peer, rows)
                right = cells[policy]["right"], cells[peer]["right"]
                found.append(_equivalence(*names, *right, margin))
        for policy in dict.fromkeys(p for p in (final, before) if p is not None):
            for demo in ("wrong", "none"):
                if {"right", demo} <= set(cells[policy]):
                    found.append(
                        _difference(
                            f"{_name(policy, rows)}: right demonstration",
                            {"wrong": "a wrong demonstration", "none": "no demonstration"}[demo],
                            cells[policy]["right"],
                            cells[policy][demo],
                            relative_gain=False,
                        )
                    )
    return found


def _both(cells: Mapping[_Policy, Mapping[str, Any]], *policies: _Policy) -> bool:
    return all("right" in cells[policy] for policy in policies)


def _difference(
    name_a: str,
    name_b: str,
    rows_a: Sequence[Row],
    rows_b: Sequence[Row],
    *,
    relative_gain: bool = True,
) -> _Comparison:
    name = f"{name_a}, against {name_b}"
    try:
        result = paired_difference(rows_a, rows_b)
    except ConfigError as error:
        return _Comparison(name, f"{error}.", "Not compared.", None)
    relative = ""
    if relative_gain and math.isfinite(result.relative):
        relative = f", {_signed(100 * result.relative, 0)}% relative"
        if math.isfinite(result.relative_low):
            low, high = 100 * result.relative_low, 100 * result.relative_high
            relative += f" ({_signed(low, 0)} to {_signed(high, 0)})"
    if not math.isfinite(result.low):
        verdict = "Too few tasks per family for an interval: nothing can be concluded."
        interval = "no interval"
    else:
        interval = f"{100 * result.level:.0f}% interval {_span(result)}"
        if not result.shown:
            verdict = "The interval includes 0: no effect shown."
        else:
            verdict = f"The interval excludes 0: {'higher' if result.low > 0 else 'lower'}."
    sentence = (
        f"{_percent(result.a)} against {_percent(result.b)}: "
        f"{_signed(100 * result.difference)} points ({interval}){relative}."
    )
    return _Comparison(name, sentence, verdict, result)


def _equivalence(
    name_a: str, name_b: str, rows_a: Sequence[Row], rows_b: Sequence[Row], margin: float
) -> _Comparison:
    name = f"{name_a}, as good as {name_b}?"
    try:
        test = equivalence(rows_a, rows_b, margin)
    except ConfigError as error:
        return _Comparison(name, f"{error}.", "Not compared.", None)
    result = test.difference
    if not math.isfinite(result.low):
        verdict = "Too few tasks per family for an interval: nothing can be concluded."
        interval = "no interval"
    else:
        interval = f"{100 * result.level:.0f}% interval {_span(result)}"
        verdict = (
            "The interval lies inside the margin: equivalent."
            if test.equivalent
            else "The interval reaches beyond the margin: equivalence not shown."
        )
    sentence = (
        f"{_percent(result.a)} against {_percent(result.b)}: "
        f"{_signed(100 * result.difference)} points ({interval}), margin \u00b1"
        f"{100 * margin:.3g} points"
    )
    if math.isfinite(result.relative_low):
        low, high = 1 + result.relative_low, 1 + result.relative_high
        sentence += f"; ratio {1 + result.relative:.2f} ({low:.2f} to {high:.2f})"
    sentence += "."
    return _Comparison(name, sentence, verdict, result, margin)


def _basis(result: Difference) -> str:
    if result.seeds == 1:
        return (
            f"{result.tasks} tasks, one training seed: the intervals speak of other tasks, not of "
            "other training runs"
        )
    return f"{result.tasks} tasks, {result.seeds} training seeds"


def _discordant(result: Difference) -> str:
    if result.a_only is None:
        return ""
    return (
        f"Arrangements that only one of the two solved: {result.a_only:,} the first, "
        f"{result.b_only:,} the second"
    )


def _strip(rows: Sequence[Row], split: str, neighbours: Mapping[str, float]) -> str:
    tiles = []
    policies = _policies(rows, split)
    for config in sorted({policy.config for policy in policies}):
        members = [policy for policy in policies if policy.config == config]
        before, final = _before(members), _final(members)
        for policy in members:
            cells = _conditions(rows, policy, split)
            demo = "right" if "right" in cells else next(iter(cells), None)
            if demo is None:
                continue
            label = _name(policy, rows)
            if demo != "right":
                label += f" ({_DEMO_NAMES[demo]})"
            if policy == before and policy.method != "mili" and final != policy:
                label = f"Before trials: {label[0].lower()}{label[1:]}"
            tiles.append(_rate_tile(label, headline(cells[demo]), hero=policy == final))
        if final is not None:
            cells = _conditions(rows, final, split)
            for demo, name in (("wrong", "Wrong demonstration"), ("none", "No demonstration")):
                if demo in cells and "right" in cells:
                    label = f"{name}, {_name(final, rows)}"
                    tiles.append(_rate_tile(label, headline(cells[demo])))
    for key, name in (("task", "by task"), ("family", "by family")):
        value = neighbours.get(key)
        if value is not None and math.isfinite(value):
            tiles.append(
                f'<div class="tile"><dt>Held-out nearest neighbour, {name}</dt>'
                f'<dd class="value">{_e(_percent(value))}</dd>'
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
        interval = f"{_number(100 * mean.low)} to {_percent(mean.high)}"
    else:
        interval = "too few tasks for an interval"
    families = "" if len(mean.families) == len(FAMILIES) else f", {', '.join(mean.families)} only"
    seeds = f", {mean.seeds} seeds" if mean.seeds > 1 else ""
    return (
        f'<div class="tile{" hero" if hero else ""}"><dt>{_e(label)}</dt>'
        f'<dd class="value">{_e(_percent(mean.rate))}</dd>'
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
    return _section("success", "Success by family", "".join(parts))


def _success_table(rows: Sequence[Row], split: str) -> str:
    families = [f for f in FAMILIES if any(row["family"] == f for row in rows)]
    any_task = any(row.get("any_task") is not None for row in rows)
    head = "".join(f'<th scope="col">{_swatch(family)}{_e(family)}</th>' for family in families)
    body = []
    for policy in _policies(rows, split):
        for index, (demo, members) in enumerate(_conditions(rows, policy, split).items()):
            table = {entry.family: entry for entry in family_table(members)}
            cells = []
            for family in families:
                entry = table.get(family)
                if entry is None:
                    cells.append("<td>&ndash;</td>")
                    continue
                cells.append(
                    f"<td><strong>{_e(_percent(entry.rate))}</strong>"
                    f"<small>{_number(100 * entry.low)}&ndash;{_number(100 * entry.high)}</small>"
                    f"<small>{entry.successes} of {entry.n}</small></td>"
                )
            mean = headline(members)
            interval = (
                f"<small>{_number(100 * mean.low)}&ndash;{_number(100 * mean.high)}</small>"
                if math.isfinite(mean.low)
                else "<small>no interval</small>"
            )
            total = sum(entry.n for entry in table.values())
            cells.append(
                f'<td class="mean"><strong>{_e(_percent(mean.rate))}</strong>{interval}'
                f"<small>n = {total}</small></td>"
            )
            if any_task:
                counts = [entry.any_task for entry in table.values()]
                known = [count for count in counts if count is not None]
                share = _percent(sum(known) / total) if len(known) == len(counts) else "\u2013"
                cells.append(f"<td>{_e(share)}</td>")
            strong = "" if index else ' class="first"'
            name = "" if index else _e(_name(policy, rows))
            body.append(
                f'<tr{strong}><th scope="row">{name}<small>{_e(_DEMO_NAMES[demo])}</small></th>'
                f"{''.join(cells)}</tr>"
            )
    extra = '<th scope="col">any task</th>' if any_task else ""
    return _table(
        f"Success on {split} tasks with 95% intervals and episode counts",
        f'<tr><th scope="col">policy</th>{head}<th scope="col">mean</th>{extra}</tr>',
        "".join(body),
    )


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
            yield f"{_percent(entry.rate, 0)} ({100 * entry.low:.0f}-{100 * entry.high:.0f})"
        mean = headline(members)
        interval = f" ({100 * mean.low:.1f}-{100 * mean.high:.1f})" if mean.low >= 0 else ""
        yield f"**{_percent(mean.rate)}**{interval}"

    for split in dict.fromkeys(row.get("split", "test") for row in rows):
        lines += ["| " + " | ".join([f"{split} tasks", *families, "mean"]) + " |"]
        lines += ["|---" * (len(families) + 2) + "|"]
        for policy in _policies(rows, split):
            for demo, members in _conditions(rows, policy, split).items():
                name = _name(policy, rows) + ("" if demo == "right" else f", {_DEMO_NAMES[demo]}")
                lines.append("| " + " | ".join([name, *cells(members)]) + " |")
        found = _comparisons(rows, split, margin)
        lines += ["", *(f"- {c.name}: {c.sentence} {c.verdict}" for c in found), ""]
    tables = (
        ("changed", "value", "success", "interval", "against the first line, points"),
        _sweep_lines(rows, pairing_rows),
    ), (
        ("training, with what it started from", "gradient steps", "seconds, mean", "range"),
        _cost_lines(costs),
    ), (
        ("adapting to one demonstration", "held-out tasks", "loss lower after", "range", "loss"),
        _adaptation_lines(costs),
    )  # fmt: skip
    for head, body in tables:
        if body:
            lines += [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
            lines += [*(f"| {' | '.join(line)} |" for line in body), ""]
    return "\n".join(lines)


def _differences_section(rows: Sequence[Row], split: str, margin: float) -> str:
    comparisons = _comparisons(rows, split, margin)
    if not comparisons:
        return ""
    ends = [
        abs(value)
        for item in comparisons
        if item.result is not None
        for value in (item.result.low, item.result.high, item.result.difference, item.margin or 0)
        if math.isfinite(value)
    ]
    reach = max([0.05, *ends]) * 1.08
    results = [item.result for item in comparisons if item.result is not None]
    bases = list(dict.fromkeys(_basis(result) for result in results))
    items = []
    for item in comparisons:
        details = [_basis(item.result)] if item.result and len(bases) > 1 else []
        details += [_discordant(item.result)] if item.result else []
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
    parts.append(f'<text x="196" y="46" text-anchor="end">{_signed(100 * reach, 0)}</text>')
    parts.append(f'<text x="4" y="46">{_signed(-100 * reach, 0)}</text>')
    kind = "shown" if result.shown and margin is None else "open"
    return (
        f'<svg class="difference {kind}" viewBox="0 0 200 50" aria-hidden="true">'
        f"{''.join(parts)}</svg>"
    )


def _sweeps_section(staging: Path, rows: Sequence[Row], pairing_rows: Sequence[Row]) -> str:
    lines = _sweep_lines(rows, pairing_rows)
    if not lines:
        return ""
    figure = _picture(
        staging,
        "sweeps",
        lambda **look: sweeps_figure(rows, pairing_rows, **look),
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


def _sweep_lines(rows: Sequence[Row], pairing_rows: Sequence[Row]) -> Sequence[tuple[str, ...]]:
    """What is changed, its value, the success, its interval, and the difference to the first."""
    lines = []
    for kind, points in sweeps(rows, pairing_rows).items():
        changed, scale = _SWEEPS[kind]
        for point in points:
            mean, against = headline(point.rows), "\u2013"
            if point is not points[0]:
                result = paired_difference(point.rows, points[0].rows)
                against = _signed(100 * result.difference)
                if math.isfinite(result.low):
                    against += f" ({_span(result)})"
            interval = "no interval"
            if math.isfinite(mean.low):
                interval = f"{_number(100 * mean.low)}\u2013{_number(100 * mean.high)}"
            value = f"{scale * point.value:g}"
            lines.append((changed, value, _percent(mean.rate), interval, against))
    return lines


def _costs_section(costs: Sequence[Row]) -> str:
    if not costs:
        return ""
    parts = [
        _table(
            "Training of each policy, what it started from included",
            '<tr><th scope="col">policy</th><th scope="col">gradient steps</th>'
            '<th scope="col">seconds, mean of seeds</th><th scope="col">range</th></tr>',
            _cost_body(_cost_lines(costs)),
        )
    ]
    if lines := _adaptation_lines(costs):
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
    return _section("costs", "What training took", "".join(parts))


def _cost_body(lines: Sequence[tuple[str, ...]]) -> str:
    return "".join(
        f'<tr><th scope="row">{_e(name)}</th>{"".join(f"<td>{_e(cell)}</td>" for cell in cells)}'
        "</tr>"
        for name, *cells in lines
    )


def _by_policy(costs: Sequence[Row]) -> dict[_Policy, list[Row]]:
    groups: dict[_Policy, list[Row]] = {}
    for row in costs:
        policy = _Policy(str(row.get("config", "")), str(row["cost_of"]), int(row["round"]))
        groups.setdefault(policy, []).append(row)
    return groups


def _cost_lines(costs: Sequence[Row]) -> Sequence[tuple[str, ...]]:
    """Policy, gradient steps, seconds (mean of seeds, range)."""
    lines = []
    for policy, members in _by_policy(costs).items():
        seconds = [row["seconds"] for row in members]
        span = f"{_number(min(seconds), 0)}\u2013{_number(max(seconds), 0)}"
        mean = _number(float(np.mean(seconds)), 0)
        lines.append((policy.label, f"{int(members[0]['steps']):,}", mean, span))
    return lines


def _adaptation_lines(costs: Sequence[Row]) -> Sequence[tuple[str, ...]]:
    """Of what adapts: policy, tasks, share of them whose loss falls (mean, range), the loss."""
    lines = []
    for policy, members in _by_policy(costs).items():
        found = [row["adaptation"] for row in members if row.get("adaptation")]
        if found:
            shares = [facts["improved"] for facts in found]
            before, after = (np.mean([facts[k] for facts in found]) for k in ("before", "after"))
            span = f"{_number(100 * min(shares))}\u2013{_percent(max(shares))}"
            mean, loss = _percent(float(np.mean(shares))), f"{_number(before)} to {_number(after)}"
            lines.append((policy.label, str(found[0]["tasks"]), mean, span, loss))
    return lines


def _trials_section(collection: Sequence[Row]) -> str:
    if not collection:
        return ""
    lines, bars, confusions = [], [], []
    families = [f for f in FAMILIES if any(f in entry.get("achieved", {}) for entry in collection)]
    for entry in collection:
        trials, useful = int(entry["trials"]), int(entry["useful"])
        achieved = entry.get("achieved", {})
        counts = "".join(f"<td>{int(achieved.get(f, 0)):,}</td>" for f in families)
        share = _percent(useful / trials) if trials else "\u2013"
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
            words = ", ".join(f"{f} {_percent(achieved.get(f, 0) / total)}" for f in families)
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
                f"<small>{_e(_percent(share, 0))}</small></td>"
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
            f"<td>{_e(_percent(row[key])) if row.get(key) is not None else '&ndash;'}</td>"
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
        lambda **look: latent_figure(embedding, **look),
        alt="Scatter plot of embeddings on two principal axes, coloured by task family.",
        caption="Each mark is an episode"
        + (" (small and faint: a trial)" if "trial" in list(embedding.get("kind") or []) else "")
        + ". Two axes show only part of the distances"
        + (": the neighbour accuracies above use all of them." if neighbours else "."),
    )
    return _section("latent", "Latent space of tasks", figure)


def _curves_section(staging: Path, metrics: Sequence[Row]) -> str:
    if not _curve_panels(metrics):
        return ""
    figure = _picture(
        staging,
        "curves",
        lambda **look: curves_figure(metrics, **look),
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
        figures = []
        for video in clips:
            success = bool(video["success"])
            outcome = "success" if success else "failure"
            stem = f"{number:02d}-{re.sub(r'[^a-z0-9]+', '-', family.lower())}-{outcome}"
            number += 1
            width, height = write_video(
                folder / f"{stem}.mp4", video["demo"], video["attempt"], success=success
            )
            title = _e(video["title"])
            caption = f"<p>{_e(video['caption'])}</p>" if video.get("caption") else ""
            figures.append(
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
            f'</small></h3><div class="films">{"".join(figures)}</div>'
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


def _number(value: float, digits: int = 1) -> str:
    return f"{value:.{digits}f}".replace("-", "\u2212")


def _percent(share: float, digits: int = 1) -> str:
    return f"{_number(100 * share, digits)}%"


def _signed(value: float, digits: int = 1) -> str:
    text = f"{value:+.{digits}f}"
    if float(text) == 0:
        text = text[1:]
    return text.replace("-", "\u2212")


def _span(result: Difference) -> str:
    return f"{_signed(100 * result.low)} to {_signed(100 * result.high)}"


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
            save_figure(figure, staging / name)
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
        f".f-{name}{{--c:{FAMILY_COLOURS[name]};--cd:{_DARK_FAMILY_COLOURS[name]}}}"
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
