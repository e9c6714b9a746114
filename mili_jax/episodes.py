"""Episodes on disk: RLDS in a TFDS directory of ArrayRecord shards, without TensorFlow.

Layout under the root a `Dataset` is opened on:

  mili/1.0.0/mili-<split>.array_record-00000 ...   the shards, one record per episode
  mili/1.0.0/features.json                         what a record holds
  mili/1.0.0/checksums.json                        SHA-256 of every other file that counts
  mili/1.0.0/dataset_info.json                     the committed splits
  mili/1.0.0/labels_<split>.jsonl                  answers of the filter F; lines are only added
  mili/1.0.0/pairs_<name>.csv                      pairs of trials with their similarity

`tfds.builder_from_directory(<root>/mili/1.0.0).as_data_source(split)` reads it without this
package. Any number of processes may write different shards; a split exists for readers only once
`Dataset.commit` has renamed `dataset_info.json` into place.

Every file is replaced as a whole, and verified before anything of it is used. While one is being
replaced, `checksums.json` allows the old content and the new.

Pixels are stored raw: with a still camera the shard's own compression beats PNG and JPEG.
The reward is 1 at the last step of a successful episode: that is oracle information, like
`success` and `achieved_tasks`, and nothing that trains or pairs may read it.
"""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import fcntl
import hashlib
import io
import json
import os
import re
import types
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from array_record.python.array_record_module import ArrayRecordReader, ArrayRecordWriter
from google.protobuf import json_format
from google.protobuf.message import DecodeError
from tensorflow_datasets.core.example_serializer import ExampleSerializer
from tensorflow_datasets.proto import tf_example_pb2

from mili_jax.types import DOCTOR, DataError, Episode, EpisodeMeta

NAME = "mili"
VERSION = "1.0.0"
_NAME_RULE = re.compile(r"[a-z][a-z0-9_]*")
_BLANK = "0" * 64  # stands where a file's own SHA-256 goes
_NOTHING: Mapping[str, Any] = types.MappingProxyType({})
_DESCRIPTIONS = ("dataset_info.json", "features.json")
_SHARD = ".array_record-"
_COUNTS = re.compile(r"mili-.*|labels_.*\.jsonl|pairs_.*\.csv|dataset_info\.json|features\.json")
_PAIR_HEADER = ["a", "b", "similarity", "alpha"]
_DESCRIPTION = (
    "Demonstrations and autonomous trials of a floating gripper among kitchenware (MILI). "
    "reward, success and achieved_tasks are oracle information for evaluation only."
)


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


@dataclasses.dataclass(frozen=True)
class Label:
    """One answer of the filter F: is this trial useful, says whom, when (ISO 8601, "" unknown)."""

    episode_id: str
    useful: bool
    by: str
    time: str = ""


@dataclasses.dataclass(frozen=True)
class Pairs:
    """R pairs of episode ids, similarity float32 [R] (cosine), alpha float64 [R] (threshold)."""

    a: tuple[str, ...]
    b: tuple[str, ...]
    similarity: np.ndarray
    alpha: np.ndarray

    def __len__(self) -> int:
        return len(self.a)


