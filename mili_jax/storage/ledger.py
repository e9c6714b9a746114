"""`checksums.json`: the SHA-256 of every file of a dataset that counts."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mili_jax.storage.files import atomic_write, read_sealed, sealed, sha256
from mili_jax.types import DOCTOR, DataError


def read_checksums(directory: Path) -> dict[str, Any]:
    path = directory / "checksums.json"
    return read_sealed(path, ("files",))["files"] if path.exists() else {}


def write_checksums(directory: Path, files: Mapping[str, Any]) -> None:
    atomic_write(directory / "checksums.json", sealed({"files": dict(sorted(files.items()))}))


def allowed_digests(listed: Mapping[str, Any], name: str) -> tuple[str | None, ...]:
    """The SHA-256 that a file may have; None where it may be absent."""
    entry = listed.get(name, {"sha256": None})
    return entry["sha256"], entry.get("before", entry["sha256"])


def settled_checksums(directory: Path, listed: Mapping[str, Any]) -> dict[str, Any]:
    """`listed`, with what a writer left that was stopped between two contents of a file."""
    settled = dict(listed)
    for name in [name for name, entry in listed.items() if "before" in entry]:
        path = directory / name
        digest = sha256(path) if path.exists() else None
        if digest is None and listed[name]["before"] is None:
            del settled[name]
        elif digest in allowed_digests(listed, name):
            settled[name] = {"sha256": digest}
    return settled


def describe_state(there: bool) -> str:
    return "damaged: its SHA-256 is not in checksums.json" if there else "missing"


def check_digest(path: Path, digest: str, checksums: Mapping[str, Any]) -> None:
    if path.name not in checksums:
        raise DataError(f"{path} is not in checksums.json; {DOCTOR}")
    if digest != checksums[path.name]["sha256"]:
        raise DataError(f"{path} is damaged: its SHA-256 is not the one committed; {DOCTOR}")
