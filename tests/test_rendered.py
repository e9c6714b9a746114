"""Cameras and symmetries against the renderer: what is computed is what is drawn."""

from __future__ import annotations

import dataclasses
import itertools
import math

import jax.numpy as jnp
import numpy as np
import pybullet as p
import pytest

from mili_jax.domains.kitchen.spec import CAMERAS, TOOL, spec
from mili_jax.domains.kitchen.viewpoints import VIEWPOINTS
from mili_jax.domains.kitchen.world import Scene, World
from mili_jax.learning.symmetry import (
    DIHEDRAL,
    PITCH,
    can_shift,
    mirrored_tilt,
    symmetries,
    transform_image,
    transform_pose,
)
from mili_jax.policy.view import View, grid, views_of

SIZE = 128
COLOURS = ([1, 0.1, 0.1, 1], [0.1, 0.8, 0.1, 1], [0.1, 0.2, 1, 1], [1, 0.9, 0.1, 1])
ASIDE = (0.2, 0.2, 0.28, 0.0, 0.0, 0.0, 1.0)  # of the tool, where it hides little


@pytest.fixture(scope="module")
def world():
    made = World()
    yield made
    made.close()


def draw(world: World, shape: int, where, colour=COLOURS[0], yaw: float = 0.0, **size) -> None:
    """Something to be seen, which weighs and touches nothing."""
    look = p.createVisualShape(
        shape, rgbaColor=colour, specularColor=[0, 0, 0], physicsClientId=world.client, **size
    )
    turn = p.getQuaternionFromEuler([0, 0, yaw])
    p.createMultiBody(0, -1, look, list(where), turn, physicsClientId=world.client)


def rotation(roll: float, pitch: float, yaw: float) -> np.ndarray:
    turn = p.getQuaternionFromEuler([roll, pitch, yaw])
    return np.array(p.getMatrixFromQuaternion(turn)).reshape(3, 3)


