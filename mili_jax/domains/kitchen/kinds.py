"""The kinds of objects: dimensions to shapes."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence

import numpy as np

from mili_jax.domains.kitchen.shapes import (
    FLOOR,
    Primitive,
    Shape,
    Surface,
    Triple,
    block,
    box,
    cylinder,
    make_foot,
    prism,
    regular_polygon,
    revolve,
    ring,
    standing,
    tip_height,
)

BUTTON_TRAVEL = 0.012  # metres
BUTTON_FORCE = 4.0  # newtons with which the cap pushes back
BUTTON_CAP_MASS = 0.03  # kg

# The kinds.

Dimensions = dict[str, float]


def _mug(d: Dimensions) -> Shape:
    radius, height, wall, reach = d["radius"], d["height"], d["wall"], d["handle"]
    profile = [(0, 0), (radius, 0), (radius, height), (radius - wall, height)]
    profile += [(radius - wall, FLOOR), (0, FLOOR)]
    surfaces = revolve(profile, ["body", "body", "body", "inside", "inside"])
    low, high, bar, half = 0.22 * height, 0.82 * height, 0.010, 0.006
    start, end = radius - wall / 2, radius + reach
    for z in (low, high - bar):
        surfaces += block((start, -half, z), (end, half, z + bar), "body")
    surfaces += block((end - bar, -half, low + bar), (end, half, high - bar), "body")
    primitives = make_foot(8, radius / math.sqrt(2), 0, FLOOR)
    primitives += ring(radius, radius, FLOOR, height, wall, 8)
    primitives.append(box((radius, -half, low), (end, half, high)))
    return Shape(
        tuple(surfaces),
        tuple(primitives),
        radius=end,
        height=height,
        grasp=(0.0, 0.0, tip_height(height, height), math.pi / 2),
        grasp_width=2 * radius,
    )


def _cup(d: Dimensions) -> Shape:
    base, radius, height, wall = d["base_radius"], d["radius"], d["height"], d["wall"]
    profile = [(0, 0), (base, 0), (radius, height), (radius - wall, height)]
    profile += [(base - wall, FLOOR), (0, FLOOR)]
    surfaces = revolve(profile, ["body", "body", "body", "inside", "inside"])
    foot = base + (radius - base) * FLOOR / height
    primitives = make_foot(8, base / math.sqrt(2), 0, FLOOR)
    primitives += ring(foot, radius, FLOOR, height, wall, 8)
    return Shape(
        tuple(surfaces),
        tuple(primitives),
        radius=radius,
        height=height,
        grasp=(0.0, 0.0, tip_height(height, height), 0.0),
        grasp_width=2 * radius,
        symmetric=True,
    )


def _egg_cup(d: Dimensions) -> Shape:
    base, stem, radius, height, wall = (
        d[k] for k in ("base_radius", "stem_radius", "radius", "height", "wall")
    )
    waist, floor = 0.30 * height, 0.55 * height
    foot = 0.007
    profile = [(0, 0), (base, 0), (base, foot), (stem, waist), (radius, floor), (radius, height)]
    profile += [(radius - wall, height), (radius - wall, floor), (0, floor)]
    surfaces = revolve(profile, ["foot"] * 3 + ["body"] * 3 + ["inside"] * 2)
    primitives = [
        *make_foot(8, base / math.sqrt(2), 0, foot),
        cylinder(stem, foot, waist),
        cylinder(radius, waist + 0.3 * (floor - waist), floor),
        *ring(radius, radius, floor, height, wall, 8),
    ]
    return Shape(
        tuple(surfaces),
        tuple(primitives),
        radius=max(base, radius),
        height=height,
        grasp=(0.0, 0.0, tip_height(height, height), 0.0),
        grasp_width=2 * radius,
        symmetric=True,
    )


def _solid(
    profile: Sequence[tuple[float, float]],
    colours: Sequence[str],
    primitives: Sequence[Primitive],
    contact_top: float,
) -> Shape:
    """A filled body of revolution, grasped across its widest part."""
    radius = max(r for r, _ in profile)
    height = max(z for _, z in profile)
    return Shape(
        tuple(revolve(profile, colours)),
        tuple(primitives),
        radius=radius,
        height=height,
        grasp=(0.0, 0.0, tip_height(height, contact_top), 0.0),
        grasp_width=2 * radius,
        symmetric=True,
    )


def _can(d: Dimensions) -> Shape:
    radius, height, disc = d["radius"], d["height"], d["lid_radius"]
    profile = [(0, 0), (radius, 0), (radius, height), (disc, height), (0, height)]
    colours = ["body", "body", "body", "lid"]
    return _solid(profile, colours, standing(radius, height), height)


def _jar(d: Dimensions) -> Shape:
    radius, body, lid, height = d["radius"], d["body_height"], d["lid_radius"], d["height"]
    profile = [(0, 0), (radius, 0), (radius, body), (lid, body), (lid, height), (0, height)]
    primitives = [*standing(radius, body), cylinder(lid, body, height)]
    return _solid(profile, ["body", "body", "body", "lid", "lid"], primitives, body)


def _bottle(d: Dimensions) -> Shape:
    radius, body, neck, height = d["radius"], d["body_height"], d["neck_radius"], d["height"]
    shoulder = body + 0.4 * (height - body)
    profile = [(0, 0), (radius, 0), (radius, body), (neck, shoulder), (neck, height), (0, height)]
    primitives = [*standing(radius, body), cylinder(neck, body, height)]
    return _solid(profile, ["body", "body", "body", "cap", "cap"], primitives, body)


def _spice_shaker(d: Dimensions) -> Shape:
    radius, body, height = d["radius"], d["body_height"], d["height"]
    profile = [(0, 0), (radius, 0), (radius, body), (radius, height - 0.006)]
    profile += [(0.6 * radius, height), (0, height)]
    colours = ["body", "body", "lid", "lid", "top"]
    return _solid(profile, colours, standing(radius, height), height - 0.006)


def _apple(d: Dimensions) -> Shape:
    radius, height = d["radius"], d["height"]
    shape = [(0, 0), (0.62, 0), (0.93, 0.22), (1, 0.5), (0.9, 0.78), (0.5, 0.97), (0.22, 0.95)]
    profile = [(r * radius, z * height) for r, z in (*shape, (0.22, 1.0), (0, 1.0))]
    surfaces = revolve(profile, ["body"] * 6 + ["leaf"] * 2, sections=14)
    return Shape(
        tuple(surfaces),
        (
            *make_foot(8, 0.62 * radius / math.sqrt(2), 0, 0.25 * height),
            cylinder(0.93 * radius, 0.22 * height, 0.78 * height),
            cylinder(radius, 0.4 * height, 0.6 * height),
            cylinder(0.6 * radius, 0.78 * height, height),
        ),
        radius=radius,
        height=height,
        grasp=(0.0, 0.0, max(0.008, 0.5 * height - 0.012), 0.0),
        grasp_width=2 * radius,
        symmetric=True,
        rolling_friction=0.01,
    )


def _striped_block(d: Dimensions, stripe: tuple[float, float]) -> list[Surface]:
    """A block in three slices along x, the middle one (between shares `stripe`) of other colour."""
    x, y, height = d["length"] / 2, d["width"] / 2, d["height"]
    cuts = [-x, -x + stripe[0] * 2 * x, -x + stripe[1] * 2 * x, x]
    surfaces = []
    for a, b, colour in zip(cuts, cuts[1:], ("body", "stripe", "body"), strict=False):
        if b > a:
            surfaces += block((a, -y, 0), (b, y, height), colour)
    return surfaces


def _graspable_block(d: Dimensions, stripe: tuple[float, float]) -> Shape:
    x, y, height = d["length"] / 2, d["width"] / 2, d["height"]
    return Shape(
        tuple(_striped_block(d, stripe)),
        (box((-x, -y, 0), (x, y, height)),),
        radius=math.hypot(x, y),
        height=height,
        grasp=(0.0, 0.0, tip_height(height, height), math.pi / 2),
        grasp_width=2 * y,
    )


def _tea_box(d: Dimensions) -> Shape:
    return _graspable_block(d, (0.5 - d["stripe"] / 2, 0.5 + d["stripe"] / 2))


def _sponge(d: Dimensions) -> Shape:
    return _graspable_block(d, (1 - d["stripe"], 1.0))


def _tea_caddy(d: Dimensions) -> Shape:
    apothem, body, lid, height = d["apothem"], d["body_height"], d["lid_radius"], d["height"]
    surfaces = prism(regular_polygon(6, apothem), 0, body, "body")
    profile = [(0, body), (lid, body), (lid, height), (0, height)]
    surfaces += revolve(profile, ["lid"] * 3, sections=14)
    primitives = [*make_foot(6, apothem, 0, body), cylinder(lid, body, height)]
    return Shape(
        tuple(surfaces),
        tuple(primitives),
        radius=apothem / math.cos(math.pi / 6),
        height=height,
        grasp=(0.0, 0.0, tip_height(height, body), 0.0),
        grasp_width=2 * apothem,
    )


def _round_container(base: float, radius: float, height: float, wall: float, band: float) -> Shape:
    """A hollow body of revolution; the upper share `band` of its inside has the rim's colour."""
    inner_top, inner_base = radius - wall, base - wall
    change = (
        inner_top + band * (inner_base - inner_top),
        height + band * (FLOOR - height),
    )
    profile = [(0, 0), (base, 0), (radius, height), (inner_top, height), change]
    profile += [(inner_base, FLOOR), (0, FLOOR)]
    foot = base + (radius - base) * FLOOR / height
    return Shape(
        tuple(revolve(profile, ["body"] * 4 + ["inside"] * 2)),
        (
            *make_foot(6, base - wall / 2, 0, FLOOR),
            *ring(foot, radius, FLOOR, height, wall, 10),
        ),
        radius=radius,
        height=height,
        symmetric=True,
        inner_radius=inner_top,
        floor_height=FLOOR,
    )


