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

import csv
import dataclasses
import io
import json
import re
import types
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from array_record.python.array_record_module import ArrayRecordWriter
from google.protobuf import json_format
from tensorflow_datasets.core.example_serializer import ExampleSerializer
from tensorflow_datasets.proto import tf_example_pb2

from mili_jax.storage.files import (
    as_lines,
    atomic_write,
    digest_of,
    locked,
    make_directory,
    parse_lines,
    remove_abandoned,
    replacing,
    sha256,
)
from mili_jax.storage.ledger import (
    allowed_digests,
    check_digest,
    describe_state,
    read_checksums,
    settled_checksums,
    write_checksums,
)
from mili_jax.storage.records import (
    decode_metadata,
    features,
    parse_record,
    read_records,
    record_field,
)
from mili_jax.types import DOCTOR, DataError, Episode, EpisodeMeta

NAME = "mili"
VERSION = "1.0.0"
_NAME_RULE = re.compile(r"[a-z][a-z0-9_]*")
_NOTHING: Mapping[str, Any] = types.MappingProxyType({})
_PAIR_HEADER = ["a", "b", "similarity", "alpha"]
_DESCRIPTION = (
    "Demonstrations and autonomous trials of a floating gripper among kitchenware (MILI). "
    "reward, success and achieved_tasks are oracle information for evaluation only."
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
            if read_records(path) != records:
                raise DataError(
                    f"{path} belongs to the committed split {split!r} and holds other episodes; "
                    "write to another split or another directory"
                )
            return path
        make_directory(self.path)
        with replacing(path) as temporary:
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
        with locked(self.path / ".commit.lock"):
            remove_abandoned(self.path)
            splits = self._committed()
            checksums = read_checksums(self.path)
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
                    check_digest(path, digest, checksums)
                ids = [self._episode_id(path, record) for record in read_records(path)]
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
        with locked(self.path / ".commit.lock"):
            splits = self._committed()
            if splits.pop(split, None) is not None:
                self._publish(splits, {})
            # Shards last: as long as one is there, the split is seen to be left over.
            names = [self._labels(split).name]
            names += [p.name for p in self.path.glob(f"mili-{split}.array_record-*")]
            write_checksums(
                self.path,
                {n: entry for n, entry in read_checksums(self.path).items() if n not in names},
            )
            for name in names:
                try:
                    (self.path / name).unlink(missing_ok=True)
                except OSError as error:
                    raise DataError(f"{self.path / name} cannot be removed ({error})") from error

    def read_shard_metadata(self, split: str, shard: int) -> list[EpisodeMeta]:
        """The facts of a shard's episodes, committed or not. Raises DataError if it is damaged."""
        path = self._shard(split, shard)
        return [decode_metadata(path, parse_record(path, record)) for record in read_records(path)]

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
            decode_metadata(path, parse_record(path, record))
            for path, record in self._records(split)
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
        with locked(self.path / ".commit.lock"):
            old = self._verified(path.name) or b""
            self._replace({path.name: old + as_lines(map(dataclasses.asdict, labels))})

    def digests(self, *names: str) -> dict[str, str]:
        """The SHA-256 of label files and pair tables that are there, by name."""
        found = {name: digest_of(self._verified(name)) for name in names}
        return {name: digest for name, digest in found.items() if digest is not None}

    def read_labels(self, split: str) -> dict[str, Label]:
        """The latest label of every labelled episode, by episode id; {} where there are none.

        Raises DataError naming the file if it is damaged, or holds what is no label.
        """
        path = self._labels(split)
        labels = {}
        for number, row in parse_lines(path, self._verified(path.name) or b""):
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
        with locked(self.path / ".commit.lock"):
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
            if digest_of(content) in allowed_digests(read_checksums(self.path), name):
                return content
        raise DataError(f"{path} is {describe_state(content is not None)}; {DOCTOR}")

    def _replace(self, contents: Mapping[str, bytes], shards: Mapping[str, Any] = _NOTHING) -> None:
        """Replaces files, and lists them, and shards that are there, in `checksums.json`.

        Killed anywhere in between, each file is the old or the new one and both are allowed until
        the next call, which allows only what is there.
        """
        listed = settled_checksums(self.path, {**read_checksums(self.path), **shards})
        for name, content in contents.items():
            before = self.path / name
            entry = {"before": sha256(before) if before.exists() else None}
            listed[name] = {"sha256": digest_of(content), **entry}
        write_checksums(self.path, listed)
        for name, content in contents.items():
            atomic_write(self.path / name, content)
            del listed[name]["before"]
        write_checksums(self.path, listed)

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
        checksums = read_checksums(self.path)

        def records() -> Iterator[tuple[Path, bytes]]:
            for shard, length in enumerate(lengths):
                path = self._shard(split, shard)
                check_digest(path, sha256(path), checksums)
                found = read_records(path)
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
        fields = parse_record(path, record)
        side = self.image_size
        image = b"".join(record_field(path, fields, "steps/observation/image").bytes_list.value)
        pose = record_field(path, fields, "steps/observation/pose").float_list.value
        action = record_field(path, fields, "steps/action").float_list.value
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
        return Episode(*arrays, meta=decode_metadata(path, fields))

    def _episode_id(self, path: Path, record: bytes) -> str:
        return self._decode(path, record).meta.episode_id


def write_shard(
    root: Path, image_size: int, split: str, shard: int, episodes: Sequence[Episode]
) -> None:
    """`Dataset.write_shard` for a process that gets the dataset by its folder."""
    Dataset(root, image_size).write_shard(split, shard, episodes)
