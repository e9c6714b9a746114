"""Export to Open X: a TFDS directory of TFRecord shards that `tf.data` opens."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds
from google.protobuf import json_format
from PIL import Image
from tensorflow_datasets.proto import tf_example_pb2

from mili_jax.interchange import tfrecord
from mili_jax.interchange.mapping import Mapping as Plan
from mili_jax.interchange.own_mapping import own_mapping, own_text
from mili_jax.interchange.recording import MAPPING
from mili_jax.interchange.store import Exported, facts_of, pictures_of, streams
from mili_jax.spec import Spec

NAME, VERSION = "mili_episodes", "1.0.0"
_SHARD = 64  # episodes
_DESCRIPTION = (
    "Demonstrations and trials of a robot, exported by mili-jax. success, achieved_tasks and "
    "reward are what a simulator knows; labels are the answers of people or of a filter."
)


def plan(spec: Spec, splits: Sequence[str], fps: float | None) -> Plan:
    """The mapping that brings the export back."""
    return own_mapping(
        spec,
        "rlds",
        "steps/observation/state",
        "steps/action",
        lambda name: f"steps/observation/{_image(spec, name)}",
        "png",
        lambda fact: f"episode_metadata/{fact}",
        splits,
        fps,
    )


def write(
    root: Path,
    spec: Spec,
    episodes: Mapping[str, tuple[int, Iterator[Exported]]],
    mapping: Plan,
) -> None:
    """Writes splits, each as (how many episodes, the episodes), where `tfds.builder(NAME,
    data_dir=root)` looks for them."""
    folder = root / NAME / VERSION
    folder.mkdir(parents=True)
    features = _features(spec)
    infos = []
    for split, (count, found) in episodes.items():
        lengths = [min(_SHARD, count - begin) for begin in range(0, count, _SHARD)]
        sizes = 0
        for shard, length in enumerate(lengths):
            name = f"{NAME}-{split}.tfrecord-{shard:05d}-of-{len(lengths):05d}"
            records = (_record(spec, next(found)) for _ in range(length))
            tfrecord.write(folder / name, records)
            sizes += (folder / name).stat().st_size
        infos.append(
            tfds.core.SplitInfo(
                name=split,
                shard_lengths=lengths,
                num_bytes=sizes,
                filename_template=tfds.core.ShardedFileTemplate(
                    data_dir=folder, dataset_name=NAME, split=split, filetype_suffix="tfrecord"
                ),
            )
        )
    identity = tfds.core.dataset_info.DatasetIdentity(
        name=NAME, version=tfds.core.Version(VERSION), data_dir=str(folder), module_name=""
    )
    info = tfds.core.DatasetInfo(builder=identity, description=_DESCRIPTION, features=features)
    info.set_file_format("tfrecord")
    info.set_splits(tfds.core.splits.SplitDict(infos))
    described = json_format.MessageToDict(features.to_proto())
    (folder / "features.json").write_text(json.dumps(described, indent=1, sort_keys=True))
    (folder / "dataset_info.json").write_text(info.as_json)
    (folder / MAPPING).write_text(own_text(mapping))


def _image(spec: Spec, stream: str) -> str:
    """Of one camera "image", and perhaps "image_heights"."""
    name = stream.removeprefix(spec.cameras[0].name) if spec.views == 1 else f"_{stream}"
    return f"image{name}"


def _features(spec: Spec) -> tfds.features.FeaturesDict:
    image = tfds.features.Image(shape=(spec.height, spec.width, 3), encoding_format="png")
    text = tfds.features.Text()
    observation: dict[str, object] = {_image(spec, s.name): image for s in streams(spec)}
    observation["state"] = tfds.features.Tensor(shape=(len(spec.pose),), dtype=np.float32)
    return tfds.features.FeaturesDict(
        {
            "steps": tfds.features.Dataset(
                {
                    "observation": observation,
                    "action": tfds.features.Tensor(shape=(len(spec.action),), dtype=np.float32),
                    "language_instruction": text,
                    "is_first": np.bool_,
                    "is_last": np.bool_,
                    "is_terminal": np.bool_,
                    "reward": np.float32,
                    "discount": np.float32,
                }
            ),
            "episode_metadata": {
                "task": text,
                "language": text,
                "episode_id": text,
                "scene": text,
                "seed": np.int64,
                "round": np.int64,
                "policy": text,
                "demonstration": text,
                "renderer": text,
                "useful": np.bool_,
                "success": np.bool_,
                "terminated": np.bool_,
                "achieved_tasks": text,
                "labels": text,
            },
        }
    )


def _record(spec: Spec, exported: Exported) -> bytes:
    episode = exported.episode
    meta, length = episode.meta, len(episode)
    example = tf_example_pb2.Example()
    fields = example.features.feature
    for stream in streams(spec):
        blobs = fields[f"steps/observation/{_image(spec, stream.name)}"].bytes_list.value
        blobs.extend(png(picture) for picture in pictures_of(spec, episode, stream))
    for name, values in (
        ("observation/state", episode.pose),
        ("action", episode.action),
    ):
        fields[f"steps/{name}"].float_list.value.extend(values.ravel().tolist())
    words = (meta.language or meta.task).encode()
    fields["steps/language_instruction"].bytes_list.value.extend([words] * length)
    ends = [0] * (length - 1)
    for name, flags in (
        ("is_first", [1, *ends]),
        ("is_last", [*ends, 1]),
        ("is_terminal", [*ends, int(meta.terminated)]),
    ):
        fields[f"steps/{name}"].int64_list.value.extend(flags)
    fields["steps/reward"].float_list.value.extend([*map(float, ends), float(meta.success)])
    fields["steps/discount"].float_list.value.extend([1.0] * length)
    for name, value in facts_of(exported).items():
        field = fields[f"episode_metadata/{name}"]
        if isinstance(value, str):
            field.bytes_list.value.append(value.encode())
        else:
            field.int64_list.value.append(int(value))
    return bytes(example.SerializeToString(deterministic=True))


def png(picture: np.ndarray) -> bytes:
    """A picture uint8 [H,W,3] without loss."""
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "png", compress_level=3)
    return file.getvalue()
