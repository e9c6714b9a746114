"""Its episodes, as Gymnasium has them."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np

from mili_jax.spec import Spec
from toy_robot.drawing import draw
from toy_robot.tasks import TASKS
from toy_robot.world import Scene, World

HORIZON = 30  # steps
REST_STEPS, REST = 4, 0.004  # m in so many steps, and the robot counts as at rest


class ToyEnv(gymnasium.Env):
    """See `mili_jax.domains.base.SimulatorEnv`."""

    def __init__(self, spec: Spec) -> None:
        self.spec_ = spec
        box = gymnasium.spaces.Box
        self.action_space = box(spec.action.low, spec.action.high)
        self.observation_space = gymnasium.spaces.Dict(
            {
                "image": box(0, 255, spec.picture, np.uint8),
                "pose": box(spec.pose.low, spec.pose.high),
            }
        )

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        super().reset(seed=seed)
        options = options or {}
        self.task = TASKS[options["task"]]
        self.world = World(Scene.from_json(options["scene"]))
        self.poses = [self.world.pose.copy()]
        return self._see(), {}

    def step(
        self, action: np.ndarray
    ) -> tuple[dict[str, np.ndarray], float, bool, bool, dict[str, Any]]:
        self.world.step(np.asarray(action, np.float64))
        self.poses.append(self.world.pose.copy())
        terminated = len(self.poses) > REST_STEPS and bool(
            np.ptp(self.poses[-REST_STEPS:], axis=0).max() < REST
        )
        truncated = not terminated and len(self.poses) > HORIZON
        outcome = self.outcome()
        return self._see(), float(outcome["success"]), terminated, truncated, outcome

    def outcome(self) -> dict[str, Any]:
        achieved = []
        for name, asked in TASKS.items():
            state = self.world.state(asked.kind, asked.colour)
            if state is not None and state == (1 - asked.goal, asked.goal):
                achieved.append(name)
        return {
            "success": self.task.name in achieved,
            "useful": bool(achieved),
            "achieved_tasks": tuple(sorted(achieved)),
        }

    def render(self) -> np.ndarray:
        return draw(self.world, 288, 384)

    def _see(self) -> dict[str, np.ndarray]:
        return {
            "image": draw(self.world, self.spec_.height, self.spec_.width),
            "pose": self.poses[-1].astype(np.float32),
        }
