"""What counts as doing a task: thresholds with units, predicates, and the lists of tasks.

A predicate looks at the state at the end of an episode and at what happened on the way
(`History`), never at what was commanded, so the same code tells what a trial achieved.
"""

from __future__ import annotations

import functools
import itertools
import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from mili_jax.domains.kitchen import bodies, objects, shipped
from mili_jax.domains.kitchen.families import KitchenTask
from mili_jax.domains.kitchen.world import TABLE_HALF, World
from mili_jax.types import DataError, SimulationError

PRESS_DEPTH = 0.008  # m the cap has gone down at any time
LIFT_HEIGHT = 0.05  # m between the table and the object's base at the end, held by the gripper
PUSH_GAP = 0.015  # m between the two objects at the end
PUSH_DISTANCE = 0.05  # m the pushed object has moved horizontally
PUSH_LIFT = 0.025  # m the pushed object may have left the table on the way
UPRIGHT = 0.8  # cosine of the tilt that a pushed object may have
STEADY = 0.005  # m per control step: a placed object that moves faster is not at rest
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


def find(task_id: str) -> KitchenTask:
    """The task of that name. Raises SimulationError when it or its objects do not exist."""
    task = KitchenTask.parse(task_id)
    check(task)
    return task


def check(task: KitchenTask) -> None:
    """Raises SimulationError unless the catalogue's objects can play the task's roles."""
    catalogue = objects.load_catalogue()
    for name in task.objects:
        if name not in catalogue:
            raise SimulationError(
                f"task {task.id!r}: there is no object {name!r} in data/objects.json"
            )
    specs = [catalogue[name] for name in task.objects]
    fits = {
        "press": lambda: specs[0].button,
        "grasp": lambda: specs[0].graspable,
        "push": lambda: not specs[0].button and not specs[1].button,
        "place": lambda: specs[0].graspable and specs[1].container,
    }
    if not fits[task.family]() or len(set(task.objects)) != len(task.objects):
        raise SimulationError(f"task {task.id!r}: its objects cannot do that")


def afforded(names: tuple[str, ...]) -> tuple[KitchenTask, ...]:
    """Every task that a scene with these objects affords."""
    catalogue = objects.load_catalogue()
    specs = [catalogue[name] for name in names]
    movable = [s for s in specs if not s.button]
    found = [KitchenTask("press", (s.id,)) for s in specs if s.button]
    found += [KitchenTask("grasp", (s.id,)) for s in movable if s.graspable]
    for a, b in itertools.permutations(movable, 2):
        found.append(KitchenTask("push", (a.id, b.id)))
        if a.graspable and b.container:
            found.append(KitchenTask("place", (a.id, b.id)))
    return tuple(found)


class History:
    """What the predicates need to remember of an episode; `update` after every control step."""

    def __init__(self, world: World) -> None:
        self.highest = dict.fromkeys(world.bodies, 0.0)  # m, of the base centre at any time
        self.pressed = dict.fromkeys(world.bodies, 0.0)  # m, of a button's cap at any time
        self._world = world
        self._start = {name: world.state(name) for name in world.bodies}
        self._before = self._now = self._start  # states after the last two control steps
        self._buttons = [n for n in world.bodies if world.catalogue[n].button]
        self._others = [n for n in world.bodies if not world.catalogue[n].button]

    def update(self) -> None:
        world = self._world
        for name in self._buttons:
            depth = bodies.button_depth(world.client, world.bodies[name])
            self.pressed[name] = max(self.pressed[name], depth)
        self._before = self._now
        self._now = self._start | {name: world.state(name) for name in self._others}
        for name in self._others:
            height = world.height(name, self._now[name])
            if height > self.highest[name]:
                self.highest[name] = height

    def last(self, name: str) -> np.ndarray:
        """[3] where the object was after the last control step, m."""
        return self._world.position(name, self._now[name])

    def speed(self, name: str) -> float:
        """How far the object moved in the last control step, m."""
        way = self.last(name) - self._world.position(name, self._before[name])
        return math.sqrt(way @ way)

    def moved(self, name: str) -> float:
        """Horizontal distance (m) from where the object was at the start."""
        way = self.last(name) - self._world.position(name, self._start[name])
        return float(np.linalg.norm(way[:2]))


def succeeded(task: KitchenTask, world: World, history: History) -> bool:
    """Whether the world and its history satisfy the task; never where its objects are missing."""
    if not set(task.objects) <= set(world.bodies):
        return False
    return _PREDICATES[task.family](world, history, *task.objects)


def achieved(world: World, history: History) -> tuple[KitchenTask, ...]:
    """Every afforded task whose predicate holds. Oracle information."""
    names = tuple(world.bodies)
    still = {n for n in names if history.moved(n) < 0.01 and history.highest[n] < 0.01}
    candidates = (t for t in afforded(names) if t.family == "press" or t.objects[0] not in still)
    return tuple(t for t in candidates if succeeded(t, world, history))


def fallen(world: World, history: History) -> bool:
    """Whether an object was knocked off the table."""
    return any(
        at[2] < -0.02 or max(abs(at[0]), abs(at[1])) > TABLE_HALF + 0.02
        for at in map(history.last, world.bodies)
    )


def useful(done: Sequence[KitchenTask], world: World, history: History) -> bool:
    """The automatic filter F, of what was `achieved`: anything, with nothing off the table."""
    return bool(done) and not fallen(world, history)


def _pressed(world: World, history: History, button: str) -> bool:
    return history.pressed[button] >= PRESS_DEPTH


def _grasped(world: World, history: History, name: str) -> bool:
    return bool(history.last(name)[2] >= LIFT_HEIGHT and world.holding(name))


def _placed(world: World, history: History, name: str, container: str) -> bool:
    if world.touching(name, world.gripper) or history.moved(name) < 0.01:
        return False
    offset = (history.last(name) - world.position(container))[:2]
    inside = float(np.linalg.norm(offset)) <= world.catalogue[container].inner_radius
    resting = world.touching(name, world.bodies[container])
    resting = resting and not world.touching(name, world.table)
    return inside and resting and history.speed(name) <= STEADY


def _pushed(world: World, history: History, name: str, goal: str) -> bool:
    if history.moved(name) < PUSH_DISTANCE or history.highest[name] > PUSH_LIFT:
        return False
    if history.moved(goal) > 0.5 * history.moved(name) or history.highest[goal] > PUSH_LIFT:
        return False
    _, rotation = world.placement(name)
    return bool(rotation[2, 2] >= UPRIGHT and world.gap(name, goal, PUSH_GAP) <= PUSH_GAP)


_PREDICATES: dict[str, Callable[..., bool]] = {
    "press": _pressed,
    "grasp": _grasped,
    "push": _pushed,
    "place": _placed,
}
