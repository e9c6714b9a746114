"""It learns, acts on what it learned, and is reproducible."""

from __future__ import annotations

import dataclasses

import jax
import numpy as np
import pytest
from squares import HYPER, POLICY, squares

from mili_jax.learning import acting
from mili_jax.learning.step import TrainState, init_state, make_train_step
from mili_jax.types import ConfigError


@pytest.fixture(scope="module")
def step():
    return make_train_step(POLICY, HYPER)


@pytest.fixture(scope="module")
def learned(step):
    state = init_state(POLICY, HYPER, seed=0)
    history = []
    for k in range(HYPER.steps):
        state, metrics = step(state, squares(k), 1)
        history.append(jax.device_get(metrics))
    return state, history


def test_learns_to_go_to_the_demonstrated_colour(learned) -> None:
    state, history = learned
    early = np.mean([m["nll"] for m in history[:5]])
    late = np.mean([m["nll"] for m in history[-10:]])
    assert late < early - 3
    assert np.mean([m["neighbour_accuracy"] for m in history[-10:]]) > 0.9
    assert np.mean([m["same_cosine"] - m["other_cosine"] for m in history[-10:]]) > 0.5
    # Held-out pictures, the averaged parameters, the functions that act: a square is 9 cm wide.
    batch = squares(10_000, b=64, p=1)
    z = acting.embed_all(
        acting.make_embed(POLICY), state.average, batch.demo_image[:, 1], batch.demo_pose[:, 1], 24
    )
    start = acting.make_act(POLICY)
    wanted = batch.action[:, 0, :2]

    def error(z: np.ndarray) -> float:
        action = np.asarray(start(state.average, z)(batch.image[:, 0], batch.pose[:, 0]))
        return float(np.median(np.linalg.norm(action[:, :2] - wanted, axis=1)))

    other = np.array([np.flatnonzero(batch.task != t)[0] for t in batch.task])
    assert error(z) < 0.03
    assert error(z[other]) > 0.05  # it looks at the demonstration


def test_same_seed_same_bits(step) -> None:
    def run(seed: int) -> TrainState:
        state = init_state(POLICY, HYPER, seed=0)
        for k in range(3):
            state, _ = step(state, squares(k), seed)
        return state

    first, again, other = run(7), run(7), run(8)
    assert int(first.step) == 3
    jax.tree.map(np.testing.assert_array_equal, first, again)
    differs = jax.tree.map(lambda a, b: bool((a != b).any()), first.params, other.params)
    assert any(jax.tree.leaves(differs))


def test_warm_start_copies_the_parameters(step, learned) -> None:
    params = learned[0].average
    before = jax.tree.map(np.array, params)
    state = init_state(POLICY, HYPER, seed=5, params=params)
    state, _ = step(state, squares(0), 0)
    jax.tree.map(np.testing.assert_array_equal, params, before)
    assert int(state.step) == 1


def test_finding_again_is_learned_and_needs_no_task(learned) -> None:
    _, history = learned
    found = [m["recalled"] for m in history]
    assert np.mean(found[-20:]) > np.mean(found[:5]) + 0.1
    assert np.mean([m["recall"] for m in history[-10:]]) < np.mean(
        [m["recall"] for m in history[:5]]
    )


def test_the_average_follows_the_parameters() -> None:
    hyper = dataclasses.replace(HYPER, ema=0.5)
    step = make_train_step(POLICY, dataclasses.replace(hyper, condition=False))
    state = init_state(POLICY, hyper, seed=0)
    average = jax.tree.map(np.array, state.average)
    for k in range(2):
        state, _ = step(state, squares(k, b=4), 0)
        decay = min(0.5, (1 + k) / (10 + k))
        average = jax.tree.map(
            lambda a, p, d=decay: d * a + (1 - d) * np.asarray(p), average, state.params
        )
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), state.average, average
    )


def test_embed_all_does_not_depend_on_the_chunk(learned) -> None:
    params, batch = learned[0].average, squares(3, b=7)
    embed = acting.make_embed(POLICY)
    images, pose = batch.demo_image[:, 0], batch.demo_pose[:, 0]
    whole = acting.embed_all(embed, params, images, pose, chunk=7)
    assert whole.shape == (7, POLICY.embedding_size)
    parts = acting.embed_all(embed, params, images, pose, chunk=3)
    np.testing.assert_allclose(whole, parts, atol=1e-5)
    with pytest.raises(ConfigError, match="no episode"):
        acting.embed_all(embed, params, images[:0], pose[:0])


def test_sampled_actions_spread_about_the_mode(learned) -> None:
    params, batch = learned[0].average, squares(4, b=8)
    z = acting.make_embed(POLICY)(params, batch.demo_image[:, 1], batch.demo_pose[:, 1])
    seen = batch.image[:, 0], batch.pose[:, 0]
    mode = np.asarray(acting.make_act(POLICY)(params, z)(*seen))
    sample = acting.make_act(POLICY, temperature=0.1)
    a, again, b = (np.asarray(sample(params, z, seed)(*seen)) for seed in (0, 0, 1))
    assert (a == again).all() and (a != b).any()
    assert np.median(np.linalg.norm(a[:, :2] - mode[:, :2], axis=1)) < 0.03


def test_acting_remembers_where_the_places_lie(learned) -> None:
    params, batch = learned[0].average, squares(5, b=8, p=1)
    z = acting.make_embed(POLICY)(params, batch.demo_image[:, 1], batch.demo_pose[:, 1])
    empty, wanted = np.full_like(batch.image[:, 0], 128), batch.action[:, 0, :2]
    above = np.where(np.arange(7) == 2, 0.15, batch.pose[:, 0])

    def error(*memory: float) -> float:
        """After five pictures of the scene, of one in which all squares are hidden."""
        act = acting.make_act(POLICY, memory=memory)(params, z)
        for _ in range(5):
            act(batch.image[:, 0], above)
        return float(np.median(np.linalg.norm(act(empty, above)[:, :2] - wanted, axis=1)))

    assert error(0.9, 0.9) < 0.05
    assert error(0.0, 0.0) > 0.15
