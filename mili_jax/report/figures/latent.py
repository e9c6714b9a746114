"""The latent space of tasks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from mili_jax.report.figures.canvas import legend, new_figure
from mili_jax.report.figures.style import DARK, LIGHT, quiet
from mili_jax.report.policies import SPLITS
from mili_jax.types import FAMILIES, DataError


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
