"""A tool that follows a hand while the clutch is held, and stays where it is otherwise."""

from __future__ import annotations

import math

import numpy as np

from mili_jax.people import poses
from mili_jax.people.poses import Pose
from mili_jax.spec import FINGER, Layout

JUMP = 0.06  # m between two messages: more is a lost controller and no motion
JUMP_TURN = math.radians(25)
GRIP = 0.15  # of the fingers' travel by which a hand has to change before they follow it again


class Clutch:
    """The tool's wanted pose, [7] as `spec.TOOL_FIELDS`.

    At a press nothing moves: the tool goes as far as the hand goes from there, and the fingers stay
    as they are until the hand's own grip changes. So a new press makes no jump, wherever the hand
    is by then.
    """

    def __init__(self, layout: Layout) -> None:
        self._low = layout.low.astype(np.float64)
        self._high = layout.high.astype(np.float64)
        self.jumps = 0  # that were left out, since `begin`
        self.begin(np.zeros(len(layout)))

    def begin(self, pose: np.ndarray) -> None:
        """The tool is here, and nobody holds it. pose: [7]."""
        self.wanted = np.array(pose, np.float64)
        self._first: Pose | None = None
        self._last: Pose | None = None
        self._tool = _tool(self.wanted)
        self._grip: float | None = None
        self.jumps = 0

    @property
    def held(self) -> bool:
        return self._last is not None

    def release(self) -> None:
        """The tool stays where it was sent, its fingers as they were."""
        self._first = self._last = self._grip = None

    def follow(self, hand: Pose, opening: float) -> np.ndarray:
        """The wanted pose [7] for a hand in the table's frame and its opening, 0 to 1, while the
        clutch is held. The first one after a release is the press."""
        if self._last is None or self._jumped(hand):
            self._first, self._tool = hand, _tool(self.wanted)
        assert self._first is not None
        self._last = hand
        goal = poses.carried(self._tool, self._first, hand)
        wanted = np.array([*goal.place, *poses.angles(goal.turn), self._finger(opening)])
        wanted[5] = (wanted[5] + math.pi / 2) % math.pi - math.pi / 2  # half a turn is the same
        clipped = np.clip(wanted, self._low, self._high)
        if (clipped[:3] != wanted[:3]).any():
            # At the border it waits there, so that the way back begins at once.
            self._first, self._tool = hand, _tool(clipped)
        self.wanted = clipped
        return clipped

    def _jumped(self, hand: Pose) -> bool:
        assert self._last is not None
        way = float(np.linalg.norm(hand.place - self._last.place))
        jumped = way > JUMP or poses.angle(hand.turn, self._last.turn) > JUMP_TURN
        self.jumps += jumped
        return jumped

    def _finger(self, opening: float) -> float:
        now = float(self.wanted[FINGER])
        if self._grip is None:
            self._grip = opening
        if math.isnan(self._grip) or abs(opening - self._grip) > GRIP:
            self._grip = math.nan  # from here on they follow
            return opening
        return now


def _tool(pose: np.ndarray) -> Pose:
    roll, pitch, yaw = map(float, pose[3:6])
    return Pose(pose[:3].copy(), poses.turned(roll, pitch, yaw))
