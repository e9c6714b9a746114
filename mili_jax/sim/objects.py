"""The benchmark's objects: parametric kitchenware and buttons, from numbers to PyBullet bodies.

An entry of `data/objects.json` is a kind, its dimensions in metres, the colours of its parts, a
mass in kg and a friction coefficient. Everything else follows from these numbers: the surface that
is drawn, the collision primitives, centre of mass and inertia of the solid, and the roles the
object can play (can be grasped, can hold others, is a button).

The object frame has its origin on the vertical axis of the body at the height of the underside, z
up; handles point along +x. PyBullet reports the pose of the *centre of mass*: `World.placement`
converts. In-memory visual shapes have one colour each, so each further colour is a massless link
on a fixed joint; such links have no collision shape.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pybullet
import trimesh

from mili_jax.types import DataError, SimulationError

CATALOGUE_PATH = Path(__file__).resolve().parents[2] / "data" / "objects.json"
SPLITS = ("train", "validation", "test")
BUTTON_TRAVEL = 0.012  # metres
BUTTON_FORCE = 4.0  # newtons with which the cap pushes back
BUTTON_CAP_MASS = 0.03  # kg

_SECTIONS = 16  # sides of a body of revolution as drawn
_FINGER_REACH = 0.04  # metres from the tool tip up to what must stay clear of an object's top
_FLOOR = 0.009  # metres, thickness of the bottom of hollow objects
_CLEARANCE = 2e-4  # metres by which all boxes of a bottom but one are lifted, see `_foot`

Colour = tuple[float, float, float]
Quaternion = tuple[float, float, float, float]
Triple = tuple[float, float, float]


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


# Surfaces and collision primitives, in the object frame.


@dataclasses.dataclass(frozen=True)
class _Surface:
    """Triangles of one colour: vertices and normals [V, 3], faces [F, 3]."""

    colour: str
    vertices: np.ndarray
    normals: np.ndarray
    faces: np.ndarray


@dataclasses.dataclass(frozen=True)
class _Primitive:
    """A collision box (half extents) or upright cylinder (radius, radius, half height)."""

    type: int
    half: Triple
    position: Triple
    orientation: Quaternion = (0.0, 0.0, 0.0, 1.0)


@dataclasses.dataclass(frozen=True)
class _Shape:
    """What a kind's builder makes of its dimensions."""

    surfaces: tuple[_Surface, ...]
    primitives: tuple[_Primitive, ...]
    radius: float
    height: float
    grasp: tuple[float, float, float, float] | None = None
    grasp_width: float = 0.0
    symmetric: bool = False
    inner_radius: float = 0.0
    floor_height: float = 0.0
    rolling_friction: float = 0.0
    cap: _Shape | None = None


def _revolve(
    profile: Sequence[tuple[float, float]], colours: Sequence[str], sections: int = _SECTIONS
) -> list[_Surface]:
    """The body of revolution of a closed profile (r, z), from the axis below to the axis above.

    `colours` names the colour of each of the profile's segments. Radii are enlarged so that the
    polygon has the area of the circle, which makes volume and inertia those of the round body.
    """
    if min(r for r, _ in profile) < 0:
        raise ValueError("a wall is thicker than the body")
    angles = 2 * np.pi * np.arange(sections) / sections
    directions = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    swell = math.sqrt(2 * math.pi / (sections * math.sin(2 * math.pi / sections)))
    here = np.arange(sections)
    following = (here + 1) % sections
    surfaces = []
    for (r0, z0), (r1, z1), colour in zip(profile[:-1], profile[1:], colours, strict=True):
        rings = [
            np.column_stack([directions * r * swell, np.full(sections, z)])
            for r, z in ((r0, z0), (r1, z1))
        ]
        slope = np.array([z1 - z0, r0 - r1]) / math.hypot(z1 - z0, r1 - r0)
        normals = np.column_stack([directions * slope[0], np.full(sections, slope[1])])
        faces = []
        if r0 > 0:
            faces.append(np.column_stack([here, following, sections + following]))
        if r1 > 0:
            faces.append(np.column_stack([here, sections + following, sections + here]))
        surfaces.append(
            _Surface(colour, np.concatenate(rings), np.tile(normals, (2, 1)), np.concatenate(faces))
        )
    return surfaces


