"""One episode as one record: RLDS features, without TensorFlow."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from array_record.python.array_record_module import ArrayRecordReader
from google.protobuf.message import DecodeError
from tensorflow_datasets.proto import tf_example_pb2

from mili_jax.types import DataError, EpisodeMeta


def features(image_size: int) -> tfds.features.FeaturesDict:
    """The RLDS features of one episode with images of `image_size` pixels square."""
    image = tfds.features.Tensor(
        shape=(image_size, image_size, 3),
        dtype=np.uint8,
        encoding=tfds.features.Encoding.BYTES,
    )
    vector = tfds.features.Tensor(shape=(7,), dtype=np.float32)
    text = tfds.features.Text()
    return tfds.features.FeaturesDict(
        {
            "steps": tfds.features.Dataset(
                {
                    "observation": {"image": image, "pose": vector},
                    "action": vector,
                    "is_first": np.bool_,
                    "is_last": np.bool_,
                    "is_terminal": np.bool_,
                    "reward": np.float32,
                    "discount": np.float32,
                }
            ),
            "episode_metadata": {
                "episode_id": text,
                "task": text,
                "scene": text,
                "seed": np.int64,
                "round": np.int64,
                "policy": text,
                "demonstration": text,
                "renderer": text,
                "useful": np.bool_,
                "success": np.bool_,
                "achieved_tasks": tfds.features.Sequence(text),
            },
        }
    )


def read_records(path: Path) -> list[bytes]:
    # A missing or cut file opens as one of zero records, without an error.
    try:
        reader = ArrayRecordReader(str(path))
        try:
            records = reader.read_all() if reader.num_records() else []
        finally:
            reader.close()
    except (RuntimeError, IndexError, ValueError) as error:
        raise DataError(f"{path} is damaged ({error}); write this shard again") from error
    if not records:
        raise DataError(f"{path} holds no readable episodes; write this shard again")
    return records


def parse_record(path: Path, record: bytes) -> Mapping[str, Any]:
    try:
        return tf_example_pb2.Example.FromString(record).features.feature
    except DecodeError as error:
        raise DataError(
            f"{path}: a record is no episode ({error}); write this shard again"
        ) from error


def record_field(path: Path, fields: Mapping[str, Any], name: str) -> Any:
    if name not in fields:
        raise DataError(f"{path}: an episode has no field {name!r}; write this shard again")
    return fields[name]


def decode_metadata(path: Path, fields: Mapping[str, Any]) -> EpisodeMeta:
    def text(name: str) -> str:
        return record_field(path, fields, f"episode_metadata/{name}").bytes_list.value[0].decode()

    def integer(name: str) -> int:
        return record_field(path, fields, f"episode_metadata/{name}").int64_list.value[0]

    achieved = record_field(path, fields, "episode_metadata/achieved_tasks").bytes_list.value
    return EpisodeMeta(
        episode_id=text("episode_id"),
        task=text("task"),
        scene=text("scene"),
        seed=integer("seed"),
        round=integer("round"),
        policy=text("policy"),
        demonstration=text("demonstration"),
        renderer=text("renderer"),
        useful=bool(integer("useful")),
        success=bool(integer("success")),
        achieved_tasks=tuple(task.decode() for task in achieved),
        terminated=bool(record_field(path, fields, "steps/is_terminal").int64_list.value[-1]),
    )
