"""TFRecord files: length, its checksum, the record, its checksum.

A checksum is the CRC-32C of the bytes, rotated right by 15 bits and with a constant added. All
numbers are little-endian.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

import google_crc32c

from mili_jax.types import DataError

_HEAD = struct.Struct("<QI")
_TAIL = struct.Struct("<I")


def checksum(data: bytes) -> int:
    """The masked CRC-32C."""
    crc = google_crc32c.value(data)
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


def index(path: Path) -> list[tuple[int, int]]:
    """(offset, length) of every record's bytes.

    It reads the lengths alone and hops from one to the next. Raises DataError, naming file and
    record, for a length that its checksum or the file's end contradicts.
    """
    found: list[tuple[int, int]] = []
    try:
        with path.open("rb") as file:
            end = file.seek(0, os.SEEK_END)
            at = 0
            while at < end:
                file.seek(at)
                head = file.read(_HEAD.size)
                where = f"{path}, record {len(found)}"
                if at == 0 and head.startswith(b"\x1f\x8b"):
                    raise DataError(f"{path} is compressed with gzip; unpack it first")
                if len(head) < _HEAD.size:
                    raise DataError(f"{where}: the file ends in the record's length")
                length, crc = _HEAD.unpack(head)
                if checksum(head[:8]) != crc:
                    raise DataError(
                        f"{where}: the checksum of the length does not fit; the file is damaged or "
                        "no TFRecord"
                    )
                if at + _HEAD.size + length + _TAIL.size > end:
                    raise DataError(
                        f"{where}: {length} bytes are promised, the file ends before; it was cut "
                        "off: copy it again"
                    )
                found.append((at + _HEAD.size, length))
                at += _HEAD.size + length + _TAIL.size
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror})") from error
    return found


def read_record(file: BinaryIO, place: tuple[int, int], where: str) -> bytes:
    """The record at a place that `index` found.

    Raises DataError, naming `where`, if it is damaged.
    """
    offset, length = place
    file.seek(offset)
    data = file.read(length + _TAIL.size)
    if len(data) < length + _TAIL.size:
        raise DataError(f"{where}: the file has become shorter while it was read")
    record = data[:length]
    if checksum(record) != _TAIL.unpack(data[length:])[0]:
        raise DataError(f"{where}: the checksum of the record does not fit; copy the file again")
    return record


def write(path: Path, records: Iterable[bytes]) -> None:
    """Makes a file of these records. Raises OSError if the file system refuses."""
    with path.open("wb") as file:
        for record in records:
            length = struct.pack("<Q", len(record))
            file.write(length + _TAIL.pack(checksum(length)) + record)
            file.write(_TAIL.pack(checksum(record)))
