"""Surfaces to see and primitives to touch, and what both are made from."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
import pybullet

_SECTIONS = 16  # sides of a body of revolution as drawn
_FINGER_REACH = 0.04  # metres from the tool tip up to what must stay clear of an object's top
FLOOR = 0.009  # metres, thickness of the bottom of hollow objects
_CLEARANCE = 2e-4  # metres by which all boxes of a bottom but one are lifted, see `foot`
Colour = tuple[float, float, float]
Triple = tuple[float, float, float]
Quaternion = tuple[float, float, float, float]


# Surfaces and collision primitives, in the object frame.


@dataclasses.dataclass(frozen=True)
class Surface:
    """Triangles of one colour: vertices and normals [V, 3], faces [F, 3]."""

    colour: str
    vertices: np.ndarray
    normals: np.ndarray
    faces: np.ndarray


@dataclasses.dataclass(frozen=True)
class Primitive:
    """A collision box (half extents) or upright cylinder (radius, radius, half height)."""

    type: int
    half: Triple
    position: Triple
    orientation: Quaternion = (0.0, 0.0, 0.0, 1.0)


@dataclasses.dataclass(frozen=True)
class Shape:
    """What a kind's builder makes of its dimensions."""

    surfaces: tuple[Surface, ...]
    primitives: tuple[Primitive, ...]
    radius: float
    height: float
    grasp: tuple[float, float, float, float] | None = None
    grasp_width: float = 0.0
    symmetric: bool = False
    inner_radius: float = 0.0
    floor_height: float = 0.0
    rolling_friction: float = 0.0
    cap: Shape | None = None


def revolve(
    profile: Sequence[tuple[float, float]], colours: Sequence[str], sections: int = _SECTIONS
) -> list[Surface]:
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
            Surface(colour, np.concatenate(rings), np.tile(normals, (2, 1)), np.concatenate(faces))
        )
    return surfaces


def prism(
    polygon: np.ndarray, bottom: float, top: float, colour: str, top_colour: str | None = None
) -> list[Surface]:
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
        Surface(colour, quads, normals, sides),
        Surface(top_colour or colour, lid, up, fan),
        Surface(colour, underside, -up, fan[:, ::-1]),
    ]


def block(low: Triple, high: Triple, colour: str, top_colour: str | None = None) -> list[Surface]:
    """An axis-aligned box between two corners."""
    corners = np.array(
        [(low[0], low[1]), (high[0], low[1]), (high[0], high[1]), (low[0], high[1])], float
    )
    return prism(corners, low[2], high[2], colour, top_colour)


def regular_polygon(sides: int, apothem: float) -> np.ndarray:
    """Corners [sides, 2] of a regular polygon, an edge midpoint on the +x axis."""
    angles = 2 * np.pi * (np.arange(sides) - 0.5) / sides
    return np.stack([np.cos(angles), np.sin(angles)], axis=1) * apothem / math.cos(np.pi / sides)


def cylinder(radius: float, bottom: float, top: float) -> Primitive:
    half = (top - bottom) / 2
    return Primitive(pybullet.GEOM_CYLINDER, (radius, radius, half), (0.0, 0.0, bottom + half))


def box(low: Triple, high: Triple) -> Primitive:
    half = tuple((b - a) / 2 for a, b in zip(low, high, strict=True))
    middle = tuple((a + b) / 2 for a, b in zip(low, high, strict=True))
    return Primitive(pybullet.GEOM_BOX, half, middle)  # type: ignore[arg-type]


def make_foot(sides: int, apothem: float, bottom: float, top: float) -> list[Primitive]:
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
            Primitive(
                pybullet.GEOM_BOX,
                (apothem, across, (top - low) / 2),
                (0.0, 0.0, (top + low) / 2),
                (0.0, 0.0, math.sin(half_angle), math.cos(half_angle)),
            )
        )
    return boxes


def standing(radius: float, top: float) -> list[Primitive]:
    """An upright cylinder of the given radius on a foot whose corners are on its outline."""
    return [*make_foot(8, radius / math.sqrt(2), 0, FLOOR), cylinder(radius, 0.004, top)]


def ring(
    base_radius: float,
    top_radius: float,
    bottom: float,
    top: float,
    wall: float,
    sides: int,
    round_body: bool = True,
) -> list[Primitive]:
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
            Primitive(
                pybullet.GEOM_BOX,
                half,
                (out * math.cos(angle), out * math.sin(angle), up),
                (-sz * sy, cz * sy, sz * cy, cz * cy),
            )
        )
    return boxes


def tip_height(height: float, contact_top: float) -> float:
    """Tool tip height of a grasp: low for stability, yet with the object's top in reach.

    contact_top is the height up to which the gripped side is straight.
    """
    return max(0.008, min(contact_top - 0.02, height / 2), height - _FINGER_REACH)


def colour(rgb: Sequence[float]) -> Colour:
    return (float(rgb[0]), float(rgb[1]), float(rgb[2]))
