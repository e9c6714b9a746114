"""Files that are whole or not there: atomic, sealed with a SHA-256, appended line by line."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import io
import json
import os
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, TypeVar

from mili_jax.types import DOCTOR, DataError

Item = TypeVar("Item")
Manifest = dict[str, Any]  # of a sealed file: each stage knows which fields it has written

_BLANK = "0" * 64  # stands where a file's own SHA-256 goes
_NO_LOCKS = {errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOLCK, errno.ENOSYS}
_FORBIDDEN = {errno.EACCES, errno.EPERM}


def unreadable(path: Path, error: OSError, advice: str = "restore it") -> DataError:
    """The error for a file that the system does not let be read; `advice` where it is no matter of
    permissions."""
    what = "give yourself permission to read it" if error.errno in _FORBIDDEN else advice
    return DataError(f"{path} cannot be read ({error.strerror}); {what}")


def as_path(place: object, what: str) -> Path:
    """A path. Raises DataError, saying what it is of, for what is none."""
    if not isinstance(place, str | os.PathLike):
        raise DataError(f"{what} is {place!r} ({type(place).__name__}); it must be a path")
    return Path(place)


def as_list(values: Iterable[Item], what: str) -> list[Item]:
    """Several values in their order. Raises DataError, saying what they are, for a single one."""
    try:
        return list(values)
    except TypeError:
        raise DataError(
            f"{what} are given as {type(values).__name__}; they must be a list"
        ) from None


def exists(path: Path) -> bool:
    """Whether it is there. Raises DataError if the system does not let that be seen."""
    try:
        return path.exists()
    except OSError as error:
        raise unreadable(path, error) from error


def lock_file(file: int | IO[bytes] | IO[str], path: Path, wait: bool = True) -> None:
    """Locks an open file (or descriptor) until it is closed; `path` is what it stands for.

    Raises BlockingIOError if another process has it and `wait` is False, DataError on a file system
    without locks.
    """
    try:
        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        raise DataError(
            f"{path}: the file system there has no file locks ({error.strerror}), without which "
            "two processes could spoil it; use a folder on another file system"
        ) from None


def one_line(error: BaseException) -> str:
    """What an error says, without the temporary file that it names."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return " ".join(str(error).split())


def sha256(path: Path) -> str:
    """The file's SHA-256 in hexadecimal. Raises DataError if it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise unreadable(path, error) from error


def digest_of(content: bytes | None) -> str | None:
    return None if content is None else hashlib.sha256(content).hexdigest()


def sealed(content: Mapping[str, object]) -> str:
    """The content as JSON with a field `sha256` over all the rest of the text."""
    text = json.dumps({"sha256": _BLANK, **content}, indent=1)
    return text.replace(_BLANK, hashlib.sha256(text.encode()).hexdigest(), 1)


def read_sealed(path: Path, fields: Sequence[str]) -> Manifest:
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
        raise DataError(
            f"{path} is missing: the stage that writes it did not finish; run it"
        ) from None
    except OSError as error:
        raise unreadable(path, error, DOCTOR) from error
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        raise DataError(f"{path} is damaged ({error}); {DOCTOR}") from error


def atomic_write(path: Path, data: bytes | str) -> None:
    """Replaces a file so that a reader, or a crash, sees the old content or the new, never half.

    Raises DataError naming the path if the file system refuses; the old content stays.
    """
    with replacing(path) as temporary:
        temporary.write_bytes(data.encode() if isinstance(data, str) else data)


def append_lines(path: Path, rows: Iterable[Mapping[str, object]]) -> None:
    """Appends rows to a JSON lines file, all or none, safe between processes.

    A torn last line, left by a writer that was killed, is cut off first.
    Raises DataError naming the path if the file system refuses.
    """
    data = as_lines(rows)
    try:
        # Unbuffered: what a full disk refused must not be tried again when the file is closed.
        with path.open("a+b", buffering=0) as file:
            lock_file(file, path)
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
            sync_directory(path.parent)
    except OSError as error:
        raise DataError(
            f"{path}: cannot append ({error.strerror}); free space or fix it"
        ) from error


def as_lines(rows: Iterable[Mapping[str, object]]) -> bytes:
    return "".join(json.dumps(dict(row)) + "\n" for row in rows).encode()


def fault(path: Path, digest: str) -> str | None:
    """ "missing" or "damaged" if the file is not the one with this SHA-256; else None."""
    if not path.is_file():
        return "missing"
    return None if sha256(path) == digest else "damaged"


def read_lines(path: Path, appended: bool = False) -> Iterator[tuple[int, dict[str, object]]]:
    """Line numbers (from 1) and objects of a JSON lines file; nothing if there is no file.

    appended: of a file that `append_lines` writes, a last line without its end of line was never
    acknowledged and is skipped. Elsewhere somebody's editor has left the end of line out, and the
    line counts. Empty lines do not.

    Raises DataError naming file and line for a line that is not a JSON object, and for a file that
    cannot be read.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return
    except OSError as error:
        raise unreadable(path, error) from error
    lines = content.split(b"\n")
    for number, line in enumerate(lines[:-1] if appended else lines, start=1):
        if line.strip():
            yield number, parse_line(path, number, line)


def parse_line(path: Path, number: int, line: bytes) -> dict[str, object]:
    """The object of one line. Raises DataError naming file and line if it is none."""
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}, line {number}: {error}; repair or remove the line") from None
    if not isinstance(row, dict):
        raise DataError(f"{path}, line {number}: not a JSON object; repair or remove the line")
    return row


def _complete_length(file: io.FileIO) -> int:
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
            lock_file(handle, path)
            if not temporary.exists():  # swept away between its creation and its lock
                os.close(handle)
                handle = None
        yield temporary
        os.fsync(handle)
        os.replace(temporary, path)
        sync_directory(path.parent)
    except (OSError, RuntimeError) as error:  # ArrayRecord reports a full disk as RuntimeError
        raise DataError(
            f"{path} could not be written ({one_line(error)}); nothing of it is kept: free space "
            "or fix permissions and run again"
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
        with contextlib.suppress(OSError, DataError), temporary.open("rb") as file:
            lock_file(file, temporary, wait=False)
            temporary.unlink()


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Holds a lock on a file, made if need be, that all writers of its folder hold in turn."""
    try:
        file = path.open("ab")
    except OSError as error:
        raise DataError(
            f"{path} could not be opened ({error.strerror}); nothing was written: free space or "
            "fix permissions and run again"
        ) from error
    with file:
        lock_file(file, path.parent)
        yield


def make_directory(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"{path} could not be made ({error.strerror})") from error


def files_under(folder: Path) -> list[Path]:
    """All files below a folder, in their order."""
    return sorted(path for path in folder.rglob("*") if path.is_file())


def sync_directory(path: Path) -> None:
    """Makes what was renamed there survive a loss of power."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
