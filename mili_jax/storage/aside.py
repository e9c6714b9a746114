"""A split that must make room and must not be lost: it becomes a dataset of its own."""

from __future__ import annotations

import os
import shutil
import uuid
from pathlib import Path

from mili_jax.storage import ledger
from mili_jax.storage.description import NAME, VERSION, Description, describe
from mili_jax.storage.files import make_directory, one_line, sha256, sync_directory
from mili_jax.storage.shards import read_records
from mili_jax.storage.splits import info_of, labels_path, shard_path, shards_there
from mili_jax.types import DataError


def keep_aside(directory: Path, known: Description, split: str) -> Path:
    """Copies a split's shards and labels to `kept/<split>_<n>` under the root of their dataset,
    which is the root of another one that holds this split alone.

    It is there as a whole or not at all. Call it under the dataset's lock. Returns the new root.
    Raises DataError, naming the file, if a shard or the labels are damaged, or a write is refused.
    """
    kept = directory.parents[1] / "kept"
    make_directory(kept)
    for stale in kept.glob(".*.tmp"):  # of a process that died; this one has the lock
        shutil.rmtree(stale, ignore_errors=True)
    number = 1
    while (target := kept / f"{split}_{number}").exists():
        number += 1
    staging = kept / f".{uuid.uuid4().hex}.tmp"
    try:
        _fill(staging / NAME / VERSION, directory, known, split)
        os.rename(staging, target)
        sync_directory(kept)
    except OSError as error:
        raise DataError(
            f"{target} could not be written ({one_line(error)}); nothing was dropped: free space "
            "or fix permissions and run again"
        ) from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return target


def _fill(there: Path, here: Path, known: Description, split: str) -> None:
    there.mkdir(parents=True)
    listed = ledger.read_checksums(here)
    contents: dict[str, bytes] = {}
    checksums: dict[str, ledger.Entry] = {}
    if shards := shards_there(here, split):
        lengths = []
        for i, shard in enumerate(shards):
            digest = sha256(shard)
            if shard.name in listed:
                ledger.check_digest(shard, digest, listed)
            lengths.append(len(read_records(shard)))
            copy = shard_path(there, split, i)
            try:
                os.link(shard, copy)
            except OSError:  # not every file system has links
                shutil.copyfile(shard, copy)
            checksums[copy.name] = {"sha256": digest, "bytes": copy.stat().st_size}
        size = sum(entry["bytes"] for entry in checksums.values())
        contents = describe(there, known, {split: info_of(there, split, lengths, size)})
    labels = labels_path(here, split).name
    if (answers := ledger.verified(here, labels)) is not None:
        contents[labels] = answers
    ledger.replace(there, contents, checksums)
