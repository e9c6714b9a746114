"""What chooses an action: components at places, a focus with a memory, every head's inputs."""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from specs import TOOL, pictures, poses, table, view_of

from mili_jax.policy.embedding import SIZE_SCALE, SIZES, Embedding
from mili_jax.policy.features import UNIT
from mili_jax.policy.focus import CLOSE, Focus, in_hindsight
from mili_jax.policy.heads.anchored_mixture import AnchoredMixture
from mili_jax.policy.heads.mover import OFFSET
from mili_jax.policy.policy import HEADS, Policy, init_params
from mili_jax.policy.tool_mixture import ToolMixture

SPEC = table()


@pytest.mark.parametrize("head", sorted(set(HEADS) - {"path_mixture"}))  # tests/test_path.py
def test_every_head_acts_on_picture_pose_and_demonstration(head: str) -> None:
    policy = Policy(SPEC, head=head, embedding_size=6, channels=8)
    params = init_params(policy, jax.random.key(0))
    args = [pictures(SPEC, 0, 2), poses(0, 2), jnp.eye(2, 6)]

    def log_prob_of(policy: Policy):
        return jax.jit(
            lambda *a: policy.apply({"params": params}, *a, method="act").log_prob(poses(1, 2))
        )

    log_prob = log_prob_of(policy)
    base = np.asarray(log_prob(*args))
    for k, other in enumerate((pictures(SPEC, 1, 2), poses(2, 2), jnp.zeros((2, 6)))):
        changed = [other if i == k else a for i, a in enumerate(args)]
        assert np.abs(np.asarray(log_prob(*changed)) - base).max() > 1e-5
    # The same parameters serve another picture size.
    larger = policy.clone(spec=table(40, width=48))
    assert np.isfinite(log_prob_of(larger)(pictures(larger.spec, 0, 2), *args[1:])).all()


@functools.cache
def anchored_params() -> dict:
    args = inputs((0.0,) * SIZES)
    return jax.jit(AnchoredMixture(SPEC).init)(jax.random.key(0), *args)


def inputs(sizes: tuple[float, ...]) -> tuple:
    rng = np.random.default_rng(0)
    maps = jnp.asarray(rng.normal(size=(3, 5, 5, 8)), jnp.float32)
    z = rng.normal(size=(3, 6 + SIZES))
    z[:, 6:] = SIZE_SCALE * np.array(sizes)
    shown = Embedding.of(jnp.asarray(z, jnp.float32))
    return maps, jnp.asarray(poses(0, 3)), shown, view_of(SPEC)


_apply = jax.jit(AnchoredMixture(SPEC).apply)


def anchored(
    place: np.ndarray | None = None, sizes: tuple[float, ...] = (0.0,) * SIZES
) -> ToolMixture:
    """The default head's density for 3 observations, given the places [3,2,2] m or not, and what
    the demonstration says of heights and openings."""
    args = inputs(sizes)
    if place is not None:
        args += ((jnp.asarray(place[:, :, None], jnp.float32), np.ones((3, 2), bool)),)
    return _apply(anchored_params(), *args)


def test_components_are_anchored_at_the_places_beside_them_and_at_the_gripper() -> None:
    # Far from each other and from whatever the untrained head finds.
    place = np.array([[[0.2, 0.2], [0.2, -0.2]]] * 3)
    density = anchored(place)
    assert density.xy.shape == (3, 17, 2)
    way = np.array([0.0, -1.0])
    anchors = np.repeat(np.concatenate([place[0], place[0] - TOOL.beside * way]), 4, 0)
    assert (np.abs(density.xy[:, :16] - anchors) <= OFFSET + 1e-6).all()
    # What is lifted goes straight up: exactly there, and at the carrying height alone.
    np.testing.assert_allclose(density.xy[:, -1], poses(0, 3)[:, :2], atol=1e-6)
    np.testing.assert_allclose(density.z[:, -1], TOOL.lifted, atol=1e-6)


def test_the_lengths_of_a_tool_are_where_components_begin() -> None:
    """Another robot hovers, lifts and pushes otherwise."""
    tool = dataclasses.replace(TOOL, hover=0.2, lifted=0.25, beside=0.03)
    other = dataclasses.replace(SPEC, tool=tool)
    place = jnp.asarray(np.array([[[0.2, 0.2], [0.2, -0.2]]] * 3)[:, :, None], jnp.float32)
    args = *inputs((0.0,) * SIZES), (place, np.ones((3, 2), bool))
    mine, theirs = (
        jax.jit(AnchoredMixture(spec).apply)(anchored_params(), *args) for spec in (SPEC, other)
    )
    difference = np.asarray(theirs.z - mine.z)
    np.testing.assert_allclose(difference[:, -1], 0.25 - TOOL.lifted, atol=1e-6)
    # Half of each anchor's components begin where the tool hovers.
    hovering = difference[:, :16].reshape(3, 4, 2, 2)
    np.testing.assert_allclose(hovering[:, :, 0], 0.2 - TOOL.hover, atol=1e-6)
    np.testing.assert_allclose(hovering[:, :, 1], 0, atol=1e-6)
    beside = np.asarray(theirs.xy - mine.xy)[:, 8:16]
    np.testing.assert_allclose(beside, np.broadcast_to([0, -0.04], beside.shape), atol=1e-4)


