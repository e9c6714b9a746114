"""Symmetries of the table: pixels, poses and the camera agree."""

from __future__ import annotations

import dataclasses
import itertools
import math

import jax.numpy as jnp
import numpy as np
import pytest
from specs import ABOVE, NOWHERE, TOOL, arm, table, view_of

from mili_jax.learning.symmetry import (
    DIHEDRAL,
    PITCH,
    ROLL,
    can_shift,
    mirrored_tilt,
    symmetries,
    transform_image,
    transform_pose,
)
from mili_jax.policy.view import views_of
from mili_jax.spec import Camera, Spec

SIZE = 32
SPEC = table(SIZE)
PIXEL = 2 * TOOL.reach / SIZE  # m at table height


def moved(spec: Spec, image: np.ndarray, element, shift) -> np.ndarray:
    args = jnp.asarray(image), jnp.asarray(element), jnp.asarray(shift, jnp.float32)
    return np.asarray(transform_image(*args, spec, views_of(spec)))


def bright_place(image: np.ndarray) -> np.ndarray:
    """uv of the single brightest pixel's centre."""
    height, width = image.shape[:2]
    row, column = np.unravel_index(image.sum(-1).argmax(), (height, width))
    return np.array([(column + 0.5) / width * 2 - 1, 1 - (row + 0.5) / height * 2])


def test_the_symmetries_are_eight() -> None:
    assert len({tuple(m.ravel()) for m in DIHEDRAL}) == 8
    for matrix in DIHEDRAL:
        assert (matrix @ matrix.T == np.eye(2)).all()


@pytest.mark.parametrize("element", range(8))
def test_pixels_and_poses_move_together(element: int) -> None:
    rng = np.random.default_rng(element)
    shift = rng.integers(-2, 3, (4, 2)) * PIXEL
    image = np.zeros((4, 2, SIZE, SIZE, 3), np.uint8)
    pose = np.zeros((4, 2, 7), np.float32)
    for e, f in itertools.product(range(4), range(2)):
        row, column = rng.integers(4, SIZE - 4, 2)
        image[e, f, row, column] = 255
        pose[e, f, :2] = bright_place(image[e, f]) * TOOL.reach
    elements = jnp.full(4, element)
    after = moved(SPEC, image, elements, shift)
    there = transform_pose(jnp.asarray(pose), elements[:, None], shift[:, None])
    for e, f in itertools.product(range(4), range(2)):
        assert np.count_nonzero(after[e, f].max(-1)) == 1
        expected = view_of(SPEC).project(np.asarray(there)[e, f, :3])
        np.testing.assert_allclose(bright_place(after[e, f]), expected, atol=1e-5)


@pytest.mark.parametrize("element", range(8))
def test_symmetries_commute_with_the_camera_at_any_height(element: int) -> None:
    view = view_of(SPEC)
    pose = np.random.default_rng(0).uniform(-0.2, 0.2, (5, 7)).astype(np.float32)
    after = transform_pose(pose, jnp.array(element), jnp.zeros(2))
    flat = np.zeros((5, 7), np.float32)
    flat[:, :2] = view.project(pose[:, :3])
    expected = transform_pose(flat, jnp.array(element), jnp.zeros(2))[:, :2]
    np.testing.assert_allclose(view.project(after[:, :3]), expected, atol=1e-6)


def rotation(roll: float, pitch: float, yaw: float) -> np.ndarray:
    (a, b), (c, d), (e, f) = ((math.cos(t), math.sin(t)) for t in (roll, pitch, yaw))
    x = np.array([[1, 0, 0], [0, a, -b], [0, b, a]])
    y = np.array([[c, 0, d], [0, 1, 0], [-d, 0, c]])
    z = np.array([[e, -f, 0], [f, e, 0], [0, 0, 1]])
    return z @ y @ x


@pytest.mark.parametrize("tilt", [ROLL, PITCH])
@pytest.mark.parametrize("element", range(8))
def test_orientation_turns_with_the_table(element: int, tilt: int) -> None:
    # As matrices: a symmetry S of the table turns R into S R M, with M the same mirror seen from
    # the gripper if S is one. There are two such, of its y and of its x, half a turn apart.
    symmetry = np.eye(3)
    symmetry[:2, :2] = DIHEDRAL[element]
    sign = np.linalg.det(symmetry)
    mirror = np.diag([1.0, sign, 1.0] if tilt == ROLL else [sign, 1.0, 1.0])
    pose = jnp.array([0.0, 0.0, 0.0, 0.3, -0.2, 0.7, 0.5])
    after = transform_pose(pose, jnp.array(element), jnp.zeros(2), tilt)
    roll, pitch, yaw = map(float, after[3:6])
    if tilt == PITCH and element >= 4:
        yaw += math.pi  # a gripper's yaw means the same after it
    expected = symmetry @ rotation(0.3, -0.2, 0.7) @ mirror
    np.testing.assert_allclose(rotation(roll, pitch, yaw), expected, atol=1e-6)


