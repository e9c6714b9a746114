"""The camera: where in a picture a point of the table is seen, and back."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import numpy as np

from mili_jax.types import ConfigError

Array = jax.Array


@dataclasses.dataclass(frozen=True)
class Camera:
    """A pin-hole camera above the table's centre, looking straight down at a square picture.

    view: half-width in metres of the table square that fills the picture at table height.
    height: metres from the table top to the pin-hole.
    Column to the right is +x, row downward is -y. Raises ConfigError unless both are positive.
    """

    view: float = 0.27
    height: float = 1.2

    def __post_init__(self) -> None:
        if not (self.view > 0 and self.height > 0):
            raise ConfigError(
                f"Camera: view and height must be positive metres, got {self.view}, {self.height}"
            )

    def on_table(self, xyz: Any) -> Any:
        """Where a point is seen, as a place on the table: [..., >=3] metres -> [..., 2] metres."""
        return xyz[..., :2] * (self.height / (self.height - xyz[..., 2:3]))

    def project(self, xyz: Any) -> Any:
        """Where a point is seen in the picture: [..., >=3] metres -> uv [..., 2], v up.

        uv is (-1, -1) at the lower left corner of the picture and (1, 1) at the upper right one.
        """
        return self.on_table(xyz) / self.view

    def cells(self, h: int, w: int) -> np.ndarray:
        """The places on the table of the centres of h * w cells, row by row: [h*w, 2] metres."""
        u = (np.arange(w) + 0.5) / w * 2 - 1
        v = 1 - (np.arange(h) + 0.5) / h * 2
        grid = np.stack(np.meshgrid(u, v), -1).reshape(h * w, 2)
        return (grid * self.view).astype(np.float32)
