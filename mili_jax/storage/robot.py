"""What files know of a robot: the shapes of an episode, a mark in every record, and how two
descriptions differ."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Iterator

from mili_jax.spec import Camera, Layout, Spec

_BOUND = 1e-9  # relative: what a number may lose on its way between two processors


@dataclasses.dataclass(frozen=True)
class Shapes:
    """Of one step: its picture, (H, W, C) or of several cameras (V, H, W, C), and how many numbers
    its pose and its action have."""

    picture: tuple[int, ...]
    pose: int
    action: int

    @staticmethod
    def of(spec: Spec) -> Shapes:
        return Shapes(spec.picture, len(spec.pose), len(spec.action))

    def __str__(self) -> str:
        return f"picture {_by(self.picture)}, pose {self.pose}, action {self.action}"


def mark_of(spec: Spec) -> str:
    """What every record says of its robot: the shapes, and 12 digits of the layouts and cameras.

    The lengths of a tool are none of it: they are a policy's, and no episode depends on them. What
    a robot does not have is none either, so that what later ones have changes no earlier mark.
    """
    facts = dataclasses.asdict(spec)
    del facts["tool"]
    text = json.dumps(_rounded(facts), sort_keys=True)
    return f"{Shapes.of(spec)}, layout {hashlib.sha256(text.encode()).hexdigest()[:12]}"


def _rounded(value: object) -> object:
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items() if item is not None}
    if isinstance(value, (list, tuple)):
        return [_rounded(item) for item in value]
    return f"{value:.6g}" if isinstance(value, float) else value


def difference(shapes: Shapes, stored: Spec | None, asked: Spec) -> str | None:
    """The first thing in which the robot of a dataset is not the one asked for, as "holds ..., the
    spec has ..."; None if it is the same.

    Args:
      shapes: of the stored episodes. stored: None where there is no more to compare.
    """
    mine = Shapes.of(asked)
    for what, one, other in (
        ("pictures", _by(shapes.picture), _by(mine.picture)),
        ("a pose", f"{shapes.pose} numbers", f"{mine.pose} numbers"),
        ("an action", f"{shapes.action} numbers", f"{mine.action} numbers"),
    ):
        if one != other:
            of = "of " if what != "pictures" else ""
            return f"holds {what} {of}{one}, the spec has {other}"
    if stored is None:
        return None
    for what, left, right in _parts(stored, asked):
        if not _same(left, right):
            return f"holds episodes with {what} {_said(left)}, the spec has {_said(right)}"
    return None


def _parts(stored: Spec, asked: Spec) -> Iterator[tuple[str, object, object]]:
    for name in ("pose", "action"):
        left, right = getattr(stored, name), getattr(asked, name)
        yield from _fields(name, left, right)
    yield "delta =", stored.delta, asked.delta
    yield "cameras", [c.name for c in stored.cameras], [c.name for c in asked.cameras]
    for one, other in zip(stored.cameras, asked.cameras, strict=True):
        yield f"camera {one.name!r} on the", one.mount, other.mount
        yield f"camera {one.name!r}", _calibration(one), _calibration(other)
        yield f"camera {one.name!r}, whose matrix is", one.matrix, other.matrix
        yield f"camera {one.name!r}, whose depth is", one.depth, other.depth


def _fields(name: str, left: Layout, right: Layout) -> Iterator[tuple[str, object, object]]:
    yield f"{name} fields", list(left.names), list(right.names)
    for one, other in zip(left.fields, right.fields, strict=True):
        for part in ("unit", "low", "high", "period"):
            what = f"{name} field {one.name!r}, whose {part} is"
            yield what, getattr(one, part), getattr(other, part)


def _calibration(camera: Camera) -> str:
    return "uncalibrated" if camera.matrix is None else "calibrated"


def _same(left: object, right: object) -> bool:
    if isinstance(left, tuple) and isinstance(right, tuple):
        return len(left) == len(right) and all(map(_same, left, right))
    if isinstance(left, float) and isinstance(right, float):
        return math.isclose(left, right, rel_tol=_BOUND, abs_tol=_BOUND)
    return bool(left == right)


def _said(value: object) -> str:
    return value if isinstance(value, str) else repr(value)


def _by(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))
