"""Where cameras see points of the world, against poses worked by hand, and back."""

import dataclasses
import math

import jax.numpy as jnp
import numpy as np
import pytest
from specs import ABOVE, table, view_of

from mili_jax.domains.kitchen.spec import CAMERAS, spec
from mili_jax.policy.view import FAR, View, grid, views_of
from mili_jax.spec import Camera
from mili_jax.types import ConfigError

# In front of the table, 1 m high, looking down at its middle by 45 degrees; its picture has
# 100 x 100 pixels and sees 90 degrees.
S = math.sqrt(0.5)
TURN = ((1.0, 0.0, 0.0), (0.0, -S, -S), (0.0, S, -S))  # rows: right, down, ahead
PLACE = (0.0, 0.0, math.sqrt(2))  # minus TURN times (0, -1, 1)
LENS = ((50.0, 0.0, 50.0), (0.0, 50.0, 50.0), (0.0, 0.0, 1.0))
FRONT = Camera.calibrated("front", LENS, TURN, PLACE, 100, 100)


def random_camera(seed: int, name: str = "any") -> Camera:
    """Somewhere above the table, looking at it, turned about its axis by any angle."""
    rng = np.random.default_rng(seed)
    eye = np.array([*rng.uniform(-0.6, 0.6, 2), rng.uniform(0.5, 1.5)])
    ahead = np.array([*rng.uniform(-0.1, 0.1, 2), 0.0]) - eye
    ahead /= np.linalg.norm(ahead)
    right = np.cross(ahead, rng.normal(size=3))
    right /= np.linalg.norm(right)
    rotation = np.stack([right, np.cross(ahead, right), ahead])
    lens = [[60.0, 0.0, 33.0], [0.0, 64.0, 30.0], [0.0, 0.0, 1.0]]
    return Camera.calibrated(name, lens, rotation, -rotation @ eye, 64, 60)


VIEWS = {
    "above": view_of(table()),
    "front": view_of(table(cameras=(FRONT,))),
    "top": view_of(spec(32)),
    "oblique": view_of(spec(32, ["oblique"])),
    **{f"random {i}": view_of(table(cameras=(random_camera(i),))) for i in range(4)},
}
every_view = pytest.mark.parametrize("view", VIEWS.values(), ids=VIEWS)


def test_straight_down_by_hand() -> None:
    # At half the camera's height everything looks twice as far from the middle.
    view = VIEWS["above"]
    points = np.array([[0.25, -0.25, 0.0], [0.1, 0.05, 0.0], [0.1, 0.05, 0.5]])
    np.testing.assert_allclose(view.project(points), [[1, -1], [0.4, 0.2], [0.8, 0.4]], atol=1e-6)
    np.testing.assert_allclose(view.on_table(points)[2], [0.2, 0.1], atol=1e-6)
    np.testing.assert_allclose(view.seen_at(points[:, :2]), view.project(points * [1, 1, 0]))
    cells = view.cells(2, 4)
    np.testing.assert_allclose(cells[0], [-0.1875, 0.125], atol=1e-6)
    np.testing.assert_allclose(cells[-1], [0.1875, -0.125], atol=1e-6)


def test_from_the_front_by_hand() -> None:
    view = VIEWS["front"]
    # The middle of the table is the middle of the picture, sqrt(2) m away. A step to the right is
    # seen as its angle; one away from the camera leads up, as tan of the angle between the rays:
    # (1.1 - 1) / (1.1 + 1). So does one upwards: (1 - 0.9) / (1 + 0.9).
    points = np.array([[0, 0, 0], [0.1, 0, 0], [0, 0.1, 0], [0, 0, 0.1]])
    wanted = [[0, 0], [0.1 / math.sqrt(2), 0], [0, 0.1 / 2.1], [0, 0.1 / 1.9]]
    np.testing.assert_allclose(view.project(points), wanted, atol=1e-6)
    # Of the ray from 1 m high through (0, 0.1) what is 0.1 m high has gone nine tenths of the way.
    behind = np.array([[0.0, 0.1], [0.3, 0.0]])
    found = view.at_height(behind, np.array([0.1, 0.5]))
    np.testing.assert_allclose(found, [[0, 0.9 * 0.1 - 0.1], [0.15, -0.5]], atol=1e-6)


@every_view
def test_what_is_seen_on_the_table_is_there(view: View) -> None:
    place = np.random.default_rng(0).uniform(-0.25, 0.25, (50, 2)).astype(np.float32)
    np.testing.assert_allclose(view.ground(view.seen_at(place)), place, atol=2e-5)
    uv = np.random.default_rng(1).uniform(-0.25, 0.25, (50, 2)).astype(np.float32)
    there = np.asarray(view.ground(uv))
    near = (np.abs(there) < FAR * view.reach - 1e-3).all(-1)
    assert near.sum() > 25
    np.testing.assert_allclose(view.seen_at(there)[near], uv[near], atol=2e-5)
    np.testing.assert_allclose(view.cells(3, 5), view.ground(grid(3, 5)), atol=1e-6)


@every_view
def test_a_point_hides_the_place_that_is_on_its_ray(view: View) -> None:
    rng = np.random.default_rng(2)
    place, height = rng.uniform(-0.2, 0.2, (20, 2)), rng.uniform(-0.05, 0.3, 20)
    over = np.concatenate([view.at_height(place, height), height[:, None]], -1)
    np.testing.assert_allclose(view.project(over), view.seen_at(place), atol=2e-5)
    np.testing.assert_allclose(view.on_table(over), place, atol=2e-5)


