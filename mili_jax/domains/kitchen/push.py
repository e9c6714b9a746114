"""Family: push an object along the table up to another."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from mili_jax.domains.kitchen import motions
from mili_jax.domains.kitchen.family import Family, movable
from mili_jax.domains.kitchen.history import History
from mili_jax.domains.kitchen.objects import ObjectSpec
from mili_jax.domains.kitchen.world import EDGE, OPENING, World, half_turn

PUSH_GAP = 0.015  # m between the two objects at the end
PUSH_DISTANCE = 0.05  # m the pushed object has moved horizontally
PUSH_LIFT = 0.025  # m the pushed object may have left the table on the way
UPRIGHT = 0.8  # cosine of the tilt that a pushed object may have
PUSH_ROOM = 0.09  # m, least free way between a pushed object and its goal

PUSH_Z = 0.018  # m, height of the finger tips while pushing
PUSH_WIDTH = 1.1  # of the object's radius between the pads: two contacts keep it centred
PUSH_OPENING = (0.2, 0.55)  # limits of that opening, of the full one
BEHIND = 0.030  # m between the pads and the object before a push
PAD_HALF_WIDTH = 0.010  # m


def pushed(world: World, history: History, name: str, goal: str) -> bool:
    if history.moved(name) < PUSH_DISTANCE or history.highest[name] > PUSH_LIFT:
        return False
    if history.moved(goal) > 0.5 * history.moved(name) or history.highest[goal] > PUSH_LIFT:
        return False
    _, rotation = world.placement(name)
    return bool(rotation[2, 2] >= UPRIGHT and world.gap(name, goal, PUSH_GAP) <= PUSH_GAP)


def pushable(
    places: Mapping[str, np.ndarray], catalogue: Mapping[str, ObjectSpec], name: str, goal: str
) -> bool:
    """Whether there is room behind the object and a free way to its goal."""
    start, end, radius = places[name], places[goal], catalogue[name].radius
    length = math.dist(start, end)
    if length - radius - catalogue[goal].radius < PUSH_ROOM:
        return False
    way = (end - start) / length
    behind = start - way * (radius + 0.045)
    if np.abs(behind).max() > EDGE:
        return False
    for other, spot in places.items():
        if other in (name, goal):
            continue
        t = float(np.clip((spot - behind) @ way, 0.0, math.dist(behind, end)))
        if math.dist(spot, behind + t * way) < catalogue[other].radius + max(radius, 0.04) + 0.01:
            return False
    return True


class Push:
    """The expert's motion; it remembers whether it is pushing."""

    def __init__(self, world: World, name: str, goal: str) -> None:
        self.world, self.name, self.goal = world, name, goal
        self._pushing = False
        self._done: np.ndarray | None = None

    def __call__(self, pose: np.ndarray) -> np.ndarray:
        if self._done is not None:
            return self._done
        world, name, goal = self.world, self.name, self.goal
        at, end = world.position(name)[:2], world.position(goal)[:2]
        width = PUSH_WIDTH * world.catalogue[name].radius / OPENING
        opening = min(max(width, PUSH_OPENING[0]), PUSH_OPENING[1])
        way = (end - at) / max(float(np.hypot(*(end - at))), 1e-6)
        yaw = half_turn(math.atan2(way[1], way[0]) + math.pi / 2)
        back = world.extent(name, -way, PUSH_Z)
        behind = back + PAD_HALF_WIDTH + BEHIND
        along = float((pose[:2] - at) @ way)
        aside = float(abs((pose[:2] - at) @ np.array([-way[1], way[0]])))
        low = pose[2] < PUSH_Z + 0.012
        slack = 2.0 if self._pushing else 1.0  # starting again costs more than a crooked push
        ready = -behind - 0.02 < along < -0.5 * back and aside < 0.02 * slack
        turned = abs(half_turn(yaw - pose[5]))
        ready = low and ready and turned < motions.TURNED[1] * slack
        if low and (ready or self._pushing) and world.gap(name, goal, 0.01) < 0.006:
            self._done = motions.label(pose[:2], PUSH_Z, pose[5], opening)
            return self._done
        self._pushing = ready
        if ready:
            front = world.extent(name, way, PUSH_Z) + world.extent(goal, -way, PUSH_Z)
            # A little further than touching: friction stops the object short.
            xy = end - way * (front + back + PAD_HALF_WIDTH - 0.010)
            return motions.label(xy, PUSH_Z, yaw, opening)
        return motions.descend(pose, at - way * behind, PUSH_Z, yaw, opening)


PUSH = Family("push", (movable, movable), pushed, Push, room=pushable, anywhere=True)
