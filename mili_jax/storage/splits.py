"""The shards of one split: where they are, whether they can be committed, what they hold."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import tensorflow_datasets as tfds

from mili_jax.storage import fields, ledger
from mili_jax.storage.description import NAME, Description, describe, template_of
from mili_jax.storage.files import one_line, sha256
from mili_jax.storage.foreign import describe_foreign
from mili_jax.storage.records import Codec
from mili_jax.storage.shards import read_records
from mili_jax.types import DOCTOR, DataError

_NAME_RULE = re.compile(r"[a-z][a-z0-9_]*")


def check_name(directory: Path, name: str) -> None:
    """Raises DataError for what can name neither a split nor a pair table."""
    if not isinstance(name, str) or not _NAME_RULE.fullmatch(name) or name == "all":
        raise DataError(
            f"{name!r} cannot name a split in {directory}: use a-z, 0-9 and _, "
            "a letter first, and not 'all'"
        )


def shard_path(directory: Path, split: str, shard: int) -> Path:
    check_name(directory, split)
    shard = fields.integer(shard, f"split {split!r} in {directory}: shard")
    if shard < 0:
        raise DataError(f"split {split!r} in {directory}: shard {shard} is negative")
    return directory / f"{NAME}-{split}.array_record-{shard:05d}"


def labels_path(directory: Path, split: str) -> Path:
    check_name(directory, split)
    return directory / f"labels_{split}.jsonl"


def shards_there(directory: Path, split: str) -> list[Path]:
    """The shards of a split that are there, committed or not, in their order."""
    check_name(directory, split)
    pattern = re.compile(rf"{NAME}-{split}\.array_record-\d{{5,}}")
    found = directory.glob(f"{NAME}-{split}.array_record-*")
    return sorted(path for path in found if pattern.fullmatch(path.name))


def shard_digests(directory: Path, known: Description, split: str) -> dict[str, str | None]:
    """The SHA-256 of every shard by its name: as committed, else of what is there."""
    listed = ledger.read_checksums(directory)
    names = {shard.name for shard in shards_there(directory, split)}
    if split in known.splits:  # also of one that is lost
        count = known.splits[split].num_shards
        names |= {shard_path(directory, split, i).name for i in range(count)}
    return {
        name: listed[name]["sha256"] if name in listed else sha256(directory / name)
        for name in sorted(names)
    }


def content_digest(directory: Path, known: Description, split: str) -> str:
    """SHA-256 of those of a committed split's shards, in their order: equal for equal episodes in
    equal shards."""
    listed = ledger.read_checksums(directory)
    whole = hashlib.sha256()
    for i in range(known.splits[split].num_shards):
        path = shard_path(directory, split, i)
        if path.name not in listed:
            raise DataError(f"{path} is not in checksums.json; {DOCTOR}")
        whole.update(f"{listed[path.name]['sha256']}\n".encode())
    return whole.hexdigest()


def lengths_of(directory: Path, known: Description, split: str) -> list[int]:
    """How many episodes each shard of a committed split holds. Raises DataError if it is not
    committed."""
    check_name(directory, split)
    if split not in known.splits:
        found = ", ".join(sorted(known.splits)) or "none"
        there = shard_path(directory, split, 0).is_file()
        elsewhere = "" if known.splits else describe_foreign(directory.parents[1])
        raise DataError(
            f"split {split!r} of {directory} is "
            f"{'written but not committed' if there else 'missing'} (committed: {found}); "
            f"run the stage that makes it again{elsewhere}"
        )
    return list(known.splits[split].shard_lengths)


def records_of(directory: Path, known: Description, split: str) -> Iterator[tuple[Path, bytes]]:
    """(shard, record) of a committed split, each shard verified before anything of it comes.

    Raises DataError as `Dataset.read`.
    """
    lengths = lengths_of(directory, known, split)
    checksums = ledger.read_checksums(directory)

    def records() -> Iterator[tuple[Path, bytes]]:
        for shard, length in enumerate(lengths):
            path = shard_path(directory, split, shard)
            ledger.check_digest(path, sha256(path), checksums)
            found = read_records(path)
            if len(found) != length:
                raise DataError(
                    f"{path} holds {len(found)} episodes, dataset_info.json says {length}; {DOCTOR}"
                )
            for record in found:
                yield path, record

    return records()


def info_of(directory: Path, split: str, lengths: Sequence[int], size: int) -> tfds.core.SplitInfo:
    """What TFDS knows of a split: episodes of each shard, bytes of all."""
    return tfds.core.SplitInfo(
        name=split,
        shard_lengths=list(lengths),
        num_bytes=size,
        filename_template=template_of(directory, split),
    )


def examine(
    directory: Path, codec: Codec, split: str, shards: int
) -> tuple[tfds.core.SplitInfo, dict[str, ledger.Entry]]:
    """Reads what is to be committed; returns the split's info and its entries in the ledger.

    Raises DataError as `Dataset.commit`.
    """
    checksums = ledger.read_checksums(directory)
    entries: dict[str, ledger.Entry] = {}
    lengths: list[int] = []
    seen: dict[str, Path] = {}
    for shard in range(shards):
        path = shard_path(directory, split, shard)
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
            codec.check_mark(path, record)
            episode_id = codec.decode(path, record).meta.episode_id
            if episode_id in seen:
                raise DataError(
                    f"{path}: episode {episode_id!r} is also in {seen[episode_id]}; "
                    "ids must be unique within a split"
                )
            seen[episode_id] = path
        lengths.append(len(records))
        entries[path.name] = {"sha256": digest, "bytes": path.stat().st_size}
    if (surplus := shard_path(directory, split, shards)).is_file():
        raise DataError(
            f"{surplus} lies beyond the {shards} shards to commit; it is from another run: delete "
            "it or commit it too"
        )
    size = sum(entry["bytes"] for entry in entries.values())
    return info_of(directory, split, lengths, size), entries


def remove(directory: Path, known: Description, split: str) -> None:
    """Removes a split's shards and labels. Call it under the dataset's lock."""
    if split in known.splits:
        rest = {name: info for name, info in known.splits.items() if name != split}
        ledger.replace(directory, describe(directory, known, rest))
    ledger.remove(directory, labels_path(directory, split).name)
    # Shards last: as long as one is there, the split is seen to be left over. Unlisted they count
    # as not committed.
    listed, gone = ledger.read_checksums(directory), shard_digests(directory, known, split)
    ledger.write_checksums(directory, {n: entry for n, entry in listed.items() if n not in gone})
    for path in shards_there(directory, split):
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise DataError(f"{path} cannot be removed ({one_line(error)})") from error
