"""Pictures of stored episodes, read when they are asked for."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from google.protobuf.message import DecodeError
from tensorflow_datasets.proto import tf_example_pb2

from mili_jax.storage.records import IMAGE
from mili_jax.storage.shards import UNREADABLE, read_record
from mili_jax.types import DataError


@dataclasses.dataclass(frozen=True)
class Frames:
    """The pictures of N stored episodes, read from their shards when they are asked for.

    To be indexed like an array uint8 [F,H,W,C], of several cameras [F,V,H,W,C], along its first
    axis; any thread may. Holds nothing but where the episodes are: records (shard, record in it)
    [N], length int64 [N], and the shape of one picture.
    """

    records: tuple[tuple[Path, int], ...]
    length: np.ndarray
    picture: tuple[int, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        return (int(self.length.sum()), *self.picture)

    @property
    def nbytes(self) -> int:
        """Of all pictures, if they were in memory."""
        return int(np.prod(self.shape, dtype=np.int64))

    def __getitem__(self, frames: np.ndarray) -> np.ndarray:
        """Pictures uint8 [..., *picture] of frames int [...]; each episode is read once.

        Raises DataError, naming the shard, if it is not what it was.
        """
        frames = np.asarray(frames)
        flat = frames.ravel()
        out = np.empty((len(flat), *self.shape[1:]), np.uint8)
        end = np.cumsum(self.length)
        episode = np.searchsorted(end, flat, side="right")
        order = np.argsort(episode, kind="stable")
        for rows in np.split(order, np.flatnonzero(np.diff(episode[order])) + 1):
            if len(rows):
                e = episode[rows[0]]
                pictures = self._read(self.records[e], int(self.length[e]))
                for row, step in zip(rows, flat[rows] - end[e] + self.length[e], strict=True):
                    out[row] = np.frombuffer(pictures[step], np.uint8).reshape(out.shape[1:])
        return out.reshape(*frames.shape, *self.shape[1:])

    def _read(self, where: tuple[Path, int], length: int) -> Sequence[bytes]:
        path, record = where
        try:
            fields = tf_example_pb2.Example.FromString(read_record(path, record)).features.feature
            pictures = fields[IMAGE].bytes_list.value
            if [len(picture) for picture in pictures] != [math.prod(self.picture)] * length:
                raise ValueError("other pictures than before")
        except (*UNREADABLE, DecodeError) as error:
            raise DataError(
                f"{path}: episode {record} cannot be read any more ({error}); was the shard "
                "changed during training? restore it from a copy and run again"
            ) from error
        return pictures
