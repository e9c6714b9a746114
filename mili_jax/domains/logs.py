"""Somebody's robot of which there are episodes and no simulator.

What the robot is says the dataset (`spec.json`, which `mili import` writes). The stages that need a
simulator say so; the others do what they do elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from mili_jax.domains.base import Hindsight, Simulator
from mili_jax.spec import Spec
from mili_jax.types import ConfigError


class Logs:
    """See `domains.base.Domain`. All tasks are of one group: nobody says which are alike."""

    name = "logs"
    groups = ("tasks",)
    hindsight: Callable[[np.ndarray, np.ndarray], Hindsight] | None = None
    simulator: Simulator | None = None

    def spec(self, image_size: int, cameras: Sequence[str]) -> Spec | None:
        if cameras:
            raise ConfigError(
                f"config.data.cameras = {tuple(cameras)}: the cameras of logs are those of their "
                "dataset; leave the field empty"
            )
        return None

    def group(self, task: str) -> str:
        return "tasks"


LOGS = Logs()
