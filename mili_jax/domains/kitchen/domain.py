"""The kitchen as a domain: what its tasks, scenes and experts are to the method."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from mili_jax.domains.base import Hindsight
from mili_jax.domains.kitchen import disturbance, hindsight, scenes, tasks
from mili_jax.domains.kitchen import spec as kitchen_spec
from mili_jax.domains.kitchen.env import KitchenEnv, object_pool
from mili_jax.domains.kitchen.experts import Demonstrator
from mili_jax.domains.kitchen.families import OWN, parse
from mili_jax.domains.kitchen.family import Families
from mili_jax.domains.kitchen.world import RENDERER, Scene
from mili_jax.spec import Spec
from mili_jax.types import ConfigError, SimulationError, Task


class KitchenSimulator:
    """See `domains.base.Simulator`. light: one of `viewpoints.LIGHTS`; families: of its tasks."""

    renderer = RENDERER

    def __init__(self, light: str = "above", families: Families = OWN) -> None:
        self.light, self.families = light, families

    def tasks(self, split: str) -> Sequence[Task]:
        return [Task(task.id, task.family) for task in tasks.listed(split, self.families)]

    def make_env(self, spec: Spec) -> KitchenEnv:
        names = tuple(camera.name for camera in spec.cameras)
        return KitchenEnv(
            image_size=spec.height, cameras=names, light=self.light, families=self.families
        )

    def make_expert(self, env: KitchenEnv) -> Demonstrator:
        return Demonstrator(env)

    def sample_scene(
        self,
        split: str,
        rng: np.random.Generator,
        tasks: Sequence[Task] = (),
        foil: Task | None = None,
    ) -> str:
        wanted = [parse(task.name, self.families) for task in tasks]
        other = None if foil is None else parse(foil.name, self.families)
        return scenes.sample(wanted, object_pool(split), rng, other, self.families).to_json()

    def rearrange(self, scene: str, rng: np.random.Generator) -> str:
        names = [placement.object for placement in Scene.from_json(scene).placements]
        return scenes.rearrange(names, rng).to_json()

    def disturb_start(self, scene: str, rng: np.random.Generator) -> str:
        given = Scene.from_json(scene)
        return dataclasses.replace(given, tool=disturbance.first_pose(given, rng)).to_json()

    def disturb(
        self, action: np.ndarray, share: float, noise: float, rng: np.random.Generator
    ) -> np.ndarray:
        return disturbance.disturbed(action, share, noise, rng)


class Kitchen:
    """See `domains.base.Domain`. Its groups are the families of its tasks."""

    cameras = tuple(kitchen_spec.CAMERAS)  # what config.data.cameras can choose

    def __init__(
        self,
        name: str = "kitchen",
        light: str = "above",
        calibrated: bool = True,
        families: Families = OWN,
    ) -> None:
        self.name, self.calibrated, self.groups = name, calibrated, tuple(families)
        self.simulator = KitchenSimulator(light, families)

    def spec(self, image_size: int, cameras: Sequence[str]) -> Spec:
        return kitchen_spec.spec(image_size, cameras, self.calibrated)

    def group(self, task: str) -> str:
        try:
            return parse(task, self.simulator.families).family
        except SimulationError as error:
            raise ConfigError(f"{task!r} is no task of the kitchen: {error}") from error

    def hindsight(self, pose: np.ndarray, action: np.ndarray) -> Hindsight:
        focus, seen = hindsight.find_focus(pose)
        key = hindsight.find_key(pose)
        return Hindsight(key, focus, seen, hindsight.key_pose(pose, *key))


KITCHEN = Kitchen()
# The same seen by cameras of which nobody says where they stand, and lit from the side.
UNCALIBRATED = Kitchen("kitchen_uncalibrated", calibrated=False)
SIDE_LIGHT = Kitchen("kitchen_side_light", light="side")
