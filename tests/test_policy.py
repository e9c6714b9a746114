"""A policy for any robot: with a tool or without, pictures of any shape, any cameras."""

from __future__ import annotations

import dataclasses
import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from specs import ABOVE, CHANGES, NOWHERE, POSE, arm, numbers, pictures, poses, table

from mili_jax.learning import acting
from mili_jax.learning.hyper import Hyper
from mili_jax.learning.step import init_state, make_train_step
from mili_jax.policy.densities import FixedGaussian
from mili_jax.policy.embedding import Embedding
from mili_jax.policy.policy import HEADS, Policy, check, first_guess, init_params, views_with
from mili_jax.policy.view import View
from mili_jax.spec import Camera, Layout, Spec
from mili_jax.types import Batch, ConfigError

SMALL = {"embedding_size": 12, "channels": 8, "blocks": 1}
HAND = Camera("hand", ABOVE.matrix, mount="tool")
SIDE = Camera.calibrated(
    "side",
    [[30.0, 0, 16], [0, 30.0, 16], [0, 0, 1]],
    [[0, 1, 0], [math.sqrt(0.5), 0, -math.sqrt(0.5)], [-math.sqrt(0.5), 0, -math.sqrt(0.5)]],
    (0, 0, 1.0),
    32,
    32,
)  # from the side of +x, 45 degrees above the table


def batch_of(spec: Spec, b: int = 4, p: int = 2, truncated: bool = False) -> Batch:
    """Pictures of noise and numbers within their bounds."""
    made = numbers if spec.tool is None else (lambda layout, *rest: poses(*rest))
    focus = np.random.default_rng(0).uniform(-0.2, 0.2, (b, p, 2, 3, 2)).astype(np.float32)
    return Batch(
        demo_image=pictures(spec, 0, b, 2, 2),
        demo_pose=made(spec.pose, 1, b, 2, 5),
        image=pictures(spec, 2, b, p),
        pose=made(spec.pose, 3, b, p),
        action=made(spec.action, 4, b, p),
        task=np.arange(b, dtype=np.int32) // 2,
        focus=focus if spec.tool is not None else 0 * focus,
        focus_seen=np.full((b, p, 2), spec.tool is not None),
        truncated_image=pictures(spec, 5, b, 1) if truncated else None,
        truncated_pose=made(spec.pose, 6, b, 5) if truncated else None,
    )


def trains_and_acts(policy: Policy, truncated: bool = False) -> dict[str, float]:
    """Takes a few steps on one batch, which get better, embeds and acts; returns the metrics."""
    spec = policy.spec
    batch = batch_of(spec, truncated=truncated)
    hyper = Hyper(
        steps=20, warmup=0, learning_rate=3e-3, colours=1, demo_dropout=0.0,
        dihedral=False, shift=0, brightness=0.0, contrast=0.0,
    )  # fmt: skip
    state, step = init_state(policy, hyper, 0), make_train_step(policy, hyper)
    losses = []
    for _ in range(10):
        state, metrics = step(state, batch, 0)
        losses.append(float(metrics["nll"]))
    # From step to step it may rise: the places that a head acts on are those that it finds.
    assert np.mean(losses[-3:]) < losses[0] - 0.3, losses
    assert all(np.isfinite(v) for v in map(float, metrics.values())), metrics
    params = state.average
    z = acting.make_embed(policy)(params, batch.demo_image[:, 0], batch.demo_pose[:, 0])
    act = acting.make_act(policy, temperature=1.0)(params, z)
    for _ in range(2):
        action = act(batch.image[:, 0], batch.pose[:, 0])
    assert action.shape == (4, len(spec.action)) and action.dtype == np.float32
    assert np.isfinite(action).all()
    return {name: float(value) for name, value in metrics.items()}


@pytest.mark.parametrize("head", ["discretised", "mse", "spatial_softmax_mdn"])
def test_an_arm_that_commands_changes(head: str) -> None:
    policy = Policy(arm(), "images_only", head, **SMALL)
    assert not (policy.acts_on_places or policy.recalls or policy.learns_camera)
    metrics = trains_and_acts(policy, truncated=True)
    assert 0 <= metrics["action_error"] < 1 and "xy_error_cm" not in metrics
    assert not {"pointing", "recall"} & set(metrics)


def test_an_arm_seen_by_three_cameras() -> None:
    cameras = NOWHERE, Camera("left"), Camera("hand", mount="tool")
    policy = Policy(arm(cameras=cameras), "images_only", "mse", **SMALL)
    assert policy.spec.picture == (3, 24, 40, 3)
    assert trains_and_acts(policy)["action_error"] < 1


# Pictures that are not square: of 24 x 40 pixels, in which the table is 0.5 m wide.
WIDE = Camera("wide", ((4.0, 0, 0, 0), (0, 4 * 40 / 24, 0, 0), (0, 0, -1.0, 1.0)))


@pytest.mark.slow
@pytest.mark.parametrize("cameras", [
    pytest.param((WIDE,), id="not square", marks=pytest.mark.long),
    pytest.param((ABOVE, SIDE), id="two", marks=pytest.mark.long),
    pytest.param((NOWHERE, HAND), id="first unknown"),
])  # fmt: skip
def test_a_tool_seen_by_any_cameras(cameras: tuple[Camera, ...]) -> None:
    spec = table(24, cameras, width=40) if cameras == (WIDE,) else table(32, cameras)
    policy = Policy(spec, **SMALL)
    assert policy.acts_on_places and policy.recalls
    assert policy.learns_camera == (cameras[0] is NOWHERE)
    metrics = trains_and_acts(policy)
    assert {"pointing", "recall", "xy_error_cm", "found_first"} <= set(metrics)