def _bowl(d: Dimensions) -> Shape:
    return _round_container(d["base_radius"], d["radius"], d["height"], d["wall"], 0.5)


def _plate(d: Dimensions) -> Shape:
    shape = _round_container(d["base_radius"], d["radius"], d["height"], d["wall"], 1.0)
    # What lies on the sloping rim is not on the plate.
    return dataclasses.replace(shape, inner_radius=d["base_radius"] - d["wall"])


def _with_bars(shape: Shape, bars: Sequence[tuple[Triple, Triple]]) -> Shape:
    """The shape with handles: boxes that are drawn and collide."""
    surfaces, primitives = list(shape.surfaces), list(shape.primitives)
    for low, high in bars:
        surfaces += block(low, high, "handle")
        primitives.append(box(low, high))
    reach = max(math.hypot(high[0], high[1]) for _, high in bars)
    return dataclasses.replace(
        shape,
        surfaces=tuple(surfaces),
        primitives=tuple(primitives),
        radius=reach,
        symmetric=False,
    )


def _pan(d: Dimensions) -> Shape:
    radius, height, half = d["radius"], d["height"], d["handle_width"] / 2
    shape = _round_container(d["base_radius"], radius, height, d["wall"], 0.4)
    bar = ((radius - 0.003, -half, height - 0.014), (radius + d["handle"], half, height - 0.002))
    return _with_bars(shape, [bar])