class Dataset:
    """A handle on one TFDS directory; it keeps nothing open and nothing in memory.

    Args:
      root: the directory that holds (or will hold) `mili/1.0.0`.
      image_size: height and width of the images in pixels.

    Raises DataError if the directory holds committed episodes of another image size or of other
    features, or if its description is damaged.
    """

    def __init__(self, root: Path | str, image_size: int) -> None:
        self.path = Path(root) / NAME / VERSION
        self.image_size = image_size
        self._features = features(image_size)
        self._serializer = ExampleSerializer(self._features.get_serialized_info())
        self._committed()

    def write_shard(self, split: str, shard: int, episodes: Sequence[Episode]) -> Path:
        """Writes one shard of a split that `commit` will publish; all of it or nothing.

        Different processes may write different shards, or the same shard with the same episodes.
        A shard of a committed split is never replaced: writing the same episodes again does
        nothing.

        Returns the shard's path. Raises DataError for episodes that do not fit the format, for
        other episodes than a committed shard holds, and when the file system refuses the write.
        """
        path = self._shard(split, shard)
        if not episodes:
            raise DataError(f"{path}: a shard needs at least one episode")
        records = [self._encode(episode) for episode in episodes]
        committed = self._committed().get(split)
        if committed is not None and shard < committed.num_shards and path.exists():
            if _read_records(path) != records:
                raise DataError(
                    f"{path} belongs to the committed split {split!r} and holds other episodes; "
                    "write to another split or another directory"
                )
            return path
        make_directory(self.path)
        with _replacing(path) as temporary:
            # One record per chunk: a reader that wants one episode inflates one.
            writer = ArrayRecordWriter(str(temporary), "group_size:1")
            try:
                for record in records:
                    writer.write(record)
            finally:
                # Nothing before this reports that the disk is full.
                writer.close()
        return path

    def has_shard(self, split: str, shard: int) -> bool:
        """Whether this shard was written completely, committed or not."""
        return self._shard(split, shard).is_file()

    def commit(self, split: str, shards: int) -> None:
        """Publishes shards 0 .. shards-1 as `split`; until then readers do not see them.

        Every shard is read once: its episodes must parse and no episode id may come twice.
        Committing again is harmless, and may add shards. The other splits stay as they are
        whatever happens here. Left-overs of writers that died are removed.

        Raises DataError naming the file: a missing, damaged or surplus shard, or a failed write.
        """
        self._check_name(split)
        if shards < 1:
            raise DataError(f"split {split!r} in {self.path}: nothing to commit ({shards} shards)")
        if not self.path.is_dir():
            raise DataError(f"{self._shard(split, 0)} is missing: write the shards, then commit")
        with _locked(self.path / ".commit.lock"):
            remove_abandoned(self.path)
            splits = self._committed()
            checksums = _checksums(self.path)
            lengths: list[int] = []
            size = 0
            seen: dict[str, Path] = {}
            for shard in range(shards):
                path = self._shard(split, shard)
                if not path.is_file():
                    raise DataError(
                        f"{path} is missing: split {split!r} wants shards 0 to {shards - 1}; "
                        "write it and commit again"
                    )
                digest = sha256(path)
                if path.name in checksums:  # also one that was lost and made again
                    _check_digest(path, digest, checksums)
                ids = [self._episode_id(path, record) for record in _read_records(path)]
                for episode_id in ids:
                    if episode_id in seen:
                        raise DataError(
                            f"{path}: episode {episode_id!r} is also in {seen[episode_id]}; "
                            "ids must be unique within a split"
                        )
                    seen[episode_id] = path
                lengths.append(len(ids))
                size += path.stat().st_size
                checksums[path.name] = {"sha256": digest, "bytes": path.stat().st_size}
            if self.has_shard(split, shards):
                raise DataError(
                    f"{self._shard(split, shards)} lies beyond the {shards} shards to commit; "
                    "it is from another run: delete it or commit it too"
                )
            splits[split] = tfds.core.SplitInfo(
                name=split,
                shard_lengths=lengths,
                num_bytes=size,
                filename_template=self._template(split),
            )
            self._publish(splits, checksums)

    def drop(self, split: str) -> None:
        """Removes a split, committed or not: its shards and its labels. The others stay.

        Killed before its end, what is left of the split counts as not committed; drop it again.
        Raises DataError if the file system refuses.
        """
        self._check_name(split)
        with _locked(self.path / ".commit.lock"):
            splits = self._committed()
            if splits.pop(split, None) is not None:
                self._publish(splits, {})
            # Shards last: as long as one is there, the split is seen to be left over.
            names = [self._labels(split).name]
            names += [p.name for p in self.path.glob(f"mili-{split}.array_record-*")]
            _list(
                self.path,
                {n: entry for n, entry in _checksums(self.path).items() if n not in names},
            )
            for name in names:
                try:
                    (self.path / name).unlink(missing_ok=True)
                except OSError as error:
                    raise DataError(f"{self.path / name} cannot be removed ({error})") from error

    def read_shard_metadata(self, split: str, shard: int) -> list[EpisodeMeta]:
        """The facts of a shard's episodes, committed or not. Raises DataError if it is damaged."""
        path = self._shard(split, shard)
        return [_decode_metadata(path, _parse(path, record)) for record in _read_records(path)]

    def splits(self) -> dict[str, int]:
        """The committed splits and their number of episodes."""
        return {name: info.num_examples for name, info in self._committed().items()}

    def read(self, split: str) -> Iterator[Episode]:
        """The episodes of a committed split, in the order in which they were written.

        A shard's SHA-256 is verified before anything of it is decoded. The arrays are read-only.

        Raises DataError naming the split if it is not committed (at once), or the damaged or
        missing file (when its turn comes).
        """
        return (self._decode(path, record) for path, record in self._records(split))

    def read_metadata(self, split: str) -> Iterator[EpisodeMeta]:
        """As `read`, without pixels and poses: half the time and none of the memory."""
        return (
            _decode_metadata(path, _parse(path, record)) for path, record in self._records(split)
        )

    def places(self, split: str) -> Iterator[tuple[Path, int]]:
        """(shard, record in it) of every episode of a committed split, as `read` has them."""
        lengths = self._lengths(split)
        return ((self._shard(split, i), k) for i, n in enumerate(lengths) for k in range(n))

    def write_labels(self, split: str, labels: Iterable[Label]) -> None:
        """Appends answers of the filter F; an id answered again is overruled, not overwritten.

        Raises DataError if the write fails; then all of `labels` are kept or none.
        """
        path = self._labels(split)
        make_directory(self.path)
        with _locked(self.path / ".commit.lock"):
            old = self._verified(path.name) or b""
            self._replace({path.name: old + _as_lines(map(dataclasses.asdict, labels))})

    def digests(self, *names: str) -> dict[str, str]:
        """The SHA-256 of label files and pair tables that are there, by name."""
        found = {name: _digest(self._verified(name)) for name in names}
        return {name: digest for name, digest in found.items() if digest is not None}

    def read_labels(self, split: str) -> dict[str, Label]:
        """The latest label of every labelled episode, by episode id; {} where there are none.

        Raises DataError naming the file if it is damaged, or holds what is no label.
        """
        path = self._labels(split)
        labels = {}
        for number, row in _lines(path, self._verified(path.name) or b""):
            try:
                label = Label(**row)
            except TypeError as error:
                raise DataError(f"{path}, line {number}: not a label ({error})") from None
            if not isinstance(label.useful, bool) or not isinstance(label.episode_id, str):
                raise DataError(f"{path}, line {number}: needs a text episode_id and a bool useful")
            labels[label.episode_id] = label
        return labels

    def write_pairs(
        self,
        name: str,
        a: Sequence[str],
        b: Sequence[str],
        similarity: np.ndarray,
        alpha: float,
    ) -> Path:
        """Replaces the pair table `name` (ids [R], ids [R], cosine [R], the threshold used)."""
        path = self._pairs(name)
        if not len(a) == len(b) == len(similarity):
            raise DataError(f"{path}: {len(a)}, {len(b)}, {len(similarity)} rows do not match")
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(_PAIR_HEADER)
        for first, second, value in zip(a, b, similarity, strict=True):
            # Nine digits bring a float32 back exactly.
            writer.writerow([first, second, f"{value:.9g}", repr(float(alpha))])
        make_directory(self.path)
        with _locked(self.path / ".commit.lock"):
            self._replace({path.name: text.getvalue().encode()})
        return path

    def read_pairs(self, name: str) -> Pairs:
        """The pair table `name`. Raises DataError naming the file if it is missing or damaged."""
        path = self._pairs(name)
        if not path.exists():
            raise DataError(f"{path} is missing: run the pairing stage first")
        content = self._verified(path.name) or b""
        rows = csv.reader(io.StringIO(content.decode()), strict=True)
        if next(rows, None) != _PAIR_HEADER:
            raise DataError(f"{path}, line 1: expected the header {','.join(_PAIR_HEADER)}")
        a, b, similarity, alpha = [], [], [], []
        try:
            for first, second, value, threshold in rows:
                a.append(first)
                b.append(second)
                similarity.append(float(value))
                alpha.append(float(threshold))
        except (ValueError, csv.Error) as error:
            raise DataError(f"{path}, line {rows.line_num}: {error}; pair again") from None
        return Pairs(tuple(a), tuple(b), np.array(similarity, np.float32), np.array(alpha, float))

    def _check_name(self, name: str) -> None:
        if not _NAME_RULE.fullmatch(name) or name == "all":
            raise DataError(
                f"{name!r} cannot name a split in {self.path}: use a-z, 0-9 and _, "
                "a letter first, and not 'all'"
            )

    def _shard(self, split: str, shard: int) -> Path:
        self._check_name(split)
        if shard < 0:
            raise DataError(f"split {split!r} in {self.path}: shard {shard} is negative")
        return self.path / f"{NAME}-{split}.array_record-{shard:05d}"

    def _labels(self, split: str) -> Path:
        self._check_name(split)
        return self.path / f"labels_{split}.jsonl"

    def _pairs(self, name: str) -> Path:
        self._check_name(name)
        return self.path / f"pairs_{name}.csv"

    def _template(self, split: str) -> tfds.core.ShardedFileTemplate:
        # Without the total number of shards in the names, a worker can name its shard alone.
        return tfds.core.ShardedFileTemplate(
            data_dir=self.path,
            dataset_name=NAME,
            split=split,
            filetype_suffix="array_record",
            template="{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_INDEX}",
        )

    def _committed(self) -> dict[str, tfds.core.SplitInfo]:
        if self._verified("dataset_info.json") is None:
            return {}
        self._verified("features.json")
        try:
            info = tfds.builder_from_directory(str(self.path)).info
            splits = dict(info.splits)
            image = tuple(info.features["steps"]["observation"]["image"].shape)
            stored = info.features.get_serialized_info()
        except Exception as error:
            # What TFDS raises on a damaged description is not one family of errors.
            raise DataError(
                f"{self.path}/dataset_info.json or features.json is damaged ({error}); {DOCTOR}"
            ) from error
        if image != (self.image_size, self.image_size, 3):
            raise DataError(
                f"{self.path} holds images {image[0]}x{image[1]}, but image_size "
                f"{self.image_size} was asked for; open it with {image[0]} or use another directory"
            )
        if stored != self._features.get_serialized_info():
            raise DataError(
                f"{self.path}/features.json does not describe the episodes of this version; "
                "use another directory"
            )
        return splits

    def _verified(self, name: str) -> bytes | None:
        """A file's content; None if it was never written. Raises DataError naming it."""
        path = self.path / name
        for _ in range(3):  # another process may be replacing it
            try:
                content = path.read_bytes()
            except (FileNotFoundError, NotADirectoryError):
                content = None
            except OSError as error:
                raise DataError(f"{path} cannot be read ({error.strerror}); {DOCTOR}") from error
            if _digest(content) in _allowed(_checksums(self.path), name):
                return content
        raise DataError(f"{path} is {_state(content is not None)}; {DOCTOR}")

    def _replace(self, contents: Mapping[str, bytes], shards: Mapping[str, Any] = _NOTHING) -> None:
        """Replaces files, and lists them, and shards that are there, in `checksums.json`.

        Killed anywhere in between, each file is the old or the new one and both are allowed until
        the next call, which allows only what is there.
        """
        listed = _settled(self.path, {**_checksums(self.path), **shards})
        for name, content in contents.items():
            before = self.path / name
            entry = {"before": sha256(before) if before.exists() else None}
            listed[name] = {"sha256": _digest(content), **entry}
        _list(self.path, listed)
        for name, content in contents.items():
            atomic_write(self.path / name, content)
            del listed[name]["before"]
        _list(self.path, listed)

    def _publish(
        self, splits: Mapping[str, tfds.core.SplitInfo], checksums: Mapping[str, Any]
    ) -> None:
        identity = tfds.core.dataset_info.DatasetIdentity(
            name=NAME,
            version=tfds.core.Version(VERSION),
            data_dir=str(self.path),
            module_name="",
        )
        info = tfds.core.DatasetInfo(
            builder=identity, description=_DESCRIPTION, features=self._features
        )
        info.set_file_format("array_record")
        info.set_splits(tfds.core.splits.SplitDict(list(splits.values())))
        described = json_format.MessageToDict(self._features.to_proto())
        contents = {
            "features.json": json.dumps(described, indent=1, sort_keys=True).encode(),
            "dataset_info.json": info.as_json.encode(),
        }
        self._replace(contents, checksums)

    def _lengths(self, split: str) -> Sequence[int]:
        """How many episodes each shard of a committed split holds."""
        self._check_name(split)
        splits = self._committed()
        if split not in splits:
            found = ", ".join(sorted(splits)) or "none"
            state = "written but not committed" if self.has_shard(split, 0) else "missing"
            raise DataError(
                f"split {split!r} of {self.path} is {state} (committed: {found}); "
                "run the stage that makes it again"
            )
        return list(splits[split].shard_lengths)

    def _records(self, split: str) -> Iterator[tuple[Path, bytes]]:
        lengths = self._lengths(split)
        checksums = _checksums(self.path)

        def records() -> Iterator[tuple[Path, bytes]]:
            for shard, length in enumerate(lengths):
                path = self._shard(split, shard)
                _check_digest(path, sha256(path), checksums)
                found = _read_records(path)
                if len(found) != length:
                    raise DataError(
                        f"{path} holds {len(found)} episodes, dataset_info.json says {length}; "
                        f"{DOCTOR}"
                    )
                for record in found:
                    yield path, record

        return records()

    def _encode(self, episode: Episode) -> bytes:
        meta = episode.meta
        length = len(episode)
        side = self.image_size
        if length < 1:
            raise DataError(f"episode {meta.episode_id!r} has no steps")
        for field, array, shape, dtype in (
            ("image", episode.image, (length, side, side, 3), np.uint8),
            ("pose", episode.pose, (length, 7), np.float32),
            ("action", episode.action, (length, 7), np.float32),
        ):
            if array.shape != shape or array.dtype != dtype:
                raise DataError(
                    f"episode {meta.episode_id!r}: {field} is {array.dtype} {array.shape}, "
                    f"the dataset {self.path} wants {np.dtype(dtype)} {shape}"
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
        metadata = dataclasses.asdict(meta) | {"achieved_tasks": list(meta.achieved_tasks)}
        del metadata["terminated"]  # the last step says so
        example = self._features.encode_example({"steps": steps, "episode_metadata": metadata})
        record = self._serializer.serialize_example(example)
        # The fields of a record are a map, whose order differs between processes; equal episodes
        # must be equal bytes.
        proto = tf_example_pb2.Example.FromString(record)
        return bytes(proto.SerializeToString(deterministic=True))

    def _decode(self, path: Path, record: bytes) -> Episode:
        # TFDS decodes step by step, which is ten times slower than taking the fields whole.
        fields = _parse(path, record)
        side = self.image_size
        image = b"".join(_field(path, fields, "steps/observation/image").bytes_list.value)
        pose = _field(path, fields, "steps/observation/pose").float_list.value
        action = _field(path, fields, "steps/action").float_list.value
        try:
            arrays = (
                np.frombuffer(image, np.uint8).reshape(-1, side, side, 3),
                np.array(pose, np.float32).reshape(-1, 7),
                np.array(action, np.float32).reshape(-1, 7),
            )
        except ValueError as error:
            raise DataError(
                f"{path}: an episode does not have {side}x{side} images: {error}"
            ) from None
        for array in arrays:
            array.flags.writeable = False
        if not len(arrays[0]) == len(arrays[1]) == len(arrays[2]) > 0:
            raise DataError(
                f"{path}: an episode has {[len(a) for a in arrays]} steps; write it again"
            )
        return Episode(*arrays, meta=_decode_metadata(path, fields))

    def _episode_id(self, path: Path, record: bytes) -> str:
        return self._decode(path, record).meta.episode_id


def write_shard(
    root: Path, image_size: int, split: str, shard: int, episodes: Sequence[Episode]
) -> None:
    """`Dataset.write_shard` for a process that gets the dataset by its folder."""
    Dataset(root, image_size).write_shard(split, shard, episodes)


@dataclasses.dataclass(frozen=True)
class Frames:
    """The pictures of N stored episodes, read from their shards when they are asked for.

    To be indexed like an array uint8 [F,H,W,3] along its first axis; any thread may. Holds nothing
    but where the episodes are: records (shard, record in it) [N], length int64 [N], side H = W.
    """

    records: tuple[tuple[Path, int], ...]
    length: np.ndarray
    side: int

    @property
    def shape(self) -> tuple[int, int, int, int]:
        return int(self.length.sum()), self.side, self.side, 3

    @property
    def nbytes(self) -> int:
        """Of all pictures, if they were in memory."""
        return int(np.prod(self.shape, dtype=np.int64))

    def __getitem__(self, frames: np.ndarray) -> np.ndarray:
        """Pictures uint8 [...,H,W,3] of frames int [...]; each episode is read once.

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
            # Opening costs a fraction of reading, and a pool has more shards than files may be
            # open.
            reader = ArrayRecordReader(str(path))
            try:
                (content,) = reader.read([record])
            finally:
                reader.close()
            fields = tf_example_pb2.Example.FromString(content).features.feature
            pictures = fields["steps/observation/image"].bytes_list.value
            if [len(picture) for picture in pictures] != [3 * self.side**2] * length:
                raise ValueError("other pictures than before")
        except (RuntimeError, IndexError, ValueError, DecodeError) as error:
            raise DataError(
                f"{path}: episode {record} cannot be read any more ({error}); was the shard "
                "changed during training? restore it from a copy and run again"
            ) from error
        return pictures


def verify(directory: Path) -> Iterator[tuple[Path, str]]:
    """Every damaged or missing file of a TFDS directory, and what is wrong with it.

    Shards that are not committed yet have no checksum: of these every record must parse.
    """
    if not directory.is_dir():
        return
    there = {path.name for path in directory.iterdir() if _COUNTS.fullmatch(path.name)}
    sums = directory / "checksums.json"
    try:
        if not sums.exists() and any(_SHARD not in name for name in there):
            raise DataError(f"{sums} is missing")
        listed = _checksums(directory)
    except DataError as error:
        yield sums, str(error)
        listed = {}
        there = {name for name in there if _SHARD in name}
    for name in sorted(there | listed.keys()):
        path = directory / name
        if name in listed or _SHARD not in name:
            if (sha256(path) if name in there else None) not in _allowed(listed, name):
                yield path, f"{path} is {_state(name in there)}"
            continue
        try:
            for record in _read_records(path):
                _decode_metadata(path, _parse(path, record))
        except DataError as error:
            yield path, str(error)


def forget(directory: Path, names: Sequence[str]) -> None:
    """Takes damaged files out of `checksums.json`; shards stay, so that new ones must equal them.

    If it is damaged itself it is made anew, for the label and pair files that can be read, and if
    any description is, no split is committed any more. The damaged files must be gone already.
    """
    with _locked(directory / ".commit.lock"):
        listed = _checksums(directory)
        if "checksums.json" in names:
            for path in (*directory.glob("labels_*.jsonl"), *directory.glob("pairs_*.csv")):
                listed[path.name] = {"sha256": sha256(path)}
        for name in names:
            if _SHARD not in name:
                listed.pop(name, None)
        for name in _DESCRIPTIONS:
            if not (directory / name).exists():
                listed.pop(name, None)
        _list(directory, listed)


def _checksums(directory: Path) -> dict[str, Any]:
    path = directory / "checksums.json"
    return read_sealed(path, ("files",))["files"] if path.exists() else {}


def _list(directory: Path, files: Mapping[str, Any]) -> None:
    atomic_write(directory / "checksums.json", sealed({"files": dict(sorted(files.items()))}))


def _allowed(listed: Mapping[str, Any], name: str) -> tuple[str | None, ...]:
    """The SHA-256 that a file may have; None where it may be absent."""
    entry = listed.get(name, {"sha256": None})
    return entry["sha256"], entry.get("before", entry["sha256"])


def _settled(directory: Path, listed: Mapping[str, Any]) -> dict[str, Any]:
    """`listed`, with what a writer left that was stopped between two contents of a file."""
    settled = dict(listed)
    for name in [name for name, entry in listed.items() if "before" in entry]:
        path = directory / name
        digest = sha256(path) if path.exists() else None
        if digest is None and listed[name]["before"] is None:
            del settled[name]
        elif digest in _allowed(listed, name):
            settled[name] = {"sha256": digest}
    return settled


def _state(there: bool) -> str:
    return "damaged: its SHA-256 is not in checksums.json" if there else "missing"


def sha256(path: Path) -> str:
    """The file's SHA-256 in hexadecimal. Raises DataError if it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}); restore it") from error


def _digest(content: bytes | None) -> str | None:
    return None if content is None else hashlib.sha256(content).hexdigest()


def sealed(content: Mapping[str, Any]) -> str:
    """The content as JSON with a field `sha256` over all the rest of the text."""
    text = json.dumps({"sha256": _BLANK, **content}, indent=1)
    return text.replace(_BLANK, hashlib.sha256(text.encode()).hexdigest(), 1)


def read_sealed(path: Path, fields: Sequence[str]) -> dict[str, Any]:
    """What `sealed` was given. Raises DataError, naming the path: missing, damaged, no such field.

    A file of which any bit differs from what was written is damaged.
    """
    try:
        data = path.read_bytes()
        content = json.loads(data)
        digest = content.pop("sha256")
        if _digest(data.replace(digest.encode(), _BLANK.encode(), 1)) != digest:
            raise ValueError("its SHA-256 does not fit")
        missing = [field for field in fields if field not in content]
        if missing:
            raise ValueError(f"no field {missing[0]!r}")
        return content
    except FileNotFoundError:
        raise DataError(f"{path} is missing: the stage that writes it did not finish") from None
    except (OSError, ValueError, TypeError, AttributeError, KeyError) as error:
        raise DataError(f"{path} is damaged ({error}); {DOCTOR}") from error


def atomic_write(path: Path, data: bytes | str) -> None:
    """Replaces a file so that a reader, or a crash, sees the old content or the new, never half.

    Raises DataError naming the path if the file system refuses; the old content stays.
    """
    with _replacing(path) as temporary:
        temporary.write_bytes(data.encode() if isinstance(data, str) else data)


def append_lines(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Appends rows to a JSON lines file, all or none, safe between processes.

    A torn last line, left by a writer that was killed, is cut off first.
    Raises DataError naming the path if the file system refuses.
    """
    data = _as_lines(rows)
    try:
        # Unbuffered: what a full disk refused must not be tried again when the file is closed.
        with path.open("a+b", buffering=0) as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            end = _complete_length(file)
            file.truncate(end)
            try:
                rest = memoryview(data)
                while rest:
                    rest = rest[file.write(rest) :]
                os.fsync(file.fileno())
            except OSError:
                file.truncate(end)
                raise
        if end == 0:
            _sync_directory(path.parent)
    except OSError as error:
        raise DataError(
            f"{path}: cannot append ({error.strerror}); free space or fix it"
        ) from error


def _as_lines(rows: Iterable[Mapping[str, Any]]) -> bytes:
    return "".join(json.dumps(dict(row)) + "\n" for row in rows).encode()


def fault(path: Path, digest: str) -> str | None:
    """ "missing" or "damaged" if the file is not the one with this SHA-256; else None."""
    if not path.is_file():
        return "missing"
    return None if sha256(path) == digest else "damaged"


def read_lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Line numbers (from 1) and objects of a JSON lines file; nothing if there is no file.

    A last line without its end of line was never acknowledged and is skipped. Raises DataError
    naming file and line for any other line that is not a JSON object, and for a file that cannot be
    read.
    """
    if path.exists():
        try:
            content = path.read_bytes()
        except OSError as error:
            raise DataError(f"{path} cannot be read ({error.strerror})") from error
        yield from _lines(path, content)


def _lines(path: Path, content: bytes) -> Iterator[tuple[int, dict[str, Any]]]:
    lines = content.split(b"\n")[:-1]
    for number, line in enumerate(lines, start=1):
        try:
            row = json.loads(line)
        except ValueError as error:
            raise DataError(f"{path}, line {number}: {error}; repair or remove the line") from None
        if not isinstance(row, dict):
            raise DataError(f"{path}, line {number}: not a JSON object; repair or remove the line")
        yield number, row


def _complete_length(file: Any) -> int:
    """Bytes up to and including the last end of line."""
    end = file.seek(0, os.SEEK_END)
    while end > 0:
        start = max(0, end - 65536)
        file.seek(start)
        cut = file.read(end - start).rfind(b"\n")
        if cut >= 0:
            return start + cut + 1
        end = start
    return 0


@contextlib.contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    """A temporary file beside `path` to fill; on success it is synced and renamed to `path`.

    The temporary file stays locked while its writer lives: `remove_abandoned` knows by that
    which ones may go.
    """
    handle = None
    temporary = path
    try:
        while handle is None:
            temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
            handle = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o666)
            fcntl.flock(handle, fcntl.LOCK_EX)
            if not temporary.exists():  # swept away between its creation and its lock
                os.close(handle)
                handle = None
        yield temporary
        os.fsync(handle)
        os.replace(temporary, path)
        _sync_directory(path.parent)
    except (OSError, RuntimeError) as error:  # ArrayRecord reports a full disk as RuntimeError
        raise DataError(
            f"{path} could not be written ({error}); nothing of it is kept: free space or fix "
            "permissions and run again"
        ) from error
    finally:
        if handle is not None:
            # After a success the name is gone already.
            with contextlib.suppress(OSError):
                temporary.unlink()
            os.close(handle)


def remove_abandoned(directory: Path) -> None:
    """Removes, at any depth, the temporary files of writers that died; live ones are locked."""
    for temporary in directory.rglob(".*.tmp"):
        with contextlib.suppress(OSError), temporary.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            temporary.unlink()


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    try:
        file = path.open("ab")
    except OSError as error:
        raise DataError(f"{path} could not be opened ({error.strerror})") from error
    with file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def make_directory(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"{path} could not be made ({error.strerror})") from error


def _sync_directory(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _check_digest(path: Path, digest: str, checksums: Mapping[str, Any]) -> None:
    if path.name not in checksums:
        raise DataError(f"{path} is not in checksums.json; {DOCTOR}")
    if digest != checksums[path.name]["sha256"]:
        raise DataError(f"{path} is damaged: its SHA-256 is not the one committed; {DOCTOR}")


def _read_records(path: Path) -> list[bytes]:
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


def _parse(path: Path, record: bytes) -> Mapping[str, Any]:
    try:
        return tf_example_pb2.Example.FromString(record).features.feature
    except DecodeError as error:
        raise DataError(
            f"{path}: a record is no episode ({error}); write this shard again"
        ) from error


def _field(path: Path, fields: Mapping[str, Any], name: str) -> Any:
    if name not in fields:
        raise DataError(f"{path}: an episode has no field {name!r}; write this shard again")
    return fields[name]


def _decode_metadata(path: Path, fields: Mapping[str, Any]) -> EpisodeMeta:
    def text(name: str) -> str:
        return _field(path, fields, f"episode_metadata/{name}").bytes_list.value[0].decode()

    def integer(name: str) -> int:
        return _field(path, fields, f"episode_metadata/{name}").int64_list.value[0]

    achieved = _field(path, fields, "episode_metadata/achieved_tasks").bytes_list.value
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
        terminated=bool(_field(path, fields, "steps/is_terminal").int64_list.value[-1]),
    )