def test_without_hindsight_it_acts_on_what_it_finds() -> None:
    density = anchored()
    found = np.asarray(density.focus.mode())
    given = anchored(found + 0.5 * CLOSE / math.sqrt(2))  # near enough not to be corrected
    np.testing.assert_allclose(density.xy, given.xy, atol=1e-5)
    far = anchored(found + 2 * CLOSE)
    assert np.abs(density.xy - far.xy)[:, :16].max() > CLOSE


def test_in_hindsight_the_likeliest_candidate_counts_where_something_is_seen() -> None:
    # One cell that lies at (0.1, 0): the nearest candidate is the likeliest.
    cell = jnp.zeros((1, 2, 1))
    found = Focus(cell, cell + 0.1, cell, cell + 0.02)
    candidates = jnp.array([[[[0.2, 0.0], [0.12, 0.0]], [[0.2, 0.0], [0.12, 0.0]]]])
    guess = jnp.array([[[-0.2, 0.0], [-0.2, 0.0]]])
    place = in_hindsight(found, guess, candidates, jnp.array([[True, False]]))
    np.testing.assert_allclose(place, [[[0.12, 0.0], [-0.2, 0.0]]], atol=1e-6)
    near = candidates[:, :, 0] + 0.9 * CLOSE * jnp.array([0.0, 1.0])
    kept = in_hindsight(found, near, candidates, jnp.ones((1, 2), bool))
    np.testing.assert_allclose(kept, near)


def test_the_density_of_the_places_integrates_to_one_and_its_mode_is_likely() -> None:
    focus = anchored().focus
    grid = np.linspace(-0.45, 0.45, 181)
    points = np.stack(np.meshgrid(grid, grid), -1).reshape(1, 1, -1, 2)
    points = jnp.asarray(np.broadcast_to(points, (3, 2, *points.shape[2:])), jnp.float32)
    density = np.exp(np.asarray(focus.log_prob(points), np.float64))
    np.testing.assert_allclose(density.sum(-1) * 0.005**2, 1, atol=0.01)
    at_mode = np.exp(focus.log_prob(focus.mode()[:, :, None]))[..., 0]
    assert (at_mode > np.quantile(density, 0.99, axis=-1)).all()


def test_components_begin_as_high_and_end_as_open_as_the_demonstration_shows() -> None:
    # So high some of the components begin, at the place that is touched and beside it, and where
    # it ends; raised by a demonstration, they rise with it.
    low, high = (anchored(sizes=(height, 0.0, 0.0, 0.0)) for height in (-1.6, 0.0))
    rise = np.asarray(high.z - low.z)[:, :16].reshape(3, 4, 2, 2)
    np.testing.assert_allclose(rise[:, ::2, 1], 1.6 * UNIT, atol=0.02)
    assert (np.abs(rise[:, 1::2]) < 0.02).all() and (np.abs(rise[:, :, 0]) < 0.02).all()
    # On the way up its fingers are as they are when the demonstration ends.
    ends = [anchored(sizes=(0.0, 0.0, 0.0, finger)) for finger in (-1.0, 1.0)]
    np.testing.assert_allclose(ends[1].finger[:, -1] - ends[0].finger[:, -1], 1, atol=0.1)


def test_memory_is_a_running_mean() -> None:
    a = anchored().focus
    b = jax.tree.map(lambda x: x + 1.0, a)
    log_weight = lambda f: np.asarray(jax.nn.log_softmax(f.logit, -1))  # noqa: E731
    first = a.after(jax.tree.map(jnp.zeros_like, a), jnp.zeros((3, 2, 1)))
    np.testing.assert_allclose(first.logit, log_weight(a), atol=1e-6)
    second = b.after(first, jnp.tile(jnp.array([[0.75], [0.0]]), (3, 1, 1)))
    old, new = log_weight(a), log_weight(b)
    np.testing.assert_allclose(second.x[:, 0], 0.75 * a.x[:, 0] + 0.25 * b.x[:, 0], atol=1e-6)
    np.testing.assert_allclose(second.logit[:, 0], (0.75 * old + 0.25 * new)[:, 0], atol=1e-5)
    np.testing.assert_allclose(second.x[:, 1], b.x[:, 1], atol=1e-6)  # nothing is kept of it
