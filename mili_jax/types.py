"""The nouns of the project, and the legend of its dimension letters.

Dimension letters used in docstrings:
  B  pairs in a batch (two episodes of one task each)
  N  episodes, M frames of an episode that are encoded, K places along an episode that are pooled
  T  steps of an episode, P  policy steps drawn per pair
  V  cameras, H, W  image height and width in pixels, C  channels
  G  cells of the feature map (G = h * w), Z  embedding size
  D  numbers of a pose, A  numbers of an action: what they are says a `spec.Layout`

Where there is one camera, pictures have no axis V.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

Params = Mapping[str, Any]  # a tree of arrays: what a network has learned
MOST_LETTERS = 200  # of a task's name
AnyArray = Any  # numpy's on the host, JAX's in a compiled step


class MiliError(Exception):
    """Base of every error this package raises on purpose: the message names what and where."""


class ConfigError(MiliError):
    """A configuration value is unknown, of the wrong type or out of range."""


class DataError(MiliError):
    """A stored file is missing, damaged, half-written or does not fit what reads it."""


DOCTOR = (
    "`mili doctor <the run> --repair` takes away what is damaged, and "
    "the run's own command makes exactly that again"
)


class SimulationError(MiliError):
    """The simulator was asked for something it cannot do (bad action, unknown object or task)."""


@dataclasses.dataclass(frozen=True)
class Task:
    """What a robot can be asked to do: a free name, and the group that reports count it to.

    Raises ConfigError for a name that is not one line of 1 to 200 characters without slashes.
    """

    name: str
    group: str

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not isinstance(self.group, str):
            raise ConfigError(f"task {self.name!r} of group {self.group!r}: both must be texts")
        if not 1 <= len(self.name) <= MOST_LETTERS or not self.name.isprintable():
            raise ConfigError(
                f"task {self.name[:40]!r}...: a name is one line of 1 to {MOST_LETTERS} letters, "
                f"this one has {len(self.name)}; take a shorter one"
            )
        if set(self.name) & {"/", "\\"}:
            raise ConfigError(f"task {self.name!r}: a name has no slashes; take another character")


@dataclasses.dataclass(frozen=True)
class PolicyId:
    """A policy by the arm that trained it and the round: ("mili", 2) is the file name "mili_2",
    what learns from the demonstrations alone has round 0 and just its name."""

    arm: str
    round: int = 0

    def __str__(self) -> str:
        return f"{self.arm}_{self.round}" if self.round else self.arm

    @staticmethod
    def parse(name: str) -> PolicyId:
        """The inverse of `str`."""
        arm, _, number = name.rpartition("_")
        counted = arm and number.isascii() and number.isdigit() and number[0] != "0"
        return PolicyId(arm, int(number)) if counted else PolicyId(name)


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
    """image uint8 [T,(V,)H,W,3], pose float32 [T,D], action float32 [T,A] (label or command)."""

    image: np.ndarray
    pose: np.ndarray
    action: np.ndarray
    meta: EpisodeMeta

    def __len__(self) -> int:
        return len(self.pose)


# A policy for n environments in lockstep: (image uint8 [n,(V,)H,W,3], pose float32 [n,D]) -> action
# float32 [n,A]. What it is conditioned on is closed over.
PolicyFn = Callable[[np.ndarray, np.ndarray], np.ndarray]


class Batch(NamedTuple):
    """B pairs (m, n) = (index 0, index 1); P policy steps are drawn from episode m."""

    demo_image: AnyArray  # uint8 [B,2,M,(V,)H,W,3], M frames evenly over what counts
    demo_pose: AnyArray  # float32 [B,2,K,D], see `batches.sampling.demo_inputs`
    image: AnyArray  # uint8 [B,P,(V,)H,W,3]
    pose: AnyArray  # float32 [B,P,D], with what the fingers feel D + 2 (`with_felt` there)
    action: AnyArray  # float32 [B,P,A]
    task: AnyArray  # int32 [B], equal for equal tasks; a different negative for each trial pair
    focus: AnyArray  # float32 [B,P,2,C,2] m, candidates for the places that m is about
    focus_seen: AnyArray  # bool [B,P,2], whether there is something to be seen there
    # Episode m broken off, if asked for: its frames but the first (of one frame that), its poses.
    truncated_image: AnyArray = None  # uint8 [B,max(1,M-1),(V,)H,W,3]
    truncated_pose: AnyArray = None  # float32 [B,K,D]