@pytest.mark.parametrize("cameras", [(ABOVE,), (ABOVE, SIDE)])
def test_heights_in_a_fourth_channel_are_looked_at(cameras: tuple[Camera, ...]) -> None:
    deep = dataclasses.replace(cameras[0], depth=0.2)
    policy = Policy(table(32, (deep, *cameras[1:])), **SMALL)
    assert policy.spec.channels == 4
    params = init_params(policy, jax.random.key(0))
    image = pictures(policy.spec, 0, 2)
    encode = jax.jit(lambda image: policy.apply({"params": params}, image, method="encode"))
    maps = encode(image)
    higher = image.copy()
    higher[..., 3] //= 2
    assert np.abs(np.asarray(encode(higher) - maps)).max() > 1e-3


def test_any_leading_axes_of_pictures() -> None:
    for cameras in ((ABOVE,), (ABOVE, SIDE)):
        policy = Policy(table(32, cameras), **SMALL)
        params = init_params(policy, jax.random.key(0))
        image = pictures(policy.spec, 0, 2, 3)
        encode = lambda x, p=policy, q=params: p.apply({"params": q}, x, method="encode")  # noqa: E731
        maps = encode(image)
        assert maps.shape == (2, 3, 8, 8, 8)
        np.testing.assert_allclose(encode(image[1]), maps[1], atol=1e-5)
        np.testing.assert_allclose(encode(image[1, 2]), maps[1, 2], atol=1e-5)


# What does not fit.


class Own(nn.Module):
    """Somebody's head: always the middle."""

    spec: Spec

    @nn.compact
    def __call__(self, maps, pose, shown, view, hindsight=None, memory=None):
        bias = self.param("bias", nn.initializers.zeros, (len(self.spec.action),))
        mean = jnp.broadcast_to(bias, (len(maps), len(bias)))
        return FixedGaussian(mean, (0.1,) * len(bias), self.spec.action)


class OwnFocus(Own):
    """Somebody's head that acts on places."""

    def find(self, maps, shown: Embedding, view: View):
        raise NotImplementedError


no_class = len


def test_somebody_elses_head_is_found_by_its_module() -> None:
    policy = Policy(arm(), "images_only", "test_policy:Own", **SMALL)
    metrics = trains_and_acts(policy)
    assert "pointing" not in metrics
    check(arm(), "images_only", "test_policy:Own")


TURNS = [dataclasses.replace(f, period=2 * math.pi) if f.name == "yaw" else f for f in POSE.fields]
WIDTHS = [dataclasses.replace(f, high=0.08) if f.name == "finger" else f for f in POSE.fields]


@pytest.mark.parametrize(
    ("spec", "embedding", "head", "message"),
    [
        (table(), "nonsense", "mse", "embeddings: there is no 'nonsense'; known are"),
        (table(), "images_only", "nonsense", "heads: there is no 'nonsense'; known are"),
        (table(), "images_only", "no_such_module:Head", "cannot be loaded.*ModuleNotFoundError"),
        (table(), "images_only", "test_policy:Missing", "cannot be loaded.*AttributeError"),
        (table(), "images_only", "test_policy:no_class", "head = .* no class of flax modules"),
        (arm(), "images_only", "anchored_mixture", "head = 'anchored_mixture' acts on places"),
        (arm(), "pose_anchored", "mse", "embedding = 'pose_anchored' acts on.*'images_only'"),
        (arm(), "images_only_predicted", "mse", "acts on places of a table and needs a robot"),
        (arm(), "images_only", "test_policy:OwnFocus", "acts on places.*'spatial_softmax_mdn'"),
        (table(32, (HAND, ABOVE)), "images_only", "anchored_mixture", "'hand' moves with the tool"),
        (table(32, (HAND,)), "pose_anchored", "mse", "'hand' moves with the tool; name a fixed"),
        (
            dataclasses.replace(table(), pose=Layout(tuple(TURNS))),
            *("pose_anchored", "mse", "'yaw' has the period 6.28.*give it 3.14"),
        ),
        (
            dataclasses.replace(table(), action=Layout(tuple(WIDTHS))),
            *("images_only", "anchored_mixture", "'finger' goes from 0 to 0.08; scale it"),
        ),
    ],
)
def test_what_does_not_fit_a_robot_is_refused(spec, embedding, head, message) -> None:
    with pytest.raises(ConfigError, match=message):
        check(spec, embedding, head)
    with pytest.raises(ConfigError, match=message):
        init_params(Policy(spec, embedding, head, **SMALL), jax.random.key(0))


def test_what_fits_any_robot_is_not() -> None:
    for spec in (arm(), table(32, (HAND,)), dataclasses.replace(table(), tool=None)):
        for head in set(HEADS) - {"anchored_mixture", "path_mixture"}:
            check(spec, "images_only", head)
    check(table(32, (ABOVE, HAND)), "pose_anchored", "anchored_mixture")
    assert CHANGES.names == arm().action.names


def test_views_with_parameters_and_without() -> None:
    known, learned = Policy(table(), **SMALL), Policy(table(32, (NOWHERE,)), **SMALL)
    assert "camera" not in init_params(known, jax.random.key(0))
    params = init_params(learned, jax.random.key(0))
    np.testing.assert_allclose(views_with(learned, params)[0].matrix, first_guess(learned.spec))
    np.testing.assert_allclose(views_with(known, {})[0].matrix, ABOVE.matrix, atol=1e-6)
    assert views_with(Policy(arm(), "images_only", "mse"), {}) == (None,)
