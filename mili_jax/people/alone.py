"""One server for one thing: a second is refused, and where the first one is."""

from __future__ import annotations

import contextlib
import os
import platform
import socket
from collections.abc import Iterator
from pathlib import Path

from mili_jax.people import serving
from mili_jax.storage.files import lock_file, make_directory
from mili_jax.types import ConfigError, DataError


@contextlib.contextmanager
def alone(lock: Path, what: str, listening: socket.socket) -> Iterator[None]:
    """Holds the lock of a page, with a word about who holds it.

    what: is served, for whoever comes second. listening: where the page is.
    Raises ConfigError if another server has it, DataError if the file system refuses.
    """
    make_directory(lock.parent)
    try:
        file = lock.open("a+")
    except OSError as error:
        raise DataError(f"{lock} could not be opened ({error.strerror}); free space") from None
    with file:
        try:
            lock_file(file, lock, wait=False)
        except BlockingIOError:
            file.seek(0)
            raise ConfigError(
                f"{what} is served already, {file.read(200).strip() or 'here'}; "
                "open that page, or end it"
            ) from None
        host, port = listening.getsockname()[:2]
        try:
            file.truncate(0)
            scheme = "http" if host == serving.HOST else "https"
            file.write(f"at {scheme}://{host}:{port}, process {os.getpid()} on ")
            file.write(platform.node())
            file.flush()
        except OSError as error:
            raise DataError(f"{lock} cannot be written ({error.strerror})") from None
        yield
