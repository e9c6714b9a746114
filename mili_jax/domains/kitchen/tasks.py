"""The lists of tasks, and what counts as doing one.

A family's predicate looks at the state at the end of an episode and at what happened on the way
(`History`), never at what was commanded, so the same code says what a trial achieved.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mili_jax.domains.kitchen import objects, shipped
from mili_jax.domains.kitchen.families import FAMILIES, OWN, parse
from mili_jax.domains.kitchen.family import Families, Family, KitchenTask
from mili_jax.domains.kitchen.history import History
from mili_jax.domains.kitchen.world import TABLE_HALF, World
from mili_jax.types import DataError, SimulationError

_SEED = 21  # of the order of tasks that no file lists
SPLITS = ("train", "validation", "test")


@functools.cache
def load_tasks(path: Path | None = None) -> dict[str, tuple[KitchenTask, ...]]:
    """The versioned 520/40/40 tasks by split, in the file's order.

    Raises DataError naming a file that is missing or damaged.
    """
    path = path or shipped.path("tasks.json")
    try:
        raw = json.loads(path.read_text())
        return {split: tuple(KitchenTask.parse(t) for t in raw[split]) for split in SPLITS}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path}: not a list of tasks per split ({error!r})") from error


def listed(split: str, families: Families = OWN) -> tuple[KitchenTask, ...]:
    """The tasks of a split that are of these families, in an order of which a prefix is balanced.

    Those of the kitchen's own families are in `data/tasks.json`. Of any other it is all that the
    objects of the split allow. Raises SimulationError for another split than `SPLITS`.
    """
    if split not in SPLITS:
        raise SimulationError(f"no split {split!r}; one of {SPLITS}")
    own = [task for task in load_tasks()[split] if task.family in families]
    size = max(1, len(families.keys() & set(FAMILIES)))
    turns = [[own[i : i + size] for i in range(0, len(own), size)]]
    for name, family in families.items():
        if name not in FAMILIES:
            turns.append([[task] for task in _shuffled(family, split)])
    found: list[KitchenTask] = []
    for k in range(max(map(len, turns))):
        for each in turns:
            found += each[k] if k < len(each) else []
    return tuple(found)


def _shuffled(family: Family, split: str) -> list[KitchenTask]:
    specs = [s for s in objects.load_catalogue().values() if s.split == split]
    found = family.tasks(specs)
    order = np.random.default_rng((_SEED, SPLITS.index(split))).permutation(len(found))
    return [found[i] for i in order]


def find(task_id: str, families: Families = OWN) -> KitchenTask:
    """The task of that name. Raises SimulationError when it or its objects do not exist."""
    task = parse(task_id, families)
    check(task, families)
    return task


def check(task: KitchenTask, families: Families = OWN) -> None:
    """Raises SimulationError unless the catalogue's objects can play the task's roles."""
    catalogue = objects.load_catalogue()
    for name in task.objects:
        if name not in catalogue:
            raise SimulationError(
                f"task {task.id!r}: there is no object {name!r} in data/objects.json"
            )
    if not families[task.family].allows([catalogue[name] for name in task.objects]):
        raise SimulationError(f"task {task.id!r}: its objects cannot do that")


def afforded(names: tuple[str, ...], families: Families = OWN) -> tuple[KitchenTask, ...]:
    """Every task that a scene with these objects affords."""
    catalogue = objects.load_catalogue()
    specs = [catalogue[name] for name in names]
    return tuple(task for family in families.values() for task in family.tasks(specs))


def succeeded(task: KitchenTask, world: World, history: History, families: Families = OWN) -> bool:
    """Whether the world and its history satisfy the task; never where its objects are missing."""
    if not set(task.objects) <= set(world.bodies):
        return False
    return bool(families[task.family].achieved(world, history, *task.objects))


def achieved(world: World, history: History, families: Families = OWN) -> tuple[KitchenTask, ...]:
    """Every afforded task whose predicate holds. Oracle information."""
    names = tuple(world.bodies)
    still = {n for n in names if history.moved(n) < 0.01 and history.highest[n] < 0.01}
    candidates = (
        task
        for task in afforded(names, families)
        if not families[task.family].moves or task.objects[0] not in still
    )
    return tuple(task for task in candidates if succeeded(task, world, history, families))


def fallen(world: World, history: History) -> bool:
    """Whether an object was knocked off the table."""
    return any(
        at[2] < -0.02 or max(abs(at[0]), abs(at[1])) > TABLE_HALF + 0.02
        for at in map(history.last, world.bodies)
    )


def useful(done: Sequence[KitchenTask], world: World, history: History) -> bool:
    """The automatic filter F, of what was `achieved`: anything, with nothing off the table."""
    return bool(done) and not fallen(world, history)
