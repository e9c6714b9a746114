"""The facts of an episode: checked when they are stored, and read out of a record."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from google.protobuf.message import DecodeError
from tensorflow_datasets.proto import tf_example_pb2, tf_feature_pb2

from mili_jax.storage import fields
from mili_jax.types import DataError, EpisodeMeta

Record = Mapping[str, tf_feature_pb2.Feature]  # the fields of an episode by their names

_CHECKS: Mapping[str, Callable[[object, str], Any]] = {
    "episode_id": fields.name,
    "task": fields.text,
    "scene": fields.text,
    "seed": fields.integer,
    "round": fields.integer,
    "policy": fields.text,
    "demonstration": fields.text,
    "renderer": fields.text,
    "useful": fields.boolean,
    "success": fields.boolean,
    "achieved_tasks": fields.texts,
    "terminated": fields.boolean,
    "language": fields.text,
}


def checked_facts(meta: EpisodeMeta) -> EpisodeMeta:
    """The facts as they are stored, each of the type that it should be. Raises DataError, naming
    episode and field, for what cannot be meant."""
    try:
        found = {name: check(getattr(meta, name), name) for name, check in _CHECKS.items()}
    except DataError as error:
        raise DataError(f"episode {str(meta.episode_id)[:60]!r}: {error}") from None
    return EpisodeMeta(**found)


def parse_record(path: Path, record: bytes) -> Record:
    """The fields of a record by their names in the features. Raises DataError naming `path`."""
    try:
        return tf_example_pb2.Example.FromString(record).features.feature
    except DecodeError as error:
        raise DataError(
            f"{path}: a record is no episode ({error}); write this shard again"
        ) from error


def record_field(path: Path, record: Record, name: str) -> tf_feature_pb2.Feature:
    """A field of a parsed record. Raises DataError naming `path` and the field if it is missing."""
    if name not in record:
        raise DataError(f"{path}: an episode has no field {name!r}; write this shard again")
    return record[name]


def optional_text(record: Record, name: str) -> str | None:
    """A text among the facts that older records do not have."""
    name = f"episode_metadata/{name}"
    return record[name].bytes_list.value[0].decode() if name in record else None


def decode_metadata(path: Path, record: Record) -> EpisodeMeta:
    """The facts in a parsed record. Raises DataError naming `path` if one is missing."""

    def field(name: str) -> tf_feature_pb2.Feature:
        return record_field(path, record, f"episode_metadata/{name}")

    def text(name: str) -> str:
        return field(name).bytes_list.value[0].decode()

    def integer(name: str) -> int:
        return field(name).int64_list.value[0]

    try:
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
            achieved_tasks=tuple(t.decode() for t in field("achieved_tasks").bytes_list.value),
            terminated=bool(record_field(path, record, "steps/is_terminal").int64_list.value[-1]),
            language=optional_text(record, "language") or "",
        )
    except (IndexError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: the facts of an episode cannot be read ({error})") from error
