"""The physics: one PyBullet client with a table, the objects of a scene, a gripper and a camera.

Everything here is a query of or a command to the simulator; what a task is, says its family
(`family.py`).

Determinism: an episode is a function of (scene, actions). The world is rebuilt for every episode
(restoring a saved state is not bit-exact with compound shapes), overlapping pairs are ordered and
bodies never sleep.
"""

from __future__ import annotations

import dataclasses
import json
import math
import weakref
from collections.abc import Mapping, Sequence

import numpy as np
import pybullet as p

from mili_jax.domains.kitchen import bodies, objects, viewpoints
from mili_jax.domains.kitchen.objects import ObjectSpec
from mili_jax.types import SimulationError

CONTROL_HZ = 10.0
SUBSTEPS = 12  # physics at 120 Hz
SOLVER_ITERATIONS = 15
TABLE_HALF = 0.30  # m, half the side of the square table top; z = 0 on top
REACH = 0.25  # m, the tool stays within +-REACH in x and y
EDGE = 0.235  # m, footprints stay within +-EDGE, where the gripper reaches around them
TOOL_Z = (0.006, 0.30)  # m, range of the tool tip's height
MAX_STEP = 0.05  # m per control step (0.5 m/s)
MAX_TURN = 0.6  # rad per control step
MAX_FINGER = 0.6  # of the full opening per control step
TILT_LIMIT = 0.5  # rad, roll and pitch
OPENING = 0.09  # m between the pads when fully open
FINGER_PLAY = 0.008  # m beyond either end of its travel, where a finger is stopped
RENDERER = "tiny"
_PAD_HALF = (0.006, 0.010, 0.035)  # m: thickness / 2 along the closing axis, width / 2, height / 2
_LINKS = ("x", "y", "z", "yaw", "pitch", "roll", "left", "right")
_YAW, _PITCH, _ROLL, _LEFT, _RIGHT = 3, 4, 5, 6, 7

# N or N m; the gantry is strong, the fingers are not.
_FORCES = [120.0] * 3 + [6.0] * 3 + [12.0] * 2
_POSITION_GAINS = [0.35] * 6 + [0.25] * 2
_VELOCITY_GAINS = [1.0] * 8
_JOINTS = list(range(len(_LINKS)))
_RAMP = np.arange(1, SUBSTEPS + 1)[:, None] / SUBSTEPS  # of the joint targets in a control step
State = tuple[tuple[float, float, float], tuple[float, float, float, float]]


@dataclasses.dataclass(frozen=True)
class Placement:
    """One object of a scene: where it stands (m) and how it is turned (rad)."""

    object: str
    x: float
    y: float
    yaw: float


@dataclasses.dataclass(frozen=True)
class Scene:
    """The objects on the table and the gripper's first pose (`types.POSE_FIELDS`)."""

    placements: tuple[Placement, ...]
    tool: tuple[float, ...]

    def to_json(self) -> str:
        rows = [[q.object, q.x, q.y, q.yaw] for q in self.placements]
        return json.dumps({"objects": rows, "tool": list(self.tool)}, separators=(",", ":"))

    @staticmethod
    def from_json(text: str) -> Scene:
        """Raises SimulationError when the text is not a scene, or one in other units."""
        try:
            raw = json.loads(text)
            if other := sorted(set(raw) - {"objects", "tool"}):
                raise ValueError(f"it has a field {other[0]!r}")
            rows = tuple(
                Placement(str(n), float(x), float(y), float(a)) for n, x, y, a in raw["objects"]
            )
            scene = Scene(rows, tuple(float(v) for v in raw["tool"]))
        except (KeyError, TypeError, ValueError, RecursionError) as error:
            raise SimulationError(f"not a scene: {text[:80]!r} ({error})") from error
        if len(scene.tool) != 7 or not np.isfinite(scene.tool).all():
            raise SimulationError(
                f"not a scene: 'tool' must be 7 finite numbers, got {scene.tool} in {text[:80]!r}"
            )
        scene._check_units()
        return scene

    def _check_units(self) -> None:
        """Raises SimulationError for what lies beside the table, or turns more than once round: it
        is in other units."""
        turn = 2 * math.pi
        for q in self.placements:
            for value, most, what in (
                (q.x, TABLE_HALF, "x in metres of the table's middle"),
                (q.y, TABLE_HALF, "y in metres of the table's middle"),
                (q.yaw, turn, "yaw in radians"),
            ):
                if not abs(value) <= most:
                    raise SimulationError(
                        f"not a scene: {q.object!r} has {what} {value:g}; it must be within "
                        f"{most:.3g}"
                    )
        names = ("x", "y", "z", "roll", "pitch", "yaw", "finger")
        low = (-TABLE_HALF, -TABLE_HALF, 0.0, -turn, -turn, -turn, 0.0)
        high = (TABLE_HALF, TABLE_HALF, 2 * TOOL_Z[1], turn, turn, turn, 1.0)
        for name, value, least, most in zip(names, self.tool, low, high, strict=True):
            if not least <= value <= most:
                raise SimulationError(
                    f"not a scene: the tool's {name} is {value:g}; it must be {least:.3g} to "
                    f"{most:.3g} (metres, radians, a share of the opening)"
                )


