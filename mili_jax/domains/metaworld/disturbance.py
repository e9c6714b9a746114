"""What goes wrong on purpose, so that a policy sees how to come back."""

from __future__ import annotations

import dataclasses

import numpy as np

from mili_jax.domains.metaworld.scenes import Scene

NOISE = 0.03  # m, standard deviation of a place
NOISE_EFFORT = 0.3  # of the fingers' effort
SHIFTED_SHARE = 0.7  # of the episodes begin with the hand elsewhere
SHIFT = np.array([0.05, 0.05, 0.04])  # m, at most


def disturbed(
    command: np.ndarray, share: float, noise: float, rng: np.random.Generator
) -> np.ndarray:
    """What is done instead of a command [4], in that share of the steps, float64."""
    command = np.asarray(command, np.float64).copy()
    if rng.random() < share:
        command[:3] += rng.normal(0, NOISE * noise, 3)
        command[3] += rng.normal(0, NOISE_EFFORT * noise)
    return command


def first_place(scene: Scene, rng: np.random.Generator) -> Scene:
    """The scene, its hand perhaps beginning elsewhere, as where a failed attempt would be."""
    if rng.random() >= SHIFTED_SHARE:
        return scene
    x, y, z = rng.uniform(-SHIFT, SHIFT).round(4).tolist()
    return dataclasses.replace(scene, hand=(x, y, z))
