"""Robots for the tests of networks: a tool above a table, and an arm that commands changes."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from mili_jax.policy.view import View, views_of
from mili_jax.spec import Camera, Field, Layout, Spec, Tool

POSE = Layout(
    (
        Field("x", "m", -0.25, 0.25),
        Field("y", "m", -0.25, 0.25),
        Field("z", "m", 0.0, 0.35),
        Field("roll", "rad", -0.5, 0.5),
        Field("pitch", "rad", -0.5, 0.5),
        Field("yaw", "rad", -math.pi / 2, math.pi / 2, period=math.pi),
        Field("finger", "1", 0.0, 1.0),
    )
)
TOOL = Tool(reach=0.25, hover=0.13, lifted=0.17, down=0.09, beside=0.07)
ABOVE = Camera.straight_down("above", view=0.25, height=1.0)
NOWHERE = Camera("nowhere")  # of which nobody knows where it stands

# An arm of three joints, the first of which goes round; it commands how far they move.
JOINTS = Layout(
    (
        Field("turn", "rad", 0.0, 2 * math.pi, period=2 * math.pi),
        Field("shoulder", "rad", -1.5, 1.5, period=2 * math.pi),
        Field("elbow", "rad", -2.0, 2.0),
        Field("grip", "m", 0.0, 0.08),
    )
)
CHANGES = Layout(
    (
        Field("turn", "rad", -0.3, 0.3, period=2 * math.pi),
        Field("shoulder", "rad", -0.2, 0.2),
        Field("elbow", "rad", -0.2, 0.2),
        Field("grip", "m", 0.0, 0.08),
    )
)


def table(size: int = 32, cameras: Sequence[Camera] = (ABOVE,), width: int | None = None) -> Spec:
    """A tool above a table, in pictures `size` pixels high."""
    return Spec(POSE, POSE, size, width or size, tuple(cameras), tool=TOOL)


def arm(height: int = 24, width: int = 40, cameras: Sequence[Camera] = (NOWHERE,)) -> Spec:
    """The arm, in pictures that are not square."""
    return Spec(JOINTS, CHANGES, height, width, tuple(cameras), delta=True)


def view_of(spec: Spec, camera: int = 0) -> View:
    """Of a camera that is calibrated and stands still."""
    view = views_of(spec)[camera]
    assert view is not None
    return view


def poses(seed: int, *shape: int) -> np.ndarray:
    """Of the tool, in reach."""
    rng = np.random.default_rng(seed)
    low = np.array([-0.2, -0.2, 0.0, -0.1, -0.1, -1.5, 0.0])
    high = np.array([0.2, 0.2, 0.2, 0.1, 0.1, 1.5, 1.0])
    return rng.uniform(low, high, (*shape, 7)).astype(np.float32)


def numbers(layout: Layout, seed: int, *shape: int) -> np.ndarray:
    """Anywhere within the bounds of a layout, float32 [...,D]."""
    rng = np.random.default_rng(seed)
    return rng.uniform(layout.low, layout.high, (*shape, len(layout))).astype(np.float32)


def pictures(spec: Spec, seed: int, *shape: int) -> np.ndarray:
    """Of noise, uint8 [...,(V,)H,W,C]."""
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (*shape, *spec.picture)).astype(np.uint8)
