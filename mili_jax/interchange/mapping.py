"""Which field of other people's files is which picture, pose, action and task: the mapping.

Numbers of a mapping are in the unit of the files. What comes out is in metres, radians, and for a
gripper 0 (closed) to 1 (open).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping as AnyMapping

from mili_jax import plugins
from mili_jax.spec import Camera, Field, Layout, Spec
from mili_jax.types import ConfigError

# What a number is multiplied with, and the unit that it then has.
UNITS = {
    "m": (1.0, "m"),
    "cm": (0.01, "m"),
    "mm": (0.001, "m"),
    "rad": (1.0, "rad"),
    "deg": (math.pi / 180, "rad"),
    "1": (1.0, "1"),
    "m/s": (1.0, "m/s"),
    "rad/s": (1.0, "rad/s"),
    "N": (1.0, "N"),
    "Nm": (1.0, "Nm"),
    "s": (1.0, "s"),
}
AS_IS = "="  # before the name of any other unit
FORMATS = ("rlds", "lerobot", "robomimic")
FITS = ("stretch", "crop")
DELTAS = ("keep", "add_to_pose", "accumulate")
OUTSIDE = ("refuse", "clip", "keep")
RULES = ("last", "any")
# What may be said of an episode beyond its task and success, and in which type.
FACTS: AnyMapping[str, type] = {
    "episode_id": str,
    "scene": str,
    "seed": int,
    "round": int,
    "policy": str,
    "demonstration": str,
    "renderer": str,
    "useful": bool,
    "achieved_tasks": str,  # a JSON list of names
    "terminated": bool,
    "labels": str,  # a JSON list of answers of the filter
}


@dataclasses.dataclass(frozen=True)
class CameraLine:
    """One picture of a step.

    codec: that of the files, "" for whichever it is. matrix, mount, depth: see `spec.Camera`.
    heights: of a camera that sees depth, the field of pictures, grey, that are its fourth channel.
    """

    name: str
    field: str
    codec: str = ""
    matrix: tuple[tuple[float, ...], ...] | None = None
    mount: str = "world"
    depth: float | None = None
    heights: str | None = None


@dataclasses.dataclass(frozen=True)
class NumberLine:
    """One number of a pose or an action: number `index` of a field.

    unit, low, high, period: as the files have it; see `spec.Field`.
    closed, open: of a gripper, the values that mean so; then it has no bounds of its own.
    delta: of an action, whether it is a change and not a target.
    """

    name: str
    field: str
    index: int
    unit: str
    low: float
    high: float
    period: float | None = None
    closed: float | None = None
    open: float | None = None
    delta: bool = False

    @property
    def gripper(self) -> bool:
        return self.closed is not None

    @property
    def scale(self) -> float:
        """What a value, or a change of it, is multiplied with."""
        if self.closed is not None and self.open is not None:
            return 1 / (self.open - self.closed)
        return _unit(self.unit)[0]

    @property
    def offset(self) -> float:
        """What a value that is no change is reduced by before."""
        return 0.0 if self.closed is None or self.delta else self.closed

    def described(self) -> Field:
        """As it comes out."""
        if self.gripper:
            low, high = (-1.0, 1.0) if self.delta else (0.0, 1.0)
            return Field(self.name, "1", low, high)
        scale, unit = _unit(self.unit)
        period = None if self.period is None else self.period * scale
        return Field(self.name, unit, self.low * scale, self.high * scale, period)


@dataclasses.dataclass(frozen=True)
class TaskLine:
    """Where the task's name is from: a field of text, or one name for all.

    empty: what to do with an episode that has none: "refuse", "skip", or a name to give it.
    changes: where it differs from step to step: "refuse", or "first" to take the first.
    as_is: keep the text; otherwise small letters, single spaces, no full stop at the end.
    language: a field with the instruction, where the task's name is another.
    """

    field: str | None = None
    name: str | None = None
    empty: str = "refuse"
    changes: str = "refuse"
    as_is: bool = False
    language: str | None = None


@dataclasses.dataclass(frozen=True)
class SuccessLine:
    """Where it says whether the task was done: a field (above 1/2 is yes) with its rule, that of
    the last step or of any, or one answer for all."""

    field: str | None = None
    rule: str = "last"
    assume: bool | None = None


@dataclasses.dataclass(frozen=True)
class Mapping:
    """How episodes of other people's files become ours.

    height, width, fit: of the pictures; see `resize`.
    deltas: "keep" them, "add_to_pose" for the target that is meant, or "accumulate" from the first
      pose. outside: an action beyond its bounds, or a pose that overshoots them by a twentieth of
      their span, is refused, clipped or kept. An angle is brought within its bounds by whole turns
      first, unless all is kept.
    fps: steps a second in the files, None where nobody knows. to_fps: those to keep, None for all.
    splits: from the files' split, or a part of it (`parts`), to ours. last_step: "keep" it, or
      "drop" it where the files have no action in it. short: "refuse" an episode of a single step,
      "skip" it, or "keep" it.
    facts: further facts of an episode (keys of FACTS) and the fields that have them.

    Raises ConfigError naming what does not fit.
    """

    format: str
    cameras: tuple[CameraLine, ...]
    height: int
    width: int
    pose: tuple[NumberLine, ...]
    action: tuple[NumberLine, ...]
    task: TaskLine
    success: SuccessLine
    splits: AnyMapping[str, str]
    fit: str = "stretch"
    deltas: str = "keep"
    outside: str = "refuse"
    fps: float | None = None
    to_fps: float | None = None
    last_step: str = "keep"
    short: str = "refuse"
    facts: AnyMapping[str, str] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        if not plugins.known("formats", self.format, dict.fromkeys(FORMATS)):
            raise ConfigError(
                f"format is {self.format!r}; it must be one of {', '.join(FORMATS)}, or of your own"
            )
        _one_of("picture.fit", self.fit, FITS)
        _one_of("deltas", self.deltas, DELTAS)
        _one_of("outside", self.outside, OUTSIDE)
        _one_of("success.rule", self.success.rule, RULES)
        _one_of("last_step", self.last_step, ("keep", "drop"))
        _one_of("short", self.short, ("refuse", "skip", "keep"))
        _one_of("task.changes", self.task.changes, ("refuse", "first"))
        for fact in self.facts:
            _one_of("facts", fact, tuple(FACTS))
        for camera in self.cameras:
            if (camera.depth is None) != (camera.heights is None):
                raise ConfigError(
                    f"camera {camera.name!r}: one that sees depth needs both, depth and heights"
                )
        for group, lines in (("pose", self.pose), ("action", self.action)):
            for k, line in enumerate(lines):
                _check_line(f"{group}[{k}] ({line.name})", line)
        if any(line.delta for line in self.pose):
            raise ConfigError("pose: only the numbers of an action can be changes (delta)")
        if (self.task.field is None) == (self.task.name is None):
            raise ConfigError("task: give a field, or a name for all episodes, and not both")
        if (self.success.field is None) == (self.success.assume is None):
            raise ConfigError("success: give a field, or assume true or false, and not both")
        if not self.splits:
            raise ConfigError("splits: name at least one split of the files")
        for name in self.splits.values():
            if (
                not name.replace("_", "a").isalnum()
                or not name[0].isalpha()
                or name != name.lower()
            ):
                raise ConfigError(f"splits: {name!r} cannot name a split: use a-z, 0-9 and _")
        if len(set(self.splits.values())) < len(self.splits):
            raise ConfigError("splits: two splits of the files go into one; give each its own")
        for what, fps in (("fps", self.fps), ("to_fps", self.to_fps)):
            if fps is not None and not (math.isfinite(fps) and fps > 0):
                raise ConfigError(f"{what} is {fps}; it must be above 0, or null")
        if self.to_fps is not None:
            if self.fps is None:
                raise ConfigError("to_fps: say the files' own fps too, which they do not have")
            if self.to_fps > self.fps:
                raise ConfigError(
                    f"to_fps is {self.to_fps:g} and the files have {self.fps:g} steps a second; "
                    "steps can be left out, not made"
                )
        if self.deltas != "keep":
            self._check_integrated()
        self.spec()

    def _check_integrated(self) -> None:
        names = {line.name: line for line in self.pose}
        if not any(line.delta for line in self.action):
            raise ConfigError(f"deltas: {self.deltas}, but no number of the action is a delta")
        for line in self.action:
            if not line.delta:
                continue
            base = names.get(line.name)
            if base is None:
                raise ConfigError(
                    f"deltas: {self.deltas} needs a number {line.name!r} in the pose to begin from"
                )
            units = base.described().unit, line.described().unit
            if units[0] != units[1]:
                raise ConfigError(
                    f"deltas: {line.name!r} is in {units[0]} in the pose and in {units[1]} in the "
                    "action; they cannot be added"
                )

    @property
    def delta(self) -> bool:
        """Whether actions come out as changes."""
        return self.deltas == "keep" and any(line.delta for line in self.action)

    def spec(self) -> Spec:
        """The robot as it comes out. Raises ConfigError as `spec.Spec`."""
        pose = Layout(tuple(line.described() for line in self.pose))
        action = Layout(tuple(self._action_field(line) for line in self.action))
        cameras = tuple(
            Camera(line.name, line.matrix, line.mount, line.depth) for line in self.cameras
        )
        return Spec(pose, action, self.height, self.width, cameras, delta=self.delta)

    def _action_field(self, line: NumberLine) -> Field:
        field = line.described()
        if self.deltas == "keep" or not line.delta:
            return field
        base = next(other for other in self.pose if other.name == line.name).described()
        return Field(
            line.name,
            base.unit,
            base.low + min(field.low, 0.0),
            base.high + max(field.high, 0.0),
            base.period,
        )

    @property
    def used(self) -> frozenset[str]:
        """The fields of the files that it reads."""
        names = {line.field for line in self.cameras}
        names |= {line.heights for line in self.cameras if line.heights is not None}
        names |= {line.field for line in (*self.pose, *self.action)}
        names |= set(self.facts.values())
        return frozenset(
            name
            for name in (*names, self.task.field, self.task.language, self.success.field)
            if name is not None
        )


def _unit(name: str) -> tuple[float, str]:
    return (1.0, name[1:]) if name.startswith(AS_IS) else UNITS[name]


def _one_of(what: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise ConfigError(f"{what} is {value!r}; it must be one of {', '.join(known)}")


def _check_line(what: str, line: NumberLine) -> None:
    if line.unit not in UNITS and not (line.unit.startswith(AS_IS) and len(line.unit) > 1):
        raise ConfigError(
            f"{what}: unit is {line.unit!r}; it must be one of {', '.join(UNITS)}, or {AS_IS} and "
            "the name of another, whose numbers stay as they are"
        )
    if (line.closed is None) != (line.open is None):
        raise ConfigError(f"{what}: of a gripper both are wanted, closed and open")
    if line.closed is not None and line.open is not None:
        if not (math.isfinite(line.closed) and math.isfinite(line.open)):
            raise ConfigError(f"{what}: closed and open must be finite")
        if line.closed == line.open:
            raise ConfigError(f"{what}: closed and open are the same value, {line.open:g}")
        if line.period is not None:
            raise ConfigError(f"{what}: a gripper has no period")
    if line.index < 0:
        raise ConfigError(f"{what}: index is {line.index}; numbers count from 0")
