"""Eq. 3 on a batch: which losses reach which parameters, and what takes no part."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from squares import HYPER, POLICY, SPEC, squares

from mili_jax.learning import acting, objective
from mili_jax.learning.augment import augment
from mili_jax.learning.hyper import CONTRASTIVE
from mili_jax.policy.policy import init_params
from mili_jax.policy.view import views_of
from mili_jax.types import Batch, ConfigError


def size(tree: dict) -> float:
    return float(sum(jnp.abs(x).sum() for x in jax.tree.leaves(tree)))


@pytest.mark.slow
def test_gradient_reaches_the_shared_encoder_from_both_losses_and_stops_where_told() -> None:
    params = init_params(POLICY, jax.random.key(0))
    batch = jax.tree.map(jnp.asarray, squares(0, b=4, p=2))

    def gradients(**options: float) -> dict:
        hyper = dataclasses.replace(HYPER, **options)
        loss = lambda p: objective.loss_fn(POLICY, hyper, p, batch, jax.random.key(0))[0]  # noqa: E731
        return jax.jit(jax.grad(loss))(params)

    policy_only = gradients(contrastive_weight=0.0)
    blocked = gradients(contrastive_weight=0.0, embedding_gradient=0.0)
    half = gradients(contrastive_weight=0.0, embedding_gradient=0.5)
    both = gradients(embedding_gradient=0.0)
    assert size(policy_only["embedder"]) > 0 and size(policy_only["encoder"]) > 0
    assert size(blocked["embedder"]) == 0 and size(blocked["encoder"]) > 0
    ratio = jax.tree.map(lambda a, b: float(jnp.abs(2 * a - b).max()), half, policy_only)
    assert max(jax.tree.leaves(ratio["embedder"])) < 1e-3
    # The contrastive loss reaches embedder and encoder, and leaves the actor alone.
    assert size(both["embedder"]) > 0
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), both["actor"],
                 blocked["actor"])  # fmt: skip
    change = jax.tree.map(lambda a, b: a - b, both["encoder"], blocked["encoder"])
    assert size(change) > 1e-3


def test_without_condition_the_demonstration_has_no_part() -> None:
    params = init_params(POLICY, jax.random.key(0))
    hyper = dataclasses.replace(HYPER, condition=False)
    loss = jax.jit(lambda b: objective.loss_fn(POLICY, hyper, params, b, jax.random.key(0))[0])
    batch = jax.tree.map(jnp.asarray, squares(0, b=4, p=2))
    changed = batch._replace(demo_image=255 - batch.demo_image, demo_pose=batch.demo_pose + 0.1)
    assert float(loss(batch)) == float(loss(changed))
    # Every demonstration dropped is the same policy, and the same first term of the loss.
    alone = {"contrastive_weight": 0.0}
    dropped = dataclasses.replace(HYPER, demo_dropout=1.0, **alone)
    total = jax.jit(lambda b: objective.loss_fn(POLICY, dropped, params, b, jax.random.key(0))[0])
    assert float(total(batch)) == pytest.approx(float(loss(batch)), rel=1e-4)


def test_trial_pairs_stay_out_of_the_contrastive_loss() -> None:
    params = init_params(POLICY, jax.random.key(0))
    hyper = dataclasses.replace(HYPER, compared=4)
    metrics = jax.jit(lambda b: objective.loss_fn(POLICY, hyper, params, b, jax.random.key(0))[1])
    batch = jax.tree.map(jnp.asarray, squares(0, b=8, p=2))
    first = jax.tree.map(lambda x: x[:4], batch)
    assert float(metrics(batch)["contrastive"]) == pytest.approx(
        float(metrics(first)["contrastive"]), rel=1e-5
    )
    shown = batch._replace(demo_image=batch.demo_image.at[4:, 1].set(0))
    assert float(metrics(batch)["contrastive"]) == float(metrics(shown)["contrastive"])
    assert float(metrics(batch)["nll"]) != float(metrics(shown)["nll"])
    unread = batch._replace(demo_image=batch.demo_image.at[4:, 0].set(0))
    assert float(metrics(batch)["loss"]) == float(metrics(unread)["loss"])
    with pytest.raises(ConfigError, match="compared"):
        dataclasses.replace(HYPER, compared=0)


@pytest.mark.slow
def test_of_rows_that_are_not_imitated_pictures_are_found_again_and_nothing_else() -> None:
    params = init_params(POLICY, jax.random.key(0))
    batch = jax.tree.map(jnp.asarray, squares(0, b=8, p=2))
    spots = jnp.asarray(np.random.default_rng(0).uniform(-0.2, 0.2, (8, 2, 2, 2)), jnp.float32)
    hyper = dataclasses.replace(HYPER, compared=4, imitated=4, demo_dropout=0.0)

    @jax.jit
    def both(params: dict, batch: Batch) -> tuple[tuple[jax.Array, dict], dict]:
        loss = lambda p: objective.loss_fn(POLICY, hyper, p, batch, jax.random.key(0), spots)  # noqa: E731
        return jax.value_and_grad(loss, has_aux=True)(params)

    (loss, metrics), gradient = both(params, batch)
    others = batch._replace(
        action=batch.action.at[4:].add(0.3),
        pose=batch.pose.at[4:].add(0.1),
        focus=batch.focus.at[4:].add(0.1),
        demo_image=batch.demo_image.at[4:, 1].set(0),
    )
    (same, _), unmoved = both(params, others)
    assert float(same) == pytest.approx(float(loss), abs=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), gradient, unmoved)
    # Their own pictures are looked at, for recall.
    (unseen, _), _ = both(params, batch._replace(demo_image=batch.demo_image.at[4:, 0].set(0)))
    assert float(unseen) != pytest.approx(float(loss), abs=1e-4)
    first = jax.tree.map(lambda x: x[:4], batch)
    alone = dataclasses.replace(hyper, compared=None, imitated=None, recall_weight=0.0)
    only = jax.jit(lambda b: objective.loss_fn(POLICY, alone, params, b, jax.random.key(0))[1])
    wanted = only(first)
    for name in ("nll", "pointing"):
        assert float(metrics[name]) == pytest.approx(float(wanted[name]), rel=1e-4), name


def broken_off(batch: Batch, seed: int = 9) -> Batch:
    """The batch, its episodes m broken off: a picture of their own, and the way up to somewhere."""
    other = squares(seed, b=len(batch.pose), k=batch.demo_pose.shape[2])
    return batch._replace(
        truncated_image=other.demo_image[:, 0, 1:], truncated_pose=other.demo_pose[:, 0]
    )


@pytest.mark.parametrize("contrastive", CONTRASTIVE)
def test_what_is_broken_off_is_pushed_away_from_every_task(contrastive: str) -> None:
    batch = broken_off(squares(0, b=8, p=2, task=np.arange(8) % 4))
    params = init_params(POLICY, jax.random.key(0))
    hyper = dataclasses.replace(HYPER, contrastive=contrastive)
    loss = jax.jit(lambda b: objective.loss_fn(POLICY, hyper, params, b, jax.random.key(0))[1])
    embed = acting.make_embed(POLICY)
    # It begins with the first picture of the whole.
    image = np.concatenate([batch.demo_image[:, 0, :1], batch.truncated_image], 1)
    z = np.stack(
        [embed(params, batch.demo_image[:, k], batch.demo_pose[:, k]) for k in range(2)]
        + [embed(params, image, batch.truncated_pose)],
        1,
    ).astype(np.float64)
    values = []
    for group in range(2):
        rows = range(group, 8, 2)
        of = [(int(batch.task[r]), z[r, k]) for r in rows for k in range(2)]
        of += [(-1 - r, z[r, 2]) for r in rows]
        same = [(a, b) for a, (t, _) in enumerate(of) for b, (u, _) in enumerate(of) if t == u]
        same = [(a, b) for a, b in same if a != b]
        if contrastive == "hinge":
            couples = itertools.permutations(range(12), 2)
            square = {(a, b): ((of[a][1] - of[b][1]) ** 2).sum() for a, b in couples}
            values.append(
                np.mean([square[pair] for pair in same])
                + np.mean([max(0, 1 - h) for pair, h in square.items() if pair not in same])
            )
            continue
        rated = {}
        for a, b in same:
            others = [of[a][1] @ of[c][1] / hyper.temperature for c in range(12) if c != a]
            rated.setdefault(a, []).append(
                np.log(np.exp(others).sum()) - of[a][1] @ of[b][1] / hyper.temperature
            )
        assert set(rated) == set(range(8))  # nothing draws together what was broken off
        values.append(np.mean([np.mean(v) for v in rated.values()]))
    assert float(loss(batch)["contrastive"]) == pytest.approx(np.mean(values), rel=1e-4)
    whole = batch._replace(truncated_image=None, truncated_pose=None)
    without = loss(whole)
    assert float(without["contrastive"]) != float(loss(batch)["contrastive"])
    assert float(without["nll"]) == pytest.approx(float(loss(batch)["nll"]), rel=1e-6)


@pytest.mark.slow
def test_finding_again_trains_encoder_portraits_and_finder_on_every_row() -> None:
    params = init_params(POLICY, jax.random.key(0))
    batch = jax.tree.map(jnp.asarray, squares(0, b=4, p=2))
    batch, spots = augment(batch, jax.random.key(0), SPEC, views_of(SPEC), HYPER)

    def gradient(**options: float) -> Callable[[dict, Batch], dict]:
        hyper, key = dataclasses.replace(HYPER, compared=2, **options), jax.random.key(0)
        return jax.jit(jax.grad(lambda p, b: objective.loss_fn(POLICY, hyper, p, b, key, spots)[0]))

    recalling = gradient()
    on, off = recalling(params, batch), gradient(recall_weight=0.0)(params, batch)
    change = jax.tree.map(lambda a, b: a - b, on, off)

    def share(part: Callable[[dict], dict]) -> float:
        return size(part(change)) / size(part(on))

    assert share(lambda p: p["encoder"]) > 0.1
    assert share(lambda p: p["embedder"]["anchored"]["portraits"]) > 0.1
    assert share(lambda p: p["actor"]["finder"]) > 0.1
    assert share(lambda p: p["embedder"]["anchored"]["pooled"]) < 1e-6  # rounding
    assert share(lambda p: p["actor"]["mover"]) < 1e-6
    # Also on rows that no other loss reads as demonstrations.
    unread = batch._replace(demo_image=batch.demo_image.at[2:, 0].set(0))
    differs = jax.tree.map(lambda a, b: a - b, on, recalling(params, unread))
    assert size(differs["actor"]["finder"]) > 1e-3


def test_an_embedding_without_portraits_is_not_asked_to_find_again() -> None:
    policy = POLICY.clone(embedding="images_only")
    assert POLICY.recalls and not policy.recalls
    params = init_params(policy, jax.random.key(0))
    batch = jax.tree.map(jnp.asarray, squares(0, b=4, p=2))
    batch, spots = augment(batch, jax.random.key(0), SPEC, views_of(SPEC), HYPER)
    metrics = jax.eval_shape(
        lambda p: objective.loss_fn(policy, HYPER, p, batch, jax.random.key(0), spots)[1], params
    )
    assert "nll" in metrics and "recall" not in metrics
