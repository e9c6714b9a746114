"""The catalogue: parametric kitchenware and buttons, checked when it is read."""

from __future__ import annotations

import dataclasses
import functools
import json
from pathlib import Path

from mili_jax.domains.kitchen import shipped
from mili_jax.domains.kitchen.kinds import KINDS
from mili_jax.domains.kitchen.shapes import Colour, colour
from mili_jax.types import DataError

CATALOGUE_PATH = shipped.path("objects.json")
SPLITS = ("train", "validation", "test")


@dataclasses.dataclass(frozen=True)
class ObjectSpec:
    """One object of the catalogue; lengths in metres, masses in kg, angles in radians.

    grasp: (dx, dy, dz, yaw) in the object frame: the tool tip's place, dz above the table while
      the object stands on it, and the direction in which the fingers close, modulo pi. None if the
      object is not graspable. `grasp_width` is the object's width between the fingers there.
    symmetric: every yaw of the object, and so of a grasp about its axis, is as good as another.
    inner_radius, floor_height: of a container: what rests in or on it with its centre within
      `inner_radius` of the axis is inside; its floor is at `floor_height`. 0 for other objects.
    mass: 0 for buttons, which are fixed to the table.
    """

    id: str
    kind: str
    split: str
    radius: float
    height: float
    mass: float
    friction: float
    graspable: bool
    container: bool
    button: bool
    grasp: tuple[float, float, float, float] | None
    grasp_width: float
    symmetric: bool
    inner_radius: float
    floor_height: float
    dimensions: tuple[tuple[str, float], ...]
    colours: tuple[tuple[str, Colour], ...]


# The catalogue.


def load_catalogue(path: Path | None = None) -> dict[str, ObjectSpec]:
    """Read the object catalogue: id -> spec, in the file's order.

    A file that has not changed since the last call is not read again. Raises DataError, naming the
    file and, where there is one, the object and field, if the file is missing, is not JSON, or an
    entry is incomplete, of the wrong type or out of range.
    """
    path = CATALOGUE_PATH if path is None else Path(path)
    try:
        stamp = path.stat().st_mtime_ns
    except OSError:
        stamp = 0  # reading it says what is wrong
    return dict(_read_catalogue(path, stamp))


@functools.lru_cache(maxsize=8)
def _read_catalogue(path: Path, stamp: int) -> dict[str, ObjectSpec]:
    """The catalogue as it is in the file modified at `stamp`."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"cannot read the object catalogue {path}: {error}; experiments/make_objects.py "
            "writes it"
        ) from error
    try:
        document = json.loads(text)
    except ValueError as error:
        raise DataError(f"{path} is not valid JSON: {error}") from error
    entries = document.get("objects") if isinstance(document, dict) else None
    if not isinstance(entries, list):
        raise DataError(f'{path}: the top level must be an object with a list "objects"')
    specs: dict[str, ObjectSpec] = {}
    for index, entry in enumerate(entries):
        try:
            spec = _parse_entry(entry, index)
        except DataError as error:
            raise DataError(f"{path}: {error}") from error
        if spec.id in specs:
            raise DataError(f"{path}: object {spec.id!r} appears twice")
        specs[spec.id] = spec
    return specs


def _parse_entry(entry: object, index: int) -> ObjectSpec:
    if not isinstance(entry, dict) or not isinstance(entry.get("id"), str):
        raise DataError(f'entry {index} is not an object with a string "id"')
    name = f"object {entry['id']!r}"
    fields = ("kind", "split", "dimensions", "colours", "mass", "friction")
    for field in fields:
        if field not in entry:
            raise DataError(f"{name} lacks the field {field!r}")
    unknown = sorted(set(entry) - {"id", *fields})
    if unknown:
        raise DataError(f"{name} has unknown fields {unknown}")
    if not isinstance(entry["kind"], str) or entry["kind"] not in KINDS:
        raise DataError(f"{name}, field 'kind': {entry['kind']!r} is none of {sorted(KINDS)}")
    if entry["split"] not in SPLITS:
        raise DataError(f"{name}, field 'split': {entry['split']!r} is none of {SPLITS}")
    kind = KINDS[entry["kind"]]
    for field, names in (("dimensions", kind.dimensions), ("colours", kind.colours)):
        value = entry[field]
        if not isinstance(value, dict) or set(value) != set(names):
            raise DataError(f"{name}, field {field!r} must have exactly the names {names}")
    is_button = entry["kind"] == "button"
    for key in kind.dimensions:
        field = f"dimensions.{key}"
        if key.endswith("_sides"):
            if entry["dimensions"][key] not in (0, 4, 6):
                raise DataError(f"{name}, field {field!r} must be 0 (round), 4 or 6")
        else:
            _number(name, field, entry["dimensions"][key], 1e-3, 1.0)
    for key in kind.colours:
        rgb = entry["colours"][key]
        if not isinstance(rgb, list) or len(rgb) != 3:
            raise DataError(f"{name}, field 'colours.{key}' must be three numbers")
        for value in rgb:
            _number(name, f"colours.{key}", value, 0.0, 1.0)
    mass = _number(name, "mass", entry["mass"], 0.0 if is_button else 0.01, 5.0)
    friction = _number(name, "friction", entry["friction"], 0.05, 2.0)
    dimensions = tuple((key, float(entry["dimensions"][key])) for key in kind.dimensions)
    colours = tuple((key, colour(entry["colours"][key])) for key in kind.colours)
    try:
        shape = kind.build(dict(dimensions))
    except (ValueError, ZeroDivisionError) as error:
        raise DataError(
            f"{name}: its dimensions do not make a {entry['kind']} ({error})"
        ) from error
    return ObjectSpec(
        id=entry["id"],
        kind=entry["kind"],
        split=entry["split"],
        radius=shape.radius,
        height=shape.height,
        mass=mass,
        friction=friction,
        graspable=shape.grasp is not None,
        container=shape.inner_radius > 0,
        button=is_button,
        grasp=shape.grasp,
        grasp_width=shape.grasp_width,
        symmetric=shape.symmetric,
        inner_radius=shape.inner_radius,
        floor_height=shape.floor_height,
        dimensions=dimensions,
        colours=colours,
    )


def _number(name: str, field: str, value: object, low: float, high: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise DataError(f"{name}, field {field!r}: {value!r} is not a number in [{low}, {high}]")
    return float(value)