def _numbers(action: object) -> np.ndarray:
    """An action as float64. Raises SimulationError for what is no array of real numbers."""
    try:
        found = np.asarray(action)
    except ValueError:  # lists of unlike lengths
        found = np.zeros((), object)
    if found.dtype.kind not in "fiu":
        raise SimulationError(f"an action is 7 numbers, got {str(action)[:80]}")
    return found.astype(np.float64)


def half_turn(angle: float) -> float:
    """An angle (rad) wrapped into [-pi/2, pi/2): the gripper is symmetric under half a turn."""
    return (angle + math.pi / 2) % math.pi - math.pi / 2


def _clip(value: float, low: float, high: float) -> float:
    return min(max(value, low), high)


def _rotation(quaternion: Sequence[float]) -> np.ndarray:
    return np.array(p.getMatrixFromQuaternion(quaternion)).reshape(3, 3)


class World:
    """One simulated table. Not thread-safe; one client per World. Call `close` when done.

    Args:
      catalogue: what a scene's objects are made of, by name; `data/objects.json` when None.
    """

    def __init__(self, catalogue: Mapping[str, ObjectSpec] | None = None) -> None:
        self.client = p.connect(p.DIRECT)
        if self.client < 0:
            raise SimulationError("PyBullet could not open another physics server in this process")
        # A server takes tens of megabytes, and does not end with the object that opened it.
        self._end = weakref.finalize(self, p.disconnect, physicsClientId=self.client)
        self.catalogue = objects.load_catalogue() if catalogue is None else dict(catalogue)
        self.scene: Scene | None = None
        self.bodies: dict[str, int] = {}
        self._frames: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        self._bases: dict[str, list[float]] = {}

    def close(self) -> None:
        """Ends the physics server; a world that nothing refers to any more does so by itself."""
        self._end()
        self.client, self.scene = -1, None

    def require_open(self) -> None:
        """Raises SimulationError after `close`."""
        if self.client < 0:
            raise SimulationError("this kitchen is closed; make another one")

    def reset(self, scene: Scene) -> None:
        """Rebuild the table with the scene's objects at rest and the gripper at its first pose.

        Raises SimulationError, naming the object, when the scene holds one that is unknown, twice
        there or cannot be loaded; the world then needs another reset before it can step.
        """
        self.require_open()
        c = self.client
        self.scene = None
        names = [q.object for q in scene.placements]
        for name in names:
            if name not in self.catalogue:
                raise SimulationError(f"no object {name!r} in the catalogue")
            if names.count(name) > 1:
                raise SimulationError(f"the scene holds object {name!r} {names.count(name)} times")
        p.resetSimulation(physicsClientId=c)
        p.setPhysicsEngineParameter(
            fixedTimeStep=1.0 / (CONTROL_HZ * SUBSTEPS),
            numSolverIterations=SOLVER_ITERATIONS,
            deterministicOverlappingPairs=1,
            enableFileCaching=0,
            physicsClientId=c,
        )
        p.setGravity(0, 0, -9.81, physicsClientId=c)
        self._table()
        self.bodies = {}
        self._frames = {}
        self._bases = {}
        for q in scene.placements:
            spec = self.catalogue[q.object]
            body = bodies.spawn(c, spec, (q.x, q.y), q.yaw)
            self.bodies[q.object] = body
            # PyBullet reports the centre of mass; remember where the base centre lies from there.
            centre, turn = self.state(q.object)
            rotation = _rotation(turn)
            base = rotation.T @ (np.array([q.x, q.y, 0.0]) - centre)
            cos, sin = math.cos(q.yaw), math.sin(q.yaw)
            upright = np.array([[cos, -sin, 0.0], [sin, cos, 0.0], [0.0, 0.0, 1.0]])
            self._frames[q.object] = base, rotation.T @ upright
            self._bases[q.object] = base.tolist()
        self._spawn_gripper(scene.tool)
        self.scene = scene

    def _table(self) -> None:
        c = self.client
        half = [TABLE_HALF, TABLE_HALF, 0.02]
        shape = p.createCollisionShape(p.GEOM_BOX, halfExtents=half, physicsClientId=c)
        look = p.createVisualShape(
            p.GEOM_BOX, halfExtents=half, rgbaColor=[0.76, 0.75, 0.74, 1], specularColor=[0, 0, 0],
            physicsClientId=c,
        )  # fmt: skip
        table = p.createMultiBody(0, shape, look, [0, 0, -0.02], physicsClientId=c)
        p.changeDynamics(table, -1, lateralFriction=0.6, restitution=0.0, physicsClientId=c)
        self.table = table

    def _spawn_gripper(self, tool: tuple[float, ...]) -> None:
        c = self.client
        dark, light = [0.16, 0.16, 0.18, 1], [0.30, 0.30, 0.33, 1]
        pad = p.createCollisionShape(p.GEOM_BOX, halfExtents=_PAD_HALF, physicsClientId=c)
        pad_look = p.createVisualShape(
            p.GEOM_BOX, halfExtents=_PAD_HALF, rgbaColor=light, specularColor=[0, 0, 0],
            physicsClientId=c,
        )  # fmt: skip
        bridge_half = [0.058, 0.007, 0.008]
        bridge_look = p.createVisualShape(
            p.GEOM_BOX, halfExtents=bridge_half, rgbaColor=dark, specularColor=[0, 0, 0],
            visualFramePosition=[0, 0, 2 * _PAD_HALF[2]],
            physicsClientId=c,
        )  # fmt: skip
        n = len(_LINKS)
        axes = [
            [1, 0, 0],
            [0, 1, 0],
            [0, 0, 1],
            [0, 0, 1],
            [0, 1, 0],
            [1, 0, 0],
            [-1, 0, 0],
            [1, 0, 0],
        ]
        types = [p.JOINT_PRISMATIC] * 3 + [p.JOINT_REVOLUTE] * 3 + [p.JOINT_PRISMATIC] * 2
        # The roll link carries the bridge above the tool point; a finger's joint at 0 is closed.
        lift = _PAD_HALF[2]
        finger = [[-_PAD_HALF[0], 0, lift], [_PAD_HALF[0], 0, lift]]
        self.gripper = p.createMultiBody(
            baseMass=0,
            linkMasses=[0.3, 0.3, 0.3, 0.1, 0.1, 0.2, 0.05, 0.05],
            linkCollisionShapeIndices=[-1] * 6 + [pad, pad],
            linkVisualShapeIndices=[-1] * 5 + [bridge_look] + [pad_look] * 2,
            linkPositions=[[0, 0, 0]] * 6 + finger,
            linkOrientations=[[0, 0, 0, 1]] * n,
            linkInertialFramePositions=[[0, 0, 0]] * n,
            linkInertialFrameOrientations=[[0, 0, 0, 1]] * n,
            linkParentIndices=[0, 1, 2, 3, 4, 5, 6, 6],
            linkJointTypes=types,
            linkJointAxis=axes,
            physicsClientId=c,
        )
        g = self.gripper
        for link in range(n):
            p.changeDynamics(
                g, link, linearDamping=0, angularDamping=0, jointDamping=0, restitution=0,
                localInertiaDiagonal=[1e-3] * 3, maxJointVelocity=20, physicsClientId=c,
            )  # fmt: skip
        for link in (_LEFT, _RIGHT):
            p.changeDynamics(g, link, lateralFriction=1.6, spinningFriction=0.01, physicsClientId=c)
        # One drive moves both fingers: without the gear they would slide to a side together.
        gear = p.createConstraint(
            g, _LEFT, g, _RIGHT, p.JOINT_GEAR, [1, 0, 0], [0, 0, 0], [0, 0, 0], physicsClientId=c
        )
        p.changeConstraint(gear, gearRatio=-1, erp=0.1, maxForce=30, physicsClientId=c)
        start = [tool[0], tool[1], tool[2], tool[5], tool[4], tool[3]]
        start += [tool[6] * OPENING / 2] * 2
        for joint, value in enumerate(start):
            p.resetJointState(g, joint, value, 0.0, physicsClientId=c)
        self._finger = tool[6]
        self._drive(start)
        self._q = self._measured()

    def _drive(self, target: list[float]) -> None:
        p.setJointMotorControlArray(
            self.gripper, _JOINTS, p.POSITION_CONTROL, targetPositions=target,
            forces=_FORCES, positionGains=_POSITION_GAINS, velocityGains=_VELOCITY_GAINS,
            physicsClientId=self.client,
        )  # fmt: skip

    def joints(self) -> np.ndarray:
        """[8] x, y, z (m), yaw, pitch, roll (rad, unwrapped), left and right finger travel (m)."""
        return np.array(self._q)

    def _measured(self) -> list[float]:
        states = p.getJointStates(self.gripper, _JOINTS, physicsClientId=self.client)
        return [s[0] for s in states]

    def pose(self) -> np.ndarray:
        """float32 [7], the measured pose of the tool (`types.POSE_FIELDS`)."""
        q = self._q
        opening = (q[_LEFT] + q[_RIGHT]) / OPENING
        return np.array([q[0], q[1], q[2], q[5], q[4], half_turn(q[3]), opening], np.float32)

    def step(self, action: np.ndarray) -> None:
        """One control step (0.1 s) towards the desired pose `action` float [7], at bounded speed.

        Out-of-range values are clipped to the workspace. Raises SimulationError on a wrong shape
        or a value that is not finite: PyBullet would accept it silently. So it does before `reset`.
        """
        if self.scene is None:
            self.require_open()
            raise SimulationError("the world is empty: call reset before step")
        action = _numbers(action)
        if action.shape != (7,):
            raise SimulationError(f"an action has shape (7,), got {action.shape}")
        x, y, z, roll, pitch, yaw, opening = wanted = action.tolist()
        if not all(map(math.isfinite, wanted)):
            raise SimulationError(f"an action must be finite, got {wanted}")
        # Plain numbers: for so few of them numpy takes several times as long.
        now = self._q
        goal = now.copy()
        ways = (
            _clip(x, -REACH, REACH) - now[0],
            _clip(y, -REACH, REACH) - now[1],
            _clip(z, *TOOL_Z) - now[2],
        )
        move = np.array(ways)
        share = min(1.0, MAX_STEP / max(math.sqrt(move @ move), 1e-9))
        for axis, way in enumerate(ways):
            goal[axis] += way * share
        goal[3] += _clip(half_turn(yaw - now[3]), -MAX_TURN, MAX_TURN)
        goal[4] += _clip(_clip(pitch, -TILT_LIMIT, TILT_LIMIT) - now[4], -MAX_TURN, MAX_TURN)
        goal[5] += _clip(_clip(roll, -TILT_LIMIT, TILT_LIMIT) - now[5], -MAX_TURN, MAX_TURN)
        # The fingers are driven from where they were sent, not from where an object stopped them:
        # that difference is the force that holds the object.
        sent = self._finger
        self._finger = sent + _clip(_clip(opening, 0.0, 1.0) - sent, -MAX_FINGER, MAX_FINGER)
        first = np.array([*now[:6], *[sent * OPENING / 2] * 2])
        last = np.array([*goal[:6], *[self._finger * OPENING / 2] * 2])
        for target in (first + (last - first) * _RAMP).tolist():
            self._drive(target)
            p.stepSimulation(physicsClientId=self.client)
        self._q = self._measured()
        # The gantry is stronger than a finger, and can push one far past its end against an object.
        # (A joint limit of the solver would do as well, but loosens the grip of all episodes.)
        for link in (_LEFT, _RIGHT):
            travel = self._q[link]
            stopped = _clip(travel, -FINGER_PLAY, OPENING / 2 + FINGER_PLAY)
            if stopped != travel:
                p.resetJointState(self.gripper, link, stopped, 0.0, physicsClientId=self.client)
                self._q[link] = stopped

    def image(self, size: int, camera: str = "top", light: str = "above") -> np.ndarray:
        """uint8 [size, size, 3] by one of `viewpoints.VIEWPOINTS`, in one of its `LIGHTS`; of one
        that sees depth [size, size, 4], with the height above the table.

        Of "top" column right is +x, row down is -y.
        """
        viewpoint = viewpoints.VIEWPOINTS[camera]
        view = viewpoint.view
        if viewpoint.mount == "tool":
            q = self._q
            view = viewpoint.view_from(q[:3], (q[_ROLL], q[_PITCH], q[_YAW]))
        shine = viewpoints.LIGHTS[light]
        colours, buffer = self._render(size, size, view, viewpoint.projection, shine)
        if not viewpoint.depth:
            return colours
        return np.concatenate([colours, viewpoint.heights(buffer)[:, :, None]], -1)

    def picture(self, width: int, height: int) -> np.ndarray:
        """uint8 [height, width, 3]: an oblique view for people, not for policies."""
        view, projection = viewpoints.for_people(width / height)
        return self._render(width, height, view, projection, viewpoints.LIGHTS["above"])[0]

    def _render(
        self,
        width: int,
        height: int,
        view: Sequence[float],
        projection: Sequence[float],
        light: Sequence[float],
    ) -> tuple[np.ndarray, np.ndarray]:
        _, _, pixels, buffer, _ = p.getCameraImage(
            width, height, view, projection, lightDirection=light, shadow=0,
            lightAmbientCoeff=0.65, lightDiffuseCoeff=0.35, lightSpecularCoeff=0.0,
            renderer=p.ER_TINY_RENDERER, flags=p.ER_NO_SEGMENTATION_MASK,
            physicsClientId=self.client,
        )  # fmt: skip
        pixels = np.asarray(pixels, np.uint8).reshape(height, width, 4)
        frame = np.empty((height, width, 3), np.uint8)
        for channel in range(3):  # a third of the time of one copy of all three
            frame[:, :, channel] = pixels[:, :, channel]
        return frame, np.asarray(buffer).reshape(height, width)

    def state(self, name: str) -> State:
        """Where the object's centre of mass is (m), and how it is turned (a quaternion)."""
        return p.getBasePositionAndOrientation(self.bodies[name], physicsClientId=self.client)

    def position(self, name: str, state: State | None = None) -> np.ndarray:
        """[3] where the object's frame (its base centre when upright) is, or was in a state, m."""
        centre, turn = self.state(name) if state is None else state
        return centre + _rotation(turn) @ self._frames[name][0]

    def height(self, name: str, state: State) -> float:
        """The last number of `position`, to rounding, in a third of the time."""
        centre, (x, y, z, w) = state
        a, b, c = self._bases[name]
        along = 2 * (x * z - y * w) * a + 2 * (y * z + x * w) * b + (1 - 2 * (x * x + y * y)) * c
        return centre[2] + along

    def placement(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """([3] position of the object's base centre in m, [3, 3] rotation of its frame)."""
        centre, turn = self.state(name)
        rotation = _rotation(turn)
        base, frame = self._frames[name]
        return centre + rotation @ base, rotation @ frame

    def touching(self, name: str, other: int) -> bool:
        """Whether the object touches a body (another object's, `gripper` or `table`)."""
        return bool(p.getContactPoints(self.bodies[name], other, physicsClientId=self.client))

    def gap(self, a: str, b: str, reach: float) -> float:
        """Closest distance between two objects in m; inf when it is more than `reach`."""
        near = p.getClosestPoints(
            self.bodies[a], self.bodies[b], reach, physicsClientId=self.client
        )
        return min((q[8] for q in near), default=math.inf)

    def extent(self, name: str, direction: np.ndarray, height: float) -> float:
        """How far (m) the object reaches from its base centre along a horizontal unit vector [2].

        Measured by a ray from outside at `height` m above the table; falls back on the radius of
        the footprint where the ray passes over or under the object.
        """
        at = self.position(name)[:2]
        radius = self.catalogue[name].radius
        start = at + direction * (radius + 0.05)
        hit = p.rayTest(
            [*start, height], [*(at - direction * 0.01), height], physicsClientId=self.client
        )[0]
        if hit[0] != self.bodies[name]:
            return radius
        return float((np.asarray(hit[3][:2]) - at) @ direction)

    def holding(self, name: str) -> bool:
        """Both pads touch the object."""
        body, g, c = self.bodies[name], self.gripper, self.client
        left = p.getContactPoints(g, body, linkIndexA=_LEFT, physicsClientId=c)
        right = p.getContactPoints(g, body, linkIndexA=_RIGHT, physicsClientId=c)
        return bool(left) and bool(right)
