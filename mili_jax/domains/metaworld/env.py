"""Meta-World as a Gymnasium environment: pictures, and absolute places of the hand as actions.

A control step is `NATIVE_STEPS` of Meta-World's own, in which a proportional controller brings the
hand towards the place that the action names. The reward is 1 on the last step if the commanded task
was achieved.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium
import numpy as np

from mili_jax import given
from mili_jax.domains.metaworld import native, scenes, tasks
from mili_jax.domains.metaworld.scenes import Scene
from mili_jax.domains.metaworld.spec import ACTION, POSE, spec
from mili_jax.types import SimulationError, Task

NATIVE_STEPS = 5  # of Meta-World's, of 12.5 ms, in a control step
STEP = 0.0125 * NATIVE_STEPS  # s
GAIN = 10.0  # command of a native step, of 1 cm at most, per metre that the hand is off
HORIZON = 60  # control steps: 300 native ones of the 500 that Meta-World allows
REST_STEPS = 6  # control steps without motion that end an episode
REST_MOTION = 0.006  # m over REST_STEPS
REST_OPENING = 0.05  # of the opening over REST_STEPS
SETTLE = 2  # control steps after its task was achieved that end an episode
SHIFT_STEPS = 30  # native steps in which the hand is brought to where a scene has it begin
PICTURE = 480, 360  # width and height in pixels, for people
_OPTIONS = ("task", "scene")  # of `reset`


class MetaWorldEnv(gymnasium.Env):
    """One of Meta-World's environments at a time, which `reset` chooses by its scene.

    Args:
      split: whose tasks are drawn: "train", "validation" or "test".
      task: a task that every episode commands; drawn from the split when None.
      image_size: side of the square picture in pixels. cameras: of `spec.VIEWPOINTS`; several
        pictures are stacked, [V,H,W,3].
      horizon: control steps (16 Hz) after which an episode is truncated.

    Raises SimulationError on an unknown split, task, scene or option, on an action that is not
    finite or not of shape (4,), before the first `reset` and after `close`; ConfigError where
    Meta-World is not installed.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 16}  # noqa: RUF012

    def __init__(
        self,
        split: str = "train",
        task: str | None = None,
        image_size: int = 64,
        horizon: int = HORIZON,
        render_mode: str | None = None,
        cameras: Sequence[str] = ("corner",),
    ) -> None:
        if split not in tasks.SPLITS:
            raise SimulationError(f"no split {split!r}; one of {tuple(tasks.SPLITS)}")
        if render_mode not in (None, *self.metadata["render_modes"]):
            raise SimulationError(f"no render_mode {render_mode!r}; take rgb_array or None")
        most = native.STEPS // NATIVE_STEPS
        self.horizon = given.whole(horizon, "horizon in control steps", 1, most, SimulationError)
        self.image_size = given.whole(image_size, "image_size in pixels", 16, 1024, SimulationError)
        seen = spec(self.image_size, cameras)
        self._cameras = tuple(camera.name for camera in seen.cameras)
        self.split, self.render_mode = split, render_mode
        self._fixed = None if task is None else _known(task)
        self.action_space = gymnasium.spaces.Box(ACTION.low, ACTION.high)
        margin = np.zeros(len(POSE), np.float32)
        margin[:3], margin[4] = 0.3, 4.0  # measured, so it may overshoot
        self.observation_space = gymnasium.spaces.Dict(
            {
                "image": gymnasium.spaces.Box(0, 255, seen.picture, np.uint8),
                "pose": gymnasium.spaces.Box(POSE.low - margin, POSE.high + margin),
            }
        )
        self.task: str | None = None
        self.scene: Scene | None = None
        self.numbers = np.zeros(39)  # Meta-World's observation, which experts read
        self.succeeded: int | None = None  # the control step in which its task was achieved
        self._native: Any = None
        self._name = ""
        self._poses: list[np.ndarray] = []
        self._closed = False

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        if self._closed:
            raise SimulationError("this environment is closed; make another")
        asked = _checked(options)
        if seed is not None:
            seed = given.whole(seed, "a seed", error=SimulationError)
        super().reset(seed=seed)
        self.scene = None  # nothing to step while the world is not rebuilt
        task = asked.get("task")
        if task is not None:
            self.task = _known(task)
        elif self._fixed is not None:
            self.task = self._fixed
        else:
            names = tasks.SPLITS[self.split]
            self.task = names[int(self.np_random.integers(len(names)))]
        scene = asked.get("scene")
        if scene is None:
            scene = scenes.sample(self.task, self.np_random)
        elif isinstance(scene, str):
            scene = Scene.from_json(scene)
        elif not isinstance(scene, Scene):
            raise SimulationError(
                f"a scene is a Scene or its JSON as text, got {str(scene)[:80]!r}"
            )
        self._build(scene)
        return self._observe(), {"task": self.task, "scene": scene.to_json()}

    def step(
        self, action: np.ndarray
    ) -> tuple[dict[str, np.ndarray], float, bool, bool, dict[str, Any]]:
        self._at("step")
        command = np.asarray(action, np.float64)
        if command.shape != (len(ACTION),) or not np.isfinite(command).all():
            raise SimulationError(
                f"an action is {len(ACTION)} finite numbers ({', '.join(ACTION.names)}), got "
                f"{str(action)[:80]}"
            )
        command = np.clip(command, ACTION.low, ACTION.high)
        done = False
        for _ in range(NATIVE_STEPS):
            towards = np.clip(GAIN * (command[:3] - self.numbers[:3]), -1, 1)
            sent = np.append(towards, command[3]).astype(np.float32)
            self.numbers, _, _, _, said = self._native.step(sent)
            done = done or bool(said["success"])
        self._poses.append(self._pose(self.steps + 1, command))
        if done and self.succeeded is None:
            self.succeeded = self.steps
        over = self.succeeded is not None and self.steps >= self.succeeded + SETTLE
        terminated = over or self.at_rest()
        truncated = not terminated and self.steps >= self.horizon
        info: dict[str, object] = {}
        reward = 0.0
        if terminated or truncated:
            info = self.outcome()
            reward = float(bool(info["success"]))
        return self._observe(), reward, terminated, truncated, info

    @property
    def steps(self) -> int:
        """Control steps since the reset."""
        return len(self._poses) - 1

    def outcome(self) -> dict[str, object]:
        """What the episode counts as so far: `success`, `useful`, `achieved_tasks`. A task counts
        as achieved, as Meta-World's evaluations have it, once it was at any native step."""
        scene = self._at("outcome")
        done = self.succeeded is not None
        return {
            "success": done and scene.env == self.task,
            "useful": done,
            "achieved_tasks": (scene.env,) if done else (),
        }

    def at_rest(self) -> bool:
        """Whether hand and fingers have not moved for `REST_STEPS`."""
        if len(self._poses) <= REST_STEPS:
            return False
        moved = np.ptp(np.array(self._poses[-REST_STEPS - 1 :]), axis=0)
        return bool(moved[:3].max() < REST_MOTION and moved[3] < REST_OPENING)

    def render(self) -> np.ndarray:
        """uint8 [360,480,3], as `corner` sees it, wider."""
        self._at("render")
        return native.PICTURES.take(self._name, self._native, "corner", PICTURE[1], PICTURE[0])

    def close(self) -> None:
        self._native, self._closed, self.scene = None, True, None

    def _at(self, what: str) -> Scene:
        """The scene of an episode. Raises SimulationError where there is none."""
        if self._closed:
            raise SimulationError("this environment is closed; make another")
        if self.scene is None:
            raise SimulationError(f"call reset before {what}")
        return self.scene

    def _build(self, scene: Scene) -> None:
        if self._name != scene.env:
            self._native, self._name = native.make(scene.env), scene.env
        world = self._native
        world.seed(scene.seed)
        world.reset()
        # A reset moves bodies in the model alone: where they are, and are seen, says the next step.
        self.numbers, *_ = world.step(np.array([0.0, 0.0, 0.0, -1.0], np.float32))
        if any(scene.hand):
            place = self.numbers[:3] + scene.hand
            for _ in range(SHIFT_STEPS):
                towards = np.clip(GAIN * (place - self.numbers[:3]), -1, 1)
                self.numbers, *_ = world.step(np.append(towards, -1.0).astype(np.float32))
        world.curr_path_length = 0
        self.succeeded = None
        self._poses = [self._pose(0, np.append(self.numbers[:3], -1.0))]
        self.scene = scene

    def _pose(self, steps: int, sent: np.ndarray) -> np.ndarray:
        """The measured pose after so many control steps, and what was sent in the last."""
        last = np.clip(sent, ACTION.low, ACTION.high)
        return np.concatenate([self.numbers[:4], [steps * STEP], last]).astype(np.float32)

    def _observe(self) -> dict[str, np.ndarray]:
        taken = [
            native.PICTURES.take(self._name, self._native, camera, self.image_size)
            for camera in self._cameras
        ]
        image = taken[0] if len(taken) == 1 else np.stack(taken)
        return {"image": image, "pose": self._poses[-1].copy()}


def _known(task: object) -> str:
    """The name of a task. Raises SimulationError for what is none."""
    name = task.name if isinstance(task, Task) else task
    if not isinstance(name, str) or name not in tasks.GROUP_OF:
        raise SimulationError(f"{str(name)[:80]!r} is no task of Meta-World")
    return name


def _checked(options: object) -> Mapping[str, Any]:
    """The options of a reset. Raises SimulationError for what is none."""
    asked = {} if options is None else options
    if not isinstance(asked, Mapping):
        raise SimulationError(f"options must be a mapping of {_OPTIONS}, got {str(asked)[:80]!r}")
    for name in asked:
        if name not in _OPTIONS:
            raise SimulationError(f"reset has no option {name!r}; there are {_OPTIONS}")
    return asked
