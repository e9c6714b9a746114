"""Episodes of a split one at a time and in any order, for whoever shows or looks at a few."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from mili_jax.storage.facts import decode_metadata, parse_record
from mili_jax.storage.records import Codec
from mili_jax.storage.shards import UNREADABLE, read_record
from mili_jax.types import DataError, Episode, EpisodeMeta


@dataclasses.dataclass(frozen=True)
class Reader:
    """The N episodes of a split by their number, in the order in which `Dataset.read` has them.

    It keeps nothing open and no episode in memory; any thread may use it. A flipped bit in a record
    is found, as everywhere, but not a whole shard that was exchanged for another.
    """

    places: tuple[tuple[Path, int], ...]
    codec: Codec

    def __len__(self) -> int:
        return len(self.places)

    def episode(self, number: int) -> Episode:
        """Raises DataError, naming shard and record, if it cannot be read."""
        content, path = self._record(number)
        return self.codec.decode(path, content)

    def meta(self, number: int) -> EpisodeMeta:
        """What is known of it, without its pictures. Raises as `episode`."""
        content, path = self._record(number)
        return decode_metadata(path, parse_record(path, content))

    def _record(self, number: int) -> tuple[bytes, Path]:
        path, record = self.places[number]
        try:
            return read_record(path, record), path
        except UNREADABLE as error:
            raise DataError(
                f"{path}: episode {record} is damaged ({' '.join(str(error).split())[:200]}); "
                "`mili doctor` says what to do"
            ) from error
