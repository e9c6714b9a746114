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

import contextlib
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from mili_jax.spec import Spec
from mili_jax.storage import fields, ledger, splits
from mili_jax.storage.aside import keep_aside
from mili_jax.storage.description import NAME, VERSION, Description, describe, read_description
from mili_jax.storage.facts import decode_metadata, parse_record
from mili_jax.storage.files import (
    as_lines,
    as_list,
    as_path,
    digest_of,
    exists,
    locked,
    make_directory,
    remove_abandoned,
)
from mili_jax.storage.labels import Kind, Label, parse_labels, split_labels
from mili_jax.storage.pairs import Pairs, format_pairs, parse_pairs
from mili_jax.storage.reading import Reader
from mili_jax.storage.records import Codec
from mili_jax.storage.shards import read_records, write_records
from mili_jax.types import DataError, Episode, EpisodeMeta


class Dataset:
    """A handle on one TFDS directory; it keeps nothing open and no episode in memory.

    Args:
      root: the directory that holds (or will hold) `mili/1.0.0`.
      spec: of the robot whose episodes they are. It is stored when the first split is committed,
        and later must be the stored one, but for the lengths of its tool. Without it the directory
        is opened as what it is. Episodes from before it was stored are taken for those of any robot
        with their shapes.

    Raises DataError if the directory is of another robot, naming the first difference, if its
    description is damaged, or if it is somebody else's.
    """

    def __init__(self, root: Path | str, spec: Spec | None = None) -> None:
        if spec is not None and not isinstance(spec, Spec):
            raise DataError(f"spec is {spec!r} ({type(spec).__name__}); it must be a Spec or None")
        self.path = as_path(root, "the root of a dataset") / NAME / VERSION
        self._asked = spec
        self._asked = self._read().spec  # what is there now, it stays for this handle

    @property
    def spec(self) -> Spec | None:
        """The robot: the one asked for, else the stored one; None if neither is there."""
        return self._read().spec

    @property
    def picture(self) -> tuple[int, ...]:
        """The shape of a step's picture, (H, W, C) or (V, H, W, C). Raises DataError where nothing
        says what it is."""
        return self._codec(self._read()).shapes.picture

    # Episodes in

    def write_shard(
        self, split: str, shard: int, episodes: Sequence[Episode], made: Path | None = None
    ) -> Path:
        """Writes one shard of a split that `commit` will publish; all of it or nothing.

        Different processes may write different shards, or the same shard with the same episodes.
        A shard of a committed split is never replaced: writing the same episodes again does
        nothing.

        made: a file in which the shard is declared first (`made.declare`), so that whoever
        declared it may later `drop` it.

        Returns the shard's path. Raises DataError for episodes that do not fit the robot, for
        other episodes than a committed shard holds, and when the file system refuses the write.
        """
        path = splits.shard_path(self.path, split, shard)
        episodes = as_list(episodes, f"{path}: episodes")
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
        write_records(path, records, made)
        return path

    def has_shard(self, split: str, shard: int) -> bool:
        """Whether this shard was written completely, committed or not."""
        return splits.shard_path(self.path, split, shard).is_file()

    def commit(self, split: str, shards: int) -> None:
        """Publishes shards 0 .. shards-1 as `split`; until then readers do not see them.

        Every shard is read once: its episodes must parse, be of this robot, and no episode id may
        come twice. Committing again is harmless, and may add shards. The other splits stay as they
        are whatever happens here. Left-overs of writers that died are removed.

        Raises DataError naming the file: a missing, damaged or surplus shard, or a failed write.
        """
        first = splits.shard_path(self.path, split, 0)
        shards = fields.integer(shards, f"split {split!r} in {self.path}: shards")
        if shards < 1:
            raise DataError(f"split {split!r} in {self.path}: nothing to commit ({shards} shards)")
        if not self.path.is_dir():
            raise DataError(f"{first} is missing: write the shards, then commit")
        with self._locked():
            remove_abandoned(self.path)
            known = self._read()
            info, entries = splits.examine(self.path, self._codec(known), split, shards)
            described = describe(self.path, known, {**known.splits, split: info})
            ledger.replace(self.path, described, entries)

    # Episodes out of the way

    def shard_digests(self, split: str) -> dict[str, str | None]:
        """The SHA-256 of every shard of a split by its name, committed or not; {} if there are
        none."""
        return splits.shard_digests(self.path, self._read(), split)

    def drop(self, split: str, made_by: Collection[str]) -> Path | None:
        """Removes a split that the caller made, committed or not: its shards and its labels. The
        others stay.

        Args:
          made_by: the SHA-256 of the shards that the caller declared when it made them
            (`made.declared`). Of any other shard nobody knows whose it is.

        What a person has answered is never removed, and an answer is worth little without its
        trial: then the split is set aside as a whole, and the new root is returned.

        Killed before its end, what is left of the split counts as not committed; drop it again.
        Raises DataError, naming the shard, if one is not the caller's, and if the file system
        refuses.
        """
        there = exists(splits.labels_path(self.path, split)) or self.shard_digests(split)
        if not there:
            return None
        with self._locked():
            known = self._read()
            for name, digest in splits.shard_digests(self.path, known, split).items():
                if digest not in made_by:
                    raise DataError(
                        f"{self.path / name} was not made by this run, so it is not dropped; move "
                        "the split elsewhere or `set_aside` it"
                    )
            kept = self._keep_aside(known, split) if self._answered_by_people(split) else None
            splits.remove(self.path, known, split)
        return kept

    def set_aside(self, split: str) -> Path:
        """Moves a split, whoever made it, and its labels out of the way.

        Returns the root of the dataset that then holds it alone, `kept/<split>_<n>` under this
        one's. Killed before its end, the split is still here, and perhaps there as well.
        Raises DataError if there is no such split, it is damaged, or the file system refuses.
        """
        labelled = exists(splits.labels_path(self.path, split))
        if not labelled and not splits.shards_there(self.path, split):
            raise DataError(f"{self.path} has no split {split!r} that could be set aside")
        with self._locked():
            known = self._read()
            kept = self._keep_aside(known, split)
            splits.remove(self.path, known, split)
        return kept

    def _keep_aside(self, known: Description, split: str) -> Path:
        if splits.shards_there(self.path, split):
            self._codec(known)  # or it says that the robot is not known
        return keep_aside(self.path, known, split)

    def _answered_by_people(self, split: str) -> bool:
        path = splits.labels_path(self.path, split)
        good, bad = split_labels(path, ledger.verified(self.path, path.name) or b"")
        # A line that cannot be read may be a person's.
        return bool(bad) or any(label.kind is Kind.PERSON for label in parse_labels(path, good))

    # Episodes back

    def read_shard_metadata(self, split: str, shard: int) -> list[EpisodeMeta]:
        """The facts of a shard's episodes, committed or not. Raises DataError if it is damaged."""
        path = splits.shard_path(self.path, split, shard)
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
        records = splits.records_of(self.path, known, split)
        codec = self._codec(known)
        return (codec.decode(path, record) for path, record in records)

    def read_metadata(self, split: str) -> Iterator[EpisodeMeta]:
        """As `read`, without pixels and poses: half the time and none of the memory."""
        return (
            decode_metadata(path, parse_record(path, record))
            for path, record in splits.records_of(self.path, self._read(), split)
        )

    def places(self, split: str) -> Iterator[tuple[Path, int]]:
        """(shard, record in it) of every episode of a committed split, as `read` has them."""
        lengths = splits.lengths_of(self.path, self._read(), split)
        shards = ((splits.shard_path(self.path, split, i), n) for i, n in enumerate(lengths))
        return ((path, k) for path, n in shards for k in range(n))

    def reader(self, split: str) -> Reader:
        """The episodes of a committed split, one at a time and in any order (`reading.Reader`)."""
        known = self._read()
        return Reader(tuple(self.places(split)), self._codec(known))

    # Labels and pairs

    def write_labels(self, split: str, labels: Iterable[Label]) -> None:
        """Appends answers; those that are there stay, also where an annotator answers again.

        Not all episodes of the split need have one. Raises DataError for what is no label, and if
        the write fails; then all of `labels` are kept or none.
        """
        path = splits.labels_path(self.path, split)
        given = as_list(labels, f"{path}: labels")
        for label in given:
            if not isinstance(label, Label):
                raise DataError(f"{path}: a label is {type(label).__name__}; it must be a Label")
        make_directory(self.path)
        with self._locked():
            old = ledger.verified(self.path, path.name) or b""
            ledger.replace(self.path, {path.name: old + as_lines(label.row() for label in given)})

    def read_labels(self, split: str) -> list[Label]:
        """All answers, in the order in which they were given; [] where there are none. What
        training reads of them is `labels.resolve`.

        Raises DataError naming the file if it is damaged, or the line that is no label.
        """
        path = splits.labels_path(self.path, split)
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
        with self._locked():
            ledger.replace(self.path, {path.name: content})
        return path

    def read_pairs(self, name: str) -> Pairs:
        """The pair table `name`. Raises DataError naming the file if it is missing or damaged."""
        path = self._pairs(name)
        if not path.exists():
            raise DataError(f"{path} is missing: run the pairing stage first")
        return parse_pairs(path, ledger.verified(self.path, path.name) or b"")

    def digests(self, *names: str) -> dict[str, str]:
        """What identifies the content of label files, pair tables and committed splits, by name;
        of those that are not there nothing is said. A stage that reads them declares it.

        Of a file it is its SHA-256, of a split that of its shards' in their order.
        """
        known = self._read()
        found = {}
        for name in names:
            if "." in name:
                found[name] = digest_of(ledger.verified(self.path, name))
            elif name in known.splits:
                found[name] = splits.content_digest(self.path, known, name)
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

    def _locked(self) -> contextlib.AbstractContextManager[None]:
        return locked(self.path / ".commit.lock")

    def _pairs(self, name: str) -> Path:
        splits.check_name(self.path, name)
        return self.path / f"pairs_{name}.csv"


def write_shard(
    root: Path,
    spec: Spec | None,
    split: str,
    shard: int,
    episodes: Sequence[Episode],
    made: Path | None = None,
) -> None:
    """`Dataset.write_shard` for a process that gets the dataset by its folder."""
    Dataset(root, spec).write_shard(split, shard, episodes, made)
