"""What a dataset says of itself: which splits are committed, and of which robot they are."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path

import tensorflow_datasets as tfds
from google.protobuf import json_format

from mili_jax.spec import Spec
from mili_jax.storage.foreign import refuse_foreign
from mili_jax.storage.ledger import verified
from mili_jax.storage.records import Codec, codec, has_mark, shapes_of
from mili_jax.storage.robot import Shapes, difference, mark_of
from mili_jax.storage.shards import read_first
from mili_jax.types import DOCTOR, ConfigError, DataError

NAME = "mili"
VERSION = "1.0.0"
_TEXT = (
    "Demonstrations and autonomous trials of a robot (MILI). reward, success and achieved_tasks "
    "are oracle information for evaluation only."
)


@dataclasses.dataclass(frozen=True)
class Description:
    """splits: the committed ones. spec: the stored one, or the one asked for where none is. codec:
    None where nothing says what episodes are like. old: committed before there was `spec.json`."""

    splits: dict[str, tfds.core.SplitInfo]
    spec: Spec | None
    codec: Codec | None
    old: bool


def read_description(directory: Path, asked: Spec | None) -> Description:
    """What `directory` holds, if that is of the robot asked for.

    Raises DataError, naming the first difference, if it is not, the file if one is damaged, and
    what it is if it is not a dataset of ours at all.
    """
    refuse_foreign(directory)
    committed = verified(directory, "dataset_info.json") is not None
    spec = _read_spec(directory)
    splits, shapes, old = {}, Shapes.of(spec) if spec else None, False
    if committed:
        verified(directory, "features.json")
        try:
            info = tfds.builder_from_directory(str(directory)).info
            splits, shapes = dict(info.splits), shapes_of(info.features)
            stored = info.features.get_serialized_info()
        except Exception as error:
            # What TFDS raises on a damaged description is not one family of errors.
            raise DataError(
                f"{directory}/dataset_info.json or features.json is damaged ({error}); {DOCTOR}"
            ) from error
        old = stored == codec(shapes, None).features.get_serialized_info()
        if not old and stored != codec(shapes, "").features.get_serialized_info():
            raise DataError(
                f"{directory}/features.json does not describe the episodes of this version; use "
                "another directory"
            )
        if not old and (spec is None or Shapes.of(spec) != shapes):
            raise DataError(
                f"{directory}/spec.json is {'missing' if spec is None else 'not of these episodes'}"
                f"; {DOCTOR}"
            )
    if asked and shapes and (found := difference(shapes, spec, asked)):
        raise DataError(
            f"{directory} {found}. In a command config.data.cameras and config.data.image_size "
            "choose among the robot's own pictures, config.domain.name=logs takes whatever is "
            "there, as Dataset(root) does in Python; or use another directory"
        )
    if not committed and spec is None and asked and _begun_before_marks(directory):
        shapes, old = Shapes.of(asked), True
    robot = spec or asked  # the one whose mark is in the records
    made = codec(Shapes.of(robot), mark_of(robot)) if robot else None
    return Description(splits, asked or spec, codec(shapes, None) if old and shapes else made, old)


def _begun_before_marks(directory: Path) -> bool:
    """Whether an uncommitted shard is of a version whose records had no mark: then so are all."""
    for path in sorted(directory.glob(f"{NAME}-*.array_record-*"))[:1]:
        record = read_first(path)
        return record is not None and not has_mark(record)
    return False


def _read_spec(directory: Path) -> Spec | None:
    content = verified(directory, "spec.json")
    try:
        return None if content is None else Spec.from_json(content)
    except ConfigError as error:
        raise DataError(f"{directory}/spec.json is damaged ({error}); {DOCTOR}") from error


def template_of(directory: Path, split: str) -> tfds.core.ShardedFileTemplate:
    """The names of a split's shards. Without their total number in them a worker can name its
    shard alone."""
    return tfds.core.ShardedFileTemplate(
        data_dir=directory,
        dataset_name=NAME,
        split=split,
        filetype_suffix="array_record",
        template="{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_INDEX}",
    )


def describe(
    directory: Path, known: Description, splits: Mapping[str, tfds.core.SplitInfo]
) -> dict[str, bytes]:
    """The files, by name, that say which splits are committed; `dataset_info.json`, which makes
    them count, is the last."""
    assert known.codec is not None
    identity = tfds.core.dataset_info.DatasetIdentity(
        name=NAME, version=tfds.core.Version(VERSION), data_dir=str(directory), module_name=""
    )
    features = known.codec.features
    info = tfds.core.DatasetInfo(builder=identity, description=_TEXT, features=features)
    info.set_file_format("array_record")
    info.set_splits(tfds.core.splits.SplitDict(list(splits.values())))
    described = json_format.MessageToDict(features.to_proto())
    contents = {"features.json": json.dumps(described, indent=1, sort_keys=True).encode()}
    if not known.old:
        stored = verified(directory, "spec.json")
        assert known.spec is not None
        contents["spec.json"] = stored or known.spec.to_json().encode()
    return contents | {"dataset_info.json": info.as_json.encode()}
