"""What a policy learns from a demonstration: unit vectors, portraits, lengths, read poses."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from specs import arm, numbers, pictures, poses, table, view_of

from mili_jax.policy.embedding import SIZE_SCALE, SIZES, Embedding
from mili_jax.policy.embeddings.images_only_predicted import ImagesOnlyPredicted
from mili_jax.policy.features import UNIT
from mili_jax.policy.policy import EMBEDDINGS, Policy, init_params


def test_the_parts_of_a_z_by_hand() -> None:
    story = jnp.array([[3.0, 4.0]])
    sizes = jnp.array([[-1.6, 1.4, -0.5, 1.0]])
    z = Embedding.join(story, sizes)
    # The story has length one, and beside it are the sizes with a tenth of their length:
    # 0.01 * (2.56 + 1.96 + 0.25 + 1) = 0.0577.
    length, wanted = np.sqrt(1 + 0.0577), np.array([0.6, 0.8, -0.16, 0.14, -0.05, 0.1])
    np.testing.assert_allclose(z[0], wanted / length, atol=1e-5)
    said = Embedding.of(jnp.asarray(np.array(z) * length))
    np.testing.assert_allclose(said.sizes, sizes, atol=1e-5)
    np.testing.assert_allclose(said.heights, [[0.1 - 1.6 * UNIT, 0.1 + 1.4 * UNIT]], atol=1e-6)
    np.testing.assert_allclose([said.closed[0], said.opened[0]], [0.25, 1.0], atol=1e-6)
    nothing = Embedding.of(jnp.zeros((1, 6)))
    np.testing.assert_allclose(nothing.heights, [[0.1, 0.1]])
    np.testing.assert_allclose([nothing.closed[0], nothing.opened[0]], [0.5, 0.5])


@pytest.mark.parametrize(
    "embedding", sorted(set(EMBEDDINGS) - {"path_anchored"})
)  # tests/test_path.py
@pytest.mark.parametrize("m", [2, 5])
def test_embeddings_are_unit_vectors_of_their_own_demonstration(embedding: str, m: int) -> None:
    policy = Policy(table(), embedding=embedding, embedding_size=12, channels=8)
    params = init_params(policy, jax.random.key(0), frames=m)
    demo_image, demo_pose = pictures(policy.spec, 0, 4, m), poses(0, 4, 7)
    embed = jax.jit(lambda i, p: policy.apply({"params": params}, i, p, method="embed"))
    z = np.asarray(embed(demo_image, demo_pose))
    assert z.shape == (4, 12)
    np.testing.assert_allclose(np.linalg.norm(z, axis=1), 1, atol=1e-3)
    order = [2, 0, 3, 1]
    np.testing.assert_allclose(embed(demo_image[order], demo_pose[order]), z[order], atol=1e-5)
    # Only the pose-anchored embedding may look at the given poses.
    moved = np.abs(np.asarray(embed(demo_image, poses(9, 4, 7))) - z).max()
    assert (moved > 1e-3) == (embedding == "pose_anchored")
    last = demo_image.copy()
    last[:, -1] = 255 - last[:, -1]
    assert np.abs(np.asarray(embed(last, demo_pose)) - z).max() > 1e-4


def test_the_papers_embedding_serves_any_robot() -> None:
    policy = Policy(arm(), "images_only", "mse", embedding_size=12, channels=8, blocks=1)
    params = init_params(policy, jax.random.key(0))
    demo = pictures(policy.spec, 0, 3, 2), numbers(policy.spec.pose, 0, 3, 4)
    z = policy.apply({"params": params}, *demo, method="embed")
    np.testing.assert_allclose(np.linalg.norm(z, axis=1), 1, atol=1e-3)


def test_auxiliary_loss_is_the_error_of_the_read_pose() -> None:
    spec = table()
    module = ImagesOnlyPredicted(spec, 8)
    maps = jnp.asarray(np.random.default_rng(0).normal(size=(2, 3, 4, 4, 8)), jnp.float32)
    pose = poses(0, 2, 7)  # two key poses, five along the demonstration
    params = jax.jit(module.init)(jax.random.key(0), maps, pose, view_of(spec))
    # With its output layers at zero it reads: middle of the table, 0.1 m, half open, yaw unknown.
    reader = params["params"]["reader"]
    for layer in ("where", "read"):
        reader[layer] = jax.tree.map(jnp.zeros_like, reader[layer])
    _, auxiliary = jax.jit(module.apply)(params, maps, pose, view_of(spec))
    for row in range(2):
        errors = []
        for x, y, z, _, _, _, finger in pose[row, [2, 4, 6]].astype(float):
            place = np.hypot(x, y) / (1 - z) / 0.05
            errors.append(place**2 + ((z - 0.1) / 0.05) ** 2 + (finger - 0.5) ** 2 + 1)
        assert float(auxiliary[row]) == pytest.approx(np.mean(errors), rel=1e-4)


@functools.cache
def small(size: int) -> tuple[Policy, dict]:
    policy = Policy(table(), channels=8, blocks=1, embedding_size=size)
    return policy, init_params(policy, jax.random.key(0))


def test_portraits_ask_for_what_lies_at_two_spots() -> None:
    policy, params = small(16)
    maps = jax.random.normal(jax.random.key(1), (3, 8, 8, 8))
    cells = np.asarray(view_of(policy.spec).cells(8, 8))
    spots = np.stack([cells[[9, 30]], cells[[63, 0]], cells[[20, 20]]])
    z = policy.apply({"params": params}, maps, spots, method="portray")
    plain = np.asarray(maps).reshape(3, 64, 8)
    plain = plain / np.sqrt(np.mean(plain**2, -1, keepdims=True))
    seen = np.stack([plain[0, [9, 30]], plain[1, [63, 0]], plain[2, [20, 20]]]).reshape(3, 16)
    wanted = seen @ np.asarray(params["embedder"]["anchored"]["portraits"]["kernel"])
    wanted /= np.linalg.norm(wanted, axis=1, keepdims=True)
    np.testing.assert_allclose(z, np.pad(wanted, ((0, 0), (0, SIZES))), atol=1e-4)
    found = policy.apply({"params": params}, maps, z, method="find")
    density = policy.apply({"params": params}, maps, jnp.zeros((3, 7)), z, method="act_maps")
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), found, density.focus
    )


def test_an_embedding_says_how_high_and_how_far_open() -> None:
    policy, params = small(12)
    pose = np.array(poses(0, 1, 7))
    pose[0, :2, 2], pose[0, :2, 6] = (0.02, 0.17), (0.25, 0.3)  # at the touch and at the end
    image = pictures(policy.spec, 0, 1, 2)
    z = policy.apply({"params": params}, image, pose, method="embed")[0]
    # In units of 5 cm from 10 cm, and from closed to open as -1 to 1; beside the rest a tenth.
    sizes = np.array([-1.6, 1.4, -0.5, -0.4])
    rest = np.linalg.norm(z[:-SIZES])
    np.testing.assert_allclose(z[-SIZES:] / rest, SIZE_SCALE * sizes, atol=1e-3)
