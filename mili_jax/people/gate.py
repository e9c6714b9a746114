"""What may come in: only who has the token, by this server's own name, from its own pages.

Nothing that a request says is trusted before these checks:

  Host     is an address of this server, so that no foreign name can be pointed at it
  token    is in the cookie, in the header `Authorization: Bearer`, or in the address that the
           terminal printed, whose answer sets the cookie
  Origin   is this server's own; a POST or a WebSocket has to have one
  amount   size of the body, requests and messages a second, seconds to the last byte
"""

from __future__ import annotations

import asyncio
import hmac
import html
import http
import http.cookies
import json
import logging
import urllib.parse
from collections.abc import Iterable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mili_jax.people.connections import Connections
from mili_jax.people.limits import Bucket, Limits
from mili_jax.types import MiliError

LOG = logging.getLogger(__name__)
METHODS = ("GET", "HEAD", "POST")
TOO_MUCH = 1008  # a WebSocket's closing code: the message breaks a rule
HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self' blob:; connect-src 'self'; manifest-src 'self'; form-action 'none'; "
    "base-uri 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}
_AGAIN = "open the address that the terminal printed, the one with the token"


class RefusedError(MiliError):
    """A request that is not served: the HTTP status, and why."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status


class Gate:
    """The application behind its checks.

    Args:
      hosts: what the header Host may be, with the port.
      scheme: "http" or "https".
      port: names the cookie: browsers share cookies between the ports of a machine.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        token: str,
        hosts: Iterable[str],
        scheme: str,
        port: int,
        limits: Limits,
        connections: Connections,
    ) -> None:
        self._app, self._token, self._limits = app, token, limits
        self._hosts, self._scheme = frozenset(hosts), scheme
        self._cookie = f"mili_{port}"
        self._connections = connections
        self._known = Bucket(limits.requests, 10 * limits.requests)
        self._strange = Bucket(limits.strangers, 10 * limits.strangers)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        headers = _headers(scope)
        try:
            asked = self._check(scope, headers)
        except RefusedError as refused:
            await self._refuse(scope, headers, send, refused)
            return
        self._connections.trust(scope.get("client"))
        if scope["type"] == "websocket":
            await self._socket(scope, receive, send)
        else:
            await self._request(scope, headers, receive, send, asked)

    def _check(self, scope: Scope, headers: dict[str, str]) -> bool:
        """Whether the token came in the address. Raises RefusedError."""
        shown, asked = self._shown(scope, headers)
        trusted = bool(shown) and hmac.compare_digest(shown.encode(), self._token.encode())
        if not (self._known if trusted else self._strange).take():
            raise RefusedError(429, "too many requests at once; wait a second")
        host = headers.get("host", "")
        if host not in self._hosts:
            raise RefusedError(421, f"this server is not called {host[:60]!r}; {_AGAIN}")
        if not trusted:
            why = "the token is wrong" if shown else "the token is missing"
            raise RefusedError(403, f"{why}; {_AGAIN}")
        origin = headers.get("origin")
        own = f"{self._scheme}://{host}"
        if origin is not None and origin != own:
            raise RefusedError(403, f"a page of {origin[:60]!r} may not ask this server")
        method = scope.get("method", "GET")
        if origin is None and (method == "POST" or scope["type"] == "websocket"):
            raise RefusedError(
                403, "the request has no Origin; it must come from this server's page"
            )
        if headers.get("sec-fetch-site", "none") not in ("none", "same-origin") and not asked:
            raise RefusedError(403, f"another site asks for this; {_AGAIN}")
        if method not in METHODS:
            raise RefusedError(405, f"{method[:20]!r} is not served, only {', '.join(METHODS)}")
        length = headers.get("content-length", "0")
        if not length.isdecimal() or int(length[:20]) > self._limits.body:
            raise RefusedError(413, f"a request may have {self._limits.body} bytes")
        return asked

    def _shown(self, scope: Scope, headers: dict[str, str]) -> tuple[str, bool]:
        """The token that the request shows, "" if none, and whether it is in its address."""
        query = urllib.parse.parse_qs(scope["query_string"][:400].decode("latin-1"))
        if (given := query.get("token")) and scope.get("method") == "GET":
            return given[0], True
        kind, _, value = headers.get("authorization", "").partition(" ")
        if kind.lower() == "bearer":
            return value.strip(), False
        jar = http.cookies.SimpleCookie()
        try:
            jar.load(headers.get("cookie", ""))
        except http.cookies.CookieError:
            return "", False
        return (jar[self._cookie].value if self._cookie in jar else ""), False

    async def _refuse(
        self, scope: Scope, headers: dict[str, str], send: Send, refused: RefusedError
    ) -> None:
        LOG.info("refused %s: %s", scope["path"][:80], refused)
        page = "text/html" in headers.get("accept", "")
        body, kind = _said(refused, page)
        before = "websocket.http.response" if scope["type"] == "websocket" else "http.response"
        fields = {**HEADERS, "content-type": kind, "connection": "close"}
        fields["content-length"] = str(len(body))
        start = {"type": f"{before}.start", "status": refused.status, "headers": _raw(fields)}
        await send(start)
        await send({"type": f"{before}.body", "body": body})

    async def _request(
        self,
        scope: Scope,
        headers: dict[str, str],
        receive: Receive,
        send: Send,
        asked: bool,
    ) -> None:
        extra = dict(HEADERS)
        if asked:
            secure = "; Secure" if self._scheme == "https" else ""
            cookie = f"{self._cookie}={self._token}; Path=/; HttpOnly; SameSite=Strict{secure}"
            extra["set-cookie"] = cookie
        size, begun = 0, False

        async def measured() -> Message:
            nonlocal size
            message = await receive()
            size += len(message.get("body", b""))
            if size > self._limits.body:
                raise RefusedError(413, f"a request may have {self._limits.body} bytes")
            return message

        async def dressed(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = True
                named = {name.decode().lower() for name, _ in message.get("headers", ())}
                more = {k: v for k, v in extra.items() if k not in named}
                message = {**message, "headers": [*message.get("headers", ()), *_raw(more)]}
            await send(message)

        try:
            async with asyncio.timeout(self._limits.answer):
                await self._app(scope, measured, dressed)
            return
        except RefusedError as error:
            refused = error
        except TimeoutError:
            refused = RefusedError(503, f"no answer within {self._limits.answer:g} s; try again")
        except MiliError as error:
            refused = RefusedError(409, " ".join(str(error).split()))
        except Exception as error:  # a fault of ours: the page gets a sentence, the terminal why
            LOG.exception("%s failed", scope["path"][:80])
            refused = RefusedError(
                500, f"the server failed ({type(error).__name__}); see its terminal"
            )
        if begun:
            self._connections.drop(scope.get("client"))
        else:
            await self._refuse(scope, headers, send, refused)

    async def _socket(self, scope: Scope, receive: Receive, send: Send) -> None:
        bucket = Bucket(self._limits.messages, 2 * self._limits.messages)
        client = scope.get("client")

        async def measured() -> Message:
            message = await receive()
            if message["type"] == "websocket.receive" and not bucket.take():
                why = f"more than {self._limits.messages:g} messages a second"
                await patient({"type": "websocket.close", "code": TOO_MUCH, "reason": why})
                return {"type": "websocket.disconnect", "code": TOO_MUCH, "reason": why}
            return message

        async def patient(message: Message) -> None:
            if message["type"] == "websocket.accept":
                message = {**message, "headers": [*message.get("headers", ()), *_raw(HEADERS)]}
            try:
                await asyncio.wait_for(send(message), self._limits.patience)
            except TimeoutError:
                self._connections.drop(client)
                raise

        try:
            await self._app(scope, measured, patient)
        except Exception as error:
            if isinstance(error, MiliError):
                LOG.warning("%s", error)
            elif not isinstance(error, TimeoutError | OSError):
                LOG.exception("%s failed", scope["path"][:80])
            self._connections.drop(client)


def _headers(scope: Scope) -> dict[str, str]:
    """By name; of one that came twice none counts but is refused as a value nobody has."""
    found: dict[str, str] = {}
    for raw, value in scope["headers"]:
        name = raw.decode("latin-1").lower()
        twice = name in found and name in ("host", "origin", "content-length", "authorization")
        found[name] = f"{found[name]}, twice" if twice else value.decode("latin-1")
    return found


def _raw(fields: dict[str, str]) -> list[tuple[bytes, bytes]]:
    return [(name.encode(), value.encode("latin-1")) for name, value in fields.items()]


def _said(refused: RefusedError, page: bool) -> tuple[bytes, str]:
    """The refusal for a person or for a program, and its type."""
    if not page:
        content: dict[str, object] = {"error": str(refused)}
        return json.dumps(content).encode(), "application/json"
    text = html.escape(str(refused))
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width"><title>mili</title>'
        f"<h1>{http.HTTPStatus(refused.status).phrase}</h1><p>{text}.</p></html>"
    ).encode(), "text/html; charset=utf-8"
