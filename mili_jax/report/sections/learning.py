"""What was learned: the latent space, and the curves of training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mili_jax.report.figures.curves import curve_panels, curves_figure
from mili_jax.report.figures.latent import latent_figure
from mili_jax.report.markup import picture, section
from mili_jax.report.statistics import Row


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