def _prism(
    polygon: np.ndarray, bottom: float, top: float, colour: str, top_colour: str | None = None
) -> list[_Surface]:
    """An upright prism over a convex polygon [K, 2], counter-clockwise."""
    count = len(polygon)
    following = np.roll(polygon, -1, axis=0)
    edges = following - polygon
    outward = np.stack([edges[:, 1], -edges[:, 0]], axis=1)
    outward /= np.linalg.norm(outward, axis=1, keepdims=True)
    quads = np.stack(
        [
            np.column_stack([polygon, np.full(count, bottom)]),
            np.column_stack([following, np.full(count, bottom)]),
            np.column_stack([following, np.full(count, top)]),
            np.column_stack([polygon, np.full(count, top)]),
        ],
        axis=1,
    ).reshape(-1, 3)
    normals = np.repeat(np.column_stack([outward, np.zeros(count)]), 4, axis=0)
    first = 4 * np.arange(count)
    sides = np.concatenate(
        [
            np.column_stack([first, first + 1, first + 2]),
            np.column_stack([first, first + 2, first + 3]),
        ]
    )
    fan = np.array([[0, i, i + 1] for i in range(1, count - 1)])
    lid = np.column_stack([polygon, np.full(count, top)])
    underside = np.column_stack([polygon, np.full(count, bottom)])
    up = np.tile([0.0, 0.0, 1.0], (count, 1))
    return [
        _Surface(colour, quads, normals, sides),
        _Surface(top_colour or colour, lid, up, fan),
        _Surface(colour, underside, -up, fan[:, ::-1]),
    ]


def _block(low: Triple, high: Triple, colour: str, top_colour: str | None = None) -> list[_Surface]:
    """An axis-aligned box between two corners."""
    corners = np.array(
        [(low[0], low[1]), (high[0], low[1]), (high[0], high[1]), (low[0], high[1])], float
    )
    return _prism(corners, low[2], high[2], colour, top_colour)


def _regular_polygon(sides: int, apothem: float) -> np.ndarray:
    """Corners [sides, 2] of a regular polygon, an edge midpoint on the +x axis."""
    angles = 2 * np.pi * (np.arange(sides) - 0.5) / sides
    return np.stack([np.cos(angles), np.sin(angles)], axis=1) * apothem / math.cos(np.pi / sides)


def _cylinder(radius: float, bottom: float, top: float) -> _Primitive:
    half = (top - bottom) / 2
    return _Primitive(pybullet.GEOM_CYLINDER, (radius, radius, half), (0.0, 0.0, bottom + half))


def _box(low: Triple, high: Triple) -> _Primitive:
    half = tuple((b - a) / 2 for a, b in zip(low, high, strict=True))
    middle = tuple((a + b) / 2 for a, b in zip(low, high, strict=True))
    return _Primitive(pybullet.GEOM_BOX, half, middle)  # type: ignore[arg-type]


def _foot(sides: int, apothem: float, bottom: float, top: float) -> list[_Primitive]:
    """A flat bottom: the regular polygon of 6 `sides`, or the star of two squares for 8.

    Bullet finds all contacts of two boxes at once but those of a cylinder one a step, so that a
    round thing put down on another would sink in. To rest on four contacts and not on four per
    box, all boxes but the first are a hair shorter; they take the weight as soon as it tilts.
    """
    count = sides // 4 if sides % 4 == 0 else sides // 2
    across = apothem if sides % 4 == 0 else apothem * math.tan(math.pi / sides)
    boxes = []
    for k in range(count):
        low = bottom if k == 0 else bottom + _CLEARANCE
        half_angle = math.pi * k / sides
        boxes.append(
            _Primitive(
                pybullet.GEOM_BOX,
                (apothem, across, (top - low) / 2),
                (0.0, 0.0, (top + low) / 2),
                (0.0, 0.0, math.sin(half_angle), math.cos(half_angle)),
            )
        )
    return boxes


def _standing(radius: float, top: float) -> list[_Primitive]:
    """An upright cylinder of the given radius on a foot whose corners are on its outline."""
    return [*_foot(8, radius / math.sqrt(2), 0, _FLOOR), _cylinder(radius, 0.004, top)]


def _ring(
    base_radius: float,
    top_radius: float,
    bottom: float,
    top: float,
    wall: float,
    sides: int,
    round_body: bool = True,
) -> list[_Primitive]:
    """A wall of `sides` boxes whose outer faces go from the base radius to the top radius.

    It stands on the edge of the floor and not on the table, so that a body rests on few contacts.
    For a round body the polygon gets the circle's area; else the radii are apothems.
    """
    step = math.pi / sides
    fit = math.sqrt(math.pi / (sides * math.tan(step))) if round_body else 1.0
    lower, upper = base_radius * fit, top_radius * fit
    tilt = math.atan2(upper - lower, top - bottom)
    length = math.hypot(upper - lower, top - bottom)
    # The middle of the outer face, moved inwards along its normal by half the wall.
    out = (lower + upper) / 2 - math.cos(tilt) * wall / 2
    up = (bottom + top) / 2 + math.sin(tilt) * wall / 2
    half = (wall / 2, max(lower, upper) * math.tan(step), length / 2)
    boxes = []
    for k in range(sides):
        angle = 2 * k * step
        # Turn about z by `angle` after tilting about y by `tilt`.
        sz, cz, sy, cy = (
            math.sin(angle / 2),
            math.cos(angle / 2),
            math.sin(tilt / 2),
            math.cos(tilt / 2),
        )
        boxes.append(
            _Primitive(
                pybullet.GEOM_BOX,
                half,
                (out * math.cos(angle), out * math.sin(angle), up),
                (-sz * sy, cz * sy, sz * cy, cz * cy),
            )
        )
    return boxes


