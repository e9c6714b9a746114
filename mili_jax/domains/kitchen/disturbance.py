"""What goes wrong on purpose, so that a policy sees how to come back."""

from __future__ import annotations

import numpy as np

from mili_jax.domains.kitchen import objects
from mili_jax.domains.kitchen.world import Scene

NOISE_XY = 0.02  # m, standard deviation
NOISE_Z = 0.01  # m
NOISE_YAW = 0.25  # rad
NOISE_FINGER = 0.5  # of the opening
CLOSED_SHARE = 0.3  # of the episodes begin with the fingers at a random opening
LOW_SHARE = 0.25  # of the episodes begin low, beside the objects, with the same fingers
LOW_Z = (0.015, 0.10)  # m, heights of the tool there
LOW_ROOM = (0.025, 0.035)  # m from the tool's axis to footprints there; more per opening


def disturbed(
    command: np.ndarray, share: float, noise: float, rng: np.random.Generator
) -> np.ndarray:
    """What is done instead of a command [7], in that share of the steps, float64."""
    command = command.astype(np.float64)
    if rng.random() < share:
        command[:2] += rng.normal(0, NOISE_XY * noise, 2)
        command[2] += abs(rng.normal(0, NOISE_Z * noise))
        command[5] += rng.normal(0, NOISE_YAW * noise)
    if rng.random() < share / 2:
        command[6] -= abs(rng.normal(0, NOISE_FINGER * noise))  # the other way would drop
    return command


def first_pose(scene: Scene, rng: np.random.Generator) -> tuple[float, ...]:
    """The tool's, x y z roll pitch yaw finger: some episodes that are learned from begin where a
    failed trial would be, to show how to go on from there."""
    tool = scene.tool
    low, closed = rng.random() < LOW_SHARE, rng.random() < CLOSED_SHARE
    height, opening = float(rng.uniform(*LOW_Z)), float(rng.random())
    spots = rng.uniform(-0.2, 0.2, (20, 2))
    catalogue = objects.load_catalogue()
    room = LOW_ROOM[0] + opening * LOW_ROOM[1]
    for spot in spots if low else ():
        if all(
            np.hypot(q.x - spot[0], q.y - spot[1]) > catalogue[q.object].radius + room
            for q in scene.placements
        ):
            return (*spot.round(4).tolist(), round(height, 4), *tool[3:6], round(opening, 4))
    return (*tool[:6], round(opening, 4)) if closed else tool
