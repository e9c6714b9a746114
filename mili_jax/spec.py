"""What networks and files know of a robot: the layout of its numbers, its pictures, its cameras.

A `Spec` is data alone and knows no simulator. A domain makes it (`mili_jax.domains`), a dataset
stores it beside its episodes, and a policy is built for it.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import numpy as np

from mili_jax.given import number, plain, whole
from mili_jax.types import ConfigError

# The layout that heads which act on places of a table need: a tool's desired or measured pose.
TOOL_FIELDS = ("x", "y", "z", "roll", "pitch", "yaw", "finger")
FINGER = TOOL_FIELDS.index("finger")
_MOST_PIXELS = 1 << 16  # of a side of the picture that a camera was calibrated with
_Part = TypeVar("_Part")
_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")


# What somebody hands in is checked and kept as plain Python values: a description is compared,
# hashed and stored as JSON.


def _named(name: object, what: str) -> str:
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ConfigError(f"{what} {name!r}: a name is a-z, 0-9 and _, a letter first, at most 40")
    return str(name)


def _all_of(kind: type[_Part], values: object, what: str) -> tuple[_Part, ...]:
    """Several of a kind, in their order. Raises ConfigError, saying what they are."""
    if not isinstance(values, (tuple, list)) or not all(isinstance(v, kind) for v in values):
        raise ConfigError(f"{what} must be a tuple of {kind.__name__}, is {str(values)[:80]}")
    return tuple(values)


def _array(values: object, shape: tuple[int, ...], what: str) -> np.ndarray:
    """Finite numbers float64 of this shape. Raises ConfigError, saying what they are."""
    try:
        given = np.asarray(values)
        found = given.astype(np.float64, casting="same_kind")
    except (TypeError, ValueError):
        found = np.zeros(0)
    if found.shape != shape or not np.isfinite(found).all():
        by = " x ".join(map(str, shape))
        raise ConfigError(f"{what} must be {by} finite numbers")
    return found


def _keep(part: object, **values: object) -> None:
    """Sets fields of a frozen dataclass while it is made."""
    for name, value in values.items():
        object.__setattr__(part, name, value)


@dataclasses.dataclass(frozen=True)
class Field:
    """One number of a pose or an action.

    unit: "m", "rad", "1" or whatever it is measured in.
    low, high: what it may be. A measured pose may overshoot a little.
    period: of an angle, after which it means the same again; None for what is no angle.

    Raises ConfigError naming the field whose name, unit, bounds or period cannot be.
    """

    name: str
    unit: str
    low: float
    high: float
    period: float | None = None

    def __post_init__(self) -> None:
        what = f"field {_named(self.name, 'field')!r}: its"
        if not isinstance(self.unit, str):
            raise ConfigError(f"{what} unit is {self.unit!r}; it must be a text, such as m or rad")
        _keep(self, low=number(self.low, f"{what} low"), high=number(self.high, f"{what} high"))
        if not self.low < self.high:
            raise ConfigError(
                f"field {self.name!r}: low {self.low:g} must be below high {self.high:g}"
            )
        if self.period is not None:
            _keep(self, period=number(self.period, f"{what} period", positive=True))


@dataclasses.dataclass(frozen=True)
class Layout:
    """The numbers of a pose or an action, in their order. Raises ConfigError for none, and naming a
    field that comes twice."""

    fields: tuple[Field, ...]

    def __post_init__(self) -> None:
        _keep(self, fields=_all_of(Field, self.fields, "the fields of a layout"))
        if not self.fields:
            raise ConfigError("a layout needs at least one field")
        for name in self.names:
            if (count := self.names.count(name)) > 1:
                raise ConfigError(f"field {name!r} is there {count} times")

    def __len__(self) -> int:
        return len(self.fields)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(field.name for field in self.fields)

    @property
    def low(self) -> np.ndarray:
        """float32 [D]."""
        return np.array([field.low for field in self.fields], np.float32)

    @property
    def high(self) -> np.ndarray:
        """float32 [D]."""
        return np.array([field.high for field in self.fields], np.float32)

    @property
    def angles(self) -> tuple[int, ...]:
        """Which numbers are angles."""
        return tuple(i for i, field in enumerate(self.fields) if field.period is not None)

    @property
    def lengths(self) -> tuple[int, ...]:
        """Which are not."""
        return tuple(i for i, field in enumerate(self.fields) if field.period is None)

    @property
    def periods(self) -> tuple[float, ...]:
        """Of the angles, in their order."""
        return tuple(field.period for field in self.fields if field.period is not None)


@dataclasses.dataclass(frozen=True)
class Camera:
    """A pin-hole camera, or one of which nothing is known.

    matrix: [3,4] as rows; times a point (x, y, z, 1) in metres of the world (of the tool where
      `mount` is "tool") it gives (u w, v w, w), where u and v run from -1 to 1 from the left and
      the lower border of the picture to the right and the upper one, and w > 0 lies in front. None:
      uncalibrated.
    mount: what it moves with, "world" or "tool".
    depth: of a camera that sees depth, the height above the table (m) that 255 stands for in the
      fourth channel of its picture, 0 being the table; None: it sees colours alone.

    Raises ConfigError for a name or matrix that cannot be: not finite, singular, or of a camera in
    the world that looks along the plane z = 0.
    """

    name: str
    matrix: tuple[tuple[float, ...], ...] | None = None
    mount: str = "world"
    depth: float | None = None

    def __post_init__(self) -> None:
        what = f"camera {_named(self.name, 'camera')!r}"
        if self.mount not in ("world", "tool"):
            raise ConfigError(f"{what}: mount {self.mount!r} is neither world nor tool")
        if self.depth is not None:
            depth = number(self.depth, f"{what}: its depth in metres", positive=True)
            _keep(self, depth=depth)
        if self.matrix is None:
            return
        m = _array(self.matrix, (3, 4), f"{what}: its matrix")
        _keep(self, matrix=tuple(tuple(map(plain, row)) for row in self.matrix))
        scale = max(np.abs(m).max(), 1e-300)
        if abs(np.linalg.det(m[:, :3] / scale)) < 1e-9:
            raise ConfigError(
                f"camera {self.name!r}: its matrix is singular; give intrinsics times pose"
            )
        if self.mount == "world" and abs(np.linalg.det(self._plane(m) / scale)) < 1e-9:
            raise ConfigError(
                f"camera {self.name!r} lies in the plane z = 0 and does not see it; raise it, or "
                "leave its matrix out"
            )

    @staticmethod
    def _plane(matrix: np.ndarray) -> np.ndarray:
        return matrix[:, [0, 1, 3]]

    @staticmethod
    def straight_down(name: str, view: float, height: float) -> Camera:
        """Above the origin, looking straight down: column to the right is +x, row downward is -y.

        view: half-width in metres of the square at z = 0 that fills the picture. height: metres
        from there to the pin-hole. Raises ConfigError unless both are positive.
        """
        what = f"camera {name!r}: its"
        view = number(view, f"{what} view in metres", positive=True)
        height = number(height, f"{what} height in metres", positive=True)
        f = height / view
        return Camera(name, ((f, 0.0, 0.0, 0.0), (0.0, f, 0.0, 0.0), (0.0, 0.0, -1.0, height)))

    @staticmethod
    def calibrated(
        name: str,
        intrinsics: Sequence[Sequence[float]],
        rotation: Sequence[Sequence[float]],
        translation: Sequence[float],
        width: int,
        height: int,
        mount: str = "world",
    ) -> Camera:
        """As calibration tools report it.

        Args:
          intrinsics: K [3,3] in pixels, of a picture `width` x `height`.
          rotation: [3,3] from world (or tool) to camera: x right, y down, z ahead.
          translation: [3] m, of the same.

        Raises ConfigError as `Camera`, and for a rotation that is none.
        """
        what = f"camera {name!r}: its"
        width = whole(width, f"{what} width in pixels", 1, _MOST_PIXELS)
        height = whole(height, f"{what} height in pixels", 1, _MOST_PIXELS)
        k = _array(intrinsics, (3, 3), f"{what} intrinsics")
        r = _array(rotation, (3, 3), f"{what} rotation")
        t = _array(np.ravel(translation), (3,), f"{what} translation")
        if not np.allclose(r @ r.T, np.eye(3), atol=1e-3) or np.linalg.det(r) < 0:
            raise ConfigError(f"{what} rotation is not orthonormal")
        to_uv = np.array([[2 / width, 0, -1], [0, -2 / height, 1], [0, 0, 1]])
        rows = to_uv @ k @ np.column_stack([r, t])
        return Camera(name, tuple(tuple(map(float, row)) for row in rows), mount)


@dataclasses.dataclass(frozen=True)
class Tool:
    """Lengths (m) that a policy which acts on places of a table begins with.

    reach: half-width of the square of the table that matters.
    hover: height above a place before the tool goes down. lifted: when it carries or has finished.
    down: below it the tool is at work on something. beside: between a tool that pushes something
    and the middle of that. middle: from the tool's point up to the middle of what is seen of it.

    Raises ConfigError naming the length that cannot be.
    """

    reach: float
    hover: float
    lifted: float
    down: float
    beside: float
    middle: float = 0.0

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            name = field.name
            what = f"the tool's {name} in metres"
            _keep(self, **{name: number(getattr(self, name), what, positive=name == "reach")})


@dataclasses.dataclass(frozen=True)
class Spec:
    """A robot as networks and files see it.

    pose, action: what is measured and what is commanded. delta: whether an action is a change.
    height, width: of a picture, in pixels. cameras: one picture each; the first is the one that
    places are found in.
    tool: only of a robot whose pose and action both have `TOOL_FIELDS`, absolute, above a table at
    z = 0; without it the heads that act on places are not to be had.

    Raises ConfigError, naming the part that does not fit.
    """

    pose: Layout
    action: Layout
    height: int
    width: int
    cameras: tuple[Camera, ...]
    delta: bool = False
    tool: Tool | None = None

    def __post_init__(self) -> None:
        for side in ("height", "width"):
            _keep(self, **{side: whole(getattr(self, side), f"a picture's {side}", 16, 1024)})
        _keep(self, cameras=_all_of(Camera, self.cameras, "a robot's cameras"))
        _keep(self, delta=plain(self.delta))
        for part, kind in (("pose", Layout), ("action", Layout), ("delta", bool), ("tool", Tool)):
            value = getattr(self, part)
            if not isinstance(value, kind) and not (part == "tool" and value is None):
                raise ConfigError(
                    f"a robot's {part} is {str(value)[:80]!r}; it must be a {kind.__name__}"
                )
        names = [camera.name for camera in self.cameras]
        if not names:
            raise ConfigError("a robot needs at least one camera")
        if len(set(names)) < len(names):
            raise ConfigError(f"cameras {names}: each needs a name of its own")
        if self.tool is not None and not (
            self.pose.names == self.action.names == TOOL_FIELDS and not self.delta
        ):
            raise ConfigError(
                f"a tool above a table needs pose and action of {TOOL_FIELDS}, absolute; leave "
                "`tool` out"
            )

    @property
    def views(self) -> int:
        return len(self.cameras)

    @property
    def channels(self) -> int:
        """Of a picture: red, green, blue, and heights if any camera sees depth."""
        return 3 + any(camera.depth is not None for camera in self.cameras)

    @property
    def picture(self) -> tuple[int, ...]:
        """The shape of what all cameras see at once: (H, W, C), of several (V, H, W, C). A camera
        without depth among others has a fourth channel of zeros."""
        one = (self.height, self.width, self.channels)
        return one if self.views == 1 else (self.views, *one)

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self), indent=1)

    @staticmethod
    def from_json(text: str | bytes) -> Spec:
        """The inverse of `to_json`. Raises ConfigError for what is none."""
        try:
            raw = json.loads(text)
            return Spec(
                pose=_layout(raw["pose"]),
                action=_layout(raw["action"]),
                height=raw["height"],
                width=raw["width"],
                cameras=tuple(
                    Camera(c["name"], c["matrix"], c["mount"], c.get("depth"))
                    for c in raw["cameras"]
                ),
                delta=raw["delta"],
                tool=None if raw["tool"] is None else Tool(**raw["tool"]),
            )
        except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
            raise ConfigError(f"not a description of a robot ({error!r})") from error


def _layout(raw: Mapping[str, Any]) -> Layout:
    return Layout(tuple(Field(**field) for field in raw["fields"]))
