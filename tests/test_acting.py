"""Acting: what is remembered until when, and which observations are refused."""

from __future__ import annotations

import functools

import flax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from specs import ABOVE, NOWHERE, TOOL, arm, numbers, pictures, poses, table

from mili_jax.learning import acting
from mili_jax.policy.policy import Policy, init_params
from mili_jax.types import DataError

SMALL = {"embedding_size": 12, "channels": 8, "blocks": 1}


def test_acting_remembers_the_first_place_until_the_tool_was_down_and_what_the_fingers_did() -> (
    None
):
    @flax.struct.dataclass
    class Answer:
        """Acts by saying what share of the earlier pictures it was asked to remember, what its
        fingers feel, and where to send them."""

        focus: jax.Array
        felt: jax.Array

        def mode(self) -> jax.Array:
            sent = jnp.full((2, 3), 0.25)
            return jnp.concatenate([self.focus[:, :, 0], self.felt, sent], 1)

    def respond(context: None, image: jax.Array, pose: jax.Array, memory: tuple) -> Answer:
        return Answer(jnp.zeros((2, 2, 1)) if memory is None else memory[1], pose[:, 7:])

    policy = Policy(table(), **SMALL)
    act = acting.make_player(respond, policy, 0.0, (0.8, 0.5))(None, 0)
    heights = [(0.15, 0.15), (0.15, 0.15), (TOOL.down - 0.01, 0.15), (0.15, 0.15)]
    image = pictures(policy.spec, 0, 2)
    seen = []
    for h, finger in zip(heights, (1.0, 0.5, 0.5, 0.5), strict=True):
        pose = np.outer(h, np.arange(7) == 2) + finger * (np.arange(7) == 6)
        seen.append(act(image, pose.astype(np.float32)))
    remembers = [[[0, 0]] * 2, [[0.8, 0.5]] * 2, [[0, 0.5], [0.8, 0.5]], [[0, 0.5], [0.8, 0.5]]]
    np.testing.assert_allclose(np.array(seen)[..., :2], remembers, atol=1e-6)
    # Sent to a quarter open at every step; they close once, and are then held.
    felt = [[[0, 0]] * 2, [[0.25, -0.5]] * 2, [[0.25, 0]] * 2, [[0.25, 0]] * 2]
    np.testing.assert_allclose(np.array(seen)[..., 2:4], felt, atol=1e-6)


def test_a_head_without_places_remembers_nothing() -> None:
    @flax.struct.dataclass
    class Plain:
        action: jax.Array

        def mode(self) -> jax.Array:
            return self.action

    asked = []

    def respond(context: None, image: jax.Array, pose: jax.Array, memory: tuple | None) -> Plain:
        asked.append(memory)
        return Plain(pose[:, :4])

    policy = Policy(arm(), "images_only", "mse", **SMALL)
    act = acting.make_player(respond, policy, 0.0, (0.8, 0.5))(None, 0)
    pose = numbers(policy.spec.pose, 0, 2)
    for _ in range(3):
        np.testing.assert_array_equal(act(pictures(policy.spec, 0, 2), pose), pose)
    assert asked and set(asked) == {None}


ROBOTS = {
    "table": Policy(table(), **SMALL),
    "two cameras": Policy(table(32, (ABOVE, NOWHERE)), "images_only", "mse", **SMALL),
    "arm": Policy(arm(), "images_only", "mse", **SMALL),
}


@functools.cache
def start(robot: str):
    policy = ROBOTS[robot]
    params = init_params(policy, jax.random.key(0))
    return acting.make_act(policy)(params, np.zeros((2, 12), np.float32))


def observation(robot: str) -> tuple[np.ndarray, np.ndarray]:
    spec = ROBOTS[robot].spec
    pose = poses(1, 2) if spec.tool is not None else numbers(spec.pose, 1, 2)
    return pictures(spec, 0, 2), pose


@pytest.mark.parametrize("robot", ROBOTS)
def test_what_a_robot_cannot_see_is_refused(robot: str) -> None:
    act, (image, pose) = start(robot), observation(robot)
    first = act(image, pose)
    assert first.dtype == np.float32 and first.shape == (2, len(ROBOTS[robot].spec.action))
    name = ROBOTS[robot].spec.pose.names[2]
    bad = pose.copy()
    bad[1, 2] = np.nan
    endless = pose.copy()
    endless[0, 2] = np.inf
    for wrong, message in (
        ((image / np.float32(255), pose), "pictures are float32.*wants uint8"),
        ((image.astype(np.int32), pose), "pictures are int32"),
        ((image[..., :2], pose), r"pictures are uint8.*wants uint8 \(2, "),
        ((image.swapaxes(-3, -1), pose), "pictures are"),
        ((image[:1], pose), "pictures are"),
        ((image[:, None], pose), "pictures are"),
        ((image, pose[:, :-1]), f"poses are float32.*{name}"),
        ((image, pose.astype(np.int32)), "poses are int32"),
        ((image, pose[0]), "acting: the poses are"),
        ((image, pose[0, 0]), "acting: the poses are"),
        ((image, bad), f"'{name}' of robot 1 is nan"),
        ((image, endless), f"'{name}' of robot 0 is inf"),
    ):
        with pytest.raises(DataError, match=message):
            act(*wrong)
    # What was refused left no trace.
    again = start(robot)
    np.testing.assert_array_equal(act(image, pose).shape, again(image, pose).shape)


def test_refused_observations_are_not_remembered() -> None:
    policy = ROBOTS["table"]
    params = init_params(policy, jax.random.key(0))
    begin = acting.make_act(policy)
    image, pose = observation("table")
    z = np.asarray(jax.random.normal(jax.random.key(1), (2, 12)))
    plain, disturbed = begin(params, z), begin(params, z)
    for _ in range(2):
        with pytest.raises(DataError):
            disturbed(image, np.full_like(pose, np.nan))
        np.testing.assert_array_equal(plain(image, pose), disturbed(image, pose))


def test_float64_poses_act_as_their_float32() -> None:
    act, (image, pose) = start("arm"), observation("arm")
    np.testing.assert_array_equal(act(image, pose.astype(np.float64)), act(image, pose))
