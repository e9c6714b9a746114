"""Figures of a run, from its rows and arrays alone: a committed file of result rows is enough to
draw one again (`save_figure`).

Each exists for a light and a dark page and for a wide and a narrow one. Family colours are those of
Okabe and Ito (2008), which people with colour-vision deficiencies can tell apart; the same family
has the same colour everywhere.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import Normal, Stroke

from mili_jax.report import comparisons
from mili_jax.report.comparisons import DEMO_NAMES, SPLITS, SWEEPS
from mili_jax.report.statistics import Row, family_table, headline
from mili_jax.report.style import DARK, LIGHT, Theme, legend, new_figure, new_panels, quiet
from mili_jax.types import FAMILIES, ConfigError, DataError


def bars_figure(
    rows: Sequence[Row], *, split: str | None = None, dark: bool = False, narrow: bool = False
) -> Figure:
    """Success per family and in the mean, one bar per policy and condition, on one split.

    Families carry Wilson intervals, the mean a bootstrap interval over tasks. Solid bars are the
    right demonstration, hatched ones a wrong one, hollow ones none. Without `split` it is the first
    of test, validation, train that the rows hold. Raises as `statistics.headline`.
    """
    theme = DARK if dark else LIGHT
    split = split or comparisons.primary_split(rows)
    lines: list[tuple[float, str, bool, str, list[Row]]] = []
    y = 0.0
    for policy in comparisons.policies_of(rows, split):
        for index, (demo, members) in enumerate(
            comparisons.conditions(rows, policy, split).items()
        ):
            name = comparisons.policy_name(policy, rows) if index == 0 else DEMO_NAMES[demo]
            if index == 0 and demo != "right":
                name += f" ({DEMO_NAMES[demo]})"
            lines.append((y, name, index == 0, demo, members))
            y += 1
        y += 0.6
    if not lines:
        raise ConfigError(f"no result rows on split {split!r} to draw")
    families = [f for f in FAMILIES if any(row["family"] == f for row in rows)]
    panels = [*families, "mean"]
    if narrow:
        figure = new_figure(theme, 4.6, 0.4 + len(panels) * (0.55 + 0.21 * y))
        axes = figure.subplots(len(panels), 1, squeeze=False)[:, 0]
    else:
        figure = new_figure(theme, 11.0, 0.9 + 0.27 * y)
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
        quiet(axis, theme, keep=("left",))
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
    theme: Theme,
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
    theme = DARK if dark else LIGHT
    if not pairing_rows:
        raise ConfigError("no pairing rows to draw")
    for row in pairing_rows:
        if not isinstance(row.get("alpha"), int | float):
            raise DataError(f"pairing row lacks a number 'alpha': {dict(row)}")
    rounds = sorted({row.get("round", 1) for row in pairing_rows})
    figure, axes = new_panels(theme, len(rounds), narrow=narrow)
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
        quiet(axis, theme)
    handles, labels = axes[0].get_legend_handles_labels()
    if handles:
        legend(figure, theme, handles, labels, narrow=narrow)
    return figure


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
    theme = DARK if dark else LIGHT
    found = comparisons.sweeps(rows, pairing_rows)
    if not found:
        raise ConfigError("no row of a variant of MILI to draw")
    figure, axes = new_panels(theme, len(found), narrow=narrow)
    for axis, (kind, points) in zip(axes, found.items(), strict=True):
        label, scale = SWEEPS[kind]
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
        quiet(axis, theme)
    return figure


def latent_figure(
    embedding: Mapping[str, Any], *, dark: bool = False, narrow: bool = False
) -> Figure:
    """The latent space of tasks on its two principal axes: colour is family, marker is split.

    embedding as in `write_report`; items of kind "trial" are small and faint. Raises DataError when
    the lists and "z" disagree in length or "z" is not finite.
    """
    theme = DARK if dark else LIGHT
    z, family, split, kind = _embedding_columns(embedding)
    places, shares = _principal_axes(z, family)
    figure = new_figure(theme, *((4.6, 4.8) if narrow else (11.0, 5.8)))
    axis = figure.subplots()
    splits = [name for name in reversed(SPLITS) if name in split]
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
    legend(figure, theme, handles, [*families, *splits], narrow=narrow)
    look: dict[str, Any] = {"color": theme.muted, "fontsize": 8.5}
    axis.set_xlabel(f"first axis between families ({100 * shares[0]:.0f}% of variance)", **look)
    axis.set_ylabel(f"second axis between families ({100 * shares[1]:.0f}% of variance)", **look)
    axis.set_aspect("equal", adjustable="datalim")
    axis.grid(color=theme.grid, linewidth=0.8)
    quiet(axis, theme)
    return figure


def curves_figure(metrics: Sequence[Row], *, dark: bool = False, narrow: bool = False) -> Figure:
    """Training curves, one panel each for nll, contrastive and accuracy, one colour per stage.

    A metric belongs to a panel when the panel's word is part of its name ("validation/nll"); other
    names of a panel than its first are dashed. Long noisy series are faint behind their running
    mean. Raises ConfigError when no metric can be drawn.
    """
    theme = DARK if dark else LIGHT
    panels = curve_panels(metrics)
    if not panels:
        raise ConfigError("no metrics named nll, contrastive or accuracy to draw")
    stages = list(dict.fromkeys(str(row.get("stage", "")) for row in metrics))
    figure, axes = new_panels(theme, len(panels), narrow=narrow)
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
        quiet(axis, theme)
        if word == "accuracy":
            axis.set_ylim(-0.02, 1.02)
    legend(figure, theme, list(handles.values()), list(handles), narrow=narrow)
    return figure


def curve_panels(metrics: Sequence[Row]) -> dict[str, list[str]]:
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