def _tip_height(height: float, contact_top: float) -> float:
    """Tool tip height of a grasp: low for stability, yet with the object's top in reach.

    contact_top is the height up to which the gripped side is straight.
    """
    return max(0.008, min(contact_top - 0.02, height / 2), height - _FINGER_REACH)


# The kinds.

Dimensions = dict[str, float]


def _mug(d: Dimensions) -> _Shape:
    radius, height, wall, reach = d["radius"], d["height"], d["wall"], d["handle"]
    profile = [(0, 0), (radius, 0), (radius, height), (radius - wall, height)]
    profile += [(radius - wall, _FLOOR), (0, _FLOOR)]
    surfaces = _revolve(profile, ["body", "body", "body", "inside", "inside"])
    low, high, bar, half = 0.22 * height, 0.82 * height, 0.010, 0.006
    start, end = radius - wall / 2, radius + reach
    for z in (low, high - bar):
        surfaces += _block((start, -half, z), (end, half, z + bar), "body")
    surfaces += _block((end - bar, -half, low + bar), (end, half, high - bar), "body")
    primitives = _foot(8, radius / math.sqrt(2), 0, _FLOOR)
    primitives += _ring(radius, radius, _FLOOR, height, wall, 8)
    primitives.append(_box((radius, -half, low), (end, half, high)))
    return _Shape(
        tuple(surfaces),
        tuple(primitives),
        radius=end,
        height=height,
        grasp=(0.0, 0.0, _tip_height(height, height), math.pi / 2),
        grasp_width=2 * radius,
    )


def _cup(d: Dimensions) -> _Shape:
    base, radius, height, wall = d["base_radius"], d["radius"], d["height"], d["wall"]
    profile = [(0, 0), (base, 0), (radius, height), (radius - wall, height)]
    profile += [(base - wall, _FLOOR), (0, _FLOOR)]
    surfaces = _revolve(profile, ["body", "body", "body", "inside", "inside"])
    foot = base + (radius - base) * _FLOOR / height
    primitives = _foot(8, base / math.sqrt(2), 0, _FLOOR)
    primitives += _ring(foot, radius, _FLOOR, height, wall, 8)
    return _Shape(
        tuple(surfaces),
        tuple(primitives),
        radius=radius,
        height=height,
        grasp=(0.0, 0.0, _tip_height(height, height), 0.0),
        grasp_width=2 * radius,
        symmetric=True,
    )


def _egg_cup(d: Dimensions) -> _Shape:
    base, stem, radius, height, wall = (
        d[k] for k in ("base_radius", "stem_radius", "radius", "height", "wall")
    )
    waist, floor = 0.30 * height, 0.55 * height
    foot = 0.007
    profile = [(0, 0), (base, 0), (base, foot), (stem, waist), (radius, floor), (radius, height)]
    profile += [(radius - wall, height), (radius - wall, floor), (0, floor)]
    surfaces = _revolve(profile, ["foot"] * 3 + ["body"] * 3 + ["inside"] * 2)
    primitives = [
        *_foot(8, base / math.sqrt(2), 0, foot),
        _cylinder(stem, foot, waist),
        _cylinder(radius, waist + 0.3 * (floor - waist), floor),
        *_ring(radius, radius, floor, height, wall, 8),
    ]
    return _Shape(
        tuple(surfaces),
        tuple(primitives),
        radius=max(base, radius),
        height=height,
        grasp=(0.0, 0.0, _tip_height(height, height), 0.0),
        grasp_width=2 * radius,
        symmetric=True,
    )


def _solid(
    profile: Sequence[tuple[float, float]],
    colours: Sequence[str],
    primitives: Sequence[_Primitive],
    contact_top: float,
) -> _Shape:
    """A filled body of revolution, grasped across its widest part."""
    radius = max(r for r, _ in profile)
    height = max(z for _, z in profile)
    return _Shape(
        tuple(_revolve(profile, colours)),
        tuple(primitives),
        radius=radius,
        height=height,
        grasp=(0.0, 0.0, _tip_height(height, contact_top), 0.0),
        grasp_width=2 * radius,
        symmetric=True,
    )


