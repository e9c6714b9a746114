"""A problem to learn in seconds: pictures of coloured squares.

A demonstration goes to the square of one colour; the action to imitate is the place of the square
of that colour in another picture.
"""

from __future__ import annotations

import itertools

import numpy as np
from specs import TOOL, table

from mili_jax.learning.hyper import Hyper
from mili_jax.policy.policy import Policy
from mili_jax.types import Batch

SIZE = 32
SPEC = table(SIZE)
COLOURS = np.array([[230, 30, 30], [30, 230, 30], [30, 30, 230], [230, 230, 30], [230, 30, 230]])
POLICY = Policy(SPEC, embedding_size=24, channels=16, blocks=1)
HYPER = Hyper(steps=140, learning_rate=2e-3, warmup=10, shift=1, demo_dropout=0.0, colours=2)


def scene(rng: np.random.Generator, target: int) -> tuple[np.ndarray, np.ndarray]:
    """A picture of three squares, one of them of the target's colour, whose place is returned."""
    image = np.full((SIZE, SIZE, 3), 128, np.uint8)
    others = rng.choice([c for c in range(len(COLOURS)) if c != target], 2, replace=False)
    spots = rng.choice(9, 3, replace=False)
    for spot, colour in zip(spots, [target, *others], strict=True):
        row, column = 10 * np.array(divmod(spot, 3)) + rng.integers(0, 6, 2)
        image[row : row + 6, column : column + 6] = COLOURS[colour]
        if colour == target:
            uv = np.array([(column + 3) / SIZE * 2 - 1, 1 - (row + 3) / SIZE * 2])
    return image, uv * TOOL.reach


def squares(
    seed: int, b: int = 16, p: int = 4, k: int = 6, task: np.ndarray | None = None
) -> Batch:
    rng = np.random.default_rng(seed)
    task = rng.integers(0, len(COLOURS), b) if task is None else task
    demo_image = np.zeros((b, 2, 2, SIZE, SIZE, 3), np.uint8)
    image = np.zeros((b, p, SIZE, SIZE, 3), np.uint8)
    demo_pose, pose, action = (np.zeros((*s, 7), np.float32) for s in ((b, 2, k), (b, p), (b, p)))
    for row, member in itertools.product(range(b), range(2)):
        picture, place = scene(rng, task[row])
        demo_image[row, member] = picture
        start = rng.uniform(-0.2, 0.2, 2)
        demo_pose[row, member, :2, :2] = place  # the two key poses
        demo_pose[row, member, 2:, :2] = start + np.linspace(0, 1, k - 2)[:, None] * (place - start)
        if member == 0:
            image[row] = picture
            pose[row, :, :2] = rng.uniform(-0.2, 0.2, (p, 2))
            pose[row, :, 2] = rng.uniform(0, 0.2, p)
            action[row, :, :2] = place
    task = task.astype(np.int32)
    focus = np.broadcast_to(action[:, :, None, None, :2], (b, p, 2, 3, 2))
    seen = np.ones((b, p, 2), bool)
    return Batch(demo_image, demo_pose, image, pose, action, task, focus, seen)
