"""Whether nearest neighbours in a latent space are of one kind."""

from __future__ import annotations

from collections.abc import Sequence, Sized

import numpy as np

from mili_jax.given import reals
from mili_jax.types import ConfigError, DataError


def nearest_neighbour(embedding: np.ndarray, labels: Sequence[object]) -> float:
    """Share of items whose nearest other item by cosine carries the same label (leave one out).

    embedding [N,Z] need not be normalised; labels holds N values. Of equally near neighbours the
    share with the same label counts, so a collapsed embedding scores chance and not what the order
    of the items happens to give. A label that occurs once cannot be met and counts as a miss.
    Raises ConfigError when the shapes disagree or N < 2, DataError on a vector that is not finite
    or has no length.
    """
    z = reals(embedding, "embedding").astype(np.float64)
    if not isinstance(labels, Sized):
        raise ConfigError(f"labels is {labels!r}; it must be a list of N values")
    if z.ndim != 2 or len(z) != len(labels) or len(z) < 2:
        raise ConfigError(
            f"nearest_neighbour needs embedding [N,Z] and N labels, N > 1; got shape {z.shape} "
            f"and {len(labels)} labels"
        )
    norms = np.linalg.norm(z, axis=1)
    bad = np.flatnonzero(~np.isfinite(norms) | (norms == 0))
    if len(bad):
        raise DataError(f"embedding row {bad[0]} is not finite or has no length")
    z = z / norms[:, None]
    _, codes = np.unique([str(label) for label in labels], return_inverse=True)
    correct = 0.0
    for start in range(0, len(z), 1024):  # rows at a time: [N,N] need not fit in memory
        rows = np.arange(start, min(start + 1024, len(z)))
        cosine = z[rows] @ z.T
        cosine[np.arange(len(rows)), rows] = -np.inf
        # The tolerance is the rounding of a dot product, so that equal vectors tie.
        nearest = cosine >= cosine.max(axis=1, keepdims=True) - 1e-12
        same = codes[rows][:, None] == codes[None]
        correct += float(((nearest & same).sum(axis=1) / nearest.sum(axis=1)).sum())
    return correct / len(z)
