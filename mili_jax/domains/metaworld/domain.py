"""Meta-World as a domain: what its tasks, scenes and experts are to the method."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mili_jax.domains.base import Hindsight
from mili_jax.domains.metaworld import disturbance, hindsight, scenes, tasks
from mili_jax.domains.metaworld import spec as robot
from mili_jax.domains.metaworld.env import MetaWorldEnv
from mili_jax.domains.metaworld.experts import Expert
from mili_jax.domains.metaworld.scenes import Scene
from mili_jax.spec import Spec
from mili_jax.types import Task


class MetaWorldSimulator:
    """See `domains.base.Simulator`. A scene holds one task, and no foil."""

    renderer = "mujoco"

    def tasks(self, split: str) -> Sequence[Task]:
        return tasks.listed(split)

    def make_env(self, spec: Spec) -> MetaWorldEnv:
        names = tuple(camera.name for camera in spec.cameras)
        return MetaWorldEnv(image_size=spec.height, cameras=names)

    def make_expert(self, env: MetaWorldEnv) -> Expert:
        return Expert(env)

    def sample_scene(
        self,
        split: str,
        rng: np.random.Generator,
        tasks: Sequence[Task] = (),
        foil: Task | None = None,
    ) -> str:
        listed = tasks or self.tasks(split)
        return scenes.sample(listed[int(rng.integers(len(listed)))].name, rng).to_json()

    def rearrange(self, scene: str, rng: np.random.Generator) -> str:
        return scenes.sample(Scene.from_json(scene).env, rng).to_json()

    def disturb_start(self, scene: str, rng: np.random.Generator) -> str:
        return disturbance.first_place(Scene.from_json(scene), rng).to_json()

    def disturb(
        self, action: np.ndarray, share: float, noise: float, rng: np.random.Generator
    ) -> np.ndarray:
        return disturbance.disturbed(action, share, noise, rng)


class MetaWorld:
    """See `domains.base.Domain`. Its groups are kinds of motion."""

    groups = tasks.GROUPS
    cameras = tuple(robot.CAMERAS)  # what config.data.cameras can choose

    def __init__(self, name: str = "metaworld", calibrated: bool = True) -> None:
        self.name, self.calibrated = name, calibrated
        self.simulator = MetaWorldSimulator()

    def spec(self, image_size: int, cameras: Sequence[str]) -> Spec:
        return robot.spec(image_size, cameras, self.calibrated)

    def group(self, task: str) -> str:
        return tasks.group(task)

    def hindsight(self, pose: np.ndarray, action: np.ndarray) -> Hindsight:
        return hindsight.see(pose, action)


METAWORLD = MetaWorld()
# The same seen by cameras of which nobody says where they stand.
UNCALIBRATED = MetaWorld("metaworld_uncalibrated", calibrated=False)
