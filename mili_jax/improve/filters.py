"""The filter F: was a trial useful, yes or no? It never says which task was done."""

from __future__ import annotations

from collections.abc import Iterable

from mili_jax.storage.labels import Answer, Kind, Label
from mili_jax.types import EpisodeMeta


def simulator(metas: Iterable[EpisodeMeta]) -> list[Label]:
    """F by the simulator's own check: some afforded task achieved, nothing off the table.

    Reads the task-agnostic `useful` bit alone.
    """
    return [Label(m.episode_id, Answer.of(m.useful), "simulator", Kind.SIMULATOR) for m in metas]
