"""A simulated robot that a person or a policy drives one control step at a time.

PyBullet belongs to one thread: all calls but `View`'s come from the same one.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import simplejpeg

from mili_jax.domains import base
from mili_jax.domains.base import Domain
from mili_jax.people import strokes
from mili_jax.people.clips import beside
from mili_jax.pipeline.schema import SEED_STRIDE
from mili_jax.spec import TOOL_FIELDS, Spec
from mili_jax.types import ConfigError, Episode, EpisodeMeta, Task

Marks = tuple[tuple[str, float, float], ...]
QUALITY = 80  # of a picture for people
SMALL_QUALITY = 92
# Of the seeds of people's scenes: between those that `mili demo` uses, beyond those of stages.
FIRST_SEED = 1500 * SEED_STRIDE
MOST_STEPS = 1500  # of a demonstration, 150 s with the clutch held
MOST_BYTES = 1 << 29  # of its pictures


@dataclasses.dataclass(frozen=True)
class Lesson:
    """What is to be demonstrated, and where. task: None if the person chooses afterwards."""

    task: Task | None
    scene: str
    seed: int


@dataclasses.dataclass(frozen=True)
class View:
    """What a person is shown. pictures: JPEG, an oblique view and what the policy sees; pose
    float32 [D]; step: control steps since the beginning; marks: what the task is about, each with
    its name and its place in the first picture, from the left and from the top, 0 to 1."""

    pictures: tuple[bytes, ...]
    pose: np.ndarray
    step: int
    marks: Marks


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What the robot has done so far: whether the lesson's task, and everything by its name."""

    success: bool
    useful: bool
    achieved: tuple[str, ...]


class Robot:
    """One environment, and the steps since it was last reset.

    noise: as `config.data.noise`; above 0 some scenes begin as a failed attempt would, as those of
      the expert do.

    Raises ConfigError for a domain without simulator, or a robot that is no tool above a table.
    """

    def __init__(self, domain: Domain, spec: Spec, noise: float = 0.0) -> None:
        self.simulator = base.simulator_of(domain, "the teleoperation page")
        if spec.tool is None or spec.action.names != TOOL_FIELDS or spec.delta:
            raise ConfigError(
                f"the domain {domain.name!r} is no robot that a hand can drive: its action is "
                f"{', '.join(spec.action.names)}, and the page commands {', '.join(TOOL_FIELDS)}"
            )
        self.spec, self.noise = spec, noise
        self.most = max(10, min(MOST_STEPS, MOST_BYTES // int(np.prod(spec.picture))))
        self.env = self.simulator.make_env(spec)
        self._image: list[np.ndarray] = []
        self._pose: list[np.ndarray] = []
        self._command: list[np.ndarray] = []

    def scene(self, split: str, task: Task | None, seed: int) -> Lesson:
        """A new arrangement of objects of a split, in which the task can be done."""
        rng = np.random.default_rng(FIRST_SEED + seed)
        scene = self.simulator.sample_scene(split, rng, [] if task is None else [task])
        if self.noise:
            scene = self.simulator.disturb_start(scene, rng)
        return Lesson(task, scene, FIRST_SEED + seed)

    def begin(self, lesson: Lesson) -> View:
        """Puts it to the beginning. Raises SimulationError for a scene or task that cannot be."""
        options: dict[str, object] = {"scene": lesson.scene}
        if lesson.task is not None:
            options["task"] = lesson.task.name
        seen, _ = self.env.reset(seed=lesson.seed, options=options)
        self._seen, self._named = seen, lesson.task is not None
        self._image, self._pose, self._command = [], [], []
        return self.look()

    def step(self, command: np.ndarray) -> bool:
        """One control step [A]; it is recorded. Returns whether the robot has come to rest, or its
        time would be over: a person goes on all the same."""
        command = np.asarray(command, np.float32)
        self._image.append(self._seen["image"])
        self._pose.append(self._seen["pose"])
        self._command.append(command)
        self._seen, _, terminated, truncated, _ = self.env.step(command)
        return terminated or truncated

    @property
    def observation(self) -> dict[str, np.ndarray]:
        return self._seen

    @property
    def full(self) -> bool:
        """Whether no further step fits into a demonstration."""
        return len(self._pose) >= self.most

    def look(self) -> View:
        small = beside(self._seen["image"])
        pictures = _jpeg(self.env.render(), QUALITY), _jpeg(small, SMALL_QUALITY)
        # Not every domain can say where things are in its picture.
        where: Callable[[], Marks] = getattr(self.env, "marks", tuple)
        marks = where() if self._named else ()
        return View(pictures, self._seen["pose"].copy(), len(self._pose), marks)

    def outcome(self) -> Outcome:
        found = self.env.outcome()
        achieved = tuple(found["achieved_tasks"])
        return Outcome(bool(found["success"]), bool(found["useful"]), achieved)

    def episode(self, name: str, task: str, lesson: Lesson) -> Episode:
        """What was recorded as a demonstration of a task: pauses trimmed, labels as `strokes` has
        them."""
        pose, command = np.stack(self._pose), np.stack(self._command)
        kept = strokes.kept_steps(pose, command)
        outcome = self.outcome()
        meta = EpisodeMeta(
            episode_id=name,
            task=task,
            scene=lesson.scene,
            seed=lesson.seed,
            round=0,
            policy="person",
            demonstration="",
            renderer=self.simulator.renderer,
            useful=outcome.useful,
            success=task in outcome.achieved,
            achieved_tasks=outcome.achieved,
        )
        image = np.stack([self._image[k] for k in kept])
        return Episode(image, pose[kept], strokes.heading(pose, command)[kept], meta)

    def close(self) -> None:
        self.env.close()


def _jpeg(picture: np.ndarray, quality: int) -> bytes:
    data: bytes = simplejpeg.encode_jpeg(
        np.ascontiguousarray(picture), quality=quality, colorspace="RGB", colorsubsampling="444"
    )
    return data
