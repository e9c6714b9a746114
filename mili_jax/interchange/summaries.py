"""What is kept of each episode of a dataset that is looked at: a few numbers, no pictures."""

from __future__ import annotations

import dataclasses
import hashlib

import numpy as np

from mili_jax.spec import Layout, Spec
from mili_jax.types import Episode


@dataclasses.dataclass(frozen=True)
class Numbers:
    """Of a pose or an action over an episode, each float64 [D].

    jump, change: the largest and the median change of a step, angles by their period.
    turns: of angles, whether two steps lie more than half a turn apart as plain numbers.
    """

    low: np.ndarray
    high: np.ndarray
    jump: np.ndarray
    change: np.ndarray
    turns: np.ndarray

    @staticmethod
    def of(values: np.ndarray, layout: Layout) -> Numbers:
        values = values.astype(np.float64)
        plain = np.abs(np.diff(values, axis=0))
        steps = plain.copy()
        for k, field in enumerate(layout.fields):
            if field.period is not None:
                steps[:, k] = np.abs(
                    plain[:, k] - np.rint(plain[:, k] / field.period) * field.period
                )
        if not len(steps):
            steps = plain = np.zeros((1, values.shape[1]))
        return Numbers(
            values.min(0),
            values.max(0),
            steps.max(0),
            np.median(steps, axis=0),
            np.any(plain > np.pi, axis=0, keepdims=True)[0],
        )


@dataclasses.dataclass(frozen=True)
class Summary:
    """still: by camera, the share of steps whose picture is the one before. blank: by camera,
    whether every picture is of one colour. alike: whether cameras show the same.
    follows: whether each action is the next measured pose. motion: whether the pose changes.
    numbers, pictures: digests of poses and actions, and of pictures."""

    split: str
    episode_id: str
    task: str
    length: int
    success: bool
    useful: bool
    pose: Numbers
    action: Numbers
    still: tuple[float, ...]
    blank: tuple[bool, ...]
    alike: bool
    follows: bool
    motion: bool
    numbers_digest: bytes
    pictures_digest: bytes


def summarise(episode: Episode, split: str, spec: Spec) -> Summary:
    """Raises nothing: whatever a dataset holds can be summarised."""
    views = episode.image[:, None] if spec.views == 1 else episode.image
    flat = views.reshape(*views.shape[:2], -1)
    same = [(flat[1:, v] == flat[:-1, v]).all(-1) for v in range(spec.views)]
    colours = views.reshape(*views.shape[:2], -1, views.shape[-1])
    meta = episode.meta
    pose, action = episode.pose, episode.action
    follows = pose.shape[1] == action.shape[1] and len(pose) > 1
    return Summary(
        split,
        meta.episode_id,
        meta.task,
        len(episode),
        meta.success,
        meta.useful,
        Numbers.of(pose, spec.pose),
        Numbers.of(action, spec.action),
        tuple(float(s.mean()) if len(s) else 0.0 for s in same),
        tuple(bool((colours[:, v] == colours[:, v, :1]).all()) for v in range(spec.views)),
        spec.views > 1 and bool((flat[:, :1] == flat).all()),
        follows and bool(np.allclose(action[:-1], pose[1:], atol=1e-6)),
        bool(np.ptp(pose, axis=0).max() > 0),
        hashlib.sha256(pose.tobytes() + action.tobytes()).digest()[:16],
        hashlib.sha256(episode.image.tobytes()).digest()[:16],
    )
