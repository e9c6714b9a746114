"""A first camera of which nobody knows where it stands: the policy learns its matrix."""

from __future__ import annotations

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy.spatial.transform import Rotation
from specs import ABOVE, NOWHERE, TOOL, table, view_of
from squares import HYPER, POLICY, squares
from test_policy import SIDE

from mili_jax.learning import adapting, mil, objective
from mili_jax.learning.augment import augment
from mili_jax.learning.mil import MilHyper, Shown
from mili_jax.policy.policy import SHIFT, first_guess, init_params, view_with, views_with
from mili_jax.policy.view import grid
from mili_jax.spec import Camera

# Tilted by 0.2 rad, turned by 0.15, and a little nearer than the first guess.
ASIDE = Camera.calibrated(
    "aside",
    [[60.0, 0, 16], [0, 60.0, 16], [0, 0, 1]],
    Rotation.from_euler("xz", [math.pi + 0.2, 0.15]).as_matrix(),
    (0.02, -0.03, 0.9),
    32,
    32,
)
LEARNED = POLICY.clone(spec=table(32, (NOWHERE,)))
TWO = POLICY.clone(spec=table(32, (NOWHERE, SIDE)))
MEANT = {"colours": 1, "brightness": 0.0, "contrast": 0.0}


@functools.cache
def params_of(policy):
    return init_params(policy, jax.random.key(0))


def test_it_begins_above_the_table_by_hand() -> None:
    # At four times the half-width of the table, so that this fills the picture.
    wanted = Camera.straight_down("guess", TOOL.reach, 4 * TOOL.reach).matrix
    np.testing.assert_allclose(first_guess(LEARNED.spec), wanted)
    view = view_with(LEARNED, params_of(LEARNED))
    np.testing.assert_allclose(view.seen_at(np.array([0.25, -0.25])), [1, -1], atol=1e-6)
    assert params_of(LEARNED)["camera_shift"].shape == (3, 4)