def _can(d: Dimensions) -> _Shape:
    radius, height, disc = d["radius"], d["height"], d["lid_radius"]
    profile = [(0, 0), (radius, 0), (radius, height), (disc, height), (0, height)]
    colours = ["body", "body", "body", "lid"]
    return _solid(profile, colours, _standing(radius, height), height)


def _jar(d: Dimensions) -> _Shape:
    radius, body, lid, height = d["radius"], d["body_height"], d["lid_radius"], d["height"]
    profile = [(0, 0), (radius, 0), (radius, body), (lid, body), (lid, height), (0, height)]
    primitives = [*_standing(radius, body), _cylinder(lid, body, height)]
    return _solid(profile, ["body", "body", "body", "lid", "lid"], primitives, body)


def _bottle(d: Dimensions) -> _Shape:
    radius, body, neck, height = d["radius"], d["body_height"], d["neck_radius"], d["height"]
    shoulder = body + 0.4 * (height - body)
    profile = [(0, 0), (radius, 0), (radius, body), (neck, shoulder), (neck, height), (0, height)]
    primitives = [*_standing(radius, body), _cylinder(neck, body, height)]
    return _solid(profile, ["body", "body", "body", "cap", "cap"], primitives, body)


def _spice_shaker(d: Dimensions) -> _Shape:
    radius, body, height = d["radius"], d["body_height"], d["height"]
    profile = [(0, 0), (radius, 0), (radius, body), (radius, height - 0.006)]
    profile += [(0.6 * radius, height), (0, height)]
    colours = ["body", "body", "lid", "lid", "top"]
    return _solid(profile, colours, _standing(radius, height), height - 0.006)


def _apple(d: Dimensions) -> _Shape:
    radius, height = d["radius"], d["height"]
    shape = [(0, 0), (0.62, 0), (0.93, 0.22), (1, 0.5), (0.9, 0.78), (0.5, 0.97), (0.22, 0.95)]
    profile = [(r * radius, z * height) for r, z in (*shape, (0.22, 1.0), (0, 1.0))]
    surfaces = _revolve(profile, ["body"] * 6 + ["leaf"] * 2, sections=14)
    return _Shape(
        tuple(surfaces),
        (
            *_foot(8, 0.62 * radius / math.sqrt(2), 0, 0.25 * height),
            _cylinder(0.93 * radius, 0.22 * height, 0.78 * height),
            _cylinder(radius, 0.4 * height, 0.6 * height),
            _cylinder(0.6 * radius, 0.78 * height, height),
        ),
        radius=radius,
        height=height,
        grasp=(0.0, 0.0, max(0.008, 0.5 * height - 0.012), 0.0),
        grasp_width=2 * radius,
        symmetric=True,
        rolling_friction=0.01,
    )


def _striped_block(d: Dimensions, stripe: tuple[float, float]) -> list[_Surface]:
    """A block in three slices along x, the middle one (between shares `stripe`) of other colour."""
    x, y, height = d["length"] / 2, d["width"] / 2, d["height"]
    cuts = [-x, -x + stripe[0] * 2 * x, -x + stripe[1] * 2 * x, x]
    surfaces = []
    for a, b, colour in zip(cuts, cuts[1:], ("body", "stripe", "body"), strict=False):
        if b > a:
            surfaces += _block((a, -y, 0), (b, y, height), colour)
    return surfaces


def _graspable_block(d: Dimensions, stripe: tuple[float, float]) -> _Shape:
    x, y, height = d["length"] / 2, d["width"] / 2, d["height"]
    return _Shape(
        tuple(_striped_block(d, stripe)),
        (_box((-x, -y, 0), (x, y, height)),),
        radius=math.hypot(x, y),
        height=height,
        grasp=(0.0, 0.0, _tip_height(height, height), math.pi / 2),
        grasp_width=2 * y,
    )


def _tea_box(d: Dimensions) -> _Shape:
    return _graspable_block(d, (0.5 - d["stripe"] / 2, 0.5 + d["stripe"] / 2))


def _sponge(d: Dimensions) -> _Shape:
    return _graspable_block(d, (1 - d["stripe"], 1.0))


