"""Demonstrations of people on their way into a dataset, where pre-training finds them."""

from __future__ import annotations

from collections import Counter

from mili_jax.people.robot import FIRST_SEED
from mili_jax.pipeline.demonstrations import PEOPLE, demo_splits
from mili_jax.storage.dataset import Dataset
from mili_jax.types import Episode


class Kept:
    """Those of a dataset; with None they are counted and go when the server does.

    Each becomes a shard of its own, so none is written a second time, and no stage makes this
    split, so none replaces it. One process at a time.
    """

    def __init__(self, dataset: Dataset | None) -> None:
        """Raises DataError for what is damaged there."""
        self._dataset = dataset
        self.count: Counter[str] = Counter()  # by task, the expert's too
        self.mine, self._shards, self._next = 0, 0, 0
        if dataset is None:
            return
        if PEOPLE in dataset.splits():
            self._shards = len({path for path, _ in dataset.places(PEOPLE)})
        committed = self._shards
        while dataset.has_shard(PEOPLE, self._shards):  # of a server that was killed
            self._shards += 1
        if self._shards > committed:
            dataset.commit(PEOPLE, self._shards)
        for split in demo_splits(dataset):
            if split not in dataset.splits():
                continue
            for meta in dataset.read_metadata(split):
                self.count[meta.task] += 1
                if split == PEOPLE:
                    self.mine += 1
                    self._next = max(self._next, meta.seed + 1 - FIRST_SEED, self.mine)

    @property
    def stored(self) -> bool:
        """Whether they go to a dataset."""
        return self._dataset is not None

    @property
    def next_scene(self) -> int:
        """The number of an arrangement that none of them has."""
        return self._next

    @property
    def name(self) -> str:
        """The next one's id."""
        return f"train-person-{self._next:06d}"

    def keep(self, episode: Episode) -> None:
        """It is on the disk when this returns. Raises DataError if the disk refuses: try again."""
        if self._dataset is not None:
            self._dataset.write_shard(PEOPLE, self._shards, [episode])
            self._dataset.commit(PEOPLE, self._shards + 1)
            self._shards += 1
        self.count[episode.meta.task] += 1
        self.mine += 1
        self._next = max(self._next + 1, episode.meta.seed + 1 - FIRST_SEED)