def test_beyond_the_horizon_lies_what_is_far_away() -> None:
    # The horizon of a camera that looks down at 45 degrees and sees as far up: its upper border.
    view = VIEWS["front"]
    far = FAR * view.reach
    found = np.asarray(view.ground(np.array([[0.0, 0.99], [0.0, 1.2], [0.5, 1.0], [-0.5, 3.0]])))
    np.testing.assert_allclose(found, [[0, far], [0, far], [far, far], [-far, far]], atol=1e-4)
    assert np.isfinite(view.cells(64, 64)).all()


def test_what_is_behind_a_camera_is_seen_somewhere_finite() -> None:
    for view in VIEWS.values():
        for point in ([0, 0, 3.0], [0, -3.0, 1.0], [0.0, 0.0, 1.0], [0, -1.0, 1.0]):
            assert np.isfinite(view.project(np.array(point))).all()


@every_view
def test_a_matrix_means_the_same_at_any_scale(view: View) -> None:
    points = np.random.default_rng(3).uniform([-0.3, -0.3, 0], [0.3, 0.3, 0.4], (20, 3))
    for scale in (1e-3, 1e3):
        other = view.replace(matrix=view.matrix * scale)
        np.testing.assert_allclose(
            other.project(points), view.project(points), rtol=1e-4, atol=1e-5
        )
        np.testing.assert_allclose(other.cells(4, 4), view.cells(4, 4), atol=1e-4)
        high = np.full(20, 0.1)
        found = other.at_height(points[:, :2], high)
        np.testing.assert_allclose(found, view.at_height(points[:, :2], high), atol=1e-4)


def test_any_leading_axes_and_both_kinds_of_arrays() -> None:
    points = np.random.default_rng(4).uniform(-0.2, 0.2, (2, 3, 4, 3)).astype(np.float32)
    for view in VIEWS.values():
        flat = view.project(points.reshape(-1, 3)).reshape(2, 3, 4, 2)
        np.testing.assert_allclose(view.project(jnp.asarray(points)), flat, atol=1e-6)
        assert view.ground(points[..., :2]).shape == (2, 3, 4, 2)


def test_of_which_cameras_there_is_a_view() -> None:
    moving = Camera("hand", ABOVE.matrix, mount="tool")
    views = views_of(table(cameras=(ABOVE, Camera("side"), moving)))
    assert [view is not None for view in views] == [True, False, False]
    assert views[0].reach == 0.25
    learned = views_of(table(cameras=(Camera("side"), ABOVE)), jnp.eye(3, 4))
    np.testing.assert_array_equal(learned[0].matrix, np.eye(3, 4))
    np.testing.assert_array_equal(learned[1].matrix, np.asarray(ABOVE.matrix, np.float32))
    assert views_of(dataclasses.replace(table(), tool=None)) == (None,)


def test_a_calibrated_camera_is_the_same_by_matrix_and_by_hand() -> None:
    # `straight_down` of the same pin-hole in other words: looking down, right is +x, up is +y.
    lens = [[100.0, 0, 25.0], [0, 100.0, 25.0], [0, 0, 1]]
    turn = [[1, 0, 0], [0, -1, 0], [0, 0, -1]]
    same = Camera.calibrated("above", lens, turn, (0, 0, 1.0), 50, 50)
    np.testing.assert_allclose(same.matrix, ABOVE.matrix, atol=1e-12)
    with pytest.raises(ConfigError, match="'above': its rotation is not orthonormal"):
        Camera.calibrated("above", lens, np.diag([1, 1, -1.0]), (0, 0, 1.0), 50, 50)
    with pytest.raises(ConfigError, match="'above': its intrinsics must be 3 x 3 finite numbers"):
        Camera.calibrated("above", lens[:2], turn, (0, 0, 1.0), 50, 50)


GOOD = np.asarray(FRONT.matrix)


@pytest.mark.parametrize(
    ("matrix", "message"),
    [
        (np.where(np.arange(12).reshape(3, 4) == 5, np.nan, GOOD), "3 x 4 finite numbers"),
        (np.where(np.arange(12).reshape(3, 4) == 5, np.inf, GOOD), "3 x 4 finite numbers"),
        (GOOD[:, :3], "3 x 4 finite numbers"),
        (np.stack([GOOD[0], GOOD[0], GOOD[2]]), "singular"),
        (np.zeros((3, 4)), "singular"),
        (np.column_stack([GOOD[:, :3], [0, 0, 0]]), "lies in the plane z = 0"),
        (np.column_stack([GOOD[:, :3], GOOD[:, :3] @ [0.3, 0.1, 0]]), "lies in the plane z = 0"),
    ],
)
def test_matrices_that_see_no_table_are_refused(matrix: np.ndarray, message: str) -> None:
    rows = tuple(tuple(map(float, row)) for row in matrix)
    with pytest.raises(ConfigError, match=f"camera 'bad'.*{message}"):
        Camera("bad", rows)
    if "plane" in message:  # which is nothing to a camera that moves
        Camera("bad", rows, mount="tool")


@pytest.mark.parametrize(
    ("given", "message"),
    [({"view": 0.0}, "positive"), ({"height": -1.0}, "positive"), ({"view": math.nan}, "positive")],
)
def test_lengths_of_a_camera_are_positive(given: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Camera.straight_down("above", **{"view": 0.25, "height": 1.0, **given})


def test_the_kitchens_cameras_look_at_its_table() -> None:
    for name in ("top", "oblique"):
        middle = view_of(spec(32, [name])).project(np.zeros(3))
        assert np.abs(middle).max() < 0.1 and CAMERAS[name].mount == "world"
    assert CAMERAS["wrist"].mount == "tool"
