"""One episode as one record and back: RLDS features, without TensorFlow.

A `Codec` knows the shapes of a robot's episodes. Datasets from before there were robots of other
kinds have neither instructions nor a mark of the robot in their records (`mark` is None): they are
read, and go on, as they are.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from google.protobuf.message import DecodeError
from tensorflow_datasets.core.example_serializer import ExampleSerializer
from tensorflow_datasets.proto import tf_example_pb2

from mili_jax.storage.robot import Shapes
from mili_jax.types import DataError, Episode, EpisodeMeta

IMAGE = "steps/observation/image"
_POSE, _ACTION = "steps/observation/pose", "steps/action"


class Codec:
    """Episodes of one robot to records and back.

    Args:
      shapes: of its steps.
      mark: what each record says of the robot (`robot.mark_of`); None for records without
        instruction and mark.
    """

    def __init__(self, shapes: Shapes, mark: str | None) -> None:
        self.shapes, self.mark = shapes, mark
        self.features = _features(shapes, mark is None)
        self._serializer = ExampleSerializer(self.features.get_serialized_info())

    def encode(self, episode: Episode) -> bytes:
        """The record of an episode; equal episodes give equal bytes.

        Raises DataError, naming episode and field, for what does not fit.
        """
        meta, length = episode.meta, len(episode)
        if length < 1:
            raise DataError(f"episode {meta.episode_id!r} has no steps")
        for field, array, shape, dtype in (
            ("image", episode.image, (length, *self.shapes.picture), np.uint8),
            ("pose", episode.pose, (length, self.shapes.pose), np.float32),
            ("action", episode.action, (length, self.shapes.action), np.float32),
        ):
            if array.shape != shape or array.dtype != dtype:
                raise DataError(
                    f"episode {meta.episode_id!r}: {field} is {array.dtype} {array.shape}, "
                    f"the dataset wants {np.dtype(dtype)} {shape}"
                )
            if not np.isfinite(array).all():
                raise DataError(f"episode {meta.episode_id!r}: {field} holds NaN or infinity")
        steps = [
            {
                "observation": {"image": episode.image[t], "pose": episode.pose[t]},
                "action": episode.action[t],
                "is_first": t == 0,
                "is_last": t == length - 1,
                "is_terminal": t == length - 1 and meta.terminated,
                "reward": np.float32(meta.success and t == length - 1),
                "discount": np.float32(1),
            }
            for t in range(length)
        ]
        example = self.features.encode_example(
            {"steps": steps, "episode_metadata": self._facts(meta)}
        )
        record = self._serializer.serialize_example(example)
        # The fields of a record are a map, whose order differs between processes; equal episodes
        # must be equal bytes.
        proto = tf_example_pb2.Example.FromString(record)
        return bytes(proto.SerializeToString(deterministic=True))

    def _facts(self, meta: EpisodeMeta) -> dict[str, Any]:
        facts = dataclasses.asdict(meta) | {"achieved_tasks": list(meta.achieved_tasks)}
        del facts["terminated"]  # the last step says so
        if self.mark is not None:
            return facts | {"spec": self.mark}
        if facts.pop("language"):
            raise DataError(
                f"episode {meta.episode_id!r}: the dataset is from before there was a field for "
                f"the instruction {meta.language!r}; write to another one, or leave it out"
            )
        return facts

    def decode(self, path: Path, record: bytes) -> Episode:
        """The episode of a record, its arrays read-only. Raises DataError naming `path` for one
        that is none, or of another robot."""
        # TFDS decodes step by step, which is ten times slower than taking the fields whole.
        fields = parse_record(path, record)
        self._check_mark(path, fields)
        image = b"".join(record_field(path, fields, IMAGE).bytes_list.value)
        pose = record_field(path, fields, _POSE).float_list.value
        action = record_field(path, fields, _ACTION).float_list.value
        try:
            arrays = (
                np.frombuffer(image, np.uint8).reshape(-1, *self.shapes.picture),
                np.array(pose, np.float32).reshape(-1, self.shapes.pose),
                np.array(action, np.float32).reshape(-1, self.shapes.action),
            )
        except ValueError as error:
            raise DataError(f"{path}: an episode is not of {self.shapes}: {error}") from None
        for array in arrays:
            array.flags.writeable = False
        if not len(arrays[0]) == len(arrays[1]) == len(arrays[2]) > 0:
            raise DataError(
                f"{path}: an episode has {[len(a) for a in arrays]} steps; write it again"
            )
        return Episode(*arrays, meta=decode_metadata(path, fields))

    def _check_mark(self, path: Path, fields: Mapping[str, Any]) -> None:
        stored = _text(fields, "spec")
        if stored == self.mark:
            return
        again = "take this shard away and write it again"
        if stored is None:
            raise DataError(
                f"{path} is of an older version and does not say of which robot it is; {again}"
            )
        if self.mark is None:
            raise DataError(
                f"{path} is of a newer version than the other episodes there; write it to another "
                "directory"
            )
        one, other = (mark.rpartition(", layout")[0] for mark in (stored, self.mark))
        if one != other:
            raise DataError(f"{path} holds {one}, the dataset {other}; {again}")
        raise DataError(
            f"{path} is of another robot: as many numbers, other fields or cameras; {again}"
        )


@functools.lru_cache(maxsize=8)
def codec(shapes: Shapes, mark: str | None) -> Codec:
    """The `Codec` for these; it is made once."""
    return Codec(shapes, mark)


def _features(shapes: Shapes, old: bool) -> tfds.features.FeaturesDict:
    # Pixels are stored raw: with a still camera the shard's own compression beats PNG and JPEG.
    image = tfds.features.Tensor(
        shape=shapes.picture, dtype=np.uint8, encoding=tfds.features.Encoding.BYTES
    )
    text = tfds.features.Text()
    facts = {
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
    }
    return tfds.features.FeaturesDict(
        {
            "steps": tfds.features.Dataset(
                {
                    "observation": {
                        "image": image,
                        "pose": tfds.features.Tensor(shape=(shapes.pose,), dtype=np.float32),
                    },
                    "action": tfds.features.Tensor(shape=(shapes.action,), dtype=np.float32),
                    "is_first": np.bool_,
                    "is_last": np.bool_,
                    "is_terminal": np.bool_,
                    "reward": np.float32,
                    "discount": np.float32,
                }
            ),
            "episode_metadata": facts if old else facts | {"language": text, "spec": text},
        }
    )


def shapes_of(features: Any) -> Shapes:
    """The shapes that the RLDS features of a dataset describe; any exception if they are none."""
    steps = features["steps"]
    observation = steps["observation"]
    (pose,), (action,) = observation["pose"].shape, steps["action"].shape
    return Shapes(tuple(observation["image"].shape), pose, action)


def has_mark(record: bytes) -> bool:
    """Whether a record says of which robot it is, or is none that can be read."""
    try:
        return _text(parse_record(Path(), record), "spec") is not None
    except DataError:
        return True


def parse_record(path: Path, record: bytes) -> Mapping[str, Any]:
    """The fields of a record by their names in the features. Raises DataError naming `path`."""
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


def _text(fields: Mapping[str, Any], name: str) -> str | None:
    name = f"episode_metadata/{name}"
    return fields[name].bytes_list.value[0].decode() if name in fields else None


def decode_metadata(path: Path, fields: Mapping[str, Any]) -> EpisodeMeta:
    """The facts of an episode. Raises DataError naming `path` if one is missing."""

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
        language=_text(fields, "language") or "",
    )
