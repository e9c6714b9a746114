"""Scripted experts: closed-loop teachers that see the simulator's state.

Each control step gets one label: the desired pose the expert is heading for, not the next small
motion (the controller bounds the speed). Labels follow from the present state, so an expert that
was pushed off its way, or lost its object, goes on from where it is.
"""

from __future__ import annotations

import math

import numpy as np

from mili_jax.domains.kitchen.env import KitchenEnv
from mili_jax.domains.kitchen.families import KitchenTask
from mili_jax.domains.kitchen.world import OPENING, World, half_turn

TRAVEL_Z = 0.17  # m, tool height when it carries or has finished
HOVER_Z = 0.13  # m, tool height above a place before it goes down
PUSH_Z = 0.018  # m, height of the finger tips while pushing
PUSH_WIDTH = 1.1  # of the object's radius between the pads: two contacts keep it centred
PUSH_OPENING = (0.2, 0.55)  # limits of that opening, of the full one
BEHIND = 0.030  # m between the pads and the object before a push

# Horizontal errors (m; of the yaw, rad) at which a tool goes down all the way, and not at all;
# between them part of the way. If the label changed at one error, a policy that sees the error
# badly would stop there.
ALIGNED = 0.005, 0.025
TURNED = 0.06, 0.36
OVER = 0.010, 0.040  # of something that is carried to a container
CLOSE = 0.020  # m above a grasp at which the fingers begin to close: they are slower than the tool
RELEASE = 0.012  # m above where a carried object is set down at which it is let go
PAD_HALF_WIDTH = 0.010  # m
HOLD_STEPS = 2  # steps a demonstration goes on after it has succeeded and come to its last pose


