"""The robot as a domain: see `mili_jax.domains.base`."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from mili_jax.domains.base import Hindsight
from mili_jax.spec import Camera, Field, Layout, Spec
from mili_jax.types import ConfigError, Task
from toy_robot import tasks
from toy_robot.env import ToyEnv
from toy_robot.expert import ToyExpert
from toy_robot.world import FIRST, REACH, STEP, TOP, Fixture, Scene

PLACES = (-0.16, -0.07, 0.02, 0.11)  # m along x, one fixture at each
GRIP = Field("grip", "1", 0.0, 1.0)
POSE = Layout(
    (Field("x", "m", -REACH, REACH), Field("y", "m", -REACH, REACH), Field("z", "m", 0, TOP), GRIP)
)
ACTION = Layout((*(Field(name, "m", -STEP, STEP) for name in ("dx", "dy", "dz")), GRIP))
CAMERAS = ("side",)


class ToySimulator:
    """See `mili_jax.domains.base.Simulator`."""

    renderer = "numpy"

    def tasks(self, split: str) -> Sequence[Task]:
        return [Task(asked.name, asked.kind) for asked in tasks.SPLITS[split]]

    def make_env(self, spec: Spec) -> ToyEnv:
        return ToyEnv(spec)

    def make_expert(self, env: ToyEnv) -> ToyExpert:
        return ToyExpert(env)

    def sample_scene(
        self,
        split: str,
        rng: np.random.Generator,
        tasks: Sequence[Task] = (),
        foil: Task | None = None,
    ) -> str:
        wanted = [_asked(task) for task in (*tasks, *([] if foil is None else [foil]))]
        # The first that wants a fixture says how it begins.
        begin = {(a.kind, a.colour): 1 - a.goal for a in reversed(wanted)}
        others = [(kind, colour) for kind in ("drawer", "lever") for colour in _colours(split)]
        for i in rng.permutation(len(others)):
            if len(begin) < len(PLACES) - 1:
                begin.setdefault(others[i], int(rng.integers(2)))
        return _place([(*which, state) for which, state in begin.items()], rng).to_json()

    def rearrange(self, scene: str, rng: np.random.Generator) -> str:
        given = Scene.from_json(scene).fixtures
        return _place([(f.kind, f.colour, f.way) for f in given], rng).to_json()

    def disturb_start(self, scene: str, rng: np.random.Generator) -> str:
        tool = (*rng.uniform(-0.1, 0.1, 2), rng.uniform(0.02, 0.15), rng.uniform())
        tool = tuple(round(float(v), 4) for v in tool)
        given = Scene.from_json(scene)
        chosen = tool if rng.random() < 0.3 else given.tool
        return dataclasses.replace(given, tool=chosen).to_json()

    def disturb(
        self, action: np.ndarray, share: float, noise: float, rng: np.random.Generator
    ) -> np.ndarray:
        executed = np.asarray(action, np.float64).copy()
        if rng.random() < share:
            executed[:3] += rng.normal(0, 0.01 * noise, 3)
        return executed


class Toy:
    """See `mili_jax.domains.base.Domain`."""

    name = "toy"
    groups = ("drawer", "lever")
    hindsight: Callable[[np.ndarray, np.ndarray], Hindsight] | None = None
    simulator = ToySimulator()

    def spec(self, image_size: int, cameras: Sequence[str]) -> Spec:
        for name in cameras:
            if name not in CAMERAS:
                raise ConfigError(f"the toy has no camera {name!r}; take of {CAMERAS}")
        seen = tuple(Camera(name) for name in cameras or CAMERAS)
        return Spec(POSE, ACTION, image_size, image_size * 4 // 3, seen, delta=True)

    def group(self, task: str) -> str:
        if task not in tasks.TASKS:
            raise ConfigError(f"{task!r} is no task of the toy")
        return tasks.TASKS[task].kind


def _asked(task: Task) -> tasks.Asked:
    return tasks.TASKS[task.name]


def _colours(split: str) -> tuple[str, ...]:
    return (*tasks.COLOURS["train"], *tasks.COLOURS[split])


def _place(which: Sequence[tuple[str, str, float]], rng: np.random.Generator) -> Scene:
    spots = rng.permutation(PLACES)
    found = [
        Fixture(
            kind,
            colour,
            round(float(x + rng.uniform(-0.015, 0.015)), 4),
            round(float(rng.uniform(-0.08, 0.02)), 4),
            float(way),
        )
        for (kind, colour, way), x in zip(which, spots, strict=False)
    ]
    return Scene(tuple(found), FIRST)


TOY = Toy()
