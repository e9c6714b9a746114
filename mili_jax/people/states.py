"""The states of the teleoperation page, and what a page can say."""

from __future__ import annotations

import dataclasses
import enum

from mili_jax.people.poses import Pose

# What a page may ask for.
WISHES = ("finish", "discard", "again", "pause", "task", "keep", "keep_failed", "answer")


class State(enum.StrEnum):
    """ready: at the beginning. driving: the clutch is held. waiting: it is not, and the world
    stands still. paused: presses do nothing. review: finished, to be kept or not. loading,
    watching, asking, done: of the playground."""

    READY = "ready"
    DRIVING = "driving"
    WAITING = "waiting"
    PAUSED = "paused"
    REVIEW = "review"
    LOADING = "loading"
    WATCHING = "watching"
    ASKING = "asking"
    DONE = "done"


@dataclasses.dataclass(frozen=True)
class Hand:
    """Where the person's hand is, in the table's frame. number: of the message; opening: 0 to 1
    that the fingers shall have."""

    number: int
    held: bool
    pose: Pose
    opening: float


@dataclasses.dataclass(frozen=True)
class Wish:
    """Anything else that a page asks for; `value` is a number or a yes where it takes one."""

    what: str
    value: int = 0
