"""The encoder that embedding and policy share: picture to feature map."""

from __future__ import annotations

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, UInt8

from mili_jax.policy.features import rms_norm
from mili_jax.policy.kernels import conv3x3, in_chunks, on_cpu
from mili_jax.types import ConfigError

STRIDE = 4  # pixels per cell of the feature map


def _patches(image: Array) -> Array:
    """The 8x8 pixels around every cell: uint8 [n,H,W,D] -> float32 [n*H/4*W/4,64*D] in [-2,2]."""
    n, height, width, channels = image.shape
    h, w = height // STRIDE, width // STRIDE
    half = STRIDE // 2
    x = jnp.pad(image, ((0, 0), (half, half), (half, half), (0, 0)), mode="edge")
    x = x.reshape(n, h + 1, STRIDE, w + 1, STRIDE, channels).swapaxes(2, 3)
    x = x.reshape(n, h + 1, w + 1, STRIDE * STRIDE * channels)
    x = jnp.concatenate([x[:, i : i + h, j : j + w] for i in range(2) for j in range(2)], -1)
    return x.reshape(n * h * w, -1).astype(jnp.float32) * (4 / 255) - 2


class Encoder(nn.Module):
    """Picture -> feature map, one cell per 4x4 pixels.

    The stem sees 8x8 pixels per cell through one matrix product (strided convolutions of raw
    pictures are slow on CPU); then pre-normalised residual blocks (3x3 convolution, ReLU, 1x1).
    Three blocks see 32x32 pixels around a cell.
    With bfloat16 its products take and give that type, on devices made for it, which a CPU is not;
    parameters, normalisation and the sum over blocks stay float32.
    Raises ConfigError if H or W is not a multiple of 4.
    """

    channels: int = 32
    blocks: int = 3
    bfloat16: bool = False

    @nn.compact
    def __call__(self, image: UInt8[Array, "n H W d"]) -> Float[Array, "n h w c"]:
        height, width = image.shape[1:3]
        if height % STRIDE or width % STRIDE:
            raise ConfigError(
                f"Encoder: image of {height}x{width} pixels; each side must be a multiple of "
                f"{STRIDE}"
            )
        h, w, c = height // STRIDE, width // STRIDE, self.channels
        lecun, zeros = nn.initializers.lecun_normal(), nn.initializers.zeros
        he = nn.initializers.he_normal(in_axis=(0, 1, 2))
        stem = self.param("stem", lecun, (4 * STRIDE**2 * image.shape[3], c))
        stem_bias = self.param("stem_bias", zeros, (c,))
        blocks = [
            (
                self.param(f"conv{k}", he, (3, 3, c, c)),
                self.param(f"conv{k}_bias", zeros, (c,)),
                self.param(f"mix{k}", lecun, (c, c)),
                self.param(f"mix{k}_bias", zeros, (c,)),
            )
            for k in range(self.blocks)
        ]

        factor = jnp.bfloat16 if self.bfloat16 and not on_cpu() else jnp.float32

        def product(x: Array, kernel: Array) -> Array:
            x, kernel = x.astype(factor), kernel.astype(factor)
            multiply = conv3x3 if kernel.ndim == 4 else jnp.matmul
            return multiply(x, kernel).astype(jnp.float32)

        def encode(image: Array) -> Array:
            x = product(_patches(image), stem) + stem_bias
            for conv, conv_bias, mix, mix_bias in blocks:
                hidden = product(rms_norm(x).reshape(-1, h, w, c), conv) + conv_bias
                x = x + product(nn.relu(hidden).reshape(-1, c), mix) + mix_bias
            return x.reshape(-1, h, w, c)

        return in_chunks(encode, h * w, image)
