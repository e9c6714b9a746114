"""A person who demonstrates through the teleoperation page's protocol, but is a script.

It sees the world by a twin of the simulator, which makes the same steps, and does what the scripted
expert would; but late, with a hand that trembles, at a hand's speed, and with the clutch let go now
and then, the hand moved elsewhere and the clutch held again.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import json
import math
import struct
import time
from urllib.parse import parse_qs, urlsplit

import numpy as np
from websockets.sync.client import ClientConnection, connect

from mili_jax.domains import base
from mili_jax.people import poses

WAIT = 30.0  # s for an answer of the server
MOST = 400  # control steps after which it gives up
NEAR = 0.03  # m from where it wants to be at which a hand slows down


@dataclasses.dataclass(frozen=True)
class Manner:
    """How it moves. delay: control steps between seeing and doing; tremor: standard deviation of
    its place, m; speed: m in a control step; turn: rad in one; rest: share of the steps in which it
    lets go; messages: of a control step."""

    delay: int = 3
    tremor: float = 0.0015
    speed: float = 0.03
    turn: float = 0.15
    rest: float = 0.02
    messages: int = 2


class ScriptedPerson:
    """One person at one server. Use it as a context manager.

    Args:
      url: that the server printed.
      domain: of the server. seed: of the hand's chance.
    """

    def __init__(
        self, url: str, manner: Manner | None = None, seed: int = 0, domain: str = "kitchen"
    ) -> None:
        at = urlsplit(url)
        origin = f"{at.scheme}://{at.netloc}"
        token = parse_qs(at.query)["token"][0]
        self._open = contextlib.ExitStack()
        self.socket: ClientConnection = self._open.enter_context(
            connect(
                f"ws://{at.netloc}/drive",
                origin=origin,  # type: ignore[arg-type]
                additional_headers={"Authorization": f"Bearer {token}"},
                proxy=None,
            )
        )
        self.manner = manner or Manner()
        self.rng = np.random.default_rng(seed)
        found = base.load(domain)
        self.simulator = base.simulator_of(found, "a scripted person")
        spec = found.spec(16, ())
        assert spec is not None
        self.twin = self.simulator.make_env(spec)
        self.shown: dict = {}
        self.pictures: list[bytes] = []
        self.number = 0
        self.sent: dict[int, float] = {}
        self.lags: list[float] = []  # s from a message to the picture that it is in
        self.arrivals: list[float] = []  # when pictures of a moving world came
        self._place = np.zeros(3)
        self._turn = np.array([0.0, 0.0, 0.0, 1.0])

    def __enter__(self) -> ScriptedPerson:
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()
        self.twin.close()

    # The wire

    def send(self, what: str, value: int = 0) -> None:
        self.socket.send(json.dumps({"do": what, "value": value}))

    def look(self, wait: float = WAIT) -> dict:
        """The next thing that the page would show. Raises TimeoutError."""
        packet = self.socket.recv(timeout=wait)
        assert isinstance(packet, bytes)
        length = struct.unpack(">I", packet[:4])[0]
        said = json.loads(packet[4 : 4 + length])
        if "refused" in said:
            raise ValueError(said["refused"])
        at, self.pictures = 4 + length, []
        for size in said["pictures"]:
            self.pictures.append(packet[at : at + size])
            at += size
        for number in [number for number in self.sent if number <= said["n"]]:
            self.lags.append(time.monotonic() - self.sent.pop(number))
        if said["step"] > self.shown.get("step", 0):
            self.arrivals.append(time.monotonic())
        self.shown = said
        return said

    def until(self, *states: str, wait: float = WAIT) -> dict:
        """Looks until the page is in one of these states. Raises TimeoutError."""
        end = time.monotonic() + wait
        while not self.shown or self.shown["state"] not in states:
            self.look(max(0.0, end - time.monotonic()))
        return self.shown

    def hand(self, held: bool, opening: float) -> None:
        self.number += 1
        self.sent[self.number] = time.monotonic()
        said = {"do": "hand", "n": self.number, "held": held, "frame": "table"}
        said |= {"place": self._place.tolist(), "turn": self._turn.tolist(), "opening": opening}
        self.socket.send(json.dumps(said))

    # Demonstrating

    def demonstrate(self, task: str = "") -> bool:
        """Does the task that the page asks for, or this one where it asks for any, and finishes.
        Returns whether the page says that it is done; it is not kept yet."""
        start = self.until("ready")
        task = task or start["task"]
        options: dict[str, object] = {"task": task, "scene": start["scene"]}
        self.twin.reset(seed=start["seed"], options=options)
        expert = self.simulator.make_expert(self.twin)
        goals = collections.deque([expert.act()], maxlen=self.manner.delay + 1)
        opening, step, done = float(start["wanted"][6]), 0, False
        self.hand(True, opening)  # the press
        while step < MOST:
            said = self.look()
            if said["state"] not in ("driving", "waiting"):
                break
            if said["step"] == step:
                continue
            if said["step"] > step + 1:
                break  # it has missed a picture, and its twin knows nothing of that step
            step = said["step"]
            self.twin.step(np.array(said["wanted"], np.float32))
            goals.append(expert.act())
            if done := expert.done():
                break
            opening = float(goals[0][6])
            self._reach(np.array(said["wanted"]), goals[0], opening)
            if self.rng.random() < self.manner.rest:
                self._rest(opening)
        self.hand(False, opening)
        self.send("finish")
        found = self.until("review")
        return done and bool(found["success"] or task in [name for name, _ in found["achieved"]])

    def _reach(self, now: np.ndarray, goal: np.ndarray, opening: float) -> None:
        """Moves the hand so that the tool goes from where it is sent now towards a goal, [7]."""
        manner = self.manner
        way = goal[:3] - now[:3]
        far = float(np.linalg.norm(way))
        pace = manner.speed * min(1.0, 0.3 + far / NEAR)
        way = way * min(1.0, pace / max(far, 1e-9))
        yaw = (float(goal[5] - now[5]) + math.pi / 2) % math.pi - math.pi / 2
        yaw = min(manner.turn, max(-manner.turn, yaw))
        for _ in range(manner.messages):
            tremor = self.rng.normal(0, manner.tremor, 3)
            self._place = self._place + way / manner.messages + tremor
            turn = poses.turned(0.0, 0.0, yaw / manner.messages)
            self._turn = poses.times(turn, self._turn)
            self.hand(True, opening)

    def _rest(self, opening: float) -> None:
        """Lets go, takes the hand elsewhere and holds on again."""
        self.hand(False, opening)
        self._place = self.rng.uniform(-0.3, 0.3, 3)
        self._turn = poses.turned(*self.rng.uniform(-0.4, 0.4, 3))
        time.sleep(float(self.rng.uniform(0.0, 0.3)))
        self.hand(True, opening)
