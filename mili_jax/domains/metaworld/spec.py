"""Meta-World's robot as networks and files see it, and where its cameras stand."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from mili_jax.spec import Camera, Field, Layout, Spec
from mili_jax.types import ConfigError

# An action is where the hand is to be, and the effort of the fingers: -1 opens, 1 closes them.
ACTION = Layout(
    (
        Field("x", "m", -0.5, 0.5),
        Field("y", "m", 0.35, 1.0),
        Field("z", "m", 0.0, 0.5),
        Field("effort", "1", -1.0, 1.0),
    )
)
# The hand's place in Meta-World's frame: x to the right of the robot, y ahead of it, z up from the
# table's top, which is at 0. The opening of the fingers goes from 0 (closed) to 1 (open). The clock
# says how long the episode has been going on. Then comes the command that was last sent: the
# path of a demonstration shows where a hand was, and this where it was sent, as into a button.
POSE = Layout(
    (
        Field("x", "m", -0.55, 0.55),
        Field("y", "m", 0.3, 1.05),
        Field("z", "m", 0.0, 0.6),
        Field("opening", "1", 0.0, 1.0),
        Field("clock", "s", 0.0, 4.0),
        *(Field(f"to_{f.name}", f.unit, f.low, f.high) for f in ACTION.fields),
    )
)


@dataclasses.dataclass(frozen=True)
class Viewpoint:
    """A camera of our own: a square picture whose middle shows `looks_at` (m, world), taken from
    `distance` (m), with MuJoCo's azimuth and elevation and the whole angle `fovy` (degrees)."""

    looks_at: tuple[float, float, float]
    distance: float
    azimuth: float
    elevation: float
    fovy: float

    def axes(self) -> np.ndarray:
        """The directions to the right, down and ahead in the picture, as rows, [3,3]."""
        a, e = math.radians(self.azimuth), math.radians(self.elevation)
        ahead = np.array([math.cos(e) * math.cos(a), math.cos(e) * math.sin(a), math.sin(e)])
        right = np.array([math.sin(a), -math.cos(a), 0.0])
        return np.stack([right, np.cross(ahead, right), ahead])

    def camera(self, name: str) -> Camera:
        """With its matrix: MuJoCo's pin-hole, from what the viewpoint says."""
        axes = self.axes()
        eye = np.asarray(self.looks_at) - self.distance * axes[2]
        f = 1 / math.tan(math.radians(self.fovy) / 2)
        intrinsics = [[f, 0.0, 1.0], [0.0, f, 1.0], [0.0, 0.0, 1.0]]  # of a picture 2 x 2
        return Camera.calibrated(name, intrinsics, axes.tolist(), (-axes @ eye).tolist(), 2, 2)


# `corner` stands where Meta-World's corner2 does, the right way up and aimed at the place where
# hands and objects are. `top` looks straight down: the arm hides what it is above.
VIEWPOINTS = {
    "corner": Viewpoint((0.0, 0.69, 0.12), 1.85, 145.9, -32.0, 28.0),
    "top": Viewpoint((0.0, 0.69, 0.0), 1.3, 90.0, -90.0, 34.0),
}
CAMERAS = {name: viewpoint.camera(name) for name, viewpoint in VIEWPOINTS.items()}


def spec(image_size: int = 64, cameras: Sequence[str] = (), calibrated: bool = True) -> Spec:
    """The robot seen by the named cameras ("corner" for none) in square pictures.

    calibrated: whether networks are given where the cameras stand.
    Raises ConfigError for another name than those of `CAMERAS`.
    """
    if not isinstance(cameras, (tuple, list)):
        raise ConfigError(f"cameras must be a tuple of names, is {cameras!r}")
    for name in cameras:
        if not isinstance(name, str) or name not in CAMERAS:
            raise ConfigError(f"Meta-World has no camera {name!r}; take of {sorted(CAMERAS)}")
    chosen = tuple(CAMERAS[name] for name in cameras or ("corner",))
    if not calibrated:
        chosen = tuple(Camera(camera.name) for camera in chosen)
    return Spec(POSE, ACTION, image_size, image_size, chosen)
