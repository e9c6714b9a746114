"""Arrangements: which objects stand where. Every choice comes from the generator passed in."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from mili_jax.domains.kitchen import objects
from mili_jax.domains.kitchen.families import OWN
from mili_jax.domains.kitchen.family import Families, KitchenTask
from mili_jax.domains.kitchen.objects import ObjectSpec
from mili_jax.domains.kitchen.world import EDGE, Placement, Scene
from mili_jax.types import SimulationError

PLACE_HALF = 0.20  # m, half the side of the square where objects' centres may stand
GAP = 0.030  # m, least distance between two footprints: the pads need room
OBJECTS = (5, 7)  # how many objects a scene has, inclusive


def sample(
    tasks: Sequence[KitchenTask],
    pool: Sequence[str],
    rng: np.random.Generator,
    foil: KitchenTask | None = None,
    families: Families = OWN,
) -> Scene:
    """A random scene in which the given tasks are feasible, with distractors from `pool`.

    The objects of `foil` are there too, though not necessarily in a place where it is easy.
    Raises SimulationError when even the fewest distractors leave no room.
    """
    wanted = [*tasks, foil] if foil is not None else tasks
    for most in range(OBJECTS[1], 2, -1):
        try:
            return arrange(choose_objects(wanted, pool, rng, most), rng, tasks, families)
        except SimulationError as error:
            last = error
    raise last


def choose_objects(
    tasks: Sequence[KitchenTask],
    pool: Sequence[str],
    rng: np.random.Generator,
    most: int = OBJECTS[1],
) -> tuple[str, ...]:
    """The objects of the given tasks plus distractors, so that every family is afforded.

    A scene has at least one button, one container and two movable objects of which one can be
    grasped; distractors come from `pool` (object names).
    """
    catalogue = _catalogue(pool)
    names = list(dict.fromkeys(name for task in tasks for name in task.objects))
    others = [str(n) for n in rng.permutation(np.asarray(pool, dtype=str)) if n not in names]

    def add(role: str) -> None:
        if not any(getattr(catalogue[n], role) for n in names):
            fitting = [n for n in others if getattr(catalogue[n], role)]
            if not fitting:
                raise SimulationError(f"a scene needs a {role}, and no object of the pool is one")
            names.append(fitting[0])

    add("button")
    add("container")
    add("graspable")
    size = int(rng.integers(min(OBJECTS[0], most), most + 1))
    movable = [n for n in others if n not in names and not catalogue[n].button]
    # Containers are large: at most three of them, or a scene gets too crowded to reach around.
    for name in movable:
        if len(names) >= size:
            break
        full = sum(catalogue[n].container for n in names) >= 3
        if not (full and catalogue[name].container):
            names.append(name)
    return tuple(names)


def arrange(
    names: Sequence[str],
    rng: np.random.Generator,
    tasks: Sequence[KitchenTask] = (),
    families: Families = OWN,
) -> Scene:
    """Random places and turns for the objects, and a random first pose of the gripper.

    The given tasks stay feasible: a pushed object, for one, has a free way to its goal.
    Raises SimulationError when the objects do not fit on the table.
    """
    catalogue = _catalogue(names)
    order = sorted(names, key=lambda n: -catalogue[n].radius)
    for _ in range(100):
        places: dict[str, np.ndarray] = {}
        for name in order:
            spot = _spot(catalogue[name].radius, places, catalogue, rng)
            if spot is None:
                break
            places[name] = spot
        if len(places) == len(order) and all(
            families[task.family].fits(places, catalogue, *task.objects) for task in tasks
        ):
            break
    else:
        raise SimulationError(f"no room on the table for {list(names)}")
    turns = rng.uniform(-math.pi, math.pi, len(names))
    tool = (
        *rng.uniform(-0.17, 0.17, 2), rng.uniform(0.16, 0.22), 0.0, 0.0,
        rng.uniform(-math.pi / 2, math.pi / 2), 1.0,
    )  # fmt: skip
    rows = tuple(
        Placement(
            n, round(float(places[n][0]), 4), round(float(places[n][1]), 4), round(float(a), 4)
        )
        for n, a in zip(names, turns, strict=True)
    )
    return Scene(rows, tuple(round(float(v), 4) for v in tool))


def rearrange(names: Sequence[str], rng: np.random.Generator) -> Scene:
    """A new arrangement of the same objects; the last ones are left out if there is no room.

    Raises SimulationError when not even three fit, or all where they are fewer.
    """
    for most in range(len(names), min(len(names), 3) - 1, -1):
        try:
            return arrange(names[:most], rng)
        except SimulationError as error:
            last = error
    raise last


def _catalogue(names: Sequence[str]) -> dict[str, ObjectSpec]:
    """All objects. Raises SimulationError if one of these is not among them."""
    catalogue = objects.load_catalogue()
    for name in names:
        if name not in catalogue:
            raise SimulationError(f"there is no object {str(name)!r} in the catalogue")
    return catalogue


def _spot(
    radius: float,
    places: dict[str, np.ndarray],
    catalogue: dict[str, ObjectSpec],
    rng: np.random.Generator,
) -> np.ndarray | None:
    limit = min(PLACE_HALF, EDGE - radius)
    for _ in range(40):
        spot = rng.uniform(-limit, limit, 2)
        if all(
            math.dist(spot, other) >= radius + catalogue[n].radius + GAP
            for n, other in places.items()
        ):
            return spot
    return None
