"""What later stages want to know of a round's trials."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mili_jax.pipeline.run import Run
from mili_jax.types import DataError, EpisodeMeta


def answered_trials(run: Run, number: int) -> tuple[list[EpisodeMeta], np.ndarray, np.ndarray]:
    """A round's N trials, with what F said of each and whether it came to rest, bool [N].

    Raises DataError if F has not answered for all of them.
    """
    split = f"round_{number}"
    metas, labels = list(run.dataset.read_metadata(split)), run.dataset.read_labels(split)
    unanswered = [m.episode_id for m in metas if m.episode_id not in labels]
    if unanswered:
        raise DataError(
            f"{run.dataset.path}: {len(unanswered)} of the {len(metas)} trials of {split!r} have "
            f"no label ({unanswered[0]!r} is the first); let `mili label` or people answer"
        )
    useful = np.array([labels[m.episode_id].useful for m in metas], bool)
    anyhow = not run.config.improve.rested
    return metas, useful, np.array([m.terminated or anyhow for m in metas], bool)


def even_weights(run: Run, number: int, ids: Sequence[str], weights: np.ndarray) -> np.ndarray:
    """The weights of trials, made even over the groups that they resemble if so configured."""
    if not run.config.improve.balance or not ids:
        return weights
    groups = run.domain.groups
    resembles = run.workdir.read_manifest(f"pair_{number}")["resembles"]
    kinds = np.array([groups.index(resembles[name]) for name in ids])
    return weights / np.bincount(kinds, weights, len(groups))[kinds]
