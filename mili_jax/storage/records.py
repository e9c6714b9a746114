"""One episode as one record and back: RLDS features, without TensorFlow.

A `Codec` knows the shapes of a robot's episodes. Datasets from before there were robots of other
kinds have neither instructions nor a mark of the robot in their records (`mark` is None): they are
read, and go on, as they are.
"""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds
from tensorflow_datasets.proto import tf_example_pb2

from mili_jax.storage.facts import (
    checked_facts,
    decode_metadata,
    optional_text,
    parse_record,
    record_field,
)
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

    def encode(self, episode: Episode) -> bytes:
        """The record of an episode; equal episodes give equal bytes.

        Raises DataError, naming episode and field, for what does not fit.
        """
        if not isinstance(episode, Episode) or not isinstance(episode.meta, EpisodeMeta):
            raise DataError(f"an episode is {type(episode).__name__}; it must be an Episode")
        meta = checked_facts(episode.meta)
        length = self._steps(meta.episode_id, episode)
        # TFDS encodes step by step, which is ten times slower than giving the fields whole.
        example = tf_example_pb2.Example()
        fields = example.features.feature
        fields[IMAGE].bytes_list.value.extend(picture.tobytes() for picture in episode.image)
        fields[_POSE].float_list.value.extend(episode.pose.ravel().tolist())
        fields[_ACTION].float_list.value.extend(episode.action.ravel().tolist())
        before = [0] * (length - 1)
        for name, ends in (
            ("is_first", [1, *before]),
            ("is_last", [*before, 1]),
            ("is_terminal", [*before, int(meta.terminated)]),
        ):
            fields[f"steps/{name}"].int64_list.value.extend(ends)
        fields["steps/reward"].float_list.value.extend([*before, int(meta.success)])
        fields["steps/discount"].float_list.value.extend([1] * length)
        for name, value in self._facts(meta).items():
            field = fields[f"episode_metadata/{name}"]
            if isinstance(value, int):
                field.int64_list.value.append(int(value))
            else:
                texts = [value] if isinstance(value, str) else value
                field.bytes_list.SetInParent()  # a list of no texts is there too
                field.bytes_list.value.extend(text.encode() for text in texts)
        # The fields of a record are a map, whose order differs between processes; equal episodes
        # must be equal bytes.
        return bytes(example.SerializeToString(deterministic=True))

    def _steps(self, episode_id: str, episode: Episode) -> int:
        """How many steps an episode has. Raises DataError for arrays that do not fit."""
        pose = episode.pose
        length = len(pose) if isinstance(pose, np.ndarray) and pose.ndim else 0
        if isinstance(pose, np.ndarray) and not length:
            raise DataError(f"episode {episode_id!r} has no steps")
        for field, shape, dtype in (
            ("pose", (length, self.shapes.pose), np.float32),
            ("action", (length, self.shapes.action), np.float32),
            ("image", (length, *self.shapes.picture), np.uint8),
        ):
            array = getattr(episode, field)
            if not isinstance(array, np.ndarray) or isinstance(array, np.ma.MaskedArray):
                raise DataError(
                    f"episode {episode_id!r}: {field} is of type {type(array).__name__}; it must "
                    f"be an array {np.dtype(dtype)} {shape}"
                )
            if array.shape != shape or array.dtype != dtype:
                raise DataError(
                    f"episode {episode_id!r}: {field} is {array.dtype} {array.shape}, "
                    f"the dataset wants {np.dtype(dtype)} {shape}"
                )
            if not np.isfinite(array).all():
                raise DataError(f"episode {episode_id!r}: {field} holds NaN or infinity")
        return length

    def _facts(self, meta: EpisodeMeta) -> dict[str, str | int | list[str]]:
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
        that is none, or of other shapes."""
        # TFDS decodes step by step, which is ten times slower than taking the fields whole.
        found = parse_record(path, record)
        image = b"".join(record_field(path, found, IMAGE).bytes_list.value)
        pose = record_field(path, found, _POSE).float_list.value
        action = record_field(path, found, _ACTION).float_list.value
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
        return Episode(*arrays, meta=decode_metadata(path, found))

    def check_mark(self, path: Path, record: bytes) -> None:
        """Raises DataError, naming `path`, for a record of another robot or version."""
        stored = optional_text(parse_record(path, record), "spec")
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


def shapes_of(features: tfds.features.FeaturesDict) -> Shapes:
    """The shapes that the RLDS features of a dataset describe; any exception if they are none."""
    steps = features["steps"]
    observation = steps["observation"]
    (pose,), (action,) = observation["pose"].shape, steps["action"].shape
    return Shapes(tuple(observation["image"].shape), pose, action)


def has_mark(record: bytes) -> bool:
    """Whether a record says of which robot it is, or is none that can be read."""
    try:
        return optional_text(parse_record(Path(), record), "spec") is not None
    except DataError:
        return True