def _pot(d: Dimensions) -> Shape:
    radius, height, half = d["radius"], d["height"], d["handle_width"] / 2
    shape = _round_container(radius, radius, height, d["wall"], 0.15)
    low, high, end = height - 0.014, height - 0.002, radius + d["handle"]
    bars = [
        ((radius - 0.003, -half, low), (end, half, high)),
        ((-end, -half, low), (-radius + 0.003, half, high)),
    ]
    return _with_bars(shape, bars)


def _walled(d: Dimensions, post: float) -> Shape:
    """A rectangular tray: floor, four walls and, for `post` > 0, square blocks on the corners."""
    x, y, height, wall = d["length"] / 2, d["width"] / 2, d["height"], d["wall"]
    top = height - 0.003 if post else height
    surfaces = block((-x, -y, 0), (x, y, FLOOR), "body", "inside")
    walls = [
        ((-x, -y, FLOOR), (x, -y + wall, top)),
        ((-x, y - wall, FLOOR), (x, y, top)),
        ((-x, -y + wall, FLOOR), (-x + wall, y - wall, top)),
        ((x - wall, -y + wall, FLOOR), (x, y - wall, top)),
    ]
    posts = [
        ((px, py, top), (px + post, py + post, height))
        for px in (-x, x - post)
        for py in (-y, y - post)
        if post
    ]
    for colour, blocks in (("body", walls), ("post", posts)):
        for low, high in blocks:
            surfaces += block(low, high, colour)
    return Shape(
        tuple(surfaces),
        (
            box((-x, -y, 0), (x, y, FLOOR)),
            *(box(low, high) for low, high in (*walls, *posts)),
        ),
        radius=math.hypot(x, y),
        height=height,
        inner_radius=min(x, y) - wall,
        floor_height=FLOOR,
    )


