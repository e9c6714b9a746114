"""ArrayRecord files: whole, or a DataError that names them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from array_record.python.array_record_module import ArrayRecordReader, ArrayRecordWriter

from mili_jax.storage.files import replacing, sha256
from mili_jax.storage.made import declare
from mili_jax.types import DataError

UNREADABLE = (RuntimeError, IndexError, ValueError)  # what ArrayRecord raises


def read_records(path: Path) -> list[bytes]:
    """All records of a shard. Raises DataError if it is missing, damaged or empty."""
    # A missing or cut file opens as one of zero records, without an error.
    try:
        reader = ArrayRecordReader(str(path))
        try:
            records = reader.read_all() if reader.num_records() else []
        finally:
            reader.close()
    except UNREADABLE as error:
        raise DataError(f"{path} is damaged ({error}); write this shard again") from error
    if not records:
        raise DataError(f"{path} holds no readable episodes; write this shard again")
    return records


def read_record(path: Path, number: int) -> bytes:
    """One record of a shard, which is opened for it: opening costs a fraction of reading, and there
    may be more shards than files that may be open. Raises one of `UNREADABLE`."""
    reader = ArrayRecordReader(str(path))
    try:
        (content,) = reader.read([number])
        return bytes(content)
    finally:
        reader.close()


def read_first(path: Path) -> bytes | None:
    """The first record of a shard; None if it cannot be read."""
    try:
        return read_record(path, 0)
    except UNREADABLE:
        return None


def write_records(path: Path, records: Sequence[bytes], made: Path | None = None) -> None:
    """Writes a shard, all of it or nothing, and first declares it in the file `made`
    (`made.declare`). Raises DataError if the file system refuses."""
    with replacing(path) as temporary:
        # One record per chunk: a reader that wants one episode inflates one.
        writer = ArrayRecordWriter(str(temporary), "group_size:1")
        try:
            for record in records:
                writer.write(record)
        finally:
            # Nothing before this reports that the disk is full.
            writer.close()
        if made is not None:
            declare(made, path.name, sha256(temporary))
