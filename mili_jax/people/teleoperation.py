"""The teleoperation page: one WebSocket, pictures down and a hand's poses up.

Every message to the page is binary: 4 bytes (big-endian) with the length of a JSON object, the
object, and then the pictures as JPEG, whose lengths it names. What the page sends is JSON text:

  {"do": "hand", "n": 7, "held": true, "place": [x, y, z], "turn": [x, y, z, w], "opening": 1,
   "frame": "table" or "xr"}
  {"do": "finish"} and the other words of `states.WISHES`, with a "value" where they take one
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import json
import logging
import struct
import sys
from collections.abc import AsyncIterator

from starlette.routing import BaseRoute, Router, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from mili_jax.people import messages, poses, serving
from mili_jax.people.gate import TOO_MUCH, RefusedError
from mili_jax.people.session import Session
from mili_jax.people.states import WISHES, Hand, Wish

LOG = logging.getLogger(__name__)
PACKAGE = "mili_jax.people.pages"
HZ = 10.0  # control steps a second, at speed 1
ODD = 20  # messages that cannot be meant, of one page, before its connection ends
ANOTHER = 4001  # a closing code: another page drives
_FILES = ("teleop.css", "teleop.js", "hand.js", "gamepad.js", "headset.js", "icon.svg")
_FRAMES = ("table", "xr")


class Teleoperation:
    """The routes, and the control loop that goes on beside them. speed: of the world, 1 for real
    time."""

    def __init__(self, session: Session, speed: float = 1.0) -> None:
        self.session, self.period = session, 1 / (HZ * speed)
        self._thread = concurrent.futures.ThreadPoolExecutor(1, "robot")
        self._wake = asyncio.Event()
        self._news = asyncio.Condition()
        self._packet, self._count = b"", 0
        self._driver: WebSocket | None = None
        self._trouble = ""
        self.late = 0  # control steps that came more than a period late

    def router(self) -> Router:
        """The site."""
        routes: list[BaseRoute] = [
            serving.page(PACKAGE, "teleop.html"),
            *serving.assets(PACKAGE, *_FILES),
            WebSocketRoute("/drive", self.drive),
        ]
        return Router(routes=routes, lifespan=self._lifespan)

    @contextlib.asynccontextmanager
    async def _lifespan(self, _: object) -> AsyncIterator[None]:
        loop = asyncio.create_task(self._loop())
        yield
        loop.cancel()
        await asyncio.gather(loop, return_exceptions=True)
        self._thread.shutdown()  # a demonstration that is being kept is written

    async def _loop(self) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time()
        await self._publish()
        while True:
            if not self.session.busy:
                self._wake.clear()
                if not self.session.busy:
                    await self._wake.wait()
                due = loop.time()
            try:
                if await loop.run_in_executor(self._thread, self.session.tick):
                    await self._publish()
            except Exception as error:  # a fault of ours must not stop the others
                LOG.exception("the control loop failed")
                self.session.stop(f"The server failed ({type(error).__name__}); see its terminal.")
                await self._publish()
            due += self.period
            if (wait := due - loop.time()) < -self.period:
                self.late += 1
                due = loop.time()  # it does not hurry afterwards
            await asyncio.sleep(max(0.0, wait))

    async def _publish(self) -> None:
        shown, view = self.session.shown(), self.session.view
        self._say(self.session.trouble)
        shown["pictures"] = [len(picture) for picture in view.pictures]
        head = json.dumps(shown, separators=(",", ":")).encode()
        async with self._news:
            self._packet = b"".join((struct.pack(">I", len(head)), head, *view.pictures))
            self._count += 1
            self._news.notify_all()

    def _say(self, trouble: str) -> None:
        """In the terminal as well."""
        if trouble and trouble != self._trouble:
            print(f"mili teleop: {trouble}", file=sys.stderr, flush=True)
        self._trouble = trouble

    # A page

    async def drive(self, websocket: WebSocket) -> None:
        """One page that drives; a later one takes over if it says so in its address."""
        before = self._driver
        if before is not None and "take" not in websocket.query_params:
            await websocket.accept()
            await websocket.close(ANOTHER, "this robot is driven on another page")
            return
        self._driver = websocket
        await websocket.accept()
        if before is not None:
            self.session.alone()
            with contextlib.suppress(RuntimeError, OSError):
                await before.close(ANOTHER, "another page has taken over")
        self._wake.set()
        sender = asyncio.create_task(self._send(websocket))
        try:
            await self._receive(websocket)
        except WebSocketDisconnect:
            pass
        finally:
            sender.cancel()
            if self._driver is websocket:
                self._driver = None
                self.session.alone()
                self._wake.set()

    async def _send(self, websocket: WebSocket) -> None:
        """The newest state and pictures. A page that reads slowly gets fewer of them."""
        last = 0
        while True:
            async with self._news:
                while self._count == last:
                    await self._news.wait()
                packet, last = self._packet, self._count
            await websocket.send_bytes(packet)

    async def _receive(self, websocket: WebSocket) -> None:
        odd = 0
        while True:
            message = await websocket.receive()
            if message["type"] == "websocket.disconnect":
                return
            if self._driver is not websocket:
                return
            try:
                self.session.receive(read(message.get("text") or ""))
            except RefusedError as refused:
                odd += 1
                LOG.info("refused: %s", refused)
                if odd > ODD:
                    await websocket.close(TOO_MUCH, "too many messages that cannot be meant")
                    return
                head = json.dumps({"refused": str(refused), "pictures": []}).encode()
                await websocket.send_bytes(struct.pack(">I", len(head)) + head)
                continue
            self._wake.set()


def read(text: str) -> Hand | Wish:
    """A message of a page. Raises RefusedError, in words, for anything else."""
    raw = messages.load(text.encode(errors="replace"))
    what = raw.get("do")
    if what == "hand":
        found = messages.parse(
            raw,
            {
                "do": str,
                "n": messages.whole(0, 1 << 53),
                "held": messages.boolean,
                "place": messages.row(*[messages.number(-100, 100)] * 3),
                "turn": messages.row(*[messages.number(-2, 2)] * 4),
                "opening": messages.number(0, 1),
                "frame": messages.one_of(_FRAMES),
            },
        )
        try:
            pose = poses.pose_of(found["place"], found["turn"])
        except ValueError as error:
            raise RefusedError(400, str(error)) from None
        if found["frame"] == "xr":
            pose = poses.from_xr(pose)
        return Hand(found["n"], found["held"], pose, found["opening"])
    found = messages.parse(
        {"value": 0, **raw}, {"do": messages.one_of(WISHES), "value": messages.whole(0, 10_000)}
    )
    return Wish(found["do"], found["value"])
