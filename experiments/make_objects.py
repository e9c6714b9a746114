"""Write data/objects.json: the parametric object catalogue, drawn from a fixed seed.

    python -m experiments.make_objects

Objects are at least 5.5 cm wide, so that two finger tips 5 cm apart can push them from any side,
and what is to be grasped at most 6.6 cm. Every number is drawn from the ranges below with Python's
own generator, whose stream does not change between versions, and rounded, so that the file is the
same byte for byte everywhere. A candidate is drawn again until it differs enough in colour, size or
shape from every object so far (`_distinct`), whichever split that one belongs to.
"""

from __future__ import annotations

import colorsys
import json
import math
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from absl import app, flags

from mili_jax.domains.kitchen import objects
from mili_jax.domains.kitchen.kinds import KINDS
from mili_jax.domains.kitchen.objects import CATALOGUE_PATH, SPLITS

SEED = 20
TABLE = (0.75, 0.75, 0.75)  # colours that objects keep away from
GRIPPER = (0.25, 0.25, 0.25)

# Objects per kind in (train, validation, test). Kinds in one split only are held out.
COUNTS: dict[str, tuple[int, int, int]] = {
    "mug": (8, 1, 1),
    "cup": (6, 1, 1),
    "glass": (5, 0, 1),
    "can": (6, 1, 1),
    "jar": (6, 1, 1),
    "bottle": (6, 1, 1),
    "spice_shaker": (5, 0, 1),
    "apple": (3, 0, 0),
    "tea_box": (7, 1, 1),
    "sponge": (5, 1, 1),
    "egg_cup": (0, 2, 0),
    "tea_caddy": (0, 0, 3),
    "bowl": (8, 1, 1),
    "plate": (7, 1, 1),
    "pan": (5, 1, 1),
    "pot": (5, 0, 1),
    "tray": (5, 0, 1),
    "cutting_board": (5, 0, 1),
    "basket": (0, 2, 0),
    "serving_dish": (0, 0, 3),
    "button": (64, 10, 12),
}

# Least distances of colours and sizes together, and of colours alone, between two objects of a
# kind; the latter also between kinds that have much the same outline from above.
LEAST_DISTANCE = 0.6
LEAST_COLOUR_DISTANCE = 0.42
LOOKALIKES = (
    ("mug", "cup", "glass", "can", "jar", "bottle", "spice_shaker", "apple", "egg_cup"),
    ("bowl", "plate", "pan", "pot", "serving_dish"),
    ("tea_box", "sponge"),
    ("tray", "basket", "cutting_board"),
)

PALETTE: dict[str, tuple[float, float, float]] = {
    "red": (0.85, 0.10, 0.10),
    "orange": (0.95, 0.48, 0.05),
    "yellow": (0.95, 0.85, 0.10),
    "lime": (0.55, 0.85, 0.15),
    "green": (0.10, 0.55, 0.18),
    "mint": (0.45, 0.90, 0.65),
    "teal": (0.05, 0.55, 0.55),
    "cyan": (0.15, 0.80, 0.92),
    "blue": (0.12, 0.28, 0.88),
    "navy": (0.04, 0.05, 0.52),
    "violet": (0.50, 0.20, 0.80),
    "magenta": (0.88, 0.12, 0.65),
    "pink": (0.99, 0.45, 0.60),
    "maroon": (0.45, 0.06, 0.12),
    "brown": (0.48, 0.28, 0.12),
    "tan": (0.85, 0.65, 0.38),
    "cream": (0.98, 0.93, 0.72),
    "white": (0.98, 0.98, 0.98),
}
WOOD = ("brown", "tan", "cream", "maroon", "orange", "green", "teal", "lime")
FRUIT = ("red", "lime", "yellow", "orange")
LEAF = ("green", "brown", "maroon", "teal", "cream")

Range = tuple[float, float]
Draw = Callable[[random.Random], dict[str, float]]


def _pick(rng: random.Random, bounds: Range) -> float:
    """A length from a range, to a tenth of a millimetre."""
    return round(rng.uniform(*bounds), 4)


def _mug(rng: random.Random) -> dict[str, float]:
    return {
        "radius": _pick(rng, (0.0280, 0.033)),
        "height": _pick(rng, (0.060, 0.090)),
        "wall": 0.004,
        "handle": _pick(rng, (0.014, 0.017)),
    }


def _cup(rng: random.Random) -> dict[str, float]:
    radius = _pick(rng, (0.029, 0.033))
    return {
        "base_radius": round(radius * rng.uniform(0.84, 0.92), 4),
        "radius": radius,
        "height": _pick(rng, (0.050, 0.075)),
        "wall": 0.004,
    }


