"""A scripted teacher: above the handle, down, and along with it."""

from __future__ import annotations

import numpy as np

from toy_robot.env import ToyEnv
from toy_robot.world import STEP

ABOVE, DOWN = 0.12, 0.02  # m
OVER = 0.012  # m off the handle at which it goes down
AHEAD = 0.3  # of the way that it asks the handle to go on


class ToyExpert:
    """See `mili_jax.domains.base.Expert`."""

    def __init__(self, env: ToyEnv) -> None:
        self.env = env
        self.held = 0

    def act(self) -> np.ndarray:
        """float32 [4]: dx, dy, dz (m) and the opening of the fingers."""
        world, asked = self.env.world, self.env.task
        fixture = next(
            f for f in world.fixtures if (f.kind, f.colour) == (asked.kind, asked.colour)
        )
        handle, pose = fixture.handle(), world.pose
        off = handle - pose[:2]
        down = pose[2] <= DOWN + 0.01
        fingers = 1.0
        if down and np.hypot(*off) < 2.5 * OVER:
            fingers = 0.0
            closed = pose[3] < 0.2
            onward = 1.0 if asked.goal else -1.0
            way = np.clip(fixture.way + AHEAD * onward, 0, 1) if closed else fixture.way
            target = type(fixture)(fixture.kind, "", fixture.x, fixture.y, float(way)).handle()
            move = np.array([*(target - pose[:2]), 0.0])
        elif np.hypot(*off) < OVER:
            move = np.array([*off, DOWN - pose[2]])
        else:
            move = np.array([*(off if pose[2] > 0.08 else (0.0, 0.0)), ABOVE - pose[2]])
        return np.array([*np.clip(move, -STEP, STEP), fingers], np.float32)

    def done(self) -> bool:
        self.held = self.held + 1 if self.env.outcome()["success"] else 0
        return self.held > 2
