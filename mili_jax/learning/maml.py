"""MAML (Finn et al. 2017a): losses, parameters and data, nothing of pictures or robots."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from mili_jax.learning.losses import Metrics
from mili_jax.types import Params

Data = TypeVar("Data")  # of a task: a tree of arrays


def adapt(
    loss: Callable[[Params, Data], Float[Array, ""]],
    theta: Params,
    support: Data,
    rates: Params,
    steps: int = 1,
    *,
    first_order: bool = False,
    clip: float = 0.0,
) -> Params:
    """The inner loop: theta' = theta - rate * grad loss(theta, support), `steps` times.

    Args:
      loss: (theta, support) -> scalar.
      rates: a tree like theta, of inner learning rates that broadcast to its leaves.
      first_order: the inner gradient counts as a constant where it is itself differentiated.
      clip: bound of every element of the inner gradient; 0 for none.

    Finn et al. (2017a), eq. 1; learned rates per parameter: Li et al. (2017).
    """
    for _ in range(steps):
        gradient = jax.grad(loss)(theta, support)
        if first_order:
            gradient = jax.lax.stop_gradient(gradient)
        if clip:
            gradient = jax.tree.map(lambda g: jnp.clip(g, -clip, clip), gradient)
        theta = jax.tree.map(lambda p, r, g: p - r * g, theta, rates, gradient)
    return theta


def meta_loss(
    inner: Callable[[Params, Data], Float[Array, ""]],
    outer: Callable[[Params, Data], Float[Array, ""]],
    theta: Params,
    support: Data,
    query: Data,
    rates: Params,
    steps: int = 1,
    *,
    first_order: bool = False,
    clip: float = 0.0,
) -> tuple[Float[Array, ""], Metrics]:
    """Mean over tasks of outer(theta'_i, query_i): the objective of MAML, and metrics.

    support and query: trees whose leaves carry the tasks in front; what follows is of `adapt`.
    Metrics: `before` and `after`, the outer loss on the queries without and with the inner loop,
    and `improved`, the share of tasks for which the inner loop lowers it.
    """

    def of_task(support: Data, query: Data) -> tuple[Array, Array]:
        adapted = adapt(inner, theta, support, rates, steps, first_order=first_order, clip=clip)
        return outer(adapted, query), outer(jax.lax.stop_gradient(theta), query)

    after, before = jax.vmap(of_task)(support, query)
    metrics = {"before": before.mean(), "after": after.mean()}
    return after.mean(), {**metrics, "improved": jnp.mean(after < before)}