def _glass(rng: random.Random) -> dict[str, float]:
    radius = _pick(rng, (0.0280, 0.032))
    return {
        "base_radius": round(radius * 0.96, 4),
        "radius": radius,
        "height": _pick(rng, (0.085, 0.110)),
        "wall": 0.005,
    }


def _egg_cup(rng: random.Random) -> dict[str, float]:
    return {
        "base_radius": _pick(rng, (0.027, 0.030)),
        "stem_radius": 0.012,
        "radius": _pick(rng, (0.028, 0.031)),
        "height": _pick(rng, (0.055, 0.070)),
        "wall": 0.005,
    }


def _can(rng: random.Random) -> dict[str, float]:
    radius = _pick(rng, (0.0275, 0.033))
    return {
        "radius": radius,
        "height": _pick(rng, (0.045, 0.105)),
        "lid_radius": round(radius * 0.7, 4),
    }


def _jar(rng: random.Random) -> dict[str, float]:
    radius, body = _pick(rng, (0.0275, 0.033)), _pick(rng, (0.045, 0.075))
    return {
        "radius": radius,
        "body_height": body,
        "lid_radius": round(radius * rng.uniform(0.78, 0.86), 4),
        "height": round(body + rng.uniform(0.012, 0.018), 4),
    }


def _bottle(rng: random.Random) -> dict[str, float]:
    body = _pick(rng, (0.065, 0.082))
    return {
        "radius": _pick(rng, (0.0275, 0.032)),
        "body_height": body,
        "neck_radius": _pick(rng, (0.010, 0.013)),
        "height": round(body + rng.uniform(0.022, 0.028), 4),
    }


def _spice_shaker(rng: random.Random) -> dict[str, float]:
    body = _pick(rng, (0.038, 0.048))
    return {
        "radius": _pick(rng, (0.0275, 0.0295)),
        "body_height": body,
        "height": round(body + rng.uniform(0.016, 0.022), 4),
    }


def _apple(rng: random.Random) -> dict[str, float]:
    radius = _pick(rng, (0.029, 0.033))
    return {"radius": radius, "height": round(radius * rng.uniform(1.6, 1.8), 4)}


def _tea_box(rng: random.Random) -> dict[str, float]:
    return {
        "length": _pick(rng, (0.060, 0.072)),
        "width": _pick(rng, (0.055, 0.060)),
        "height": _pick(rng, (0.045, 0.080)),
        "stripe": round(rng.uniform(0.28, 0.42), 2),
    }


def _sponge(rng: random.Random) -> dict[str, float]:
    return {
        "length": _pick(rng, (0.064, 0.072)),
        "width": _pick(rng, (0.055, 0.058)),
        "height": _pick(rng, (0.028, 0.036)),
        "stripe": round(rng.uniform(0.40, 0.50), 2),
    }


def _tea_caddy(rng: random.Random) -> dict[str, float]:
    apothem, body = _pick(rng, (0.028, 0.033)), _pick(rng, (0.055, 0.080))
    return {
        "apothem": apothem,
        "body_height": body,
        "lid_radius": round(apothem * 0.7, 4),
        "height": round(body + 0.014, 4),
    }


def _bowl(rng: random.Random) -> dict[str, float]:
    radius = _pick(rng, (0.066, 0.083))
    return {
        "base_radius": round(radius * rng.uniform(0.78, 0.84), 4),
        "radius": radius,
        "height": _pick(rng, (0.035, 0.048)),
        "wall": 0.006,
    }


def _plate(rng: random.Random) -> dict[str, float]:
    radius = _pick(rng, (0.068, 0.083))
    return {
        "base_radius": round(max(0.052, radius * 0.74), 4),
        "radius": radius,
        "height": _pick(rng, (0.028, 0.031)),
        "wall": 0.006,
    }


def _pan(rng: random.Random) -> dict[str, float]:
    radius = _pick(rng, (0.058, 0.061))
    return {
        "base_radius": round(radius * 0.95, 4),
        "radius": radius,
        "height": _pick(rng, (0.030, 0.036)),
        "wall": 0.006,
        "handle": round(0.0845 - radius, 4),
        "handle_width": _pick(rng, (0.016, 0.020)),
    }


def _pot(rng: random.Random) -> dict[str, float]:
    return {
        "radius": _pick(rng, (0.058, 0.069)),
        "height": _pick(rng, (0.042, 0.050)),
        "wall": 0.006,
        "handle": _pick(rng, (0.012, 0.016)),
        "handle_width": _pick(rng, (0.024, 0.032)),
    }


