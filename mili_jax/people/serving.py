"""Serves pages to the people at this machine, until it is asked to stop.

An application is a `starlette.routing.Router`: routes for HTTP and WebSockets, and a lifespan for
what runs beside them. (`Starlette` itself would answer for faults before the gate does.) It needs
no checks of its own for who asks (`gate`), and none for clients that say nothing or do not read
(`connections`). A `MiliError` that it raises reaches the page as status 409 and
`{"error": "what happened, where, what to do"}`.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import errno
import functools
import importlib.resources
import logging
import os
import re
import secrets
import socket
import threading
import webbrowser
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import uvicorn
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from mili_jax.people.connections import Connections
from mili_jax.people.gate import Gate
from mili_jax.people.limits import Limits
from mili_jax.types import ConfigError, DataError
from mili_jax.workers import stopping

HOST = "127.0.0.1"
PORT = 8421  # where a page is unless another port is asked for
GRACE = 2  # s for responses under way once the server shall stop
_TOKEN = re.compile(r"[A-Za-z0-9_-]{20,100}")
_KINDS = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
}


@dataclasses.dataclass(frozen=True)
class Address:
    """Where a server is found."""

    port: int
    token: str
    host: str = HOST
    scheme: str = "http"

    @property
    def url(self) -> str:
        """What is opened in a browser; it has the token."""
        return f"{self.scheme}://{self.host}:{self.port}/?token={self.token}"

    @property
    def names(self) -> tuple[str, ...]:
        """What a browser may call the server."""
        local = ("127.0.0.1", "localhost") if self.host == HOST else (self.host,)
        return tuple(f"{name}:{self.port}" for name in local)


@dataclasses.dataclass(frozen=True)
class Tls:
    """A certificate with its chain and its key, as PEM files."""

    certificate: Path
    key: Path


class _Server(uvicorn.Server):
    """Signals are heard by `stopping`; connections are watched while it serves."""

    def __init__(self, config: uvicorn.Config, connections: Connections) -> None:
        super().__init__(config)
        self._connections = connections
        self.ready = threading.Event()
        self._watch: asyncio.Task[None] | None = None

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        if self.config.is_ssl:
            # Else whoever connects and does not even greet is waited for a minute.
            loop, patience = asyncio.get_running_loop(), self._connections.limits.patience
            serve = functools.partial(loop.create_server, ssl_handshake_timeout=patience)
            loop.create_server = serve  # type: ignore[method-assign]
        await super().startup(sockets)
        self._watch = asyncio.create_task(self._connections.watch())
        self.ready.set()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await super().shutdown(sockets)
        if self._watch is not None:
            self._watch.cancel()
        self._connections.drop_all()


def bind(port: int | None, host: str = HOST) -> socket.socket:
    """A socket that listens: at `port`, at any free one for 0, at `PORT` or any free one for None.

    Raises ConfigError if the port is taken or may not be used.
    """
    for wanted in (PORT, 0) if port is None else (port,):
        found = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            found.bind((host, wanted))
            found.listen(64)
            return found
        except OSError as error:
            found.close()
            if error.errno != errno.EADDRINUSE or port is not None:
                raise ConfigError(
                    f"--port={wanted}: cannot listen at {host}:{wanted} ({error.strerror}); choose "
                    "another port, or none for a free one"
                ) from None
    raise ConfigError(f"no port is free at {host}; end a server and try again")


def kept_token(path: Path) -> str:
    """The token in a file that only its owner may read, made if there is none: after a restart the
    pages that are open go on.

    Raises DataError if the file cannot be written, or others may read it.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
            with open(handle, "w") as file:
                file.write(secrets.token_urlsafe(24))
        if path.stat().st_mode & 0o077:
            raise DataError(f"{path}: others may read this token; delete it and start again")
        token = path.read_text().strip()
    except OSError as error:
        raise DataError(f"{path} cannot be used ({error.strerror}); free space or permit") from None
    except UnicodeDecodeError:
        token = ""
    if not _TOKEN.fullmatch(token):
        raise DataError(f"{path} holds no token; delete it and start again")
    return token


def assets(package: str, *names: str) -> list[Route]:
    """Routes to files that the package ships, read once: no request reaches the file system."""
    folder = importlib.resources.files(package)
    content = {name: (folder / name).read_bytes() for name in names}
    return [Route(f"/{name}", _constant(data, name)) for name, data in content.items()]


def page(package: str, name: str) -> Route:
    """The page at /."""
    data = (importlib.resources.files(package) / name).read_bytes()
    return Route("/", _constant(data, name))


def _constant(data: bytes, name: str) -> Callable[[Request], Awaitable[Response]]:
    kind = _KINDS[name[name.rindex(".") :]]

    async def give(_: Request) -> Response:
        return Response(data, media_type=kind, headers={"cache-control": "no-cache"})

    return give


def serve(
    app: ASGIApp,
    *,
    name: str,
    listening: socket.socket,
    token: str,
    limits: Limits | None = None,
    opens: bool = False,
    stop: threading.Event | None = None,
    tls: Tls | None = None,
) -> None:
    """Prints one line with the address, and serves until a signal comes or `stop` is set.

    Args:
      name: of the command, before the address.
      listening: of `bind`; it is closed in the end.
      token: who has it may ask.
      opens: the page is opened in this machine's browser.
      stop: for whoever runs it in a thread, where no signals arrive.
      tls: None for HTTP.

    Returns once it was asked to stop; responses under way had `GRACE` seconds. The caller saves
    what it has and raises `stopping.stopped`.
    """
    limits = limits or Limits()
    host, port = listening.getsockname()[:2]
    address = Address(port, token, host, "https" if tls else "http")
    connections = Connections(limits)
    http, websocket = connections.protocols()
    gate = Gate(
        app,
        token=token,
        hosts=address.names,
        scheme=address.scheme,
        port=port,
        limits=limits,
        connections=connections,
    )
    for logger in ("uvicorn", "uvicorn.error", "uvicorn.access", "websockets"):
        logging.getLogger(logger).setLevel(logging.CRITICAL)  # what strangers send is no news
    config = uvicorn.Config(
        gate,
        http=http,
        ws=websocket,
        loop="asyncio",
        ws_max_size=limits.message,
        ws_per_message_deflate=False,
        h11_max_incomplete_event_size=1 << 14,
        timeout_keep_alive=int(limits.patience),
        timeout_graceful_shutdown=GRACE,
        proxy_headers=False,
        server_header=False,
        access_log=False,
        log_config=None,
        backlog=64,
        ssl_certfile=None if tls is None else tls.certificate,
        ssl_keyfile=None if tls is None else tls.key,
    )
    server = _Server(config, connections)

    def end() -> None:
        server.should_exit = True

    def announce() -> None:
        server.ready.wait()
        print(f"{name}: {address.url}", flush=True)
        if opens:
            webbrowser.open(address.url)
        if stop is not None:
            stop.wait()
            end()

    threading.Thread(target=announce, name="announce", daemon=True).start()
    # The caller says how far it came.
    with contextlib.suppress(stopping.Stopped), stopping.asking("requests under way", end):
        server.run(sockets=[listening])
