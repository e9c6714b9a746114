"""`features.json` of a TFDS directory: what the fields of a record are, without TensorFlow.

Records are `tf.train.Example` protocol buffers. A field is named by its path, such as
"steps/observation/image_0"; all steps of an episode stand in one list.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypedDict

import numpy as np
from tensorflow_datasets.proto import tf_feature_pb2

from mili_jax.interchange.recording import NUMBER, OTHER, PICTURE, TEXT, Column
from mili_jax.types import DataError

STEPS = "steps"


class _Shape(TypedDict):
    dimensions: list[str]


class _Tensor(TypedDict, total=False):
    """Numbers, of whatever dtype numpy knows, or texts."""

    shape: _Shape
    dtype: str
    encoding: str


class _Image(TypedDict, total=False):
    """A picture; it has no encodingFormat where that varies."""

    shape: _Shape
    dtype: str
    encodingFormat: str


class Feature(TypedDict, total=False):
    """A feature: the key that names its kind, beside a class name and a description."""

    featuresDict: _FeaturesDict
    sequence: _Sequence
    text: object
    classLabel: object
    image: _Image
    tensor: _Tensor


class _FeaturesDict(TypedDict):
    """Features by name."""

    features: dict[str, Feature]


class _Sequence(TypedDict):
    """A feature of every step."""

    feature: Feature


def columns(raw: Feature, path: Path) -> tuple[dict[str, Column], dict[str, str]]:
    """The fields of `features.json` by name, and the encoding of those stored as bytes.

    Raises DataError, naming the file, if it is no description of episodes.
    """
    try:
        features = raw["featuresDict"]["features"]
        inner = features[STEPS]["sequence"]["feature"]["featuresDict"]["features"]
    except (KeyError, TypeError) as error:
        raise DataError(
            f"{path} describes no episodes: it lacks {error}; RLDS wants a sequence `steps`"
        ) from None
    found: dict[str, Column] = {}
    encodings: dict[str, str] = {}
    try:
        _walk(inner, STEPS, True, found, encodings)
        for name, feature in features.items():
            if name != STEPS:
                _walk({name: feature}, "", False, found, encodings)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataError(f"{path}: a feature is not described as TFDS does ({error!r})") from error
    return found, encodings


def _walk(
    features: Mapping[str, Feature],
    above: str,
    per_step: bool,
    found: dict[str, Column],
    encodings: dict[str, str],
) -> None:
    for name, feature in features.items():
        path = f"{above}/{name}" if above else name
        if "featuresDict" in feature:
            _walk(feature["featuresDict"]["features"], path, per_step, found, encodings)
            continue
        found[path] = column = _column(path, feature, per_step)
        encoding = str(feature.get("tensor", {}).get("encoding", "none")).lower()
        if column.kind != OTHER and encoding not in ("none", ""):
            encodings[path] = encoding


def _column(name: str, feature: Feature, per_step: bool) -> Column:
    if "text" in feature:
        return Column(name, TEXT, (), "string", per_step)
    if "image" in feature:
        image = feature["image"]
        shape = _shape(image)
        dtype = image.get("dtype") or "uint8"
        why = ""
        if not per_step:
            why = "a picture of the whole episode, not of a step"
        elif dtype != "uint8" or len(shape) != 3 or shape[2] != 3:
            why = f"a picture of {dtype} {shape}, not of three bytes a pixel"
        kind = OTHER if why else PICTURE
        return Column(
            name, kind, shape, dtype, per_step, image.get("encodingFormat") or "", (), why
        )
    if "tensor" in feature:
        return _tensor(name, feature["tensor"], per_step)
    if "classLabel" in feature:
        return Column(name, NUMBER, (), "int64", per_step)
    kind = next((key for key in feature if key not in ("pythonClassName", "description")), "?")
    return Column(name, OTHER, (), kind, per_step, why=f"a feature of the kind {kind!r}")


def _tensor(name: str, tensor: _Tensor, per_step: bool) -> Column:
    shape, dtype = _shape(tensor), tensor["dtype"]
    encoding = str(tensor.get("encoding", "none")).lower()
    if dtype in ("string", "object", "bytes"):
        why = "" if not shape else f"text of shape {shape}"
        if encoding not in ("none", ""):
            why = f"text with the encoding {encoding!r}"
        return Column(name, OTHER if why else TEXT, shape, "string", per_step, why=why)
    np.dtype(dtype)  # ValueError or TypeError for a word that is none
    if None in shape:
        return Column(name, OTHER, shape, dtype, per_step, why=f"of varying shape {shape}")
    if dtype == "uint8" and len(shape) in (3, 4) and shape[-1] == 3 and per_step:
        if encoding == "none" or len(shape) == 4:
            why = "pixels as numbers" if encoding == "none" else "pictures of several cameras"
            return Column(name, OTHER, shape, dtype, per_step, why=why)
        return Column(name, PICTURE, shape, dtype, per_step, "raw")
    return Column(name, NUMBER, shape, dtype, per_step)


def _shape(described: _Tensor | _Image) -> tuple[int | None, ...]:
    sides = [int(side) for side in described.get("shape", {}).get("dimensions", ())]
    return tuple(None if side < 0 else side for side in sides)


def values(
    field: tf_feature_pb2.Feature, column: Column, encoding: str
) -> np.ndarray | Sequence[bytes]:
    """What a field of a record holds: numbers [n,...] of its own type, or a list of bytes.

    Raises ValueError, saying what does not fit, without a name.
    """
    kind = field.WhichOneof("kind")
    if column.kind in (TEXT, PICTURE) or encoding:
        if kind != "bytes_list":
            raise ValueError(f"holds {_KINDS.get(kind, 'nothing')} where bytes are promised")
        blobs = field.bytes_list.value
        return _unpacked(blobs, column, encoding) if encoding else blobs
    dtype = np.dtype(column.dtype)
    wanted = "float_list" if dtype.kind == "f" else "int64_list"
    if kind != wanted:
        raise ValueError(f"holds {_KINDS.get(kind, 'nothing')} where {_KINDS[wanted]} are promised")
    flat = np.array(getattr(field, kind).value)
    if column.size == 0 or len(flat) % column.size:
        raise ValueError(f"holds {len(flat)} numbers, no multiple of {column.size}")
    return flat.astype(dtype).reshape(-1, *column.shape)


_KINDS = {"float_list": "fractions", "int64_list": "whole numbers", "bytes_list": "bytes"}


def _unpacked(blobs: Sequence[bytes], column: Column, encoding: str) -> np.ndarray:
    dtype = np.dtype(column.dtype).newbyteorder("<")
    size = column.size * dtype.itemsize
    try:
        raw = [zlib.decompress(blob) if encoding == "zlib" else blob for blob in blobs]
    except zlib.error as error:
        raise ValueError(f"cannot be decompressed ({error})") from None
    if encoding not in ("zlib", "bytes"):
        raise ValueError(f"has the encoding {encoding!r}; known are bytes and zlib")
    if wrong := [len(blob) for blob in raw if len(blob) != size]:
        raise ValueError(f"has {wrong[0]} bytes in a step, {size} are promised")
    flat = np.frombuffer(b"".join(raw), dtype).astype(np.dtype(column.dtype), copy=False)
    return flat.reshape(-1, *column.shape)