def test_shift_repeats_the_border() -> None:
    image = np.zeros((1, 1, 16, 16, 3), np.uint8)
    image[..., :, 0, :] = 7
    after = moved(table(16), image, [0], np.array([[2, -1]]) * 2 * TOOL.reach / 16)
    assert after[0, 0, :, :, 0].tolist() == [[7, 7, 7, *[0] * 13]] * 16


def test_pictures_that_are_not_square() -> None:
    # 24 x 40 pixels of 12.5 mm: what is 0.3 m high and 0.5 m wide.
    wide = Camera("wide", ((4.0, 0, 0, 0), (0, 4 * 40 / 24, 0, 0), (0, 0, -1.0, 1.0)))
    spec = table(24, (wide,), width=40)
    assert symmetries(spec) == (0, 2, 4, 6)  # a quarter turn would not fit
    image = np.zeros((4, 1, 24, 40, 3), np.uint8)
    image[:, 0, 5, 8] = 255
    after = moved(spec, image, [0, 2, 4, 6], np.full((4, 2), 0.0125))
    # A pixel to the right and one up, after nothing, half a turn, and the two mirrors.
    places = [np.unravel_index(picture[0, ..., 0].argmax(), (24, 40)) for picture in after]
    assert [(int(r), int(c)) for r, c in places] == [(4, 9), (17, 32), (17, 9), (4, 32)]


def test_which_cameras_agree_to_what() -> None:
    aside = Camera.straight_down("aside", 0.25, 1.0)
    rows = np.array(aside.matrix)
    rows[0, 3] = 0.1  # whose middle is not that of the table
    aside = Camera("aside", tuple(map(tuple, rows)))
    hand = Camera("hand", ABOVE.matrix, mount="tool")
    for cameras, wanted, shifts in (
        ((ABOVE,), tuple(range(8)), True),
        ((ABOVE, hand), tuple(range(8)), True),
        ((aside,), (0, 4), True),  # the mirror of y
        ((ABOVE, aside), (0, 4), True),
        ((NOWHERE,), (0,), False),
        ((ABOVE, NOWHERE), (0,), False),
        ((ABOVE, Camera("hand", mount="tool")), (0, 1, 2, 3), True),
    ):
        spec = table(SIZE, cameras)
        assert symmetries(spec) == wanted and can_shift(spec) == shifts, cameras
    bare = dataclasses.replace(SPEC, tool=None)
    assert symmetries(bare) == (0,) == symmetries(arm()) and not can_shift(bare)


@pytest.mark.parametrize(
    ("eye", "wanted", "elements"),
    [
        ((0.0, -0.1), PITCH, 8),  # in front of the fingers, in the plane x = 0 of the tool
        ((0.1, 0.0), ROLL, 8),  # beside them, in the plane y = 0
        ((0.0, 0.0), ROLL, 8),  # in both
        ((0.1, -0.1), ROLL, 4),  # in neither: it sees no mirrored world
    ],
)
def test_a_mirror_turns_the_tilt_that_the_hands_camera_agrees_to(eye, wanted, elements) -> None:
    rows = np.array(Camera.straight_down("hand", 0.25, 0.3).matrix)
    rows[:, 3] -= rows[:, :2] @ eye
    spec = table(SIZE, (ABOVE, Camera("hand", tuple(map(tuple, rows)), mount="tool")))
    assert mirrored_tilt(spec) == wanted and len(symmetries(spec)) == elements
    assert mirrored_tilt(SPEC) == ROLL


def test_every_camera_of_a_set_has_its_own_way() -> None:
    hand = Camera("hand", ABOVE.matrix, mount="tool")
    spec = table(SIZE, (ABOVE, hand, Camera("side", mount="tool")))
    image = np.random.default_rng(0).integers(0, 256, (1, 2, 3, SIZE, SIZE, 3)).astype(np.uint8)
    shift = np.array([[2 * PIXEL, 0.0]])
    after = moved(spec, image, [1], shift)
    np.testing.assert_array_equal(after[:, :, 0], moved(SPEC, image[:, :, 0], [1], shift))
    np.testing.assert_array_equal(after[:, :, 1:], image[:, :, 1:])


def test_what_lies_far_off_stays_where_it_is() -> None:
    """A camera that looks over the table sees beyond it: a wall is not shifted with the table."""
    lens = [[20.0, 0, 16], [0, 20.0, 16], [0, 0, 1]]
    down = 0.2  # rad
    ahead = [0, math.cos(down), -math.sin(down)]
    turn = [[1, 0, 0], [0, -math.sin(down), -math.cos(down)], ahead]
    eye = np.array([0, -0.6, 0.3])
    camera = Camera.calibrated("low", lens, turn, -np.array(turn) @ eye, SIZE, SIZE)
    spec = table(SIZE, (camera,))
    image = np.random.default_rng(0).integers(0, 256, (1, 1, SIZE, SIZE, 3)).astype(np.uint8)
    after = moved(spec, image, [0], [[0.05, 0.02]])
    wall = 8  # rows above the horizon
    np.testing.assert_array_equal(after[0, 0, :wall], image[0, 0, :wall])
    assert (after[0, 0, 20:] != image[0, 0, 20:]).mean() > 0.5
    np.testing.assert_array_equal(moved(spec, image, [0], [[0.0, 0.0]]), image)
