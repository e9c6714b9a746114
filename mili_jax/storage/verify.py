"""What is damaged in a dataset, and what is forgotten of it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from mili_jax.storage.files import locked, sha256
from mili_jax.storage.ledger import allowed_digests, describe_state, read_checksums, write_checksums
from mili_jax.storage.records import decode_metadata, parse_record
from mili_jax.storage.shards import read_records
from mili_jax.types import DataError

_DESCRIPTIONS = ("dataset_info.json", "features.json", "spec.json")
_SHARD = ".array_record-"
_COUNTS = re.compile(r"mili-.*|labels_.*\.jsonl|pairs_.*\.csv|(dataset_info|features|spec)\.json")


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
            continue
        try:
            for record in read_records(path):
                decode_metadata(path, parse_record(path, record))
        except DataError as error:
            yield path, str(error)


def forget(directory: Path, names: Sequence[str]) -> None:
    """Takes damaged files out of `checksums.json`; shards stay, so that new ones must equal them.

    If it is damaged itself it is made anew, for the label and pair files and the robot, and if any
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