def centroid(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Where two pictures differ, in uv."""
    differs = np.abs(after.astype(int) - before).sum(-1) > 60
    assert differs.sum() >= 4
    return grid(SIZE, SIZE)[differs.ravel()].mean(0)


def view(camera: str) -> View:
    return View(jnp.asarray(CAMERAS[camera].matrix, jnp.float32), TOOL.reach)


def seen_by(camera: str, point: np.ndarray, tool: tuple[float, ...]) -> np.ndarray:
    """Where the network's camera sees a point of the world (m), through the tool's pose if it moves
    with that."""
    if CAMERAS[camera].mount == "tool":
        point = rotation(*tool[3:6]).T @ (point - tool[:3])
    return np.asarray(view(camera).project(point.astype(np.float32)))


NEAR_TOOL = (0.05, -0.04, 0.2, 0.12, -0.2, 0.9, 1.0)
POINTS = [(0.0, 0.0, 0.01), (0.12, -0.1, 0.01), (-0.15, 0.05, 0.06), (0.05, 0.12, 0.1)]
CASES = [(c, ASIDE, np.array(q)) for c in ("top", "oblique") for q in POINTS]
CASES += [  # in the frame of the tool, below and beside its fingers
    ("wrist", NEAR_TOOL, rotation(*NEAR_TOOL[3:6]) @ np.array(q) + NEAR_TOOL[:3])
    for q in [(0.03, -0.03, -0.03), (-0.03, 0.05, -0.05), (0.0, -0.035, 0.02), (0.06, 0.04, -0.1)]
]


@pytest.mark.parametrize(("camera", "tool", "point"), CASES)
def test_a_point_is_drawn_where_networks_expect_it(world, camera, tool, point) -> None:
    world.reset(Scene((), tool))
    before = world.image(SIZE, camera)
    draw(world, p.GEOM_SPHERE, point, radius=0.008)
    found = centroid(before, world.image(SIZE, camera))
    pixel = 2 / SIZE
    assert np.linalg.norm(found - seen_by(camera, point, tool)) < pixel
    assert np.abs(found).max() < 1 - 3 * pixel  # all of it was in the picture


@pytest.mark.parametrize("camera", ["top", "oblique"])
def test_a_pixel_shows_the_place_of_the_table_that_networks_expect(world, camera) -> None:
    world.reset(Scene((), ASIDE))
    before = world.image(SIZE, camera)
    cells = np.asarray(view(camera).cells(4, 4))
    for cell in (5, 6, 9, 10):
        assert np.abs(cells[cell]).max() < 0.28
        world.reset(Scene((), ASIDE))
        draw(world, p.GEOM_CYLINDER, (*cells[cell], 0.0), radius=0.012, length=0.002)
        found = centroid(before, world.image(SIZE, camera))
        np.testing.assert_allclose(found, grid(4, 4)[cell], atol=1.5 / SIZE)


@pytest.mark.parametrize("camera", ["top", "oblique"])
def test_what_hides_a_place_is_above_it(world, camera) -> None:
    world.reset(Scene((), ASIDE))
    before = world.image(SIZE, camera)
    place = np.array([[0.08, -0.11]])
    for height in (0.02, 0.12):
        over = np.asarray(view(camera).at_height(place, np.array([height])))[0]
        world.reset(Scene((), ASIDE))
        draw(world, p.GEOM_SPHERE, (*over, height), radius=0.008)
        found = centroid(before, world.image(SIZE, camera))
        np.testing.assert_allclose(found, view(camera).seen_at(place)[0], atol=2 / SIZE)


# Symmetries. The things of a world: a shape, where its middle is, its yaw, what else it has.
THINGS = [
    (p.GEOM_BOX, (0.1, -0.05, 0.02), 0.4, {"halfExtents": [0.04, 0.02, 0.02]}),
    (p.GEOM_BOX, (-0.12, 0.03, 0.05), -0.9, {"halfExtents": [0.015, 0.03, 0.05]}),
    (p.GEOM_SPHERE, (0.02, 0.13, 0.03), 0.0, {"radius": 0.03}),
    (p.GEOM_SPHERE, (-0.05, -0.14, 0.08), 0.0, {"radius": 0.02}),
]
FLAT = [
    (p.GEOM_BOX, (0.09, -0.05, 0.0), 0.4, {"halfExtents": [0.04, 0.02, 0.001]}),
    (p.GEOM_BOX, (-0.1, 0.06, 0.0), -0.9, {"halfExtents": [0.02, 0.05, 0.001]}),
    (p.GEOM_CYLINDER, (0.04, 0.1, 0.0), 0.0, {"radius": 0.03, "length": 0.002}),
    (p.GEOM_CYLINDER, (-0.07, -0.1, 0.0), 0.0, {"radius": 0.025, "length": 0.002}),
]


def pictured(world, cameras, things, tool, element=0, shift=(0.0, 0.0), gripper=True) -> np.ndarray:
    """Pictures uint8 [V,S,S,C] of the world turned or mirrored, then shifted; the tool's pose is as
    it is given."""
    world.reset(Scene((), tuple(map(float, tool))))
    if not gripper:
        p.removeBody(world.gripper, physicsClientId=world.client)
    for (shape, (x, y, z), yaw, size), colour in zip(things, COLOURS, strict=True):
        place = DIHEDRAL[element] @ [x, y] + shift
        turned = (-yaw if element >= 4 else yaw) + element % 4 * math.pi / 2
        draw(world, shape, (*place, z), colour, turned, **size)
    images = [world.image(SIZE, camera) for camera in cameras]
    most = max(image.shape[-1] for image in images)
    return np.stack([np.pad(i, ((0, 0), (0, 0), (0, most - i.shape[-1]))) for i in images])


def warped(robot, image: np.ndarray, element: int, shift=(0.0, 0.0)) -> np.ndarray:
    """The same by what training does to pictures."""
    image = image if robot.views > 1 else image[0]
    given = jnp.asarray(image[None, None]), jnp.array([element]), jnp.asarray([shift], jnp.float32)
    found = np.asarray(transform_image(*given, robot, views_of(robot))[0, 0])
    return found if robot.views > 1 else found[None]


def differing(a: np.ndarray, b: np.ndarray, inside: np.ndarray | bool = True) -> float:
    """The share of pixels of two pictures [S,S,C] (where `inside`) that differ by more than a
    shade, one of them moved by a pixel at most: the renderer draws what lies at the lower left
    corner of a pixel, and the mirror of that is another corner."""
    shares = []
    for way in itertools.product((-1, 0, 1), repeat=2):
        moved = np.roll(a, way, (0, 1)).astype(int)
        shares.append((np.abs(moved - b).max(-1) > 12)[np.broadcast_to(inside, b.shape[:2])].mean())
    return float(min(shares))


SEEN_BY = [("top",), ("oblique",), ("top", "wrist"), ("oblique", "top"), ("top_depth",)]


@pytest.mark.parametrize("cameras", SEEN_BY, ids="+".join)
def test_a_turned_or_mirrored_picture_is_that_of_the_world_so_turned(world, cameras) -> None:
    robot = spec(SIZE, cameras)
    allowed = symmetries(robot)
    assert allowed == ((0, 6) if "oblique" in cameras else tuple(range(8)))
    # Tilted, so that a mirror that leaves the wrong angle as it is would be seen.
    pose = np.array([0.05, -0.02, 0.16, 0.25, -0.15, 0.5, 0.8], np.float32)
    tilt = mirrored_tilt(robot)
    assert (tilt == PITCH) == ("wrist" in cameras)
    before = pictured(world, cameras, THINGS, pose)
    for element in allowed:
        moved = np.array(transform_pose(pose, jnp.array(element), jnp.zeros(2), tilt))
        if tilt == PITCH and element >= 4:
            moved[5] += math.pi  # which a gripper's yaw does not tell, but a camera beside it
        after = pictured(world, cameras, THINGS, moved, element)
        for name, *images in zip(
            cameras, warped(robot, before, element), after, before, strict=True
        ):
            assert differing(*images[:2]) < 0.008, (name, element)
            if element and not (name == "wrist" and element < 4):
                assert differing(*images[1:]) > 0.03, (name, element)


@pytest.mark.parametrize("cameras", [("top",), ("oblique",), ("oblique", "top")], ids="+".join)
def test_a_shifted_picture_is_that_of_flat_things_shifted(world, cameras) -> None:
    robot = spec(SIZE, cameras)
    assert can_shift(robot)
    before = pictured(world, cameras, FLAT, ASIDE, gripper=False)
    for element, shift in ((0, (0.025, -0.01)), (6, (-0.015, 0.03))):
        after = pictured(world, cameras, FLAT, ASIDE, element, shift, gripper=False)
        # The table itself stays where it is: what counts lies well within its border.
        for found, wanted, camera in zip(
            warped(robot, before, element, shift), after, robot.cameras, strict=True
        ):
            place = view(camera.name).cells(SIZE, SIZE).reshape(SIZE, SIZE, 2)
            inside = np.abs(place).max(-1) < 0.22
            assert inside.sum() > 1000
            assert differing(found, wanted, inside) < 0.012
            assert differing(before[0], wanted, inside) > 0.04


def test_a_shift_changes_nothing_for_a_camera_that_moves_with_the_tool(world) -> None:
    robot = spec(SIZE, ("top", "wrist"))
    tool = np.array([0.0, 0.0, 0.12, 0.0, 0.0, 0.3, 1.0])
    shift = np.array([0.03, -0.02])
    before = pictured(world, ("wrist",), THINGS, tool)
    moved = tool.copy()
    moved[:2] += shift
    after = pictured(world, ("wrist",), THINGS, moved, 0, shift)
    # But for the table's edge, which does not move.
    assert differing(before[0], after[0]) < 0.03
    both = pictured(world, ("top", "wrist"), THINGS, tool)
    np.testing.assert_array_equal(warped(robot, both, 0, shift)[1], before[0])


def test_what_nobody_knows_the_camera_of_is_left_alone() -> None:
    for cameras in (["top"], ["oblique", "top"]):
        robot = spec(SIZE, cameras, calibrated=False)
        assert symmetries(robot) == (0,) and not can_shift(robot)
    # A camera in the hand turns with the world, wherever it is mounted.
    first, second = spec(SIZE, ["top", "wrist"]), spec(SIZE, ["top", "wrist"], calibrated=False)
    mixed = dataclasses.replace(first, cameras=(first.cameras[0], second.cameras[1]))
    assert symmetries(mixed) == (0, 1, 2, 3) and can_shift(mixed)
    assert {VIEWPOINTS[c.name].mount for c in mixed.cameras} == {"world", "tool"}
