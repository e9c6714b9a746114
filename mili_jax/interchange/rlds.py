"""Open X-Embodiment: RLDS episodes in a TFDS directory, TFRecord or ArrayRecord, no TensorFlow."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NotRequired, TypedDict

import numpy as np
from array_record.python.array_record_module import ArrayRecordReader
from google.protobuf.message import DecodeError
from tensorflow_datasets.proto import tf_example_pb2

from mili_jax.interchange import features, tfrecord
from mili_jax.interchange.recording import (
    MAPPING,
    NUMBER,
    PICTURE,
    TEXT,
    ArrayPictures,
    Column,
    EncodedPictures,
    Pictures,
    Recording,
)
from mili_jax.types import DataError

_FORMATS = ("tfrecord", "array_record")
_TEMPLATE = "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}"


class Split(TypedDict):
    """A split in `dataset_info.json`."""

    name: str
    shardLengths: list[str]
    filepathTemplate: NotRequired[str]


class Info(TypedDict):
    """What is read of `dataset_info.json`."""

    name: str
    splits: list[Split]
    fileFormat: NotRequired[str]
    alternativeFileFormats: NotRequired[list[str]]


@dataclasses.dataclass(frozen=True)
class Place:
    """Where a record is: its shard, its number in it, and of a TFRecord (offset, length)."""

    path: Path
    record: int
    bytes: tuple[int, int] | None


@dataclasses.dataclass(frozen=True)
class RldsSource:
    """A TFDS directory that `open_rlds` looked through."""

    path: Path
    columns: Mapping[str, Column]
    encodings: Mapping[str, str]
    places: Mapping[str, tuple[Place, ...]]
    notes: tuple[str, ...]
    mapping: str | None
    format: str = "rlds"
    fps: float | None = None

    @property
    def splits(self) -> Mapping[str, int]:
        return {split: len(places) for split, places in self.places.items()}

    def read(
        self, split: str, numbers: Sequence[int], names: Collection[str] | None = None
    ) -> Iterator[Recording]:
        """Recordings with the columns `names`, by default all that can be read."""
        wanted = [c for c in self.columns.values() if names is None or c.name in names]
        places = self.places[split]
        opened: _Tfrecord | _Arrayrecord | None = None
        try:
            for number in numbers:
                place = places[number]
                if opened is None or opened.path != place.path:
                    if opened is not None:
                        opened.close()
                    opened = (_Tfrecord if place.bytes else _Arrayrecord)(place.path)
                where = f"{place.path}, record {place.record}"
                yield self._recording(opened.record(place, where), where, split, number, wanted)
        finally:
            if opened is not None:
                opened.close()

    def _recording(
        self, record: bytes, where: str, split: str, number: int, wanted: Sequence[Column]
    ) -> Recording:
        try:
            fields = tf_example_pb2.Example.FromString(record).features.feature
        except DecodeError as error:
            raise DataError(f"{where} is no tf.train.Example ({error})") from error
        pictures: dict[str, Pictures] = {}
        numbers: dict[str, np.ndarray] = {}
        texts: dict[str, tuple[str, ...]] = {}
        facts: dict[str, object] = {}
        counts: dict[str, int] = {}
        for column in wanted:
            name, kind = column.name, column.kind
            if kind not in (PICTURE, NUMBER, TEXT):
                continue
            if name not in fields:
                raise DataError(f"{where} lacks {name!r}, which features.json promises")
            try:
                found = features.values(fields[name], column, self.encodings.get(name, ""))
                words = tuple(blob.decode() for blob in found) if kind == TEXT else ()
            except ValueError as error:
                raise DataError(f"{where}: {name} {error}") from None
            if not column.per_step:
                if len(found) != 1:
                    raise DataError(f"{where}: {name} holds {len(found)} values, not one")
                value = words[0] if words else found[0]
                facts[name] = value.item() if isinstance(value, np.generic) else value
                continue
            counts[name] = len(found)
            if kind == TEXT:
                texts[name] = words
            elif not isinstance(found, np.ndarray):
                pictures[name] = EncodedPictures(
                    where, name, found, (column.shape[0], column.shape[1])
                )
            elif kind == NUMBER:
                numbers[name] = found
            else:
                pictures[name] = ArrayPictures(where, name, found)
        return Recording(
            where, split, number, _length(where, counts), pictures, numbers, texts, facts
        )


def _length(where: str, counts: Mapping[str, int]) -> int:
    if not counts or not max(counts.values()):
        raise DataError(f"{where} has no steps")
    first, length = next(iter(counts.items()))
    for name, count in counts.items():
        if count != length:
            raise DataError(f"{where}: {first} has {length} steps and {name} {count}")
    return length


class _Tfrecord:
    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._file = path.open("rb")
        except OSError as error:
            raise DataError(f"{path} cannot be read ({error.strerror})") from error

    def record(self, place: Place, where: str) -> bytes:
        assert place.bytes is not None
        return tfrecord.read_record(self._file, place.bytes, where)

    def close(self) -> None:
        self._file.close()


class _Arrayrecord:
    def __init__(self, path: Path) -> None:
        self.path = path
        self._reader = ArrayRecordReader(str(path))

    def record(self, place: Place, where: str) -> bytes:
        try:
            (record,) = self._reader.read([place.record])
        except (RuntimeError, IndexError, ValueError) as error:
            raise DataError(f"{where} is damaged ({error})") from error
        return bytes(record)

    def close(self) -> None:
        self._reader.close()


def open_rlds(path: Path | str, partial: bool = False) -> RldsSource:
    """Looks through a TFDS directory, or a folder that holds just one.

    A split of which no file is there is left out, and a note says so.

    Args:
      partial: take what is there of a split some of whose files are missing.

    Raises DataError naming the file: a description that is missing or wrong, a missing shard, one
    with another number of episodes than promised, or a cut one.
    """
    path = Path(path)
    folder = _find(path)
    raw, info = _json(folder / "features.json"), _json(folder / "dataset_info.json")
    found, encodings = features.columns(raw, folder / "features.json")
    places, notes = _shards(folder, info, partial)
    own = folder / MAPPING
    return RldsSource(
        folder,
        found,
        encodings,
        places,
        tuple(notes),
        own.read_text() if own.is_file() else None,
    )


def read_rlds(
    path: Path | str, splits: Sequence[str] | None = None, partial: bool = False
) -> Iterator[Recording]:
    """The episodes of a TFDS directory, one at a time. Raises DataError as `open_rlds` at once, and
    for an episode when its turn comes."""
    source = open_rlds(path, partial)
    return (
        recording
        for split in (source.splits if splits is None else splits)
        for recording in source.read(split, range(source.splits[split]))
    )


def _find(path: Path) -> Path:
    if not path.is_dir():
        raise DataError(f"{path} is no folder; give the one with features.json")
    level = [path]
    for _ in range(3):
        holds = [folder for folder in level if (folder / "features.json").is_file()]
        if len(holds) == 1:
            return holds[0]
        if holds:
            names = ", ".join(str(folder.relative_to(path)) for folder in sorted(holds))
            raise DataError(f"{path} holds several datasets ({names}); give one of them")
        level = [sub for folder in level for sub in sorted(folder.iterdir()) if sub.is_dir()]
    raise DataError(f"{path} holds no features.json, two folders down either: it is no TFDS one")


def _json(path: Path) -> Any:
    try:
        found = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise DataError(f"{path} is missing; without it nobody knows what the shards are") from None
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path} is no JSON ({error})") from error
    if not isinstance(found, dict):
        raise DataError(f"{path} is no JSON object")
    return found


def _shards(
    folder: Path, info: Info, partial: bool
) -> tuple[dict[str, tuple[Place, ...]], list[str]]:
    what = folder / "dataset_info.json"
    try:
        name = str(info["name"])
        formats = [info.get("fileFormat", "tfrecord"), *info.get("alternativeFileFormats", ())]
        splits = [
            (
                str(split["name"]),
                [int(length) for length in split["shardLengths"]],
                str(split.get("filepathTemplate") or _TEMPLATE),
            )
            for split in info["splits"]
        ]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataError(f"{what} does not list its splits as TFDS does ({error!r})") from error
    known = [form for form in formats if form in _FORMATS]
    if not known:
        raise DataError(f"{what}: fileFormat is {formats[0]!r}; {' and '.join(_FORMATS)} are read")
    if len({split[0] for split in splits}) < len(splits):
        raise DataError(f"{what} lists a split twice")
    if not splits:
        raise DataError(f"{what} lists no splits")
    places: dict[str, tuple[Place, ...]] = {}
    notes, listed = [], set()
    for split, lengths, template in splits:
        form = next(
            (
                f
                for f in known
                if _names(what, name, split, f, lengths, template)[0] in _there(folder)
            ),
            known[0],
        )
        files = [folder / n for n in _names(what, name, split, form, lengths, template)]
        listed |= {file.name for file in files}
        missing = [file for file in files if not file.is_file()]
        if len(missing) == len(files):
            notes.append(
                f"The split {split!r} of {sum(lengths)} episodes is left out: dataset_info.json "
                f"lists it, and its file {files[0].name} is not there."
            )
            continue
        if missing and not partial:
            raise DataError(
                f"{missing[0]} is missing: dataset_info.json promises {len(files)} files of the "
                f"split {split!r}, {len(missing)} are not there; copy them, or ask for what is "
                "there (--partial)"
            )
        if missing:
            gone = ", ".join(file.name for file in missing)
            notes.append(f"Of the split {split!r} these files are missing: {gone}.")
        found: list[Place] = []
        for file, length in zip(files, lengths, strict=True):
            if file in missing:
                continue
            here = _index(file, form)
            if len(here) != length:
                text = f"{file} holds {len(here)} episodes, dataset_info.json promises {length}"
                if not partial:
                    raise DataError(f"{text}; copy it again, or ask for what is there (--partial)")
                notes.append(f"{text}.")
            found += here
        places[split] = tuple(found)
    if not places:
        raise DataError(
            f"{folder} holds no file of any split that dataset_info.json lists: {notes[0]}"
        )
    surplus = sorted(
        n for n in _there(folder) if any(f".{f}-" in n for f in known) if n not in listed
    )
    if surplus:
        notes.append(
            f"Left out, since dataset_info.json does not list them: {', '.join(surplus[:5])}"
            f"{' and more' if len(surplus) > 5 else ''}."
        )
    return places, notes


def _there(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def _names(
    what: Path, name: str, split: str, form: str, lengths: Sequence[int], template: str
) -> list[str]:
    if not lengths:
        raise DataError(f"{what}: the split {split!r} has no shardLengths")
    if min(lengths) < 0:
        raise DataError(f"{what}: the split {split!r} has a negative entry in shardLengths")
    total = len(lengths)
    try:
        found = [
            template.format(
                DATASET=name,
                SPLIT=split,
                FILEFORMAT=form,
                SHARD_X_OF_Y=f"{shard:05d}-of-{total:05d}",
                SHARD_INDEX=f"{shard:05d}",
                NUM_SHARDS=f"{total:05d}",
            )
            for shard in range(total)
        ]
    except (KeyError, IndexError, ValueError, AttributeError) as error:
        raise DataError(f"{what}: filepathTemplate {template!r} is not understood") from error
    if any("/" in file or "\\" in file or file in ("", ".", "..") for file in found):
        raise DataError(f"{what}: filepathTemplate {template!r} leads out of the folder")
    if len(set(found)) < total:
        raise DataError(f"{what}: filepathTemplate {template!r} names one file for several shards")
    return found


def _index(path: Path, form: str) -> list[Place]:
    if form == "tfrecord":
        return [Place(path, k, place) for k, place in enumerate(tfrecord.index(path))]
    try:
        reader = ArrayRecordReader(str(path))
        try:
            count = reader.num_records()
        finally:
            reader.close()
    except (RuntimeError, ValueError) as error:
        raise DataError(f"{path} is damaged ({error})") from error
    return [Place(path, k, None) for k in range(count)]
