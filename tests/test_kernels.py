"""Convolution and sampling against the compiler's own, and the encoder that is made of them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from specs import TOOL, pictures, table, view_of

from mili_jax.policy import encoder, kernels
from mili_jax.policy.encoder import Encoder
from mili_jax.policy.kernels import bilinear_weights, conv3x3, spatial_softmax
from mili_jax.types import ConfigError


def test_sampling_at_a_cell_is_the_cell_and_is_linear_between() -> None:
    h, w = 4, 6
    places = np.asarray(view_of(table()).cells(h, w)) / TOOL.reach
    weights = np.asarray(bilinear_weights(jnp.asarray(places), h, w, offsets=False))[:, 0]
    np.testing.assert_allclose(weights, np.eye(h * w), atol=1e-5)
    between = 0.75 * places[8] + 0.25 * places[9]
    weights = np.asarray(bilinear_weights(jnp.asarray(between), h, w, offsets=False))[0]
    np.testing.assert_allclose(weights[[8, 9]], [0.75, 0.25], atol=1e-5)
    # The neighbourhood runs row by row around cell 8 = (1, 2).
    weights = bilinear_weights(jnp.asarray(places[8]), h, w, offsets=True)
    assert weights.argmax(-1).tolist() == [1, 2, 3, 7, 8, 9, 13, 14, 15]
    outside = bilinear_weights(jnp.array([5.0, 5.0]), h, w, offsets=True)
    np.testing.assert_allclose(outside.sum(-1), np.ones(9), atol=1e-5)
    assert int(outside[4].argmax()) == w - 1  # the upper right cell


def test_spatial_softmax_finds_the_bright_cell() -> None:
    logits = np.zeros((1, 4, 4, 2), np.float32)
    logits[0, 0, 3, 0] = 50.0
    logits[0, 2, 1, 1] = 50.0
    found = spatial_softmax(jnp.asarray(logits))[0]
    np.testing.assert_allclose(found, [[0.75, 0.75], [-0.25, -0.25]], atol=1e-5)


def test_conv_gradients_are_the_compilers() -> None:
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.normal(size=(3, 5, 7, 4)), jnp.float32)
    kernel = jnp.asarray(rng.normal(size=(3, 3, 4, 6)), jnp.float32)
    g = jnp.asarray(rng.normal(size=(3, 5, 7, 6)), jnp.float32)

    def plain(x: jax.Array, kernel: jax.Array) -> jax.Array:
        return jax.lax.conv_general_dilated(
            x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )

    ours, expected = jax.vjp(conv3x3, x, kernel), jax.vjp(plain, x, kernel)
    np.testing.assert_allclose(ours[0], expected[0], atol=1e-5)
    for a, b in zip(ours[1](g), expected[1](g), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-4)


@pytest.mark.parametrize("height, width", [(32, 32), (100, 100), (24, 40)])
@pytest.mark.parametrize("channels", [3, 4])
def test_stem_is_an_8x8_convolution_of_stride_4(height: int, width: int, channels: int) -> None:
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (2, height, width, channels)).astype(np.uint8)
    encoder = Encoder(channels=6, blocks=0)
    params = encoder.init(jax.random.key(0), image)
    kernel = params["params"]["stem"].reshape(2, 2, 4, 4, channels, 6).swapaxes(1, 2)
    scaled = np.pad(image, ((0, 0), (2, 2), (2, 2), (0, 0)), mode="edge") * (4 / 255) - 2
    expected = jax.lax.conv_general_dilated(
        jnp.asarray(scaled, jnp.float32),
        kernel.reshape(8, 8, channels, 6),
        (4, 4),
        "VALID",
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )
    maps = encoder.apply(params, image)
    assert maps.shape == (2, height // 4, width // 4, 6)
    np.testing.assert_allclose(maps, expected, atol=1e-4)


def test_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    image = pictures(table(), 1, 7)
    encoder = Encoder(channels=8)
    params = encoder.init(jax.random.key(0), image)

    def loss(params: dict) -> jax.Array:
        return jnp.mean(jnp.square(encoder.apply(params, image)[..., :3]))

    whole = jax.jit(jax.value_and_grad(loss))(params)
    monkeypatch.setattr(kernels, "CHUNK", 3 * 64)  # 3 + 3 + 1 images
    parts = jax.jit(jax.value_and_grad(lambda params: loss(params)))(params)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), whole, parts)


@pytest.mark.parametrize("height, width", [(30, 32), (32, 34)])
def test_encoder_refuses_a_size_that_is_no_multiple_of_its_cells(height: int, width: int) -> None:
    with pytest.raises(ConfigError, match=f"{height}x{width} pixels.*multiple of 4"):
        Encoder().init(jax.random.key(0), np.zeros((1, height, width, 3), np.uint8))


def test_bfloat16_is_for_accelerators_and_stays_near(monkeypatch: pytest.MonkeyPatch) -> None:
    image = np.random.default_rng(0).integers(0, 256, (3, 16, 16, 3), np.uint8)
    exact, short = Encoder(8, 2), Encoder(8, 2, bfloat16=True)
    params = exact.init(jax.random.key(0), image)

    def value_and_gradient(encoder: Encoder) -> tuple[jax.Array, dict]:
        def loss(params: dict) -> tuple[jax.Array, jax.Array]:
            maps = encoder.apply(params, image)
            return jnp.mean(jnp.square(maps)), maps

        gradient, maps = jax.grad(loss, has_aux=True)(params)
        return maps, gradient

    wanted, slope = value_and_gradient(exact)
    np.testing.assert_array_equal(value_and_gradient(short)[0], wanted)  # a CPU takes no part
    for module in (kernels, encoder):
        monkeypatch.setattr(module, "on_cpu", lambda: False)
    maps, gradient = value_and_gradient(short)
    assert maps.dtype == jnp.float32 and (maps != wanted).any()
    np.testing.assert_allclose(maps, wanted, rtol=0.02, atol=0.02 * float(jnp.abs(wanted).max()))
    for name, value in gradient["params"].items():
        assert value.dtype == jnp.float32
        scale = float(jnp.abs(slope["params"][name]).max())
        np.testing.assert_allclose(value, slope["params"][name], atol=0.03 * scale, err_msg=name)
