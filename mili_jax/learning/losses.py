"""The equations of Singh et al. (2020): arrays in, (scalar, metrics) out.

The paper's sums over steps, demonstrations and tasks are means here, so that a learning rate and a
loss weight mean the same whatever the batch. Metrics are scalars under plain names.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

Metrics = dict[str, Float[Array, ""]]


def behaviour_cloning(log_prob: Float[Array, "*n"]) -> tuple[Float[Array, ""], Metrics]:
    """Eq. 1: -log pi(a_t | o_t), averaged over `log_prob` of any shape."""
    nll = -jnp.mean(log_prob)
    return nll, {"nll": nll}


def one_shot_imitation(log_prob: Float[Array, "*n"]) -> tuple[Float[Array, ""], Metrics]:
    """Eq. 2: -log pi(a_t^m | o_t^m, d_n), averaged over `log_prob` of any shape.

    It differs from eq. 1 in what `log_prob` was conditioned on: a *different* demonstration d_n of
    the task that episode m shows.
    """
    nll = -jnp.mean(log_prob)
    return nll, {"nll": nll}


def _pairs(
    task: Int[Array, " n"], mask: Bool[Array, " n"]
) -> tuple[Bool[Array, "n n"], Bool[Array, "n n"]]:
    """Boolean [N,N]: which ordered pairs of two different, unmasked rows are of one / two tasks."""
    both = mask[:, None] & mask[None, :] & ~jnp.eye(len(task), dtype=bool)
    same = task[:, None] == task[None, :]
    return both & same, both & ~same


def _mean(values: Float[Array, "*n"], where: Bool[Array, "*n"]) -> Float[Array, ""]:
    """Mean over `where`, and zero (with zero gradient) where there is nothing."""
    return jnp.sum(jnp.where(where, values, 0)) / jnp.maximum(jnp.sum(where), 1)


def contrastive(
    embedding: Float[Array, "n z"],
    task: Int[Array, " n"],
    mask: Bool[Array, " n"],
    beta: float = 1.0,
) -> tuple[Float[Array, ""], Metrics]:
    """The paper's contrastive loss (section IV-A, after Hadsell et al. 2006).

    H = |f(d_m) - f(d_n)|^2 for two episodes of one task, max(0, beta - H) for two tasks.

    embedding [N,Z], task int [N], mask bool [N] (rows that take part). The paper sums over all
    pairs; with 2 rows per task other-task pairs outnumber the same-task ones N to 1, so this is the
    mean over same-task pairs plus the mean over other-task pairs. A row's pair with itself (H = 0)
    is left out. For unit vectors H = 2 - 2 cosine: with beta = 1 another task costs nothing below
    cosine 0.5.
    """
    same, other = _pairs(task, mask)
    # By the Gram matrix: the [N,N,Z] array of differences would be 100 times as large.
    square = jnp.sum(jnp.square(embedding), -1)
    gram = jnp.matmul(embedding, embedding.T, precision="highest")
    h = jnp.maximum(square[:, None] + square[None, :] - 2 * gram, 0)
    attract, repel = _mean(h, same), _mean(jnp.maximum(0, beta - h), other)
    loss = attract + repel
    return loss, {"contrastive": loss, "attract": attract, "repel": repel}


def supervised_contrastive(
    embedding: Float[Array, "n z"],
    task: Int[Array, " n"],
    mask: Bool[Array, " n"],
    temperature: float = 0.1,
) -> tuple[Float[Array, ""], Metrics]:
    """Supervised contrastive loss (Khosla et al. 2020, eq. 2, L_out).

    For each row i: the mean over its positives p (same task, not i) of
    -log( exp(z_i.z_p / temperature) / sum_{a != i} exp(z_i.z_a / temperature) ), averaged over the
    rows that have a positive. embedding [N,Z] unit vectors, task int [N], mask bool [N].
    Unlike the hinge it keeps pushing other tasks away until they rank behind the same task.
    """
    same, other = _pairs(task, mask)
    gram = jnp.matmul(embedding, embedding.T, precision="highest") / temperature
    # Finite stand-in for minus infinity: a masked row must give zero gradient, not NaN.
    log_p = gram - jax.nn.logsumexp(jnp.where(same | other, gram, -1e9), -1, keepdims=True)
    positives = same.sum(-1)
    per_row = -jnp.sum(jnp.where(same, log_p, 0), -1) / jnp.maximum(positives, 1)
    loss = _mean(per_row, positives > 0)
    return loss, {"contrastive": loss}


def pointing(log_prob: Float[Array, "*n k"], seen: Bool[Array, "*n"]) -> Float[Array, ""]:
    """-log p that one of K equally likely points is the place: log_prob [...,K], averaged over the
    places that `seen` bool [...] marks; 0 if there is none."""
    return _mean(math.log(log_prob.shape[-1]) - jax.nn.logsumexp(log_prob, -1), seen)


def complete(
    log_prob: Float[Array, "*n"], contrastive_loss: Float[Array, ""], weight: float = 1.0
) -> tuple[Float[Array, ""], Metrics]:
    """Eq. 3: eq. 2 plus `weight` (1 in the paper) times a contrastive loss."""
    imitation, metrics = one_shot_imitation(log_prob)
    loss = imitation + weight * contrastive_loss
    return loss, {**metrics, "contrastive": contrastive_loss, "loss": loss}


def neighbours(
    embedding: Float[Array, "n z"], task: Int[Array, " n"], mask: Bool[Array, " n"]
) -> Metrics:
    """How well unit embeddings tell tasks apart within a batch (no gradient is meant for these).

    same_cosine and other_cosine: mean cosine of two episodes of one task and of two tasks;
    neighbour_accuracy: share of rows, among those with a partner, whose nearest row is a partner.
    """
    same, other = _pairs(task, mask)
    cosine = embedding @ embedding.T
    nearest = jnp.argmax(jnp.where(same | other, cosine, -jnp.inf), -1)
    hit = jnp.take_along_axis(same, nearest[:, None], 1)[:, 0]
    return {
        "same_cosine": _mean(cosine, same),
        "other_cosine": _mean(cosine, other),
        "neighbour_accuracy": _mean(hit.astype(jnp.float32), same.any(-1)),
    }
