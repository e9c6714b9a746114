"""Episodes on disk: RLDS in a TFDS directory of ArrayRecord shards, without TensorFlow.

Layout under the root a `Dataset` is opened on:

  mili/1.0.0/mili-<split>.array_record-00000 ...   the shards, one record per episode
  mili/1.0.0/features.json                         what a record holds
  mili/1.0.0/spec.json                             the robot: layouts, cameras (`mili_jax.spec`)
  mili/1.0.0/checksums.json                        SHA-256 of every other file that counts
  mili/1.0.0/dataset_info.json                     the committed splits
  mili/1.0.0/labels_<split>.jsonl                  all answers (`labels`); lines are only added
  mili/1.0.0/pairs_<name>.csv                      pairs of trials with their similarity

`tfds.builder_from_directory(<root>/mili/1.0.0).as_data_source(split)` reads it without this
package. Any number of processes may write different shards; a split exists for readers only once
`Dataset.commit` has renamed `dataset_info.json` into place.

The reward is 1 at the last step of a successful episode: that is oracle information, like
`success` and `achieved_tasks`, and nothing that trains or pairs may read it.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from mili_jax.spec import Spec
from mili_jax.storage import fields, ledger
from mili_jax.storage.description import NAME, VERSION, Description, describe, read_description
from mili_jax.storage.facts import decode_metadata, parse_record
from mili_jax.storage.files import (
    as_lines,
    digest_of,
    locked,
    make_directory,
    remove_abandoned,
    sha256,
)
from mili_jax.storage.labels import Label, parse_labels
from mili_jax.storage.pairs import Pairs, format_pairs, parse_pairs
from mili_jax.storage.records import Codec
from mili_jax.storage.shards import read_records, write_records
from mili_jax.types import DOCTOR, DataError, Episode, EpisodeMeta

_NAME_RULE = re.compile(r"[a-z][a-z0-9_]*")


class Dataset:
    """A handle on one TFDS directory; it keeps nothing open and no episode in memory.

    Args:
      root: the directory that holds (or will hold) `mili/1.0.0`.
      spec: of the robot whose episodes they are. It is stored when the first split is committed,
        and later must be the stored one, but for the lengths of its tool. Without it the directory
        is opened as what it is. Episodes from before it was stored are taken for those of any robot
        with their shapes.

    Raises DataError if the directory is of another robot, naming the first difference, or if its
    description is damaged.
    """

    def __init__(self, root: Path | str, spec: Spec | None = None) -> None:
        self.path = Path(root) / NAME / VERSION
        self._asked = spec
        self._read()

    @property
    def spec(self) -> Spec | None:
        """The robot: the one asked for, else the stored one; None if neither is there."""
        return self._read().spec

    @property
    def picture(self) -> tuple[int, ...]:
        """The shape of a step's picture, (H, W, 3) or (V, H, W, 3). Raises DataError where nothing
        says what it is."""
        return self._codec(self._read()).shapes.picture

    def write_shard(self, split: str, shard: int, episodes: Sequence[Episode]) -> Path:
        """Writes one shard of a split that `commit` will publish; all of it or nothing.

        Different processes may write different shards, or the same shard with the same episodes.
        A shard of a committed split is never replaced: writing the same episodes again does
        nothing.

        Returns the shard's path. Raises DataError for episodes that do not fit the robot, for
        other episodes than a committed shard holds, and when the file system refuses the write.
        """
        path = self._shard(split, shard)
        if not episodes:
            raise DataError(f"{path}: a shard needs at least one episode")
        known = self._read()
        codec = self._codec(known)
        try:
            records = [codec.encode(episode) for episode in episodes]
        except DataError as error:
            raise DataError(f"{path}: {error}") from None
        committed = known.splits.get(split)
        if committed is not None and shard < committed.num_shards and path.exists():
            if read_records(path) != records:
                raise DataError(
                    f"{path} belongs to the committed split {split!r} and holds other episodes; "
                    "write to another split or another directory"
                )
            return path
        make_directory(self.path)
        write_records(path, records)
        return path

    def has_shard(self, split: str, shard: int) -> bool:
        """Whether this shard was written completely, committed or not."""
        return self._shard(split, shard).is_file()

    def commit(self, split: str, shards: int) -> None:
        """Publishes shards 0 .. shards-1 as `split`; until then readers do not see them.

        Every shard is read once: its episodes must parse, be of this robot, and no episode id may
        come twice. Committing again is harmless, and may add shards. The other splits stay as they
        are whatever happens here. Left-overs of writers that died are removed.

        Raises DataError naming the file: a missing, damaged or surplus shard, or a failed write.
        """
        self._check_name(split)
        shards = fields.integer(shards, f"split {split!r} in {self.path}: shards")
        if shards < 1:
            raise DataError(f"split {split!r} in {self.path}: nothing to commit ({shards} shards)")
        if not self.path.is_dir():
            raise DataError(f"{self._shard(split, 0)} is missing: write the shards, then commit")
        with locked(self.path / ".commit.lock"):
            remove_abandoned(self.path)
            known = self._read()
            codec = self._codec(known)
            checksums = ledger.read_checksums(self.path)
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
                    ledger.check_digest(path, digest, checksums)
                records = read_records(path)
                for record in records:
                    episode_id = codec.decode(path, record).meta.episode_id
                    if episode_id in seen:
                        raise DataError(
                            f"{path}: episode {episode_id!r} is also in {seen[episode_id]}; "
                            "ids must be unique within a split"
                        )
                    seen[episode_id] = path
                lengths.append(len(records))
                size += path.stat().st_size
                checksums[path.name] = {"sha256": digest, "bytes": path.stat().st_size}
            if self.has_shard(split, shards):
                raise DataError(
                    f"{self._shard(split, shards)} lies beyond the {shards} shards to commit; "
                    "it is from another run: delete it or commit it too"
                )
            info = tfds.core.SplitInfo(
                name=split,
                shard_lengths=lengths,
                num_bytes=size,
                filename_template=self._template(split),
            )
            self._publish(known, {**known.splits, split: info}, checksums)

    def drop(self, split: str) -> None:
        """Removes a split, committed or not: its shards and its labels. The others stay.

        Killed before its end, what is left of the split counts as not committed; drop it again.
        Raises DataError if the file system refuses.
        """
        self._check_name(split)
        with locked(self.path / ".commit.lock"):
            known = self._read()
            if split in known.splits:
                rest = {name: info for name, info in known.splits.items() if name != split}
                self._publish(known, rest, {})
            # Shards last: as long as one is there, the split is seen to be left over.
            names = [self._labels(split).name]
            names += [p.name for p in self.path.glob(f"mili-{split}.array_record-*")]
            listed = ledger.read_checksums(self.path)
            kept = {name: entry for name, entry in listed.items() if name not in names}
            ledger.write_checksums(self.path, kept)
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
        return {name: info.num_examples for name, info in self._read().splits.items()}

    def read(self, split: str) -> Iterator[Episode]:
        """The episodes of a committed split, in the order in which they were written.

        A shard's SHA-256 is verified before anything of it is decoded. The arrays are read-only.

        Raises DataError naming the split if it is not committed (at once), or the damaged or
        missing file (when its turn comes).
        """
        known = self._read()
        records, codec = self._records(known, split), self._codec(known)
        return (codec.decode(path, record) for path, record in records)

    def read_metadata(self, split: str) -> Iterator[EpisodeMeta]:
        """As `read`, without pixels and poses: half the time and none of the memory."""
        return (
            decode_metadata(path, parse_record(path, record))
            for path, record in self._records(self._read(), split)
        )

    def places(self, split: str) -> Iterator[tuple[Path, int]]:
        """(shard, record in it) of every episode of a committed split, as `read` has them."""
        lengths = self._lengths(self._read(), split)
        return ((self._shard(split, i), k) for i, n in enumerate(lengths) for k in range(n))

    def write_labels(self, split: str, labels: Iterable[Label]) -> None:
        """Appends answers; those that are there stay, also where an annotator answers again.

        Not all episodes of the split need have one. Raises DataError for what is no label, and if
        the write fails; then all of `labels` are kept or none.
        """
        path = self._labels(split)
        given = list(labels)
        for label in given:
            if not isinstance(label, Label):
                raise DataError(f"{path}: a label is {type(label).__name__}; it must be a Label")
        make_directory(self.path)
        with locked(self.path / ".commit.lock"):
            old = ledger.verified(self.path, path.name) or b""
            ledger.replace(self.path, {path.name: old + as_lines(map(dataclasses.asdict, given))})

    def read_labels(self, split: str) -> list[Label]:
        """All answers, in the order in which they were given; [] where there are none. What
        training reads of them is `labels.resolve`.

        Raises DataError naming the file if it is damaged, or the line that is no label.
        """
        path = self._labels(split)
        return list(parse_labels(path, ledger.verified(self.path, path.name) or b""))

    def write_pairs(
        self,
        name: str,
        a: Sequence[str],
        b: Sequence[str],
        similarity: np.ndarray,
        alpha: float,
    ) -> Path:
        """Replaces the pair table `name` (ids [R], ids [R], cosine [R], the threshold used).

        Raises DataError naming the field for what could not be read back, and for a failed write.
        """
        path = self._pairs(name)
        content = format_pairs(path, a, b, similarity, alpha)
        make_directory(self.path)
        with locked(self.path / ".commit.lock"):
            ledger.replace(self.path, {path.name: content})
        return path

    def read_pairs(self, name: str) -> Pairs:
        """The pair table `name`. Raises DataError naming the file if it is missing or damaged."""
        path = self._pairs(name)
        if not path.exists():
            raise DataError(f"{path} is missing: run the pairing stage first")
        return parse_pairs(path, ledger.verified(self.path, path.name) or b"")

    def digests(self, *names: str) -> dict[str, str]:
        """The SHA-256 of label files and pair tables that are there, by name."""
        found = {name: digest_of(ledger.verified(self.path, name)) for name in names}
        return {name: digest for name, digest in found.items() if digest is not None}

    def _read(self) -> Description:
        return read_description(self.path, self._asked)

    def _codec(self, known: Description) -> Codec:
        if known.codec is None:
            raise DataError(
                f"{self.path} has no spec.json, and nothing else says of which robot its episodes "
                "are; open it as Dataset(root, spec)"
            )
        return known.codec

    def _check_name(self, name: str) -> None:
        if not isinstance(name, str) or not _NAME_RULE.fullmatch(name) or name == "all":
            raise DataError(
                f"{name!r} cannot name a split in {self.path}: use a-z, 0-9 and _, "
                "a letter first, and not 'all'"
            )

    def _shard(self, split: str, shard: int) -> Path:
        self._check_name(split)
        shard = fields.integer(shard, f"split {split!r} in {self.path}: shard")
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

    def _publish(
        self,
        known: Description,
        splits: Mapping[str, tfds.core.SplitInfo],
        checksums: Mapping[str, Any],
    ) -> None:
        ledger.replace(self.path, describe(self.path, known, splits), checksums)

    def _lengths(self, known: Description, split: str) -> Sequence[int]:
        """How many episodes each shard of a committed split holds."""
        self._check_name(split)
        if split not in known.splits:
            found = ", ".join(sorted(known.splits)) or "none"
            state = "written but not committed" if self.has_shard(split, 0) else "missing"
            raise DataError(
                f"split {split!r} of {self.path} is {state} (committed: {found}); "
                "run the stage that makes it again"
            )
        return list(known.splits[split].shard_lengths)

    def _records(self, known: Description, split: str) -> Iterator[tuple[Path, bytes]]:
        lengths = self._lengths(known, split)
        checksums = ledger.read_checksums(self.path)

        def records() -> Iterator[tuple[Path, bytes]]:
            for shard, length in enumerate(lengths):
                path = self._shard(split, shard)
                ledger.check_digest(path, sha256(path), checksums)
                found = read_records(path)
                if len(found) != length:
                    raise DataError(
                        f"{path} holds {len(found)} episodes, dataset_info.json says {length}; "
                        f"{DOCTOR}"
                    )
                for record in found:
                    yield path, record

        return records()


def write_shard(
    root: Path, spec: Spec | None, split: str, shard: int, episodes: Sequence[Episode]
) -> None:
    """`Dataset.write_shard` for a process that gets the dataset by its folder."""
    Dataset(root, spec).write_shard(split, shard, episodes)
