"""Episodes in the latent space, as a report gets them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import cast

import numpy as np

from mili_jax.types import DataError


@dataclasses.dataclass(frozen=True)
class Embedded:
    """N embeddings z float64 [N,Z], the group and split of each episode, and whether it is a trial
    (bool [N])."""

    z: np.ndarray
    group: tuple[str, ...]
    split: tuple[str, ...]
    trial: np.ndarray

    @staticmethod
    def parse(embedding: Mapping[str, object]) -> Embedded:
        """Of "z" [N,Z], "family" and optionally "split" and "kind" ("demo" or "trial") of N each.

        Raises DataError when the lists and "z" disagree in length or "z" is not finite.
        """
        try:
            z = np.asarray(embedding.get("z"), np.float64)
        except (TypeError, ValueError) as error:
            raise DataError(f"embedding['z'] must be numbers [N,Z] ({error})") from error
        if z.ndim != 2 or len(z) == 0:
            raise DataError(f"embedding['z'] must be [N,Z], got shape {z.shape}")
        if not np.isfinite(z).all():
            raise DataError("embedding['z'] holds values that are not finite")

        def column(name: str, default: str | None = None) -> tuple[str, ...]:
            values = embedding.get(name)
            if values is None and default is not None:
                values = [default] * len(z)
            if values is None or len(cast(Sequence[object], values)) != len(z):
                raise DataError(
                    f"embedding[{name!r}] must hold {len(z)} values, one per row of 'z'"
                )
            return tuple(str(value) for value in cast(Sequence[object], values))

        trial = np.array([kind == "trial" for kind in column("kind", "demo")])
        return Embedded(z, column("family"), column("split", "all"), trial)