def test_a_shift_moves_the_matrix_in_shares_of_its_greatest_entry() -> None:
    params = dict(params_of(LEARNED))
    params["camera_shift"] = params["camera_shift"].at[0, 3].set(2.0)
    moved = view_with(LEARNED, params).matrix - view_with(LEARNED, params_of(LEARNED)).matrix
    assert float(moved[0, 3]) == pytest.approx(2 * SHIFT * 4, rel=1e-5)
    assert int((moved != 0).sum()) == 1
    # A found camera takes the guess's place; its scale means nothing.
    found = {**params, "camera": 10 * np.asarray(ABOVE.matrix, np.float32)}
    point = np.array([0.1, 0.05, 0.1])
    still = {**found, "camera_shift": jnp.zeros((3, 4))}
    seen = view_with(LEARNED, still).project(point)
    np.testing.assert_allclose(seen, np.array([0.1, 0.05]) / 0.9 / 0.25, rtol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("policy", [
    pytest.param(LEARNED, id="alone"),
    pytest.param(TWO, id="beside another", marks=pytest.mark.long),
])  # fmt: skip
def test_gradients_reach_the_shift_and_leave_the_start(policy) -> None:
    batch = jax.tree.map(jnp.asarray, squares(0, b=4, p=2))
    if policy is TWO:
        stack = lambda x: jnp.stack([x, x], -4)  # noqa: E731
        batch = batch._replace(demo_image=stack(batch.demo_image), image=stack(batch.image))
    params = params_of(policy)
    batch, spots = augment(batch, jax.random.key(0), policy.spec, views_with(policy, params), HYPER)

    def loss(params):
        return objective.loss_fn(policy, HYPER, params, batch, jax.random.key(0), spots)[0]

    gradient = jax.jit(jax.grad(loss))(params)
    assert float(jnp.abs(gradient["camera_shift"]).max()) > 1e-3
    assert float(jnp.abs(gradient["camera"]).max()) == 0


def test_descending_on_the_shift_finds_a_camera() -> None:
    """Where cells are seen on the table says where the camera is: the matrix can go there."""
    wanted, uv = view_of(table(32, (ASIDE,))), jnp.asarray(grid(8, 8))
    params, place = params_of(LEARNED), wanted.ground(uv)
    optimizer = optax.adam(optax.cosine_decay_schedule(0.5, 400))

    def error(shift: jax.Array) -> jax.Array:
        found = view_with(LEARNED, {**params, "camera_shift": shift}).ground(uv)
        return jnp.mean(jnp.square(found - place)) / TOOL.reach**2

    @jax.jit
    def descend(shift: jax.Array) -> tuple[jax.Array, jax.Array]:
        def step(carry, _):
            shift, state = carry
            value, gradient = jax.value_and_grad(error)(shift)
            updates, state = optimizer.update(gradient, state)
            return (optax.apply_updates(shift, updates), state), value

        (shift, _), values = jax.lax.scan(step, (shift, optimizer.init(shift)), length=400)
        return shift, values

    shift, values = descend(params["camera_shift"])
    assert values[0] > 0.01 and values[-1] < 0.01 * values[0]
    found = view_with(LEARNED, {**params, "camera_shift": shift})
    corners = np.array([[0.15, 0.15], [-0.15, 0.15], [-0.15, -0.15], [0.15, -0.15]])
    np.testing.assert_allclose(found.seen_at(corners), wanted.seen_at(corners), atol=0.05)


@pytest.mark.long
@pytest.mark.parametrize(("policy", "adapted"), [
    pytest.param(LEARNED, "actor", id="alone"),
    pytest.param(TWO, "all", id="beside another"),
])  # fmt: skip
def test_mil_shares_where_the_cameras_are(policy, adapted) -> None:
    options = MilHyper(support="video_pose", adapted=adapted)
    params = mil.init(policy, options, jax.random.key(0))
    # Neither the camera nor what fuses adapts; both are learned.
    assert set(params["rates"]) == {"actor", "bias", *(("encoder",) if adapted == "all" else ())}
    first = squares(0, 4, 2)
    second = squares(1, 4, 2, task=first.task)
    batch = jax.tree.map(lambda *two: jnp.asarray(np.concatenate(two)), first, second)
    if policy is TWO:
        stack = lambda x: jnp.stack([x, x], -4)  # noqa: E731
        batch = batch._replace(demo_image=stack(batch.demo_image), image=stack(batch.image))

    def loss(params):
        return mil.loss_fn(policy, HYPER, options, params, batch)[0]

    gradient = jax.jit(jax.grad(loss))(params)["policy"]
    assert all(bool(jnp.isfinite(g).all()) for g in jax.tree.leaves(gradient))
    shared = ("camera_shift", "fuse") if policy is TWO else ("camera_shift",)
    for name in shared:
        assert any(float(jnp.abs(g).max()) > 0 for g in jax.tree.leaves(gradient[name])), name
    # It acts, and where the camera stands makes a difference.
    rows = slice(4, None)
    shown = Shown(*(a[rows] for a in (batch.image, batch.pose, batch.action, batch.focus,
                                      batch.focus_seen)))  # fmt: skip
    act = adapting.make_act(policy, HYPER, options, temperature=1.0)  # a mode may stay as it is
    seen = np.asarray(batch.image[:4, 0]), np.asarray(batch.pose[:4, 0])
    actions = []
    for shift in (0.0, 3.0):
        moved = {**params["policy"], "camera_shift": jnp.full((3, 4), shift)}
        start = act({**params, "policy": moved}, shown, np.ones(4, bool))
        actions.append([start(*seen) for _ in range(2)][-1])
    assert actions[0].shape == (4, 7) and np.isfinite(actions).all()
    assert np.abs(actions[0] - actions[1]).max() > 1e-4


def test_nothing_is_turned_or_shifted_where_nobody_knows_what_is_seen() -> None:
    batch = jax.tree.map(jnp.asarray, squares(0, b=4, p=2))
    hyper = HYPER.__class__(**{**vars(HYPER), **MEANT, "colours": 0})
    params = params_of(LEARNED)
    new, spots = augment(batch, jax.random.key(0), LEARNED.spec, views_with(LEARNED, params), hyper)
    jax.tree.map(np.testing.assert_array_equal, new, batch)
    np.testing.assert_array_equal(
        spots[:, 0], spots[:, 1]
    )  # which it is asked to find all the same
