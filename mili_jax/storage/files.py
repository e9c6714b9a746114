"""Files that are whole or not there: atomic, sealed with a SHA-256, appended line by line."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mili_jax.types import DOCTOR, DataError

_BLANK = "0" * 64  # stands where a file's own SHA-256 goes


def sha256(path: Path) -> str:
    """The file's SHA-256 in hexadecimal. Raises DataError if it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}); restore it") from error


def digest_of(content: bytes | None) -> str | None:
    return None if content is None else hashlib.sha256(content).hexdigest()


def sealed(content: Mapping[str, Any]) -> str:
    """The content as JSON with a field `sha256` over all the rest of the text."""
    text = json.dumps({"sha256": _BLANK, **content}, indent=1)
    return text.replace(_BLANK, hashlib.sha256(text.encode()).hexdigest(), 1)


def read_sealed(path: Path, fields: Sequence[str]) -> dict[str, Any]:
    """What `sealed` was given. Raises DataError, naming the path: missing, damaged, no such field.

    A file of which any bit differs from what was written is damaged.
    """
    try:
        data = path.read_bytes()
        content = json.loads(data)
        digest = content.pop("sha256")
        if digest_of(data.replace(digest.encode(), _BLANK.encode(), 1)) != digest:
            raise ValueError("its SHA-256 does not fit")
        missing = [field for field in fields if field not in content]
        if missing:
            raise ValueError(f"no field {missing[0]!r}")
        return content
    except FileNotFoundError:
        raise DataError(f"{path} is missing: the stage that writes it did not finish") from None
    except (OSError, ValueError, TypeError, AttributeError, KeyError) as error:
        raise DataError(f"{path} is damaged ({error}); {DOCTOR}") from error


def atomic_write(path: Path, data: bytes | str) -> None:
    """Replaces a file so that a reader, or a crash, sees the old content or the new, never half.

    Raises DataError naming the path if the file system refuses; the old content stays.
    """
    with replacing(path) as temporary:
        temporary.write_bytes(data.encode() if isinstance(data, str) else data)


def append_lines(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Appends rows to a JSON lines file, all or none, safe between processes.

    A torn last line, left by a writer that was killed, is cut off first.
    Raises DataError naming the path if the file system refuses.
    """
    data = as_lines(rows)
    try:
        # Unbuffered: what a full disk refused must not be tried again when the file is closed.
        with path.open("a+b", buffering=0) as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            end = _complete_length(file)
            file.truncate(end)
            try:
                rest = memoryview(data)
                while rest:
                    rest = rest[file.write(rest) :]
                os.fsync(file.fileno())
            except OSError:
                file.truncate(end)
                raise
        if end == 0:
            _sync_directory(path.parent)
    except OSError as error:
        raise DataError(
            f"{path}: cannot append ({error.strerror}); free space or fix it"
        ) from error


def as_lines(rows: Iterable[Mapping[str, Any]]) -> bytes:
    return "".join(json.dumps(dict(row)) + "\n" for row in rows).encode()


def fault(path: Path, digest: str) -> str | None:
    """ "missing" or "damaged" if the file is not the one with this SHA-256; else None."""
    if not path.is_file():
        return "missing"
    return None if sha256(path) == digest else "damaged"


def read_lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Line numbers (from 1) and objects of a JSON lines file; nothing if there is no file.

    A last line without its end of line was never acknowledged and is skipped. Raises DataError
    naming file and line for any other line that is not a JSON object, and for a file that cannot be
    read.
    """
    if path.exists():
        try:
            content = path.read_bytes()
        except OSError as error:
            raise DataError(f"{path} cannot be read ({error.strerror})") from error
        yield from parse_lines(path, content)


def parse_lines(path: Path, content: bytes) -> Iterator[tuple[int, dict[str, Any]]]:
    lines = content.split(b"\n")[:-1]
    for number, line in enumerate(lines, start=1):
        yield number, parse_line(path, number, line)


def parse_line(path: Path, number: int, line: bytes) -> dict[str, Any]:
    """The object of one line. Raises DataError naming file and line if it is none."""
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}, line {number}: {error}; repair or remove the line") from None
    if not isinstance(row, dict):
        raise DataError(f"{path}, line {number}: not a JSON object; repair or remove the line")
    return row


def _complete_length(file: Any) -> int:
    """Bytes up to and including the last end of line."""
    end = file.seek(0, os.SEEK_END)
    while end > 0:
        start = max(0, end - 65536)
        file.seek(start)
        cut = file.read(end - start).rfind(b"\n")
        if cut >= 0:
            return start + cut + 1
        end = start
    return 0


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary file beside `path` to fill; on success it is synced and renamed to `path`.

    The temporary file stays locked while its writer lives: `remove_abandoned` knows by that
    which ones may go.
    """
    handle = None
    temporary = path
    try:
        while handle is None:
            temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
            handle = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o666)
            fcntl.flock(handle, fcntl.LOCK_EX)
            if not temporary.exists():  # swept away between its creation and its lock
                os.close(handle)
                handle = None
        yield temporary
        os.fsync(handle)
        os.replace(temporary, path)
        _sync_directory(path.parent)
    except (OSError, RuntimeError) as error:  # ArrayRecord reports a full disk as RuntimeError
        raise DataError(
            f"{path} could not be written ({error}); nothing of it is kept: free space or fix "
            "permissions and run again"
        ) from error
    finally:
        if handle is not None:
            # After a success the name is gone already.
            with contextlib.suppress(OSError):
                temporary.unlink()
            os.close(handle)


def remove_abandoned(directory: Path) -> None:
    """Removes, at any depth, the temporary files of writers that died; live ones are locked."""
    for temporary in directory.rglob(".*.tmp"):
        with contextlib.suppress(OSError), temporary.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            temporary.unlink()


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    try:
        file = path.open("ab")
    except OSError as error:
        raise DataError(f"{path} could not be opened ({error.strerror})") from error
    with file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def make_directory(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"{path} could not be made ({error.strerror})") from error


def _sync_directory(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
