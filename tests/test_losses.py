"""The losses against plain loops and hand-worked numbers, jitted and not."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mili_jax.learning import losses

both_ways = pytest.mark.parametrize("wrap", [lambda f: f, jax.jit], ids=["eager", "jitted"])


def batch(seed: int, n: int = 14, z: int = 5) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    embedding = rng.normal(size=(n, z))
    embedding /= np.linalg.norm(embedding, axis=1, keepdims=True)
    return embedding.astype(np.float32), rng.integers(0, 5, n), rng.random(n) < 0.8


@both_ways
def test_imitation_is_the_mean_negative_log_likelihood(wrap) -> None:
    log_prob = jnp.array([[1.0, -2.0], [0.5, -3.5]])
    for equation in (losses.behaviour_cloning, losses.one_shot_imitation):
        loss, metrics = wrap(equation)(log_prob)
        assert float(loss) == 1.0 and float(metrics["nll"]) == 1.0


@both_ways
def test_contrastive_hand_worked(wrap) -> None:
    # H: (0,1) 2 same task; (0,2) 0.8 and (1,2) 0.4 other task.
    embedding = jnp.array([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]])
    task, mask = jnp.array([4, 4, 9]), jnp.ones(3, bool)
    loss, metrics = wrap(losses.contrastive)(embedding, task, mask)
    assert float(metrics["attract"]) == pytest.approx(2.0)
    assert float(metrics["repel"]) == pytest.approx((0.2 + 0.6) / 2, abs=1e-6)
    assert float(loss) == pytest.approx(2.4, abs=1e-6)
    # A wider margin reaches both; without row 1 there is no same-task pair.
    assert float(wrap(losses.contrastive)(embedding, task, mask, 3.0)[0]) == pytest.approx(4.4)
    loss, metrics = wrap(losses.contrastive)(embedding, task, jnp.array([True, False, True]))
    assert float(metrics["attract"]) == 0 and float(loss) == pytest.approx(0.2, abs=1e-6)


@both_ways
@pytest.mark.parametrize("seed", range(3))
def test_contrastive_against_a_loop(wrap, seed: int) -> None:
    embedding, task, mask = batch(seed)
    same, other = [], []
    for j in range(len(task)):
        for k in range(len(task)):
            if j != k and mask[j] and mask[k]:
                h = sum((float(a) - float(b)) ** 2 for a, b in zip(*embedding[[j, k]], strict=True))
                (same if task[j] == task[k] else other).append(
                    h if task[j] == task[k] else max(0.0, 1.0 - h)
                )
    expected = sum(same) / len(same) + sum(other) / len(other)
    assert float(wrap(losses.contrastive)(embedding, task, mask)[0]) == pytest.approx(
        expected, abs=1e-6
    )


@both_ways
@pytest.mark.parametrize("seed", range(3))
def test_supervised_contrastive_against_a_loop(wrap, seed: int) -> None:
    embedding, task, mask = batch(seed)
    rows = [i for i in range(len(task)) if mask[i]]
    z = embedding.astype(np.float64)
    terms = []
    for i in rows:
        positives = [p for p in rows if p != i and task[p] == task[i]]
        if positives:
            total = sum(math.exp(z[i] @ z[a] / 0.2) for a in rows if a != i)
            terms.append(
                -sum(math.log(math.exp(z[i] @ z[p] / 0.2) / total) for p in positives)
                / len(positives)
            )
    loss, _ = wrap(losses.supervised_contrastive)(embedding, task, mask, 0.2)
    assert float(loss) == pytest.approx(sum(terms) / len(terms), rel=1e-6)


@pytest.mark.parametrize("loss", [losses.contrastive, losses.supervised_contrastive])
def test_masked_rows_have_no_part_and_nothing_is_nan(loss) -> None:
    embedding, task, mask = batch(1)
    gradient = jax.grad(lambda e: loss(e, task, mask)[0])
    grads = np.asarray(gradient(jnp.asarray(embedding)))
    assert np.isfinite(grads).all() and (grads[~mask] == 0).all() and (grads[mask] != 0).any()
    changed = np.where(mask[:, None], embedding, -embedding)
    assert float(loss(changed, task, mask)[0]) == pytest.approx(
        float(loss(embedding, task, mask)[0]), abs=1e-6
    )
    nobody = jnp.zeros(len(task), bool)
    assert float(loss(embedding, task, nobody)[0]) == 0
    off = jax.grad(lambda e: loss(e, task, nobody)[0])(jnp.asarray(embedding))
    assert (np.asarray(off) == 0).all()
    # Identical embeddings, a collapsed network: still finite.
    flat = jnp.ones((len(task), 4)) / 2
    assert np.isfinite(np.asarray(jax.grad(lambda e: loss(e, task, mask)[0])(flat))).all()


@both_ways
def test_complete_adds_the_weighted_contrastive_loss(wrap) -> None:
    loss, metrics = wrap(losses.complete)(jnp.array([-1.0, -2.0]), jnp.array(0.25), 2.0)
    assert float(loss) == 2.0 == float(metrics["loss"])
    assert float(metrics["nll"]) == 1.5 and float(metrics["contrastive"]) == 0.25


@both_ways
def test_neighbours_hand_worked(wrap) -> None:
    # Nearest of 0 is 1 (partner), of 1 is 0, of 2 is 3 (stranger), of 3 is 2 (stranger).
    angle = np.radians([0, 10, 90, 80, 200])
    embedding = np.stack([np.cos(angle), np.sin(angle)], 1).astype(np.float32)
    task, mask = jnp.array([1, 1, 2, 3, 2]), jnp.array([True, True, True, True, True])
    metrics = wrap(losses.neighbours)(embedding, task, mask)
    # Row 3 has no partner; row 4's nearest is row 2, its partner.
    assert float(metrics["neighbour_accuracy"]) == pytest.approx(3 / 4)
    c = lambda i, j: math.cos(angle[i] - angle[j])  # noqa: E731
    assert float(metrics["same_cosine"]) == pytest.approx((c(0, 1) + c(2, 4)) / 2, abs=1e-6)
    apart = [(0, 2), (0, 3), (0, 4), (1, 2), (1, 3), (1, 4), (2, 3), (3, 4)]
    expected = sum(c(i, j) for i, j in apart) / len(apart)
    assert float(metrics["other_cosine"]) == pytest.approx(expected, abs=1e-6)


@both_ways
def test_pointing_is_the_likelihood_of_one_of_the_candidates_that_is_seen(wrap):
    # Two places of two candidates each: densities 2 and 4, 1 and 7.
    log_prob = jnp.log(jnp.array([[[2.0, 4.0], [1.0, 7.0]]]))
    first, second = -np.log(3.0), -np.log(4.0)
    for seen, expected in (
        ([[True, False]], first),
        ([[True, True]], (first + second) / 2),
        ([[False, False]], 0.0),
    ):
        got = wrap(losses.pointing)(log_prob, jnp.asarray(seen))
        np.testing.assert_allclose(got, expected, atol=1e-6)
