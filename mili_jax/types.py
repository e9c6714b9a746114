"""The nouns of the project, and the legend of its dimension letters.

Dimension letters used in docstrings:
  B  pairs in a batch (two episodes of one task each)
  N  episodes, M frames of an episode that are encoded, K places along an episode that are pooled
  T  steps of an episode, P  policy steps drawn per pair
  H, W  image height and width in pixels, C  channels
  G  cells of the feature map (G = h * w), Z  embedding size, 7  the pose and the action

Pose and action share one layout (`POSE_FIELDS`): tool x, y, z in metres in the table's frame
(origin on the table top, z up), roll, pitch, yaw in radians (fixed-axis XYZ), finger opening from
0 (closed) to 1 (open). An action is the *desired* pose. The gripper is symmetric under half a turn,
so a yaw is meaningful modulo pi.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np

POSE_FIELDS = ("x", "y", "z", "roll", "pitch", "yaw", "finger")
FAMILIES = ("press", "grasp", "push", "place")


class MiliError(Exception):
    """Base of every error this package raises on purpose: the message names what and where."""


class ConfigError(MiliError):
    """A configuration value is unknown, of the wrong type or out of range."""


class DataError(MiliError):
    """A stored file is missing, damaged, half-written or does not fit what reads it."""


DOCTOR = (
    "`python -m experiments.doctor --workdir=<the run> --repair` takes away what is damaged, and "
    "the run's own command makes exactly that again"
)


class SimulationError(MiliError):
    """The simulator was asked for something it cannot do (bad action, unknown object or task)."""


@dataclasses.dataclass(frozen=True)
class Task:
    """A family and the objects it acts on: ("press", b), ("grasp", a), ("push"|"place", a, b)."""

    family: str
    objects: tuple[str, ...]

    def __post_init__(self) -> None:
        if self.family not in FAMILIES:
            raise SimulationError(f"unknown task family {self.family!r}; one of {FAMILIES}")
        wanted = 1 if self.family in ("press", "grasp") else 2
        if len(self.objects) != wanted:
            raise SimulationError(
                f"a {self.family} task names {wanted} object(s), got {self.objects}"
            )

    @property
    def id(self) -> str:
        """The task's name in files, for example "place:mug_03:tray_01"."""
        return ":".join((self.family, *self.objects))

    @staticmethod
    def parse(task_id: str) -> Task:
        """The inverse of `id`. Raises SimulationError on a malformed name."""
        family, *objects = task_id.split(":")
        return Task(family, tuple(objects))


@dataclasses.dataclass(frozen=True)
class EpisodeMeta:
    """What is known of an episode beside its steps.

    `achieved_tasks` and `success` are oracle information: for metrics, the oracle baseline and
    tests only. `useful` is the simulator's task-agnostic yes/no (the filter F's automatic form).
    """

    episode_id: str
    task: str  # commanded task id
    scene: str  # JSON: objects and their placements, enough to rebuild the scene
    seed: int
    round: int  # 0 for demonstrations
    policy: str  # "expert" or the id of the checkpoint that acted
    demonstration: str  # id of the episode the policy was conditioned on, "" if none
    renderer: str
    useful: bool
    success: bool  # oracle: the commanded task was achieved
    achieved_tasks: tuple[str, ...]  # oracle
    terminated: bool = True  # it came to its end by itself, not because its time was over
    language: str = ""  # the instruction in words, "" if there is none


@dataclasses.dataclass(frozen=True)
class Episode:
    """image uint8 [T,H,W,3], pose float32 [T,7], action float32 [T,7] (expert label or command)."""

    image: np.ndarray
    pose: np.ndarray
    action: np.ndarray
    meta: EpisodeMeta

    def __len__(self) -> int:
        return len(self.pose)


# A policy for n environments in lockstep: (image uint8 [n,H,W,3], pose float32 [n,7]) -> action
# float32 [n,7]. What it is conditioned on is closed over.
PolicyFn = Callable[[np.ndarray, np.ndarray], np.ndarray]
