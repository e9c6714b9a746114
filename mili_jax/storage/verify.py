"""What is damaged in a dataset, and what is forgotten of it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from mili_jax.storage.facts import decode_metadata, parse_record
from mili_jax.storage.files import locked, sha256, unreadable
from mili_jax.storage.foreign import refuse_foreign
from mili_jax.storage.labels import split_labels
from mili_jax.storage.ledger import (
    allowed_digests,
    describe_state,
    read_checksums,
    replace,
    write_checksums,
)
from mili_jax.storage.pairs import split_pairs
from mili_jax.storage.shards import read_records
from mili_jax.types import DataError

_DESCRIPTIONS = ("dataset_info.json", "features.json", "spec.json")
_SHARD = ".array_record-"
_COUNTS = re.compile(r"mili-.*|labels_.*\.jsonl|pairs_.*\.csv|(dataset_info|features|spec)\.json")


def verify(directory: Path) -> Iterator[tuple[Path, str]]:
    """Every damaged or missing file of a TFDS directory, and what is wrong with it.

    Shards that are not committed yet have no checksum: of these every record must parse.
    Raises DataError if the directory is somebody else's.
    """
    refuse_foreign(directory)
    try:
        there = {path.name for path in directory.iterdir() if _COUNTS.fullmatch(path.name)}
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:
        raise unreadable(directory, error) from error
    sums = directory / "checksums.json"
    try:
        if not sums.exists() and any(_SHARD not in name for name in there):
            raise DataError(f"{sums} is missing")
        listed = read_checksums(directory)
    except DataError as error:
        yield sums, str(error)
        listed = {}
        there = {name for name in there if _SHARD in name}
    for name in sorted(there | listed.keys()):
        path = directory / name
        if name in listed or _SHARD not in name:
            if (sha256(path) if name in there else None) not in allowed_digests(listed, name):
                yield path, f"{path} is {describe_state(name in there)}"
            elif name in there and (bad := _bad_lines(path)):
                rest = f" (and {len(bad) - 1} lines more)" if len(bad) > 1 else ""
                yield path, f"{bad[0]}{rest}"
            continue
        try:
            for record in read_records(path):
                decode_metadata(path, parse_record(path, record))
        except DataError as error:
            yield path, str(error)


def _bad_lines(path: Path) -> list[DataError]:
    if path.suffix == ".jsonl":
        return split_labels(path, path.read_bytes())[1]
    return split_pairs(path, path.read_bytes())[1] if path.suffix == ".csv" else []


def good_labels(path: Path) -> bytes | None:
    """The lines of a label file that can be read, if it is as it was written but for others."""
    try:
        allowed = allowed_digests(read_checksums(path.parent), path.name)
    except DataError:
        return None
    if not path.is_file() or sha256(path) not in allowed:
        return None
    return split_labels(path, path.read_bytes())[0] or None


def put_back(path: Path, content: bytes) -> None:
    """Writes a file whose damaged self was forgotten."""
    with locked(path.parent / ".commit.lock"):
        replace(path.parent, {path.name: content})


def forget(directory: Path, names: Sequence[str]) -> None:
    """Takes damaged files out of `checksums.json`; shards stay, so that new ones must equal them.

    If it is damaged itself it is made again, for the label and pair files and the robot, and if any
    description is, no split is committed any more. The damaged files must be gone already.
    """
    with locked(directory / ".commit.lock"):
        listed = read_checksums(directory)
        if "checksums.json" in names:
            for pattern in ("labels_*.jsonl", "pairs_*.csv", "spec.json"):
                for path in directory.glob(pattern):
                    listed[path.name] = {"sha256": sha256(path)}
        for name in names:
            if _SHARD not in name:
                listed.pop(name, None)
        for name in _DESCRIPTIONS:
            if not (directory / name).exists():
                listed.pop(name, None)
        write_checksums(directory, listed)
