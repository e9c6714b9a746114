"""A head and an embedding that follow a demonstrated path: what z says, and where it leads now."""

from __future__ import annotations

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mili_jax.policy.path import POINTS, Path, moved
from mili_jax.policy.policy import Policy, check, init_params
from mili_jax.spec import Camera, Field, Layout, Spec
from mili_jax.types import ConfigError

XYZ = tuple(Field(name, "m", -0.5, 0.5) for name in "xyz")
GRIP = Field("grip", "1", -1.0, 1.0)
SENT = tuple(dataclasses.replace(f, name=f"to_{f.name}") for f in (*XYZ, GRIP))
POSE = Layout((*XYZ, Field("opening", "1", 0.0, 1.0), Field("clock", "s", 0.0, 4.0), *SENT))
ABOVE = Camera.straight_down("above", view=0.5, height=2.0)
SPEC = Spec(POSE, Layout((*XYZ, GRIP)), 32, 32, (ABOVE,))
CHANNELS = 8
SIZE = Path.rest(CHANNELS, POSE) + 8
STEP = 0.0625  # s


@functools.cache
def policy() -> tuple[Policy, dict]:
    made = Policy(SPEC, "path_anchored", "path_mixture", SIZE, CHANNELS, 1)
    return made, init_params(made, jax.random.key(0))


def demonstration(n: int = 2) -> tuple[np.ndarray, np.ndarray]:
    """Pictures [n,2,...] and poses of a hand that goes straight to the right, touches in the middle
    and was sent a centimetre ahead."""
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (n, 2, *SPEC.picture), np.uint8)
    way = np.linspace(-0.2, 0.2, POINTS)
    pose = np.zeros((POINTS, len(POSE)), np.float32)
    pose[:, 0], pose[:, 5] = way, way + 0.01
    pose[:, 4] = np.arange(POINTS) * STEP
    pose[:, 8] = np.where(np.arange(POINTS) < POINTS // 2, -1, 1)
    along = np.concatenate([pose[[POINTS // 2, -1]], pose])
    return image, np.repeat(along[None], n, 0)


def embedded() -> tuple[jax.Array, np.ndarray]:
    made, params = policy()
    image, pose = demonstration()
    return made.apply({"params": params}, image, pose, method="embed"), pose


def test_a_z_says_the_path_and_is_a_unit_vector() -> None:
    z, pose = embedded()
    np.testing.assert_allclose(jnp.linalg.norm(z, axis=-1), 1, atol=1e-5)
    path = Path.of(z, CHANNELS, POSE)
    np.testing.assert_allclose(path.key, pose[:, :2], atol=1e-4)
    np.testing.assert_allclose(path.points, pose[:, 2:], atol=1e-4)
    np.testing.assert_allclose(jnp.linalg.norm(path.portraits, axis=(-1, -2)), 1, atol=1e-4)
    assert path.known.tolist() == [1, 1]
    nothing = Path.of(0 * z, CHANNELS, POSE)
    assert nothing.known.tolist() == [0, 0] and np.isfinite(nothing.points).all()


def test_a_path_moves_with_its_two_places() -> None:
    """By the first up to the touch, and by the second at the end; half-way by half of both."""
    z, _ = embedded()
    path = Path.of(z, CHANNELS, POSE)
    shift = np.broadcast_to([[[0.1, 0.0, 0.0], [0.0, 0.2, 0.04]]], (2, 2, 3))
    by = np.asarray(moved(path, jnp.asarray(shift), POSE) - path.points)
    touch = POINTS // 2
    np.testing.assert_allclose(by[:, : touch + 1, :3], np.full((2, touch + 1, 3), [0.1, 0, 0]))
    np.testing.assert_allclose(by[:, -1, :3], [[0, 0.2, 0.04]] * 2, atol=1e-6)
    share = 3 / (POINTS - 1 - touch)
    np.testing.assert_allclose(by[0, touch + 3, :3], [0.1 * (1 - share), 0.2 * share, 0.04 * share])
    np.testing.assert_allclose(by[..., 5:8], by[..., :3], atol=1e-6)
    np.testing.assert_allclose(by[..., [3, 4, 8]], 0, atol=1e-6)


def test_it_does_what_the_demonstration_was_sent_about_then() -> None:
    """Whatever it has learned, an action lies near where the moved demonstration was sent a little
    earlier or later; with places given in hindsight it is moved to these."""
    made, params = policy()
    z, demo = embedded()
    rng = np.random.default_rng(1)
    image = rng.integers(0, 256, (2, *SPEC.picture), np.uint8)
    pose = demo[:, 2 + 6]
    place = np.array([[[0.1, 0.1], [0.3, 0.1]]] * 2, np.float32)  # off by (0.1, 0.1) both
    hindsight = jnp.asarray(place[:, :, None]), jnp.ones((2, 2), bool)
    maps = made.apply({"params": params}, image, method="encode")
    density = made.apply({"params": params}, maps, pose, z, hindsight, method="act_maps")
    action = np.asarray(density.mode())
    sent = demo[0, 2:, 5:9]
    near = np.abs(action[:, None, 0] - sent[6 - 4 : 6 + 4, 0] - (place[0, 0, 0] - demo[0, 0, 0]))
    assert near.min(1).max() < 0.03
    np.testing.assert_allclose(action[:, 1], place[0, 0, 1] - demo[0, 0, 1], atol=0.03)
    assert np.isfinite(density.log_prob(jnp.asarray(action))).all()


@pytest.mark.parametrize(
    "spec, message",
    [
        (dataclasses.replace(SPEC, cameras=(Camera("nowhere"),)), "nobody says where it stands"),
        (dataclasses.replace(SPEC, pose=Layout(POSE.fields[:4])), "must have 'clock'"),
        (dataclasses.replace(SPEC, delta=True), "absolute"),
    ],
)
def test_a_robot_that_it_cannot_follow_is_refused(spec, message) -> None:
    for embedding, head in (("path_anchored", "mse"), ("images_only", "path_mixture")):
        with pytest.raises(ConfigError, match=message):
            check(spec, embedding, head)


def test_a_z_without_room_is_refused() -> None:
    made = Policy(SPEC, "path_anchored", "path_mixture", 40, CHANNELS, 1)
    with pytest.raises(ConfigError, match="embedding_size = 40"):
        init_params(made, jax.random.key(0))