class Expert:
    """Acts for one task in one world; make a new one for every episode."""

    def __init__(self, task: KitchenTask, world: World) -> None:
        self.task = task
        self.world = world
        self._family = {
            "press": self._press, "grasp": self._grasp, "push": self._push, "place": self._place
        }[task.family]  # fmt: skip
        self._phase = "take"
        self._pushing = False
        self._release = np.zeros(3)  # m, where the tool lets go
        self._done: np.ndarray | None = None

    def act(self) -> np.ndarray:
        """float32 [7], the desired pose the expert is heading for now."""
        pose = self.world.pose().astype(np.float64)
        return np.asarray(self._family(pose), np.float32)

    def _descend(
        self, pose: np.ndarray, xy: np.ndarray, z: float, yaw: float, finger: float
    ) -> np.ndarray:
        """Above the place first, then straight down on it."""
        off = float(np.hypot(*(pose[:2] - xy)))
        turned = abs(half_turn(yaw - pose[5]))
        down = pose[2] < HOVER_Z - 0.03
        if down and (off > ALIGNED[1] or turned > TURNED[1]):
            return _label(pose[:2], TRAVEL_Z, pose[5], finger)
        if not down:
            z += (HOVER_Z - z) * max(_share(off, *ALIGNED), _share(turned, *TURNED))
        return _label(xy, z, yaw, finger)

    def _press(self, pose: np.ndarray) -> np.ndarray:
        name = self.task.objects[0]
        xy, top = self.world.position(name)[:2], self.world.catalogue[name].height
        return self._descend(pose, xy, top - 0.014, pose[5], 0.0)

    def _take(self, pose: np.ndarray, name: str) -> np.ndarray | None:
        """The label on the way to holding an object; None once it is held."""
        at, rotation = self.world.placement(name)
        spec = self.world.catalogue[name]
        assert spec.grasp is not None, name
        dx, dy, dz, turn = spec.grasp
        xy = at[:2] + rotation[:2, :2] @ np.array([dx, dy])
        z = max(float(at[2]), 0.0) + dz
        heading = math.atan2(rotation[1, 0], rotation[0, 0])
        yaw = pose[5] if spec.symmetric else half_turn(heading + turn)
        if self.world.holding(name) and pose[6] < 0.9:
            return None
        if pose[6] < 0.3 and pose[2] < HOVER_Z - 0.03:  # closed on nothing
            return _label(pose[:2], TRAVEL_Z, pose[5], 1.0)
        near = float(np.hypot(*(pose[:2] - xy))) < ALIGNED[1] and pose[2] < z + CLOSE
        return self._descend(pose, xy, z, yaw, 0.0 if near else 1.0)

    def _grasp(self, pose: np.ndarray) -> np.ndarray:
        label = self._take(pose, self.task.objects[0])
        return _label(pose[:2], TRAVEL_Z, pose[5], 0.0) if label is None else label

    def _place(self, pose: np.ndarray) -> np.ndarray:
        name, container = self.task.objects
        spec, goal = self.world.catalogue[name], self.world.catalogue[container]
        base, at = self.world.position(container), self.world.position(name)
        opening = min(1.0, (spec.grasp_width + 0.022) / OPENING)
        if self._phase == "take":
            label = self._take(pose, name)
            if label is not None:
                return label
            self._phase = "carry"
        if self._phase == "carry":
            if not self.world.holding(name):
                self._phase = "take"
                return _label(pose[:2], TRAVEL_Z, pose[5], 1.0)
            xy = base[:2] + pose[:2] - at[:2]  # brings the object, not the tool, to the centre
            off = float(np.hypot(*(pose[:2] - xy)))
            hang = pose[2] - at[2]
            z = max(goal.floor_height + hang + 0.006, goal.height + 0.004)
            low = pose[2] < TRAVEL_Z - 0.03
            if low and off > OVER[1]:
                return _label(pose[:2], TRAVEL_Z, pose[5], 0.0)
            if pose[2] > z + RELEASE:
                above = 0.0 if low else (TRAVEL_Z - z) * _share(off, *OVER)
                return _label(xy, z + above, pose[5], 0.0)
            self._phase = "release"
            self._release = np.array([*xy, z])
        if self._phase == "release":
            if pose[6] < opening - 0.05:
                return _label(self._release[:2], self._release[2], pose[5], opening)
            self._phase = "retreat"
        inside = float(np.hypot(*(at - base)[:2])) < goal.inner_radius
        if pose[2] > HOVER_Z - 0.02 and not inside:
            self._phase = "take"
        return _label(self._release[:2], HOVER_Z, pose[5], opening)

    def _push(self, pose: np.ndarray) -> np.ndarray:
        if self._done is not None:
            return self._done
        name, goal = self.task.objects
        at, end = self.world.position(name)[:2], self.world.position(goal)[:2]
        width = PUSH_WIDTH * self.world.catalogue[name].radius / OPENING
        opening = min(max(width, PUSH_OPENING[0]), PUSH_OPENING[1])
        way = (end - at) / max(float(np.hypot(*(end - at))), 1e-6)
        yaw = half_turn(math.atan2(way[1], way[0]) + math.pi / 2)
        back = self.world.extent(name, -way, PUSH_Z)
        behind = back + PAD_HALF_WIDTH + BEHIND
        along = float((pose[:2] - at) @ way)
        aside = float(abs((pose[:2] - at) @ np.array([-way[1], way[0]])))
        low = pose[2] < PUSH_Z + 0.012
        slack = 2.0 if self._pushing else 1.0  # starting again costs more than a crooked push
        ready = -behind - 0.02 < along < -0.5 * back and aside < 0.02 * slack
        ready = low and ready and abs(half_turn(yaw - pose[5])) < TURNED[1] * slack
        if low and (ready or self._pushing) and self.world.gap(name, goal, 0.01) < 0.006:
            self._done = _label(pose[:2], PUSH_Z, pose[5], opening)
            return self._done
        self._pushing = ready
        if ready:
            front = self.world.extent(name, way, PUSH_Z) + self.world.extent(goal, -way, PUSH_Z)
            # A little further than touching: friction stops the object short.
            xy = end - way * (front + back + PAD_HALF_WIDTH - 0.010)
            return _label(xy, PUSH_Z, yaw, opening)
        return self._descend(pose, at - way * behind, PUSH_Z, yaw, opening)


def _label(xy: np.ndarray, z: float, yaw: float, finger: float) -> np.ndarray:
    return np.array([xy[0], xy[1], z, 0.0, 0.0, half_turn(yaw), finger])


def _share(value: float, low: float, high: float) -> float:
    """How far a value lies from `low` (0) to `high` (1), within these."""
    return min(1.0, max(0.0, (value - low) / (high - low)))


class Demonstrator:
    """The expert for the episode that an environment was just reset to, and when it may end."""

    def __init__(self, env: KitchenEnv) -> None:
        assert env.task is not None
        self._env, self._expert = env, Expert(env.task, env.world)
        self._label: np.ndarray | None = None
        self._held = 0

    def act(self) -> np.ndarray:
        """float32 [7], see `Expert.act`."""
        self._label = self._expert.act()
        return self._label

    def done(self) -> bool:
        """Whether it has succeeded, has come to its last pose and has stayed there for a while."""
        if self._label is None:
            return False
        env = self._env
        pose = env.world.pose()
        arrived = float(np.abs(pose[:3] - self._label[:3]).max()) < 0.015
        arrived = arrived or self._expert.task.family in ("press", "push")
        self._held = self._held + 1 if env.success() and arrived else 0
        return self._held > HOLD_STEPS
