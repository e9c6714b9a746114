"""`checksums.json`: the SHA-256 of every file of a dataset that counts.

Files are replaced as a whole, and verified before anything of them is used. While one is being
replaced, the ledger allows the old content and the new.
"""

from __future__ import annotations

import types
from collections.abc import Mapping
from pathlib import Path
from typing import NotRequired, TypedDict

from mili_jax.storage.files import (
    atomic_write,
    digest_of,
    exists,
    one_line,
    read_sealed,
    sealed,
    sha256,
    unreadable,
)
from mili_jax.types import DOCTOR, DataError


class Entry(TypedDict):
    """What the ledger knows of a file; a digest is None where the file may be absent."""

    sha256: str | None
    before: NotRequired[str | None]  # of the old content, while it is replaced
    bytes: NotRequired[int]


_NOTHING: Mapping[str, Entry] = types.MappingProxyType({})


def read_checksums(directory: Path) -> dict[str, Entry]:
    path = directory / "checksums.json"
    return read_sealed(path, ("files",))["files"] if exists(path) else {}


def write_checksums(directory: Path, files: Mapping[str, Entry]) -> None:
    atomic_write(directory / "checksums.json", sealed({"files": dict(sorted(files.items()))}))


def allowed_digests(listed: Mapping[str, Entry], name: str) -> tuple[str | None, ...]:
    """The SHA-256 that a file may have; None where it may be absent."""
    entry = listed.get(name, {"sha256": None})
    return entry["sha256"], entry.get("before", entry["sha256"])


def verified(directory: Path, name: str) -> bytes | None:
    """A file's content; None if it was never written. Raises DataError naming it."""
    path = directory / name
    for _ in range(3):  # another process may be replacing it
        try:
            content = path.read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            content = None
        except OSError as error:
            raise unreadable(path, error, DOCTOR) from error
        if digest_of(content) in allowed_digests(read_checksums(directory), name):
            return content
    raise DataError(f"{path} is {describe_state(content is not None)}; {DOCTOR}")


def replace(
    directory: Path, contents: Mapping[str, bytes], shards: Mapping[str, Entry] = _NOTHING
) -> None:
    """Replaces files, and lists them, and shards that are there.

    Killed anywhere in between, each file is the old or the new one and both are allowed until the
    next call, which allows only what is there. Call it under the directory's lock.
    """
    listed = _settled(directory, {**read_checksums(directory), **shards})
    for name, content in contents.items():
        path = directory / name
        before = sha256(path) if path.exists() else None
        listed[name] = {"sha256": digest_of(content), "before": before}
    write_checksums(directory, listed)
    for name, content in contents.items():
        atomic_write(directory / name, content)
        del listed[name]["before"]
    write_checksums(directory, listed)


def remove(directory: Path, name: str) -> None:
    """Removes a listed file; killed in between, it may be there or not. Call it under the
    directory's lock. Raises DataError if the file system refuses."""
    listed = read_checksums(directory)
    if name in listed:
        before = listed[name]["sha256"]
        write_checksums(directory, {**listed, name: {"sha256": None, "before": before}})
    try:
        (directory / name).unlink(missing_ok=True)
    except OSError as error:
        raise DataError(f"{directory / name} cannot be removed ({one_line(error)})") from error
    if name in listed:
        write_checksums(directory, {n: entry for n, entry in listed.items() if n != name})


def _settled(directory: Path, listed: Mapping[str, Entry]) -> dict[str, Entry]:
    """`listed`, with what a writer left that was stopped between two contents of a file."""
    settled = dict(listed)
    for name in [name for name, entry in listed.items() if "before" in entry]:
        path = directory / name
        digest = sha256(path) if path.exists() else None
        if digest is None and None in allowed_digests(listed, name):
            del settled[name]
        elif digest in allowed_digests(listed, name):
            settled[name] = {"sha256": digest}
    return settled


def describe_state(there: bool) -> str:
    return "damaged: its SHA-256 is not in checksums.json" if there else "missing"


def check_digest(path: Path, digest: str, checksums: Mapping[str, Entry]) -> None:
    """Raises DataError, naming the shard, unless it is the one that was committed."""
    if path.name not in checksums:
        raise DataError(f"{path} is not in checksums.json; {DOCTOR}")
    if digest != checksums[path.name]["sha256"]:
        raise DataError(f"{path} is damaged: its SHA-256 is not the one committed; {DOCTOR}")
