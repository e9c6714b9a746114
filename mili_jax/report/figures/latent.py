"""The latent space of tasks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from mili_jax.report.embedding import Embedded
from mili_jax.report.figures.canvas import label_of, legend, new_figure
from mili_jax.report.figures.isolation import isolated
from mili_jax.report.figures.style import quiet, theme_of
from mili_jax.report.groups import in_order
from mili_jax.report.policies import SPLITS


@isolated
def latent_figure(
    embedding: Embedded,
    groups: Sequence[str] = (),
    *,
    dark: bool = False,
    narrow: bool = False,
) -> Figure:
    """The latent space of tasks on its two principal axes: colour is group, marker is split.

    groups: all groups of the domain in the order of their colours; without it the episodes' own.
    Trials are small and faint.
    """
    theme = theme_of(dark)
    z, group, split = embedding.z, np.array(embedding.group), np.array(embedding.split)
    places, shares = _principal_axes(z, embedding.group)
    figure = new_figure(theme, *((4.0, 4.8) if narrow else (11.0, 5.8)))
    axis = figure.subplots()
    splits = [name for name in reversed(SPLITS) if name in embedding.split]
    splits += sorted(set(embedding.split) - set(splits))
    markers = dict(zip(splits, ("o", "^", "D", "s", "P", "X") * len(splits), strict=False))
    order = tuple(groups) or in_order(embedding.group)
    present = [name for name in in_order([*order, *embedding.group]) if name in embedding.group]
    for name in present:
        for part in splits:
            for trial in (True, False):
                chosen = (group == name) & (split == part) & (embedding.trial == trial)
                axis.scatter(
                    places[chosen, 0],
                    places[chosen, 1],
                    s=7 if trial else 24,
                    alpha=0.35 if trial else 0.85,
                    marker=markers[part],
                    color=theme.colour(order, name),
                    edgecolors="none" if trial or part == "train" else theme.text,
                    linewidths=0.5,
                    zorder=2 if trial else 3,
                    rasterized=len(z) > 1500,  # thousands of vector markers make a slow page
                )
    handles = [
        Line2D([], [], linestyle="", marker="o", color=theme.colour(order, name))
        for name in present
    ]
    handles += [
        Line2D([], [], linestyle="", marker=markers[s], color=theme.muted, markeredgecolor="none")
        for s in splits
    ]
    names = [label_of(name, f"group {i + 1}", 24) for i, name in enumerate(present)]
    parts = [label_of(name, f"split {i + 1}", 24) for i, name in enumerate(splits)]
    legend(figure, theme, handles, [*names, *parts])
    first, second = (f"axis between groups ({100 * share:.0f}% of variance)" for share in shares)
    axis.set_xlabel(f"first {first}", color=theme.muted, fontsize=8.5)
    axis.set_ylabel(f"second {second}", color=theme.muted, fontsize=8.5)
    axis.set_aspect("equal", adjustable="datalim")
    axis.grid(color=theme.grid, linewidth=0.8)
    quiet(axis, theme)
    return figure


def _principal_axes(z: np.ndarray, group: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """[N,Z] -> coordinates [N,2] on two axes, and the shares of the variance along them [2].

    The axes are the principal ones of the groups' means, which show how far groups lie apart; with
    fewer than three groups those of the points.
    """
    centred = z - z.mean(axis=0)
    names = np.array(group)
    means = np.stack([centred[names == name].mean(axis=0) for name in sorted(set(group))])
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