def _tea_caddy(d: Dimensions) -> _Shape:
    apothem, body, lid, height = d["apothem"], d["body_height"], d["lid_radius"], d["height"]
    surfaces = _prism(_regular_polygon(6, apothem), 0, body, "body")
    profile = [(0, body), (lid, body), (lid, height), (0, height)]
    surfaces += _revolve(profile, ["lid"] * 3, sections=14)
    primitives = [*_foot(6, apothem, 0, body), _cylinder(lid, body, height)]
    return _Shape(
        tuple(surfaces),
        tuple(primitives),
        radius=apothem / math.cos(math.pi / 6),
        height=height,
        grasp=(0.0, 0.0, _tip_height(height, body), 0.0),
        grasp_width=2 * apothem,
    )


def _round_container(base: float, radius: float, height: float, wall: float, band: float) -> _Shape:
    """A hollow body of revolution; the upper share `band` of its inside has the rim's colour."""
    inner_top, inner_base = radius - wall, base - wall
    change = (
        inner_top + band * (inner_base - inner_top),
        height + band * (_FLOOR - height),
    )
    profile = [(0, 0), (base, 0), (radius, height), (inner_top, height), change]
    profile += [(inner_base, _FLOOR), (0, _FLOOR)]
    foot = base + (radius - base) * _FLOOR / height
    return _Shape(
        tuple(_revolve(profile, ["body"] * 4 + ["inside"] * 2)),
        (
            *_foot(6, base - wall / 2, 0, _FLOOR),
            *_ring(foot, radius, _FLOOR, height, wall, 10),
        ),
        radius=radius,
        height=height,
        symmetric=True,
        inner_radius=inner_top,
        floor_height=_FLOOR,
    )


def _bowl(d: Dimensions) -> _Shape:
    return _round_container(d["base_radius"], d["radius"], d["height"], d["wall"], 0.5)


def _plate(d: Dimensions) -> _Shape:
    shape = _round_container(d["base_radius"], d["radius"], d["height"], d["wall"], 1.0)
    # What lies on the sloping rim is not on the plate.
    return dataclasses.replace(shape, inner_radius=d["base_radius"] - d["wall"])


def _with_bars(shape: _Shape, bars: Sequence[tuple[Triple, Triple]]) -> _Shape:
    """The shape with handles: boxes that are drawn and collide."""
    surfaces, primitives = list(shape.surfaces), list(shape.primitives)
    for low, high in bars:
        surfaces += _block(low, high, "handle")
        primitives.append(_box(low, high))
    reach = max(math.hypot(high[0], high[1]) for _, high in bars)
    return dataclasses.replace(
        shape,
        surfaces=tuple(surfaces),
        primitives=tuple(primitives),
        radius=reach,
        symmetric=False,
    )


def _pan(d: Dimensions) -> _Shape:
    radius, height, half = d["radius"], d["height"], d["handle_width"] / 2
    shape = _round_container(d["base_radius"], radius, height, d["wall"], 0.4)
    bar = ((radius - 0.003, -half, height - 0.014), (radius + d["handle"], half, height - 0.002))
    return _with_bars(shape, [bar])


def _pot(d: Dimensions) -> _Shape:
    radius, height, half = d["radius"], d["height"], d["handle_width"] / 2
    shape = _round_container(radius, radius, height, d["wall"], 0.15)
    low, high, end = height - 0.014, height - 0.002, radius + d["handle"]
    bars = [
        ((radius - 0.003, -half, low), (end, half, high)),
        ((-end, -half, low), (-radius + 0.003, half, high)),
    ]
    return _with_bars(shape, bars)


def _walled(d: Dimensions, post: float) -> _Shape:
    """A rectangular tray: floor, four walls and, for `post` > 0, square blocks on the corners."""
    x, y, height, wall = d["length"] / 2, d["width"] / 2, d["height"], d["wall"]
    top = height - 0.003 if post else height
    surfaces = _block((-x, -y, 0), (x, y, _FLOOR), "body", "inside")
    walls = [
        ((-x, -y, _FLOOR), (x, -y + wall, top)),
        ((-x, y - wall, _FLOOR), (x, y, top)),
        ((-x, -y + wall, _FLOOR), (-x + wall, y - wall, top)),
        ((x - wall, -y + wall, _FLOOR), (x, y - wall, top)),
    ]
    posts = [
        ((px, py, top), (px + post, py + post, height))
        for px in (-x, x - post)
        for py in (-y, y - post)
        if post
    ]
    for colour, blocks in (("body", walls), ("post", posts)):
        for low, high in blocks:
            surfaces += _block(low, high, colour)
    return _Shape(
        tuple(surfaces),
        (
            _box((-x, -y, 0), (x, y, _FLOOR)),
            *(_box(low, high) for low, high in (*walls, *posts)),
        ),
        radius=math.hypot(x, y),
        height=height,
        inner_radius=min(x, y) - wall,
        floor_height=_FLOOR,
    )


