"""Which connections stay open: how many, how long without a request, how far behind in reading.

The web server knows no limit for a client that connects and says nothing, or that asks and does
not read. Its two protocols are derived here so that every connection is in one table, which
`watch` goes through once a second.
"""

from __future__ import annotations

import asyncio
import dataclasses
import time
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from mili_jax.people.limits import Bucket, Limits

TICK = 1.0  # s between two looks at all connections
FRAGMENTS = 64  # of one WebSocket message

Client = tuple[str, int]


@dataclasses.dataclass
class _Connection:
    transport: asyncio.Transport
    protocol: asyncio.Protocol
    since: float
    trusted: bool = False
    waits: float | None = None  # since when no request is worked at
    behind: float | None = None  # since when bytes wait for it to read


class Connections:
    """The open connections of a server by their client's address."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._open: dict[Client, _Connection] = {}

    def __len__(self) -> int:
        return len(self._open)

    def trust(self, client: Client | None) -> None:
        """This client has shown the token: others make room first."""
        if client is not None and (found := self._open.get(client)):
            found.trusted = True

    def drop(self, client: Client | None) -> None:
        """Ends a connection at once, whatever waits to be sent on it."""
        if client is not None and (found := self._open.get(client)):
            found.transport.abort()

    def drop_all(self) -> None:
        for found in list(self._open.values()):
            found.transport.abort()

    def _admit(self, client: Client, protocol: Any) -> None:
        known = self._open.get(client)
        if known is not None:  # it has become a WebSocket
            known.protocol, known.waits = protocol, None
            return
        if len(self._open) >= self.limits.connections:
            strangers = [c for c in self._open.values() if not c.trusted]
            if not strangers:
                protocol.transport.abort()
                return
            min(strangers, key=lambda c: c.since).transport.abort()
        self._open[client] = _Connection(protocol.transport, protocol, time.monotonic())

    def _gone(self, client: Client, protocol: Any) -> None:
        if (found := self._open.get(client)) and found.protocol is protocol:
            del self._open[client]

    async def watch(self) -> None:
        """Ends what is idle, half sent or not read, until it is cancelled."""
        while True:
            await asyncio.sleep(TICK)
            now = time.monotonic()
            for found in list(self._open.values()):
                if self._hopeless(found, now):
                    found.transport.abort()

    def _hopeless(self, found: _Connection, now: float) -> bool:
        waiting = found.transport.get_write_buffer_size()
        found.behind = (found.behind or now) if waiting else None
        found.waits = (found.waits or now) if _idle(found.protocol) else None
        patience = self.limits.patience
        return (
            waiting > self.limits.backlog
            or (found.behind is not None and now - found.behind > patience)
            or (found.waits is not None and now - found.waits > patience)
        )

    def protocols(self) -> tuple[type[asyncio.Protocol], type[asyncio.Protocol]]:
        """Those for HTTP and for WebSockets that report to this table."""
        table = self

        class Http(H11Protocol):
            def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
                super().connection_made(transport)
                table._admit(self.client or ("", id(self)), self)

            def connection_lost(self, exc: Exception | None) -> None:
                super().connection_lost(exc)
                table._gone(self.client or ("", id(self)), self)

        class WebSocket(WebSocketsSansIOProtocol):
            def connection_made(self, transport: asyncio.BaseTransport) -> None:
                super().connection_made(transport)
                self.bucket = Bucket(table.limits.bytes_in, 4 * table.limits.bytes_in)
                table._admit(self.client or ("", id(self)), self)

            def connection_lost(self, exc: Exception | None) -> None:
                super().connection_lost(exc)
                table._gone(self.client or ("", id(self)), self)

            def data_received(self, data: bytes) -> None:
                if not self.bucket.take(len(data)) or len(self.frames) > FRAGMENTS:
                    self.transport.abort()
                    return
                super().data_received(data)

        return Http, WebSocket


def _idle(protocol: asyncio.Protocol) -> bool:
    """Whether it waits for a request to come, or for the rest of one."""
    if not isinstance(protocol, H11Protocol):
        return False  # a WebSocket is asked for a sign of life by itself
    return protocol.cycle is None or protocol.cycle.response_complete
