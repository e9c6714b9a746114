"""Its state: where the gripper is, and how far every drawer and lever has been moved."""

from __future__ import annotations

import dataclasses
import json
import math

import numpy as np

REACH, TOP = 0.2, 0.2  # m: the gripper stays within +-REACH in x and y, 0..TOP in z
STEP = 0.05  # m, most in one step and direction
LOW, NEAR = 0.05, 0.03  # m: so low and so near the gripper can move a handle
CLOSED = 0.4  # of the opening: a drawer is pulled by closed fingers alone
PULL = 0.1  # m, how far a drawer comes out
ARM, TURN = 0.06, math.pi / 2  # m, rad: a lever
DONE = 0.7  # of the whole way
FIRST = (0.0, -0.1, 0.15, 1.0)  # where the gripper begins if nobody says otherwise


@dataclasses.dataclass(frozen=True)
class Fixture:
    """One thing on the table. way: how far it has been moved, of the whole; x, y in m."""

    kind: str
    colour: str
    x: float
    y: float
    way: float

    def handle(self) -> np.ndarray:
        """[2] m."""
        if self.kind == "drawer":
            return np.array([self.x, self.y + PULL * self.way])
        angle = TURN * self.way
        return np.array([self.x + ARM * math.cos(angle), self.y + ARM * math.sin(angle)])

    def follow(self, spot: np.ndarray) -> Fixture:
        """As it is after its handle went with a gripper to `spot` [2] m, as far as it can."""
        if self.kind == "drawer":
            way = (spot[1] - self.y) / PULL
        else:
            way = math.atan2(spot[1] - self.y, spot[0] - self.x) / TURN
        return dataclasses.replace(self, way=min(1.0, max(0.0, float(way))))


@dataclasses.dataclass(frozen=True)
class Scene:
    """What an episode begins with."""

    fixtures: tuple[Fixture, ...]
    tool: tuple[float, ...] = FIRST

    def to_json(self) -> str:
        rows = [dataclasses.astuple(fixture) for fixture in self.fixtures]
        return json.dumps({"fixtures": rows, "tool": self.tool})

    @staticmethod
    def from_json(text: str) -> Scene:
        raw = json.loads(text)
        return Scene(tuple(Fixture(*row) for row in raw["fixtures"]), tuple(raw["tool"]))


class World:
    """The state of one episode. pose: float64 [4], x y z (m) and the opening of the fingers."""

    def __init__(self, scene: Scene) -> None:
        self.start = scene.fixtures
        self.fixtures = list(scene.fixtures)
        self.pose = np.array(scene.tool)

    def touched(self) -> int | None:
        """The fixture whose handle the gripper can move now."""
        if self.pose[2] > LOW:
            return None
        for i, fixture in enumerate(self.fixtures):
            near = math.dist(fixture.handle(), self.pose[:2]) < NEAR
            if near and (fixture.kind == "lever" or self.pose[3] < CLOSED):
                return i
        return None

    def step(self, action: np.ndarray) -> None:
        """Moves by dx, dy, dz (m) at most STEP each; the fingers go to where they are sent."""
        held = self.touched()
        self.pose[:3] += np.clip(action[:3], -STEP, STEP)
        self.pose = np.clip(self.pose, (-REACH, -REACH, 0, 0), (REACH, REACH, TOP, 1))
        self.pose[3] = np.clip(action[3], 0, 1)
        if held is not None:
            self.fixtures[held] = self.fixtures[held].follow(self.pose[:2])

    def state(self, kind: str, colour: str) -> tuple[int, int] | None:
        """The state a fixture began in and the one it is in: 0, 1, or -1 between them."""
        for first, now in zip(self.start, self.fixtures, strict=True):
            if (now.kind, now.colour) == (kind, colour):
                return _state(first.way), _state(now.way)
        return None


def _state(way: float) -> int:
    return 1 if way >= DONE else 0 if way <= 1 - DONE else -1
