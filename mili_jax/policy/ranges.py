"""The numbers of a layout as densities and features take them: which go round, and how far."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from mili_jax.policy.angles import wrap
from mili_jax.spec import Field, Layout


def goes_round(field: Field) -> bool:
    """Whether a field is an angle that may have any value. One whose bounds are nearer to each
    other than its period, as those of a joint or of a small turn, is a number like others."""
    return field.period is not None and field.high - field.low >= field.period * (1 - 1e-6)


def straight(layout: Layout) -> Int[np.ndarray, " l"]:
    """Which numbers do not go round."""
    return np.array([i for i, field in enumerate(layout.fields) if not goes_round(field)], int)


def turns(layout: Layout) -> list[tuple[int, float]]:
    """Which numbers go round, and their periods."""
    found = enumerate(layout.fields)
    return [(i, f.period) for i, f in found if f.period is not None and goes_round(f)]


def half_ranges(layout: Layout) -> Float[np.ndarray, " d"]:
    """Half of every field's range; of what goes round, half of its period."""
    half = (layout.high - layout.low) / 2
    for i, period in turns(layout):
        half[i] = period / 2
    return half


def middles(layout: Layout) -> Float[np.ndarray, " d"]:
    """The middle of every field's range."""
    return (layout.high + layout.low) / 2


def within(layout: Layout, x: Float[Array, "n d"]) -> Float[Array, "n d"]:
    """Values within the bounds of their fields, what goes round within one period about the middle
    of them."""
    columns = []
    for i, (field, middle) in enumerate(zip(layout.fields, middles(layout), strict=True)):
        if field.period is not None and goes_round(field):
            columns.append(wrap(x[:, i] - middle, field.period) + middle)
        else:
            columns.append(jnp.clip(x[:, i], field.low, field.high))
    return jnp.stack(columns, -1)