def _tray(d: Dimensions) -> Shape:
    return _walled(d, 0.0)


def _basket(d: Dimensions) -> Shape:
    return _walled(d, d["post"])


def _cutting_board(d: Dimensions) -> Shape:
    x, y, height = d["length"] / 2, d["width"] / 2, d["height"]
    return Shape(
        tuple(_striped_block(d, (0.06, 0.06 + d["stripe"]))),
        (box((-x, -y, 0), (x, y, height)),),
        radius=math.hypot(x, y),
        height=height,
        inner_radius=min(x, y),
        floor_height=height,
    )


def _serving_dish(d: Dimensions) -> Shape:
    apothem, height, wall = d["apothem"], d["height"], d["wall"]
    outer, inner = regular_polygon(6, apothem), regular_polygon(6, apothem - wall)
    surfaces = prism(outer, 0, FLOOR, "body", "inside")
    for k in range(6):
        j = (k + 1) % 6
        section = np.array([outer[k], outer[j], inner[j], inner[k]])
        surfaces += prism(section, FLOOR, height, "body")
    return Shape(
        tuple(surfaces),
        (
            *make_foot(6, apothem, 0, FLOOR),
            *ring(apothem, apothem, FLOOR, height, wall, 6, round_body=False),
        ),
        radius=apothem / math.cos(math.pi / 6),
        height=height,
        inner_radius=apothem - wall,
        floor_height=FLOOR,
    )


def _column(sides: int, radius: float, bottom: float, top: float, colour: str) -> Shape:
    """A round or regular polygonal column; `radius` is that of the circumscribed circle."""
    if sides == 0:
        profile = [(0, bottom), (radius, bottom), (radius, top), (0, top)]
        surfaces = revolve(profile, [colour] * 3)
        primitives = [cylinder(radius, bottom, top)]
    else:
        apothem = radius * math.cos(math.pi / sides)
        surfaces = prism(regular_polygon(sides, apothem), bottom, top, colour)
        primitives = (
            [box((-apothem, -apothem, bottom), (apothem, apothem, top))]
            if sides == 4
            else make_foot(sides, apothem, bottom, top)
        )
    return Shape(tuple(surfaces), tuple(primitives), radius=radius, height=top)


def _button(d: Dimensions) -> Shape:
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
    build: Callable[[Dimensions], Shape]


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