def _tray(rng: random.Random) -> dict[str, float]:
    width = _pick(rng, (0.108, 0.118))
    return {
        "length": round(
            min(rng.uniform(1.0, 1.2) * width, 2 * math.sqrt(0.0845**2 - width**2 / 4)), 4
        ),
        "width": width,
        "height": _pick(rng, (0.028, 0.032)),
        "wall": 0.008,
    }


def _basket(rng: random.Random) -> dict[str, float]:
    side = _pick(rng, (0.110, 0.118))
    return {
        "length": side,
        "width": side,
        "height": _pick(rng, (0.038, 0.046)),
        "wall": 0.008,
        "post": 0.022,
    }


def _cutting_board(rng: random.Random) -> dict[str, float]:
    width = _pick(rng, (0.092, 0.104))
    return {
        "length": round(
            min(rng.uniform(1.2, 1.45) * width, 2 * math.sqrt(0.0845**2 - width**2 / 4)), 4
        ),
        "width": width,
        "height": _pick(rng, (0.028, 0.031)),
        "stripe": round(rng.uniform(0.14, 0.20), 2),
    }


def _serving_dish(rng: random.Random) -> dict[str, float]:
    return {
        "apothem": _pick(rng, (0.056, 0.072)),
        "height": _pick(rng, (0.032, 0.042)),
        "wall": 0.008,
    }


def _button(rng: random.Random) -> dict[str, float]:
    base_height = _pick(rng, (0.016, 0.024))
    base_sides, cap_sides = rng.choice((0, 4, 6)), rng.choice((0, 4, 6))
    # The cap's corners stay 3 mm within the base's sides.
    cap_radius = _pick(rng, (0.019, 0.031))
    inscribed = math.cos(math.pi / base_sides) if base_sides else 1.0
    return {
        "radius": _pick(rng, (max(0.036, (cap_radius + 0.003) / inscribed), 0.0495)),
        "base_height": base_height,
        "base_sides": base_sides,
        "cap_radius": cap_radius,
        "cap_sides": cap_sides,
        "height": round(base_height + rng.uniform(0.0155, 0.022), 4),
    }


# kind: dimensions, mass range in kg, friction range, palettes of its colours.
_ANY = tuple(PALETTE)
RECIPES: dict[str, tuple[Draw, Range, Range, Sequence[Sequence[str]]]] = {
    "mug": (_mug, (0.14, 0.26), (0.5, 0.7), (_ANY, _ANY)),
    "cup": (_cup, (0.08, 0.16), (0.5, 0.7), (_ANY, _ANY)),
    "glass": (_glass, (0.12, 0.20), (0.5, 0.6), (_ANY, _ANY)),
    "egg_cup": (_egg_cup, (0.06, 0.10), (0.5, 0.7), (_ANY, _ANY, _ANY)),
    "can": (_can, (0.12, 0.34), (0.5, 0.6), (_ANY, _ANY)),
    "jar": (_jar, (0.14, 0.30), (0.5, 0.6), (_ANY, _ANY)),
    "bottle": (_bottle, (0.12, 0.28), (0.5, 0.6), (_ANY, _ANY)),
    "spice_shaker": (_spice_shaker, (0.06, 0.12), (0.5, 0.6), (_ANY, _ANY, _ANY)),
    "apple": (_apple, (0.10, 0.18), (0.6, 0.7), (FRUIT, LEAF)),
    "tea_box": (_tea_box, (0.06, 0.16), (0.5, 0.7), (_ANY, _ANY)),
    "sponge": (_sponge, (0.04, 0.07), (0.7, 0.8), (_ANY, _ANY)),
    "tea_caddy": (_tea_caddy, (0.12, 0.24), (0.5, 0.6), (_ANY, _ANY)),
    "bowl": (_bowl, (0.28, 0.45), (0.5, 0.6), (_ANY, _ANY)),
    "plate": (_plate, (0.30, 0.45), (0.5, 0.6), (_ANY, _ANY)),
    "pan": (_pan, (0.40, 0.70), (0.5, 0.6), (_ANY, _ANY, _ANY)),
    "pot": (_pot, (0.45, 0.80), (0.5, 0.6), (_ANY, _ANY, _ANY)),
    "tray": (_tray, (0.30, 0.50), (0.5, 0.6), (_ANY, _ANY)),
    "basket": (_basket, (0.28, 0.40), (0.5, 0.6), (_ANY, _ANY, _ANY)),
    "cutting_board": (_cutting_board, (0.35, 0.60), (0.5, 0.7), (WOOD, _ANY)),
    "serving_dish": (_serving_dish, (0.35, 0.55), (0.5, 0.6), (_ANY, _ANY)),
    "button": (_button, (0.0, 0.0), (0.8, 0.8), (_ANY, _ANY)),
}


