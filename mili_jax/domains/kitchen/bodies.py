"""Objects as PyBullet bodies."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Sequence

import numpy as np
import pybullet
import trimesh

from mili_jax.domains.kitchen.kinds import BUTTON_CAP_MASS, BUTTON_FORCE, BUTTON_TRAVEL, KINDS
from mili_jax.domains.kitchen.objects import ObjectSpec
from mili_jax.domains.kitchen.shapes import Colour, Shape, Surface, Triple
from mili_jax.types import SimulationError

# Bodies.


@dataclasses.dataclass(frozen=True)
class _Assets:
    """What `spawn` hands to PyBullet, as lists, made once per object."""

    drawn: tuple[dict[str, object], ...]  # one createVisualShape call per colour, the base's first
    collision: dict[str, object]
    centre: Triple
    inertia: Triple
    rolling_friction: float
    cap: _Assets | None


def _drawn(surfaces: Sequence[Surface], colours: dict[str, Colour]) -> list[dict[str, object]]:
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


def _collision(shape: Shape) -> dict[str, object]:
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


def _mesh(surfaces: Sequence[Surface]) -> trimesh.Trimesh:
    offsets = np.cumsum([0, *(len(s.vertices) for s in surfaces)])
    faces = [s.faces + o for s, o in zip(surfaces, offsets, strict=False)]
    return trimesh.Trimesh(
        np.concatenate([s.vertices for s in surfaces]), np.concatenate(faces), process=False
    )


def _assets_of(shape: Shape, mass: float, colours: dict[str, Colour]) -> _Assets:
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
