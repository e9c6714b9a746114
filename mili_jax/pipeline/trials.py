"""What later stages want to know of a round's trials."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np

from mili_jax.pipeline.run import Run
from mili_jax.storage.labels import resolve
from mili_jax.types import DataError, EpisodeMeta

LOG = logging.getLogger(__name__)


def answered_trials(run: Run, number: int) -> tuple[list[EpisodeMeta], np.ndarray, np.ndarray]:
    """A round's N trials, with whether F said yes of each, and whether it may be learned from at
    all, bool [N]: F has said yes or no, and it came to rest.

    Raises DataError if there is no answer at all.
    """
    split = f"round_{number}"
    metas = list(run.dataset.read_metadata(split))
    answers = resolve(run.dataset.read_labels(split))
    said = [answers.get(m.episode_id) for m in metas]
    if metas and not answers:
        raise DataError(
            f"{run.dataset.path}: none of the {len(metas)} trials of {split!r} has an answer; "
            f"people give them with `mili label {run.workdir.path} --round={number}`, a filter "
            f"does with `mili filter --round={number}` if config.improve.filter is one that "
            "answers"
        )
    if None in said:
        LOG.info("%s: %d of %d trials have no sure answer", split, said.count(None), len(metas))
    anyhow = not run.config.improve.rested
    clear = [
        answer is not None and (m.terminated or anyhow)
        for answer, m in zip(said, metas, strict=True)
    ]
    return metas, np.array([answer is True for answer in said], bool), np.array(clear, bool)


def even_weights(run: Run, number: int, ids: Sequence[str], weights: np.ndarray) -> np.ndarray:
    """The weights of trials, made even over the groups that they resemble if so configured."""
    if not run.config.improve.balance or not ids:
        return weights
    groups = run.domain.groups
    resembles = run.workdir.read_manifest(f"pair_{number}")["resembles"]
    kinds = np.array([groups.index(resembles[name]) for name in ids])
    return weights / np.bincount(kinds, weights, len(groups))[kinds]
