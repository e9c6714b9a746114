"""What a page may ask of the server, and how much of it."""

from __future__ import annotations

import dataclasses
import time


@dataclasses.dataclass(frozen=True)
class Limits:
    """Bounds that hold for every connection, whoever is at its other end.

    body: bytes of a request's body. message: bytes of a WebSocket message.
    connections: that are open at once; beyond them the oldest without token goes.
    requests, strangers: a second, of all that have the token and of all others; ten times as many
      may come at once.
    messages: a second, on one WebSocket; twice as many may come at once.
    bytes_in: a second, on one WebSocket.
    backlog: bytes that wait for one reader.
    patience: seconds for a request to arrive, and for waiting bytes to be taken.
    answer: seconds for a response, from the request to its last byte.
    """

    body: int = 1 << 18
    message: int = 1 << 16
    connections: int = 128
    requests: float = 100.0
    strangers: float = 20.0
    messages: float = 120.0
    bytes_in: float = float(1 << 20)
    backlog: int = 1 << 22
    patience: float = 10.0
    answer: float = 30.0


class Bucket:
    """Lets `rate` through a second on average, and `most` at once."""

    def __init__(self, rate: float, most: float) -> None:
        self.rate, self.most = rate, most
        self._left, self._at = most, time.monotonic()

    def take(self, amount: float = 1.0) -> bool:
        """Whether so much may pass now; if not, nothing is taken."""
        now = time.monotonic()
        self._left = min(self.most, self._left + (now - self._at) * self.rate)
        self._at = now
        if amount > self._left:
            return False
        self._left -= amount
        return True
