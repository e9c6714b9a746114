"""What was learned: the latent space, and the curves of training."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mili_jax.report.embedding import Embedded
from mili_jax.report.figures.curves import curve_panels, curves_figure
from mili_jax.report.figures.latent import latent_figure
from mili_jax.report.markup import picture, section
from mili_jax.report.rows import Neighbours, Raw


def latent_section(
    staging: Path, embedding: Embedded | None, groups: Sequence[str], neighbours: Neighbours
) -> str:
    """The section of the latent space; groups: all of the domain, in the order of their colours."""
    if embedding is None:
        return ""
    figure = picture(
        staging,
        "latent",
        lambda **look: latent_figure(embedding, groups, **look),
        alt="Scatter plot of embeddings on two principal axes, coloured by task group.",
        caption="Each mark is an episode"
        + (" (small and faint: a trial)" if embedding.trial.any() else "")
        + ". Two axes show only part of the distances"
        + (": the neighbour accuracies above use all of them." if neighbours else "."),
    )
    return section("latent", "Latent space of tasks", figure)


def curves_section(staging: Path, metrics: Sequence[Raw]) -> str:
    """The section of the training curves."""
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
