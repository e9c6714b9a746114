"""The kitchen's robot as networks and files see it."""

from __future__ import annotations

import math
from collections.abc import Sequence

from mili_jax.domains.kitchen.viewpoints import VIEW_HALF, VIEWPOINTS
from mili_jax.domains.kitchen.world import REACH, TILT_LIMIT, TOOL_Z
from mili_jax.spec import Camera, Field, Layout, Spec, Tool
from mili_jax.types import ConfigError

# The tool's place in the table's frame (origin on the table top, z up), fixed-axis XYZ angles, and
# the opening of the fingers from 0 (closed) to 1 (open). The gripper is symmetric under half a
# turn, so a yaw means the same again after pi. An action is the desired pose.
POSE = Layout(
    (
        Field("x", "m", -REACH, REACH),
        Field("y", "m", -REACH, REACH),
        Field("z", "m", *TOOL_Z),
        Field("roll", "rad", -TILT_LIMIT, TILT_LIMIT),
        Field("pitch", "rad", -TILT_LIMIT, TILT_LIMIT),
        Field("yaw", "rad", -math.pi / 2, math.pi / 2, period=math.pi),
        Field("finger", "1", 0.0, 1.0),
    )
)
TOOL = Tool(reach=VIEW_HALF, hover=0.13, lifted=0.17, down=0.09, beside=0.07, middle=0.055)
CAMERAS = {name: viewpoint.camera(name) for name, viewpoint in VIEWPOINTS.items()}


def spec(image_size: int = 64, cameras: Sequence[str] = (), calibrated: bool = True) -> Spec:
    """The robot seen by the named cameras ("top" for none) in square pictures.

    calibrated: whether networks are given where the cameras stand.
    Raises ConfigError for another name than those of `CAMERAS`.
    """
    if not isinstance(cameras, (tuple, list)):
        raise ConfigError(f"cameras must be a tuple of names, is {cameras!r}")
    for name in cameras:
        if not isinstance(name, str) or name not in CAMERAS:
            raise ConfigError(f"the kitchen has no camera {name!r}; take of {sorted(CAMERAS)}")
    chosen = tuple(CAMERAS[name] for name in cameras or ("top",))
    if not calibrated:
        chosen = tuple(Camera(camera.name, None, camera.mount, camera.depth) for camera in chosen)
    return Spec(POSE, POSE, image_size, image_size, chosen, tool=TOOL)