def _tray(d: Dimensions) -> _Shape:
    return _walled(d, 0.0)


def _basket(d: Dimensions) -> _Shape:
    return _walled(d, d["post"])


def _cutting_board(d: Dimensions) -> _Shape:
    x, y, height = d["length"] / 2, d["width"] / 2, d["height"]
    return _Shape(
        tuple(_striped_block(d, (0.06, 0.06 + d["stripe"]))),
        (_box((-x, -y, 0), (x, y, height)),),
        radius=math.hypot(x, y),
        height=height,
        inner_radius=min(x, y),
        floor_height=height,
    )


def _serving_dish(d: Dimensions) -> _Shape:
    apothem, height, wall = d["apothem"], d["height"], d["wall"]
    outer, inner = _regular_polygon(6, apothem), _regular_polygon(6, apothem - wall)
    surfaces = _prism(outer, 0, _FLOOR, "body", "inside")
    for k in range(6):
        j = (k + 1) % 6
        section = np.array([outer[k], outer[j], inner[j], inner[k]])
        surfaces += _prism(section, _FLOOR, height, "body")
    return _Shape(
        tuple(surfaces),
        (
            *_foot(6, apothem, 0, _FLOOR),
            *_ring(apothem, apothem, _FLOOR, height, wall, 6, round_body=False),
        ),
        radius=apothem / math.cos(math.pi / 6),
        height=height,
        inner_radius=apothem - wall,
        floor_height=_FLOOR,
    )


def _column(sides: int, radius: float, bottom: float, top: float, colour: str) -> _Shape:
    """A round or regular polygonal column; `radius` is that of the circumscribed circle."""
    if sides == 0:
        profile = [(0, bottom), (radius, bottom), (radius, top), (0, top)]
        surfaces = _revolve(profile, [colour] * 3)
        primitives = [_cylinder(radius, bottom, top)]
    else:
        apothem = radius * math.cos(math.pi / sides)
        surfaces = _prism(_regular_polygon(sides, apothem), bottom, top, colour)
        primitives = (
            [_box((-apothem, -apothem, bottom), (apothem, apothem, top))]
            if sides == 4
            else _foot(sides, apothem, bottom, top)
        )
    return _Shape(tuple(surfaces), tuple(primitives), radius=radius, height=top)


def _button(d: Dimensions) -> _Shape:
    base_height, height = d["base_height"], d["height"]
    base = _column(int(d["base_sides"]), d["radius"], 0, base_height, "base")
    # The cap reaches into the base so that no gap shows; cap and base do not collide.
    cap = _column(int(d["cap_sides"]), d["cap_radius"], base_height - 0.004, height, "cap")
    return dataclasses.replace(
        base, height=height, symmetric=d["base_sides"] == 0 == d["cap_sides"], cap=cap
    )


@dataclasses.dataclass(frozen=True)
class Kind:
    """The names an entry of this kind must have, and what makes its shape of them."""

    dimensions: tuple[str, ...]
    colours: tuple[str, ...]
    build: Callable[[Dimensions], _Shape]


KINDS: dict[str, Kind] = {
    "mug": Kind(("radius", "height", "wall", "handle"), ("body", "inside"), _mug),
    "cup": Kind(("base_radius", "radius", "height", "wall"), ("body", "inside"), _cup),
    "glass": Kind(("base_radius", "radius", "height", "wall"), ("body", "inside"), _cup),
    "egg_cup": Kind(
        ("base_radius", "stem_radius", "radius", "height", "wall"),
        ("body", "inside", "foot"),
        _egg_cup,
    ),
    "can": Kind(("radius", "height", "lid_radius"), ("body", "lid"), _can),
    "jar": Kind(("radius", "body_height", "lid_radius", "height"), ("body", "lid"), _jar),
    "bottle": Kind(("radius", "body_height", "neck_radius", "height"), ("body", "cap"), _bottle),
    "spice_shaker": Kind(
        ("radius", "body_height", "height"), ("body", "lid", "top"), _spice_shaker
    ),
    "apple": Kind(("radius", "height"), ("body", "leaf"), _apple),
    "tea_box": Kind(("length", "width", "height", "stripe"), ("body", "stripe"), _tea_box),
    "sponge": Kind(("length", "width", "height", "stripe"), ("body", "stripe"), _sponge),
    "tea_caddy": Kind(
        ("apothem", "body_height", "lid_radius", "height"), ("body", "lid"), _tea_caddy
    ),
    "bowl": Kind(("base_radius", "radius", "height", "wall"), ("body", "inside"), _bowl),
    "plate": Kind(("base_radius", "radius", "height", "wall"), ("body", "inside"), _plate),
    "pan": Kind(
        ("base_radius", "radius", "height", "wall", "handle", "handle_width"),
        ("body", "inside", "handle"),
        _pan,
    ),
    "pot": Kind(
        ("radius", "height", "wall", "handle", "handle_width"), ("body", "inside", "handle"), _pot
    ),
    "tray": Kind(("length", "width", "height", "wall"), ("body", "inside"), _tray),
    "basket": Kind(
        ("length", "width", "height", "wall", "post"), ("body", "inside", "post"), _basket
    ),
    "cutting_board": Kind(
        ("length", "width", "height", "stripe"), ("body", "stripe"), _cutting_board
    ),
    "serving_dish": Kind(("apothem", "height", "wall"), ("body", "inside"), _serving_dish),
    "button": Kind(
        ("radius", "base_height", "base_sides", "cap_radius", "cap_sides", "height"),
        ("base", "cap"),
        _button,
    ),
}


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


