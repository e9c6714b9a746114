"""The benchmark as a Gymnasium environment: `gymnasium.make("mili_jax/Kitchen-v0")`.

An episode ends (`terminated`) when the robot has come to rest and is cut (`truncated`) at the
horizon; the reward is 1 on the last step if the commanded task is achieved then, else 0.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium
import numpy as np

from mili_jax import given
from mili_jax.domains.kitchen import objects, scenes, tasks, viewpoints
from mili_jax.domains.kitchen.families import OWN
from mili_jax.domains.kitchen.family import Families, KitchenTask
from mili_jax.domains.kitchen.history import History
from mili_jax.domains.kitchen.spec import spec
from mili_jax.domains.kitchen.tasks import SPLITS
from mili_jax.domains.kitchen.viewpoints import LIGHTS
from mili_jax.domains.kitchen.world import REACH, TILT_LIMIT, TOOL_Z, Scene, World
from mili_jax.types import SimulationError

PICTURE = 384, 288  # width and height in pixels, for people
HORIZON = 45  # control steps, 4.5 s
REST_STEPS = 5  # control steps without motion that end an episode
REST_MOTION = 0.006  # m over REST_STEPS
REST_FINGER = 0.05  # of the opening over REST_STEPS
REST_TURN = 0.06  # rad over REST_STEPS


_OPTIONS = ("task", "scene")  # of `reset`


def object_pool(split: str) -> tuple[str, ...]:
    """Names of the objects that scenes of a split may hold. Splits share no object."""
    if split not in SPLITS:
        raise SimulationError(f"no split {split!r}; one of {SPLITS}")
    return tuple(n for n, s in objects.load_catalogue().items() if s.split == split)


class KitchenEnv(gymnasium.Env):
    """One table. `reset(options={"task": id, "scene": json})` fixes what is otherwise drawn.

    A given scene need not hold the task's objects: a trial may be commanded what it cannot do.

    Args:
      split: whose tasks and objects are drawn: "train", "validation" or "test".
      task: a task id that every episode commands; drawn from the split when None.
      image_size: side of the square RGB observation in pixels.
      cameras: of `viewpoints.VIEWPOINTS`; several pictures are stacked, [V,H,W,3].
      light: of `viewpoints.LIGHTS`.
      horizon: control steps (10 Hz) after which an episode is truncated.
      families: of its tasks.

    Raises SimulationError on an unknown split, task, object or option, on an action that is not
    finite or not of shape (7,), before the first `reset` and after `close`.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}  # noqa: RUF012

    def __init__(
        self,
        split: str = "train",
        task: str | None = None,
        image_size: int = 64,
        horizon: int = HORIZON,
        render_mode: str | None = None,
        cameras: Sequence[str] = ("top",),
        light: str = "above",
        families: Families = OWN,
    ) -> None:
        if not isinstance(light, str) or light not in LIGHTS:
            raise SimulationError(f"no light {light!r}; one of {sorted(LIGHTS)}")
        if render_mode not in (None, *self.metadata["render_modes"]):
            raise SimulationError(f"no render_mode {render_mode!r}; take rgb_array or None")
        if not isinstance(families, Mapping) or not families:
            raise SimulationError(f"families must be family.by_name(...), got {families!r}")
        image_size = given.whole(image_size, "image_size in pixels", 16, 1024, SimulationError)
        horizon = given.whole(horizon, "horizon in control steps", 1, None, SimulationError)
        seen = spec(image_size, cameras)
        self._cameras, self._light = tuple(camera.name for camera in seen.cameras), light
        shape = seen.picture
        self.split, self.image_size, self.horizon = split, image_size, horizon
        self.render_mode, self.families = render_mode, families
        self._pool = object_pool(split)
        self._fixed = tasks.find(task, families) if task is not None else None
        low = np.array([-REACH, -REACH, TOOL_Z[0], -TILT_LIMIT, -TILT_LIMIT, -np.pi / 2, 0.0])
        high = np.array([REACH, REACH, TOOL_Z[1], TILT_LIMIT, TILT_LIMIT, np.pi / 2, 1.0])
        self.action_space = gymnasium.spaces.Box(low.astype(np.float32), high.astype(np.float32))
        self.observation_space = gymnasium.spaces.Dict(
            {
                "image": gymnasium.spaces.Box(0, 255, shape, np.uint8),
                # Measured, so it may overshoot the commanded range a little.
                "pose": gymnasium.spaces.Box(
                    (low - 0.2).astype(np.float32), (high + 0.2).astype(np.float32)
                ),
            }
        )
        self.world = World()
        self.task: KitchenTask | None = self._fixed
        self.history: History | None = None
        self._poses: list[np.ndarray] = []

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        asked = _checked(options)
        if seed is not None:
            seed = given.whole(seed, "a seed", error=SimulationError)
        super().reset(seed=seed)
        self.history = None  # nothing to step while the world is not rebuilt
        if asked.get("task") is not None:
            self.task = tasks.find(asked["task"], self.families)
        elif self._fixed is None:
            choices = tasks.listed(self.split, self.families)
            self.task = choices[int(self.np_random.integers(len(choices)))]
        else:
            self.task = self._fixed
        assert self.task is not None
        scene = asked.get("scene")
        if scene is None:
            scene = scenes.sample([self.task], self._pool, self.np_random, families=self.families)
        elif isinstance(scene, str):
            scene = Scene.from_json(scene)
        elif not isinstance(scene, Scene):
            raise SimulationError(
                f"a scene is a Scene or its JSON as text, got {str(scene)[:80]!r}"
            )
        self.world.reset(scene)
        self.history = History(self.world)
        self._poses = [self.world.pose()]
        return self._observe(), {"task": self.task.id, "scene": scene.to_json()}

    def step(
        self, action: np.ndarray
    ) -> tuple[dict[str, np.ndarray], float, bool, bool, dict[str, Any]]:
        _, history = self._at("step")
        self.world.step(action)
        history.update()
        self._poses.append(self.world.pose())
        terminated = self._at_rest()
        truncated = not terminated and len(self._poses) > self.horizon
        info: dict[str, object] = {}
        reward = 0.0
        if terminated or truncated:
            info = self.outcome()
            reward = float(bool(info["success"]))
        return self._observe(), reward, terminated, truncated, info

    def outcome(self) -> dict[str, object]:
        """What the present state counts as: `success`, `useful`, `achieved_tasks` (ids)."""
        task, history = self._at("outcome")
        done = tasks.achieved(self.world, history, self.families)
        return {
            "success": task in done,
            "useful": tasks.useful(done, self.world, history),
            "achieved_tasks": tuple(sorted(t.id for t in done)),
        }

    def success(self) -> bool:
        """Whether the commanded task's predicate holds now."""
        task, history = self._at("success")
        return tasks.succeeded(task, self.world, history, self.families)

    def render(self) -> np.ndarray:
        """uint8 [288, 384, 3], an oblique view for people."""
        self._at("render")
        return self.world.picture(*PICTURE)

    def marks(self) -> tuple[tuple[str, float, float], ...]:
        """The objects of the commanded task that are there: each one's name, and where its top is
        in `render`, from the left and from the top, 0 to 1."""
        task, _ = self._at("marks")
        found = []
        for name in task.objects:
            if name in self.world.bodies:
                x, y, z = self.world.position(name)
                top = np.array([x, y, z + self.world.catalogue[name].height])
                found.append((name, *viewpoints.seen_at(top, PICTURE[0] / PICTURE[1])))
        return tuple(found)

    def close(self) -> None:
        self.world.close()

    def _at(self, what: str) -> tuple[KitchenTask, History]:
        """The task and the history of an episode. Raises SimulationError where there is none."""
        self.world.require_open()
        if self.history is None or self.task is None:
            raise SimulationError(f"call reset before {what}")
        return self.task, self.history

    def _observe(self) -> dict[str, np.ndarray]:
        pictures = [self.world.image(self.image_size, c, self._light) for c in self._cameras]
        image = pictures[0] if len(pictures) == 1 else _stacked(pictures)
        return {"image": image, "pose": self._poses[-1].copy()}

    def _at_rest(self) -> bool:
        if len(self._poses) <= REST_STEPS:
            return False
        way = np.abs(self._poses[-1][:3] - self._poses[-REST_STEPS - 1][:3])
        if max(way.tolist()) >= REST_MOTION:  # which mostly settles it
            return False
        recent = np.array(self._poses[-REST_STEPS - 1 :])
        if np.ptp(recent[:, :3], axis=0).max() >= REST_MOTION:
            return False
        turn = np.abs((recent[:, 5] - recent[-1, 5] + np.pi / 2) % np.pi - np.pi / 2).max()
        return bool(turn < REST_TURN and np.ptp(recent[:, 6]) < REST_FINGER)


def _checked(options: object) -> Mapping[str, Any]:
    """The options of a reset. Raises SimulationError for what is none."""
    asked = {} if options is None else options
    if not isinstance(asked, Mapping):
        raise SimulationError(f"options must be a mapping of {_OPTIONS}, got {str(given)[:80]!r}")
    for name in asked:
        if name not in _OPTIONS:
            near = difflib.get_close_matches(str(name), _OPTIONS, 1)
            meant = f"did you mean {near[0]!r}?" if near else f"there are {_OPTIONS}"
            raise SimulationError(f"reset has no option {name!r}; {meant}")
    return asked


def _stacked(pictures: list[np.ndarray]) -> np.ndarray:
    """Several pictures as one array; what has no depth beside one that has gets zeros."""
    most = max(picture.shape[2] for picture in pictures)
    return np.stack([np.pad(p, ((0, 0), (0, 0), (0, most - p.shape[2]))) for p in pictures])