def colour_distance(a: Sequence[float], b: Sequence[float]) -> float:
    """Euclidean distance of two colours in RGB."""
    return math.dist(a, b)


def colours_distance(a: dict[str, Any], b: dict[str, Any]) -> float:
    """Sum of the RGB distances of two entries' first, second and third colours, less for later."""
    pairs = zip((1.0, 0.7, 0.4), a["colours"].values(), b["colours"].values(), strict=False)
    return sum(weight * colour_distance(first, second) for weight, first, second in pairs)


def appearance_distance(a: dict[str, Any], b: dict[str, Any]) -> float:
    """How different two entries of one kind look: distances of colours, sizes and outlines added.

    Colours count by `colours_distance`, a centimetre of length or radius as 0.1, a different
    number of sides as 0.1.
    """
    total = colours_distance(a, b)
    for key, value in a["dimensions"].items():
        other = b["dimensions"][key]
        if key.endswith("_sides"):
            total += 0.1 * (value != other)
        elif key in ("radius", "apothem", "length", "width", "cap_radius"):
            total += 10.0 * abs(value - other)
    return total


def _distinct(entry: dict[str, Any], others: Sequence[dict[str, Any]]) -> bool:
    """Whether an entry can be distinguished from all others from above."""
    group = next((g for g in LOOKALIKES if entry["kind"] in g), ())
    for other in others:
        same = other["kind"] == entry["kind"]
        if same and appearance_distance(entry, other) < LEAST_DISTANCE:
            return False
        alike = same or other["kind"] in group
        if alike and colours_distance(entry, other) < LEAST_COLOUR_DISTANCE:
            return False
    return True


def _colour(rng: random.Random, names: Sequence[str]) -> list[float]:
    """A palette colour with a little of its own hue and brightness, to three decimals."""
    hue, saturation, value = colorsys.rgb_to_hsv(*PALETTE[rng.choice(list(names))])
    hue = (hue + rng.uniform(-0.015, 0.015)) % 1.0
    value = min(1.0, value * rng.uniform(0.92, 1.05))
    return [round(channel, 3) for channel in colorsys.hsv_to_rgb(hue, saturation, value)]


def _entry(rng: random.Random, kind: str, name: str, split: str) -> dict[str, Any]:
    draw, mass, friction, palettes = RECIPES[kind]
    colours: list[list[float]] = []
    for names in palettes:
        while True:
            colour = _colour(rng, names)
            apart = all(colour_distance(colour, c) >= 0.45 for c in colours)
            if apart and min(colour_distance(colour, c) for c in (TABLE, GRIPPER)) >= 0.3:
                break
        colours.append(colour)
    return {
        "id": name,
        "kind": kind,
        "split": split,
        "dimensions": draw(rng),
        "colours": dict(zip(KINDS[kind].colours, colours, strict=True)),
        "mass": round(rng.uniform(*mass), 3),
        "friction": round(rng.uniform(*friction), 2),
    }


def make_catalogue(seed: int = SEED) -> list[dict[str, Any]]:
    """The entries of the catalogue, kind by kind; within a kind train, validation, test."""
    entries: list[dict[str, Any]] = []
    for kind, counts in COUNTS.items():
        rng = random.Random(f"{seed}:{kind}")
        number = 0
        for split, count in zip(SPLITS, counts, strict=True):
            for _ in range(count):
                number += 1
                entry = _entry(rng, kind, f"{kind}_{number:02d}", split)
                while not _distinct(entry, entries):
                    entry = _entry(rng, kind, f"{kind}_{number:02d}", split)
                entries.append(entry)
    return entries


def to_text(entries: Sequence[dict[str, Any]]) -> str:
    """The catalogue file's text: one object per line, so that changes read well."""
    lines = ",\n".join("  " + json.dumps(entry) for entry in entries)
    return '{"objects": [\n' + lines + "\n]}\n"


def main(argv: Sequence[str]) -> None:
    del argv
    path = Path(flags.FLAGS.out)
    path.write_text(to_text(make_catalogue()), encoding="utf-8")
    print(f"wrote {len(objects.load_catalogue(path))} objects to {path}")


if __name__ == "__main__":
    flags.DEFINE_string("out", str(CATALOGUE_PATH), "where the catalogue is written")
    app.run(main)