def _parse_entry(entry: Any, index: int) -> ObjectSpec:
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
    colours = tuple((key, _colour(entry["colours"][key])) for key in kind.colours)
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


def _number(name: str, field: str, value: Any, low: float, high: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise DataError(f"{name}, field {field!r}: {value!r} is not a number in [{low}, {high}]")
    return float(value)


def _colour(rgb: Sequence[float]) -> Colour:
    return (float(rgb[0]), float(rgb[1]), float(rgb[2]))


# Bodies.


@dataclasses.dataclass(frozen=True)
class _Assets:
    """What `spawn` hands to PyBullet, as lists, made once per object."""

    drawn: tuple[dict[str, Any], ...]  # one createVisualShape call per colour, the base's first
    collision: dict[str, Any]
    centre: Triple
    inertia: Triple
    rolling_friction: float
    cap: _Assets | None


def _drawn(surfaces: Sequence[_Surface], colours: dict[str, Colour]) -> list[dict[str, Any]]:
    calls = []
    for name, rgb in colours.items():
        parts = [s for s in surfaces if s.colour == name]
        if not parts:
            continue
        offsets = np.cumsum([0, *(len(s.vertices) for s in parts)])
        faces = np.concatenate([s.faces + o for s, o in zip(parts, offsets, strict=False)])
        calls.append(
            {
                "shapeType": pybullet.GEOM_MESH,
                "vertices": np.concatenate([s.vertices for s in parts]).tolist(),
                "normals": np.concatenate([s.normals for s in parts]).tolist(),
                "indices": faces.ravel().tolist(),
                "rgbaColor": [*rgb, 1.0],
                "specularColor": [0.0, 0.0, 0.0],
            }
        )
    return calls


def _collision(shape: _Shape) -> dict[str, Any]:
    return {
        "shapeTypes": [q.type for q in shape.primitives],
        "halfExtents": [list(q.half) for q in shape.primitives],
        "radii": [q.half[0] for q in shape.primitives],
        "lengths": [2 * q.half[2] for q in shape.primitives],
        "collisionFramePositions": [list(q.position) for q in shape.primitives],
        "collisionFrameOrientations": [list(q.orientation) for q in shape.primitives],
    }


def solid_mesh(spec: ObjectSpec) -> trimesh.Trimesh:
    """The object's closed surface in the object frame (of a button: base and cap)."""
    shape = KINDS[spec.kind].build(dict(spec.dimensions))
    return _mesh(shape.surfaces + (shape.cap.surfaces if shape.cap else ()))


def _mesh(surfaces: Sequence[_Surface]) -> trimesh.Trimesh:
    offsets = np.cumsum([0, *(len(s.vertices) for s in surfaces)])
    faces = [s.faces + o for s, o in zip(surfaces, offsets, strict=False)]
    return trimesh.Trimesh(
        np.concatenate([s.vertices for s in surfaces]), np.concatenate(faces), process=False
    )


def _assets_of(shape: _Shape, mass: float, colours: dict[str, Colour]) -> _Assets:
    mesh = _mesh(shape.surfaces)
    properties = mesh.mass_properties
    centre = np.asarray(properties["center_mass"])
    # PyBullet would take any numbers and simulate nonsense.
    if not (
        properties["mass"] > 0
        and np.all(mesh.bounds[0] <= centre)
        and np.all(centre <= mesh.bounds[1])
    ):
        raise ValueError("its surface does not enclose a solid")
    inertia = np.diag(np.asarray(properties["inertia"])) * (mass / properties["mass"])
    return _Assets(
        tuple(_drawn(shape.surfaces, colours)),
        _collision(shape),
        (float(centre[0]), float(centre[1]), float(centre[2])),
        (float(inertia[0]), float(inertia[1]), float(inertia[2])),
        shape.rolling_friction,
        _assets_of(shape.cap, BUTTON_CAP_MASS, colours) if shape.cap else None,
    )


@functools.lru_cache(maxsize=1024)
def _assets(spec: ObjectSpec) -> _Assets:
    shape = KINDS[spec.kind].build(dict(spec.dimensions))
    return _assets_of(shape, spec.mass, dict(spec.colours))


def spawn(client: int, spec: ObjectSpec, position: tuple[float, float], yaw: float) -> int:
    """Place an object at rest on the table (z = 0) and return its PyBullet body id.

    position: x, y in metres of the object frame's origin; yaw in radians. A button is fixed to the
    table and its cap is link 0. Raises SimulationError, naming the object, if the pose is not
    finite, its surface encloses no solid or PyBullet refuses the body.
    """
    if not all(math.isfinite(v) for v in (*position, yaw)):
        raise SimulationError(f"object {spec.id!r}: the pose {position}, {yaw} is not finite")
    try:
        body = _create(client, spec, position, yaw)
    except (pybullet.error, ValueError) as error:
        raise SimulationError(f"cannot load object {spec.id!r}: {error}") from error
    if body < 0:
        raise SimulationError(f"PyBullet cannot load object {spec.id!r}")
    return body


def _create(client: int, spec: ObjectSpec, position: tuple[float, float], yaw: float) -> int:
    assets = _assets(spec)
    collision = pybullet.createCollisionShapeArray(**assets.collision, physicsClientId=client)
    drawn = [
        pybullet.createVisualShape(**arguments, physicsClientId=client)
        for arguments in assets.drawn
    ]
    links: list[tuple[float, int, int, int, Triple]] = [
        (0.0, -1, shape, pybullet.JOINT_FIXED, (0.0, 0.0, 0.0)) for shape in drawn[1:]
    ]
    if assets.cap is not None:
        cap = assets.cap
        visual = pybullet.createVisualShape(**cap.drawn[0], physicsClientId=client)
        links.insert(
            0,
            (
                BUTTON_CAP_MASS,
                pybullet.createCollisionShapeArray(**cap.collision, physicsClientId=client),
                visual,
                pybullet.JOINT_PRISMATIC,
                cap.centre,
            ),
        )
    count = len(links)
    body = pybullet.createMultiBody(
        baseMass=spec.mass,
        baseCollisionShapeIndex=collision,
        baseVisualShapeIndex=drawn[0],
        basePosition=[position[0], position[1], 0.0],
        baseOrientation=[0.0, 0.0, math.sin(yaw / 2), math.cos(yaw / 2)],
        baseInertialFramePosition=assets.centre,
        linkMasses=[link[0] for link in links],
        linkCollisionShapeIndices=[link[1] for link in links],
        linkVisualShapeIndices=[link[2] for link in links],
        linkPositions=[[0.0, 0.0, 0.0]] * count,
        linkOrientations=[[0.0, 0.0, 0.0, 1.0]] * count,
        linkInertialFramePositions=[link[4] for link in links],
        linkInertialFrameOrientations=[[0.0, 0.0, 0.0, 1.0]] * count,
        linkParentIndices=[0] * count,
        linkJointTypes=[link[3] for link in links],
        linkJointAxis=[[0.0, 0.0, 1.0]] * count,
        physicsClientId=client,
    )
    if body < 0:
        return body
    if spec.button:
        pybullet.changeDynamics(body, -1, lateralFriction=spec.friction, physicsClientId=client)
        pybullet.changeDynamics(
            body,
            0,
            lateralFriction=spec.friction,
            jointLowerLimit=-BUTTON_TRAVEL,
            jointUpperLimit=0.0,
            physicsClientId=client,
        )
        pybullet.setJointMotorControl2(
            body,
            0,
            pybullet.POSITION_CONTROL,
            targetPosition=0.0,
            force=BUTTON_FORCE,
            physicsClientId=client,
        )
    else:
        pybullet.changeDynamics(
            body,
            -1,
            lateralFriction=spec.friction,
            rollingFriction=assets.rolling_friction,
            localInertiaDiagonal=assets.inertia,
            physicsClientId=client,
        )
    return body


def button_depth(client: int, body: int) -> float:
    """How far a button's cap is pressed, metres in [0, BUTTON_TRAVEL]."""
    travel = pybullet.getJointState(body, 0, physicsClientId=client)[0]
    return min(max(-travel, 0.0), BUTTON_TRAVEL)
