"""An uncalibrated camera, found by what moves in its pictures."""

from __future__ import annotations

import numpy as np
import pytest

from mili_jax.domains import rollout
from mili_jax.domains.kitchen.domain import KITCHEN
from mili_jax.domains.kitchen.spec import CAMERAS, spec
from mili_jax.domains.rollout import Request
from mili_jax.learning import calibration

CORNERS = np.array([[x, y, 0.0, 1] for x in (-0.2, 0, 0.2) for y in (-0.2, 0, 0.2)])


def seen_by(matrix, points):
    point = points @ np.asarray(matrix, float).T
    return point[:, :2] / point[:, 2:]


@pytest.mark.parametrize("camera", ["top", "oblique"])
def test_points_give_the_camera_back_whatever_a_fifth_of_them_says(camera):
    rng = np.random.default_rng(0)
    points = rng.uniform([-0.2, -0.2, 0.02], [0.2, 0.2, 0.25], (400, 3))
    seen = seen_by(CAMERAS[camera].matrix, np.column_stack([points, np.ones(400)]))
    seen[::5] = rng.uniform(-1, 1, (80, 2))
    seen[7] = np.nan
    found = calibration.fit(points, seen)
    assert found.pictures == 399 and found.residual < 1e-4
    wanted = seen_by(CAMERAS[camera].matrix, CORNERS)
    np.testing.assert_allclose(seen_by(found.matrix, CORNERS), wanted, atol=1e-3)


@pytest.mark.parametrize(
    "points",
    [
        np.zeros((5, 3)),  # too few
        np.random.default_rng(0).uniform(-0.2, 0.2, (100, 3)) * [1, 1, 0],  # in a plane
        np.full((100, 3), 0.1),  # in one place
    ],
)
def test_points_that_do_not_say_where_a_camera_stands(points):
    seen = np.random.default_rng(1).uniform(-1, 1, (len(points), 2)) * 0.1
    found = calibration.fit(points, seen)
    assert found is None or found.residual > 0.01


def test_the_middle_of_what_moves_by_hand():
    image = np.zeros((5, 20, 40, 3), np.uint8)
    for t in range(5):
        image[t, 4:8, 8 * t : 8 * t + 4] = 200
    seen = calibration.seen_tool(image)
    # Columns 8 t + 1.5 of 40 and row 5.5 of 20, counted from the middles of pixels.
    np.testing.assert_allclose(seen[:, 0], (8 * np.arange(5) + 2) / 40 * 2 - 1)
    np.testing.assert_allclose(seen[:, 1], 1 - 6 / 20 * 2)
    assert np.isnan(calibration.seen_tool(np.zeros((3, 8, 8, 3), np.uint8))).all()


@pytest.mark.slow
@pytest.mark.parametrize("camera", ["top", "oblique"])
def test_demonstrations_show_where_the_kitchens_cameras_stand(camera):
    robot = spec(64, (camera,))
    env, tasks = KITCHEN.simulator.make_env(robot), KITCHEN.simulator.tasks("train")
    episodes = []
    for i in range(16):
        request = Request(str(i), tasks[i], "train", 100 * i)
        episode = rollout.demonstration(KITCHEN.simulator, env, request)
        episodes.append((episode.image, episode.pose))
    env.close()
    found = calibration.calibrate(episodes, robot.tool)
    wanted = seen_by(CAMERAS[camera].matrix, CORNERS)
    # A twelfth of the table at most, of two cells of the feature map a bit more than one.
    assert np.abs(seen_by(found.matrix, CORNERS) - wanted).max() < 0.16
    assert found.residual < 0.1
