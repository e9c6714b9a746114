"""The networks (flax.linen): shared encoder, demonstration embeddings, action densities, policy.

Everything here knows one piece of geometry, `Camera`: the camera looks straight down, so a pixel
is a place on the table. The default policy uses that twice: the embedding looks at the
demonstration where the gripper was (`PoseAnchored`), and the action density has one mixture
component per cell of the feature map, anchored at the cell's place on the table
(`AnchoredMixture`). The heads and the images-only embedding of Singh et al. (2020) are
configurations of the same policy.

Dimension letters are those of `mili_jax.types`; n is any number of images.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any, Protocol

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import i0e

from mili_jax.types import ConfigError

Array = jax.Array

STRIDE = 4  # pixels per cell of the feature map
UNIT = 0.05  # m; lengths enter and leave the networks in this unit so that they are of order one
REACH = 0.08  # m; how far a component's mean may lie from its anchor, about two cells at 64 px
XY_FLOOR, Z_FLOOR, FINGER_FLOOR = 0.012, 0.012, 0.07  # m, m, 1; smallest standard deviations
TILT_SIGMA = 0.05  # rad; fixed standard deviation of roll and pitch, which hardly vary
MAX_CONCENTRATION = 20.0  # of 2 * yaw; a standard deviation of 0.05 rad in yaw


@dataclasses.dataclass(frozen=True)
class Camera:
    """A pin-hole camera above the table's centre, looking straight down at a square picture.

    view: half-width in metres of the table square that fills the picture at table height.
    height: metres from the table top to the pin-hole.
    Column to the right is +x, row downward is -y. Raises ConfigError unless both are positive.
    """

    view: float = 0.27
    height: float = 1.2

    def __post_init__(self) -> None:
        if not (self.view > 0 and self.height > 0):
            raise ConfigError(
                f"Camera: view and height must be positive metres, got {self.view}, {self.height}"
            )

    def on_table(self, xyz: Any) -> Any:
        """Where a point is seen, as a place on the table: [..., >=3] metres -> [..., 2] metres."""
        return xyz[..., :2] * (self.height / (self.height - xyz[..., 2:3]))

    def project(self, xyz: Any) -> Any:
        """Where a point is seen in the picture: [..., >=3] metres -> uv [..., 2], v up.

        uv is (-1, -1) at the lower left corner of the picture and (1, 1) at the upper right one.
        """
        return self.on_table(xyz) / self.view

    def cells(self, h: int, w: int) -> np.ndarray:
        """The places on the table of the centres of h * w cells, row by row: [h*w, 2] metres."""
        u = (np.arange(w) + 0.5) / w * 2 - 1
        v = 1 - (np.arange(h) + 0.5) / h * 2
        grid = np.stack(np.meshgrid(u, v), -1).reshape(h * w, 2)
        return (grid * self.view).astype(np.float32)


def yaw_features(yaw: Array) -> Array:
    """sin and cos of 2 * yaw, [...] rad -> [..., 2]: the same for a gripper turned by pi."""
    return jnp.stack([jnp.sin(2 * yaw), jnp.cos(2 * yaw)], -1)


def wrap_yaw(yaw: Array) -> Array:
    """Yaw modulo pi, into [-pi/2, pi/2)."""
    return jnp.mod(yaw + jnp.pi / 2, jnp.pi) - jnp.pi / 2


def rms_norm(x: Array) -> Array:
    """x over its root mean square along the last axis; no parameters, the next layer has them."""
    return x * jax.lax.rsqrt(jnp.mean(jnp.square(x), -1, keepdims=True) + 1e-4)


# Encoder.

# On CPU, layers over 10^5 cells are limited by memory, not arithmetic. Images go through in chunks
# of about this many cells, whose activations stay in the cache; they are computed again for the
# gradient rather than stored. Measured: 1.8 times faster than all images at once, with 1/5 of the
# memory. Within a chunk cells are one axis: a product over several axes transposes its operands.
CHUNK = 8192


def _on_cpu() -> bool:
    return jax.default_backend() == "cpu"


def in_chunks(f: Callable[..., Array], cells: int, *args: Array) -> Array:
    """f(*args) along the leading axis, in chunks of about CHUNK cells on CPU, at once elsewhere."""
    n = len(args[0])
    chunk = max(1, CHUNK // cells)
    if not _on_cpu() or n <= chunk:
        return f(*args)

    def split(x: Array) -> Array:
        x = jnp.pad(x, ((0, -n % chunk), *[(0, 0)] * (x.ndim - 1)))
        return x.reshape(-1, chunk, *x.shape[1:])

    out = jax.lax.map(lambda part: jax.checkpoint(f)(*part), tuple(map(split, args)))
    return out.reshape(-1, *out.shape[2:])[:n]


def _convolve(x: Array, kernel: Array) -> Array:
    return jax.lax.conv_general_dilated(
        x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


@jax.custom_vjp
def conv3x3(x: Array, kernel: Array) -> Array:
    """3x3 convolution, stride 1, zero padding: [n,h,w,C], [3,3,C,D] -> [n,h,w,D].

    The compiler's own gradient of the kernel is a convolution with a picture-sized window, on CPU
    several times slower than the one matrix product used here.
    """
    return _convolve(x, kernel)


def _conv_forward(x: Array, kernel: Array) -> tuple[Array, tuple[Array, Array]]:
    return _convolve(x, kernel), (x, kernel)


def _conv_backward(saved: tuple[Array, Array], g: Array) -> tuple[Array, Array]:
    x, kernel = saved
    dx = _convolve(g, jnp.flip(kernel, (0, 1)).swapaxes(2, 3))
    if not _on_cpu():
        return dx, jax.vjp(lambda k: _convolve(x, k), kernel)[1](g)[0]
    # Kernel rows come from shifting g down, kernel columns from shifting x left: one product of
    # three shifts each costs fewer copies than nine windows of x.
    w, c, d = x.shape[2], x.shape[3], g.shape[3]
    x = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    columns = jnp.concatenate([x[:, :, j : j + w] for j in range(3)], -1)
    rows = [jnp.pad(g, ((0, 0), (i, 2 - i), (0, 0), (0, 0))) for i in range(3)]
    product = columns.reshape(-1, 3 * c).T @ jnp.concatenate(rows, -1).reshape(-1, 3 * d)
    return dx, product.reshape(3, c, 3, d).transpose(2, 0, 1, 3)


conv3x3.defvjp(_conv_forward, _conv_backward)


def _patches(image: Array) -> Array:
    """The 8x8 pixels around every cell: uint8 [n,H,W,3] -> float32 [n*H/4*W/4,192] in [-2,2]."""
    n, height, width, _ = image.shape
    h, w = height // STRIDE, width // STRIDE
    half = STRIDE // 2
    x = jnp.pad(image, ((0, 0), (half, half), (half, half), (0, 0)), mode="edge")
    x = x.reshape(n, h + 1, STRIDE, w + 1, STRIDE, 3).swapaxes(2, 3)
    x = x.reshape(n, h + 1, w + 1, STRIDE * STRIDE * 3)
    x = jnp.concatenate([x[:, i : i + h, j : j + w] for i in range(2) for j in range(2)], -1)
    return x.reshape(n * h * w, -1).astype(jnp.float32) * (4 / 255) - 2


class Encoder(nn.Module):
    """Picture -> feature map, one cell per 4x4 pixels: uint8 [n,H,W,3] -> float32 [n,H/4,W/4,C].

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
    def __call__(self, image: Array) -> Array:
        height, width = image.shape[1:3]
        if height % STRIDE or width % STRIDE:
            raise ConfigError(
                f"Encoder: image of {height}x{width} pixels; each side must be a multiple of "
                f"{STRIDE}"
            )
        h, w, c = height // STRIDE, width // STRIDE, self.channels
        lecun, zeros = nn.initializers.lecun_normal(), nn.initializers.zeros
        he = nn.initializers.he_normal(in_axis=(0, 1, 2))
        stem = self.param("stem", lecun, (12 * STRIDE**2, c))
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

        factor = jnp.bfloat16 if self.bfloat16 and not _on_cpu() else jnp.float32

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


def bilinear_weights(uv: Array, h: int, w: int, offsets: bool) -> Array:
    """Weights of every cell in bilinear samples at uv: [..., 2] -> [..., S, h*w].

    S = 1, or 9 with `offsets`: the 3x3 neighbourhood one cell apart. A place outside the picture
    takes the border's value. Sampling as a matrix product keeps gather and scatter, slow on CPU,
    out of the gradient.
    """
    steps = jnp.arange(-1.0, 2.0) if offsets else jnp.zeros(1)

    def tent(place: Array, size: int) -> Array:
        place = jnp.clip(place[..., None] + steps, 0, size - 1)
        return jnp.maximum(0, 1 - jnp.abs(place[..., None] - jnp.arange(size)))

    column = tent((uv[..., 0] + 1) / 2 * w - 0.5, w)
    row = tent((1 - uv[..., 1]) / 2 * h - 0.5, h)
    weights = row[..., :, None, :, None] * column[..., None, :, None, :]
    return weights.reshape(*uv.shape[:-1], steps.size**2, h * w)


def spatial_softmax(logits: Array) -> Array:
    """Expected place of each map's softmax: [n,h,w,D] -> uv [n,D,2] (v up)."""
    n, h, w, d = logits.shape
    attention = jax.nn.softmax(logits.reshape(n, h * w, d), axis=1)
    return jnp.einsum("ngd,gc->ndc", attention, Camera(view=1.0).cells(h, w))


# Demonstration embeddings: (maps [N,M,h,w,C], pose [N,K,7]) -> (z [N,Z], auxiliary [N]).


class _Temporal(nn.Module):
    """Two temporal convolutions of width 3, pooled over time: [N,T,D] -> [N,size]."""

    size: int
    width: int = 64

    @nn.compact
    def __call__(self, x: Array) -> Array:
        for _ in range(2):
            padded = jnp.pad(x, ((0, 0), (1, 1), (0, 0)), mode="edge")
            window = jnp.concatenate([padded[:, :-2], x, padded[:, 2:]], -1)
            x = nn.relu(nn.Dense(self.width)(window))
        pooled = jnp.concatenate([x.mean(1), x.max(1), x[:, 0], x[:, -1]], -1)
        return nn.Dense(self.size)(nn.relu(nn.Dense(2 * self.width)(rms_norm(pooled))))


def _unit(z: Array) -> Array:
    return z * jax.lax.rsqrt(jnp.sum(jnp.square(z), -1, keepdims=True) + 1e-6)


def _frames_at(frames: int, times: int) -> np.ndarray:
    """The frame nearest to each of `times` places, both spread evenly over the demonstration."""
    return np.round(np.linspace(0, frames - 1, times)).astype(int)


def _track(pose: Array) -> Array:
    """What the gripper did at each time, free of where on the table: [N,K,7] -> [N,K,9]."""
    xyz = pose[..., :3]
    motion = jnp.diff(xyz, axis=1, append=xyz[:, -1:])
    to_end = xyz[..., :2] - xyz[:, -1:, :2]
    lengths = jnp.concatenate([xyz[..., 2:3], motion, to_end], -1) / UNIT
    return jnp.concatenate([lengths, yaw_features(pose[..., 5]), pose[..., 6:7] * 2 - 1], -1)


class _Pooled(nn.Module):
    """What a demonstration shows, from what lies where the gripper goes: (story [N,Z], portraits
    [N,2,C]).

    The story: features around the gripper at each time, and ahead of it, in the first, current and
    last frame, through temporal convolutions. The portraits: features of the first frame where the
    two places that the demonstration is about may lie (`key` are the poses at which it touches and
    at which it ends), by attention.
    """

    camera: Camera
    size: int
    width: int = 64

    @nn.compact
    def __call__(self, maps: Array, pose: Array, key: Array) -> tuple[Array, Array]:
        n, m, h, w, c = maps.shape
        k = pose.shape[1]
        around = bilinear_weights(self.camera.project(pose), h, w, offsets=True)
        step = jnp.concatenate([pose[:, 1:2], pose[:, 2:], pose[:, -1:]], 1)[..., :2]
        step = step - jnp.concatenate([pose[:, :1], pose[:, :-1]], 1)[..., :2]
        there = pose[:, :, None, :2] + _direction(step, 0.01)[:, :, None] * AHEAD[:, None]
        ahead = bilinear_weights(there / self.camera.view, h, w, offsets=False)
        weights = jnp.concatenate([around, ahead[:, :, :, 0]], 2)
        flat = rms_norm(maps).reshape(n, m, h * w, c)
        outer = flat[:, :: m - 1]
        # Plain matrix products: with the axes in another order it takes five times as long.
        ends = weights.reshape(n, -1, h * w) @ outer.swapaxes(1, 2).reshape(n, h * w, -1)
        ends = ends.reshape(n, k, -1, 2, c)
        samples = [ends[:, :, :, 0], ends[:, :, :, 1]]
        if m > 2:
            # Written out per time: a frame is only sampled where the gripper is in that frame.
            now = jnp.einsum("nksg,nkgc->nksc", weights, flat[:, _frames_at(m, k)])
            samples.insert(1, now)
        per_frame = [
            nn.Dense(self.width, name=f"frame{i}")(s.reshape(n, k, -1))
            for i, s in enumerate(samples)
        ]
        track = nn.Dense(self.width, name="track")(_track(pose))
        x = nn.relu(jnp.concatenate([*per_frame, track], -1))
        x = nn.relu(nn.Dense(self.width)(x))
        story = _Temporal(2 * self.width, self.width)(x)

        touch, end = self.camera.on_table(key[:, 0]), self.camera.on_table(key[:, 1])
        way = _direction(end - touch, 0.02)
        reach = jnp.concatenate([jnp.zeros(1), jnp.linspace(0.05, 0.19, POINTS - 1)])[:, None]
        points = jnp.concatenate([a[:, None] + reach * way[:, None] for a in (touch, end)], 1)
        sampled = bilinear_weights(points / self.camera.view, h, w, offsets=False)[..., 0, :]
        seen = jnp.einsum("npg,nfgc->npfc", sampled, outer)
        hidden = nn.Dense(self.width, name="choose_look")(seen.reshape(n, 2 * POINTS, -1))
        hidden = hidden + nn.Dense(self.width, name="choose_story")(story)[:, None]
        hidden = hidden + self.param(
            "choose_point", nn.initializers.normal(0.1), (2 * POINTS, self.width)
        )
        chosen = jax.nn.softmax(nn.Dense(2, name="choose")(nn.relu(hidden)), 1)
        portraits = jnp.einsum("npk,npc->nkc", chosen, seen[:, :, 0])
        return nn.Dense(self.size, name="story")(nn.relu(story)), portraits


SIZES = 4  # the last numbers of an embedding: lengths that the demonstration shows, `_sizes`
SIZE_SCALE = 0.1  # of these beside the others, whose squares sum up to one


def _sizes(pose: Array, key: Array) -> Array:
    """Lengths that a demonstration shows and a picture from above does not: how high the tool is
    where it touches and where it ends, how far its fingers close and how open they end. From poses
    [N,K,7] and those at the touch and the end [N,2,7] to [N,SIZES], of order one."""
    height = (key[..., 2] - 0.1) / UNIT
    finger = jnp.stack([pose[..., 6].min(1), key[:, 1, 6]], -1) * 2 - 1
    return jnp.concatenate([height, finger], -1)


def _with_sizes(z: Array, sizes: Array) -> Array:
    return _unit(jnp.concatenate([_unit(z), SIZE_SCALE * sizes], -1))


class _Anchored(nn.Module):
    """Story and portraits of a demonstration, added up to its embedding. The portraits come in
    linearly: for a place to be found again in another picture its features must come through,
    whatever they are. So do the lengths that it shows."""

    camera: Camera
    size: int

    def setup(self) -> None:
        self.pooled = _Pooled(self.camera, self.size - SIZES)
        self.portraits = nn.Dense(self.size - SIZES, use_bias=False)

    def __call__(self, maps: Array, pose: Array, key: Array) -> Array:
        story, portraits = self.pooled(maps, pose, key)
        z = story + self.portraits(portraits.reshape(len(maps), -1))
        return _with_sizes(z, _sizes(pose, key))

    def portray(self, maps: Array, spots: Array) -> Array:
        """The embedding of two spots [N,2,2] m on the table in pictures [N,h,w,C], without a
        story: [N,Z]."""
        n, h, w, c = maps.shape
        there = bilinear_weights(spots / self.camera.view, h, w, offsets=False)[..., 0, :]
        cells = rms_norm(maps).reshape(n, h * w, c)
        z = self.portraits(jnp.einsum("nkg,ngc->nkc", there, cells).reshape(n, -1))
        return _with_sizes(z, jnp.zeros((n, SIZES)))


def _direction(way: Array, short: float) -> Array:
    """Vectors [...,2] m over their length; those much shorter than `short` become nothing."""
    return way * jax.lax.rsqrt(jnp.sum(jnp.square(way), -1, keepdims=True) + short**2)


class PoseAnchored(nn.Module):
    """Embeds a demonstration by what lies where the gripper goes (poses are given).

    With M = 2 frames these are the first and the last one; with more, the frame nearest in time to
    each pose is pooled as well.
    """

    camera: Camera
    size: int = 32

    def setup(self) -> None:
        self.anchored = _Anchored(self.camera, self.size)

    def __call__(self, maps: Array, pose: Array) -> tuple[Array, Array]:
        # The first two poses are those at which it touches and ends (`data.demo_inputs`).
        return self.anchored(maps, pose[:, 2:], pose[:, :2]), jnp.zeros(len(pose))

    def portray(self, maps: Array, spots: Array) -> Array:
        """See `Policy.portray`."""
        return self.anchored.portray(maps, spots)


class ImagesOnlyPredicted(nn.Module):
    """As `PoseAnchored`, but the gripper's pose is read from the pictures, so that video is enough.

    The auxiliary loss (squared error in units of 5 cm, of the finger and of the yaw's sine and
    cosine) teaches the reading where poses are known; the embedding itself never sees the given
    poses. The gradient of the embedding does not move the places it looks at.
    """

    camera: Camera
    size: int = 32

    def setup(self) -> None:
        self.reader = _Reader(self.camera)
        self.anchored = _Anchored(self.camera, self.size)

    def __call__(self, maps: Array, pose: Array) -> tuple[Array, Array]:
        guess, key, error = self.reader(maps, pose)
        return self.anchored(maps, guess, key), error

    def portray(self, maps: Array, spots: Array) -> Array:
        """See `Policy.portray`."""
        return self.anchored.portray(maps, spots)


class _Reader(nn.Module):
    """Reads the gripper's pose from pictures: the poses at all times [N,M,7], at the touch and at
    the end [N,2,7], and the error against the given poses [N]."""

    camera: Camera

    @nn.compact
    def __call__(self, maps: Array, pose: Array) -> tuple[Array, Array, Array]:
        n, m, h, w, c = maps.shape
        cells = rms_norm(maps).reshape(n, m, h * w, c)
        hidden = nn.relu(nn.Dense(c, name="look")(cells))
        attention = jax.nn.softmax(nn.Dense(1, name="where")(hidden)[..., 0] * 4, -1)
        seen = jnp.einsum("nmg,gc->nmc", attention, self.camera.cells(h, w))
        there = jnp.einsum("nmg,nmgc->nmc", attention, hidden)
        read = nn.Dense(4, name="read")(nn.relu(nn.Dense(64, name="read_hidden")(there)))
        z, finger = read[..., 0] * UNIT + 0.1, read[..., 1] * 0.5 + 0.5
        yaw = 0.5 * jnp.arctan2(read[..., 2], read[..., 3] + 1e-6)

        true = pose[:, 2:][:, _frames_at(pose.shape[1] - 2, m)]
        error = jnp.sum(jnp.square((seen - self.camera.on_table(true)) / UNIT), -1)
        error += jnp.square((z - true[..., 2]) / UNIT)
        error += jnp.square(finger - true[..., 6])
        error += jnp.sum(jnp.square(read[..., 2:] - yaw_features(true[..., 5])), -1)

        xy = seen * (1 - z / self.camera.height)[..., None]
        tilt = jnp.zeros_like(xy)
        guess = jnp.concatenate([xy, z[..., None], tilt, yaw[..., None], finger[..., None]], -1)
        guess = jax.lax.stop_gradient(guess)
        # It touches where it is first about as low as it ever is.
        low = guess[..., 2] < guess[..., 2].min(1, keepdims=True) + 0.02
        touch = jnp.take_along_axis(guess, low.argmax(1)[:, None, None], 1)
        key = jnp.concatenate([touch, guess[:, -1:]], 1)
        return guess, key, error.mean(-1)


class ImagesOnly(nn.Module):
    """The paper's embedding (section IV-A): per-frame features, then temporal convolution.

    The features of a frame are where `maps` learned attentions look, as seen from where they look
    in the last frame, and what lies there now and lay there in the first. They attend to what has
    changed since the first frame as well as to what there is. A whole scene says so little about
    the task that without this the contrastive loss is least where all embeddings are equal, and
    there its gradient vanishes.
    """

    camera: Camera
    size: int = 32
    maps: int = 16

    @nn.compact
    def __call__(self, maps: Array, pose: Array) -> tuple[Array, Array]:
        n, m, h, w, c = maps.shape
        now = rms_norm(maps)
        first = jnp.broadcast_to(now[:, :1], now.shape)
        hidden = nn.relu(nn.Dense(2 * c, name="look")(jnp.concatenate([now, now - first], -1)))
        attend = nn.Dense(self.maps, name="where")(hidden).reshape(n * m, h, w, self.maps) * 4
        places = spatial_softmax(attend).reshape(n, m, -1)
        attention = jax.nn.softmax(attend.reshape(n, m, h * w, self.maps), 2)
        seen = [
            jnp.einsum("nmgd,nmgc->nmdc", attention, cells.reshape(n, m, h * w, c))
            for cells in (now, first)
        ]
        parts = [2 * (places - places[:, -1:]), *(x.reshape(n, m, -1) for x in seen)]
        x = nn.relu(nn.Dense(64)(jnp.concatenate(parts, -1)))
        return _unit(_Temporal(self.size)(x)), jnp.zeros(n)


# Action densities.


class Density(Protocol):
    """A distribution over the 7-D action for each of n observations."""

    def log_prob(self, action: Array) -> Array:
        """action [n,7] -> [n]: log density per m^3 rad^3, finger per unit; yaw modulo pi."""
        ...

    def mode(self) -> Array:
        """A most likely action [n,7]; yaw in [-pi/2, pi/2), finger in [0, 1]."""
        ...

    def sample(self, key: Array, temperature: float = 1.0) -> Array:
        """One action per observation [n,7]; temperature 0 < t < 1 keeps closer to the mode."""
        ...


def _log_normal(x: Array, mean: Array | float, sigma: Array | float) -> Array:
    return -0.5 * jnp.square((x - mean) / sigma) - jnp.log(sigma) - 0.5 * math.log(2 * math.pi)


def _log_yaw(yaw: Array, natural: Array) -> Array:
    """Log density of the von Mises distribution on 2 * yaw, normalised over a period of pi.

    natural [..., 2] is concentration times (sin, cos) of twice the mean yaw: in this form the log
    density is smooth and concave in the network's output, with no singular direction at zero.
    """
    concentration = jnp.sqrt(jnp.sum(jnp.square(natural), -1) + 1e-12)
    log_bessel = jnp.log(i0e(concentration)) + concentration
    return jnp.sum(natural * yaw_features(yaw), -1) - log_bessel - math.log(math.pi)


def _mean_yaw(natural: Array) -> Array:
    return wrap_yaw(0.5 * jnp.arctan2(natural[..., 0], natural[..., 1]))


def _sample_yaw(key: Array, natural: Array) -> Array:
    """Samples yaw from 256 bins of the period, uniformly within a bin."""
    bins = 256
    edges = jnp.arange(bins) * (jnp.pi / bins) - jnp.pi / 2
    pick, within = jax.random.split(key)
    logits = jnp.sum(natural[..., None, :] * yaw_features(edges + jnp.pi / bins / 2), -1)
    index = jax.random.categorical(pick, logits)
    return edges[index] + jax.random.uniform(within, index.shape) * (jnp.pi / bins)


@flax.struct.dataclass
class Mixture:
    """A mixture of J components; each is a product of an isotropic Gaussian in xy, Gaussians in z
    and finger, and a von Mises distribution in 2 * yaw. Roll and pitch share one Gaussian.

    logit [n,J] (normalised here), xy [n,J,2] m, z [n,J] m, yaw [n,J,2] (natural parameters, see
    `_log_yaw`), finger [n,J], tilt [n,2] rad, and standard deviations xy_sigma, z_sigma,
    finger_sigma [n,J].
    """

    logit: Array
    xy: Array
    z: Array
    yaw: Array
    finger: Array
    tilt: Array
    xy_sigma: Array
    z_sigma: Array
    finger_sigma: Array
    focus: Focus | None = None  # where the places lie that the components are anchored at

    def _log_place(self, x: Array, y: Array, z: Array, finger: Array) -> Array:
        """Per component, log weight plus log density of everything but the angles."""
        square = jnp.square(x - self.xy[..., 0]) + jnp.square(y - self.xy[..., 1])
        log_xy = -0.5 * square / jnp.square(self.xy_sigma) - 2 * jnp.log(self.xy_sigma)
        return (
            jax.nn.log_softmax(self.logit, -1)
            + log_xy
            - math.log(2 * math.pi)
            + _log_normal(z, self.z, self.z_sigma)
            + _log_normal(finger, self.finger, self.finger_sigma)
        )

    def log_prob(self, action: Array) -> Array:
        """See `Density.log_prob`."""
        x, y, z, roll, pitch, yaw, finger = (action[:, None, i] for i in range(7))
        joint = self._log_place(x, y, z, finger) + _log_yaw(yaw, self.yaw)
        tilt = _log_normal(jnp.concatenate([roll, pitch], -1), self.tilt, TILT_SIGMA).sum(-1)
        return jax.nn.logsumexp(joint, -1) + tilt

    @staticmethod
    def _of(a: Array, index: Array) -> Array:
        """One component of each observation: [n,J] or [n,J,D], index [n] -> [n,D]."""
        a = a.reshape(*a.shape[:2], -1)
        return jnp.take_along_axis(a, index[:, None, None], 1)[:, 0]

    def _means(self, index: Array) -> Array:
        xy, z, finger = (self._of(a, index) for a in (self.xy, self.z, self.finger))
        yaw = _mean_yaw(self._of(self.yaw, index))[:, None]
        return jnp.concatenate([xy, z, self.tilt, yaw, jnp.clip(finger, 0, 1)], -1)

    def mode(self) -> Array:
        """See `Density.mode`.

        Neighbouring cells propose the same place, so the heaviest component is not the mode: the
        density of place, height and finger is evaluated at the means of the 16 heaviest components,
        and the means of the best one are returned.
        """
        _, strongest = jax.lax.top_k(self.logit, min(16, self.logit.shape[-1]))
        candidates = [
            jnp.take_along_axis(a, strongest, 1)[..., None]
            for a in (self.xy[..., 0], self.xy[..., 1], self.z, self.finger)
        ]
        spread = jax.tree.map(lambda a: a[:, None], dataclasses.replace(self, focus=None))
        density = jax.nn.logsumexp(spread._log_place(*candidates), -1)
        best = jnp.take_along_axis(strongest, density.argmax(-1)[:, None], 1)[:, 0]
        return self._means(best)

    def sample(self, key: Array, temperature: float = 1.0) -> Array:
        """See `Density.sample`; log weights and inverse variances are divided by temperature."""
        pick, noise, turn = jax.random.split(key, 3)
        index = jax.random.categorical(pick, self.logit / temperature)
        means = self._means(index)
        xy, z, finger = (
            self._of(a, index) for a in (self.xy_sigma, self.z_sigma, self.finger_sigma)
        )
        sigma = jnp.concatenate([xy, xy, z, 0 * xy, 0 * xy, 0 * xy, finger], -1)
        sigma = jnp.sqrt(temperature) * sigma.at[:, 3:5].set(TILT_SIGMA)
        shaken = means + sigma * jax.random.normal(noise, means.shape)
        yaw = _sample_yaw(turn, self._of(self.yaw, index) / temperature)
        finger = jnp.clip(shaken[:, 6:], 0, 1)
        return jnp.concatenate([shaken[:, :5], yaw[:, None], finger], -1)


HEIGHTS = np.arange(0.0, 0.2, 0.0125)  # m, centres of tiles
FINGERS = np.arange(0.0, 1.01, 0.1)  # of the opening
DISTANCES = np.array([0.0, 0.01, 0.02, 0.03, 0.045, 0.065, 0.09])  # m
ABOVE = np.array([-0.01, 0.0, 0.01, 0.02, 0.03, 0.05, 0.08])  # m above a demonstrated height
CLOSED = np.arange(-0.1, 0.31, 0.05)  # of the opening, beyond the narrowest demonstrated
OPENED = np.arange(-0.6, 0.61, 0.2)  # and beyond the last one
HOVER_Z = 0.13  # m
LENGTHS = np.arange(0.0, 0.41, 0.08)  # m between the two places
OFFSETS = np.arange(-0.16, 0.17, 0.04)  # m along the way from a place
LIFTED_Z = 0.17  # m, height of a label that stays where the gripper is
BESIDE = 0.07  # m between an attended place and the tool that pushes it
AHEAD = np.array([0.05, 0.085, 0.12, 0.155])  # m ahead of the gripper
POINTS = 8  # where a place may lie: at the gripper and up to 19 cm ahead of it
FOCUS_FLOOR = 0.006  # m, smallest standard deviation of a place
CLOSE = 0.025  # m between a place and one that serves as well
RAW = 10  # network outputs per mixture component


def _mixture(raw: Array, xy: Array, tilt: Array) -> Mixture:
    """Components from network outputs raw [n,J,RAW] and means xy [n,J,2]; raw = 0 is a sane start:
    3 cm wide, 10 cm high, finger half open, yaw uniform. Columns 1 and 2 belong to the caller."""

    def sigma(column: int, floor: float, start: float) -> Array:
        return floor + (start - floor) / math.log(2) * nn.softplus(raw[..., column])

    yaw = 5 * raw[..., 4:6]
    norm = jnp.sqrt(jnp.sum(jnp.square(yaw), -1, keepdims=True) + 1e-6)
    return Mixture(
        logit=raw[..., 0],
        xy=xy,
        z=0.1 + UNIT * raw[..., 3],
        yaw=yaw * jnp.minimum(1, MAX_CONCENTRATION / norm),
        finger=0.5 + 0.5 * raw[..., 6],
        tilt=tilt,
        xy_sigma=sigma(7, XY_FLOOR, 0.03),
        z_sigma=sigma(8, Z_FLOOR, 0.05),
        finger_sigma=sigma(9, FINGER_FLOOR, 0.4),
    )


@flax.struct.dataclass
class FixedGaussian:
    """One Gaussian of fixed width per dimension, so that -log_prob is a squared error (yaw wrapped
    to half a turn) plus a constant: mean [n,7], seven values of sigma."""

    mean: Array
    sigma: tuple[float, ...] = flax.struct.field(pytree_node=False)

    def log_prob(self, action: Array) -> Array:
        """See `Density.log_prob`."""
        difference = action - self.mean
        difference = difference.at[:, 5].set(wrap_yaw(difference[:, 5]))
        # The yaw's Gaussian is cut off at a quarter turn to either side.
        inside = math.erf(math.pi / 2 / (self.sigma[5] * math.sqrt(2)))
        return _log_normal(difference, 0, jnp.array(self.sigma)).sum(-1) - math.log(inside)

    def mode(self) -> Array:
        """See `Density.mode`."""
        yaw, finger = wrap_yaw(self.mean[:, 5:6]), jnp.clip(self.mean[:, 6:], 0, 1)
        return jnp.concatenate([self.mean[:, :5], yaw, finger], -1)

    def sample(self, key: Array, temperature: float = 1.0) -> Array:
        """See `Density.sample`."""
        sigma = jnp.array(self.sigma) * jnp.sqrt(temperature)
        noise = jax.random.normal(key, self.mean.shape) * sigma
        return self.replace(mean=self.mean + noise).mode()  # type: ignore[attr-defined]


@flax.struct.dataclass
class Binned:
    """Every dimension cut into equal bins, independent of the others: logit [n,7,bins] over
    seven ranges from low to high. Values outside fall into the outermost bin."""

    logit: Array
    low: tuple[float, ...] = flax.struct.field(pytree_node=False)
    high: tuple[float, ...] = flax.struct.field(pytree_node=False)

    @property
    def _grid(self) -> tuple[Array, Array]:
        low = jnp.array(self.low)
        return low, (jnp.array(self.high) - low) / self.logit.shape[-1]

    def log_prob(self, action: Array) -> Array:
        """See `Density.log_prob`: probability of the bin over its width."""
        action = jnp.asarray(action)
        action = action.at[:, 5].set(wrap_yaw(action[:, 5]))
        low, width = self._grid
        index = jnp.clip((action - low) / width, 0, self.logit.shape[-1] - 1).astype(jnp.int32)
        log_p = jnp.take_along_axis(jax.nn.log_softmax(self.logit, -1), index[..., None], -1)
        return jnp.sum(log_p[..., 0] - jnp.log(width), -1)

    def mode(self) -> Array:
        """See `Density.mode`: the centre of each dimension's likeliest bin."""
        low, width = self._grid
        return low + (self.logit.argmax(-1) + 0.5) * width

    def sample(self, key: Array, temperature: float = 1.0) -> Array:
        """See `Density.sample`."""
        pick, within = jax.random.split(key)
        index = jax.random.categorical(pick, self.logit / temperature)
        low, width = self._grid
        return low + (index + jax.random.uniform(within, index.shape)) * width


# Policy heads: (maps [n,h,w,C], pose [n,7], z [n,Z]) -> Density.


def _tiles(value: Array, centres: np.ndarray, width: float) -> Array:
    """Gaussian bumps, [...] -> [..., len(centres)]: a sharp decision on a length becomes linear."""
    return jnp.exp(-0.5 * jnp.square((value[..., None] - centres) / width))


def _pose_features(camera: Camera, pose: Array) -> Array:
    place = jnp.concatenate([pose[..., :2], camera.on_table(pose)], -1) / camera.view
    rest = [(pose[..., 2:3] - 0.1) / UNIT, pose[..., 3:5], pose[..., 6:7] * 2 - 1]
    tiles = [_tiles(pose[..., 2], HEIGHTS, 0.01), _tiles(pose[..., 6], FINGERS, 0.07)]
    return jnp.concatenate([place, *rest, yaw_features(pose[..., 5]), *tiles], -1)


@flax.struct.dataclass
class Focus:
    """Where two places lie that an episode is about: for each, a mixture with a component per cell.

    logit [n,2,G] (normalised here), x, y [n,2,G] m on the table as the camera sees it, sigma
    [n,2,G] m.
    """

    logit: Array
    x: Array
    y: Array
    sigma: Array

    def log_prob(self, place: Array) -> Array:
        """Log density per m^2 of each of K points for each place: [n,2,K,2] m -> [n,2,K]."""
        dx, dy = (place[..., i, None] - mean[:, :, None] for i, mean in enumerate((self.x, self.y)))
        log_weight = jax.nn.log_softmax(self.logit, -1) - 2 * jnp.log(self.sigma)
        square = (jnp.square(dx) + jnp.square(dy)) / jnp.square(self.sigma)[:, :, None]
        joint = log_weight[:, :, None] - 0.5 * square
        return jax.nn.logsumexp(joint, -1) - math.log(2 * math.pi)

    def mode(self) -> Array:
        """The likeliest of the means of the eight heaviest components: [n,2,2] m.

        Neighbouring cells propose the same place, so the heaviest one alone is not the mode.
        """
        _, strongest = jax.lax.top_k(self.logit, min(8, self.logit.shape[-1]))
        x, y = (jnp.take_along_axis(a, strongest, -1) for a in (self.x, self.y))
        means = jnp.stack([x, y], -1)
        best = self.log_prob(means).argmax(-1)
        return jnp.take_along_axis(means, best[..., None, None], 2)[:, :, 0]

    def after(self, earlier: Focus, share: Array) -> Focus:
        """What is believed after several pictures of a scene in which little moves: a running mean
        of log weights and proposals, in which `earlier` has the given share [n,2,1]."""
        now = self.replace(logit=jax.nn.log_softmax(self.logit, -1))  # type: ignore[attr-defined]
        return jax.tree.map(lambda a, b: share * a + (1 - share) * b, earlier, now)


class AnchoredMixture(nn.Module):
    """First where, then what: a density over two places, and one over actions given the places.

    The demonstration asks for each place with a query that is compared with every cell; every cell
    proposes a point near itself (`Focus`). The action's mixture has its components anchored at the
    two places, where a tool stands that moves the one towards the other, where that ends, and
    where the gripper is. So log g(action) + log g(places) is the log likelihood of the
    action and of two latent places. Training knows the places in hindsight; acting takes the mode.

    Where a component lies follows from the picture and the demonstration alone. Told where the
    gripper is, a policy would propose that place: on the way down it is always nearly right, and
    it never brings the gripper there.
    """

    camera: Camera
    width: int = 64

    def setup(self) -> None:
        self.finder = _Finder(self.camera, self.width)
        self.mover = _Mover(self.camera, self.width)

    def __call__(
        self,
        maps: Array,
        pose: Array,
        z: Array,
        hindsight: tuple[Array, Array] | None = None,
        memory: tuple[Focus, Array] | None = None,
    ) -> Mixture:
        found = self.find(maps, z)
        if memory is not None:
            found = found.after(*memory)
        place = jax.lax.stop_gradient(found.mode())
        if hindsight is not None:
            place = _hindsight(found, place, *hindsight)
        density = self.mover(rms_norm(maps), pose, z * math.sqrt(z.shape[-1]), place)
        return density.replace(focus=found)  # type: ignore[attr-defined]

    def find(self, maps: Array, z: Array) -> Focus:
        """See `Policy.find`."""
        return self.finder(rms_norm(maps), z * math.sqrt(z.shape[-1]))


class _Finder(nn.Module):
    """Where the two places lie: normalised maps [n,h,w,C], z [n,Z] -> Focus."""

    camera: Camera
    width: int

    @nn.compact
    def __call__(self, maps: Array, z: Array) -> Focus:
        n, h, w, c = maps.shape
        cells = maps.reshape(n, h * w, c)
        anchors = jnp.asarray(self.camera.cells(h, w))
        lecun, zeros = nn.initializers.lecun_normal(), nn.initializers.zeros
        asked = nn.relu(nn.Dense(2 * self.width, name="ask")(z))
        query = nn.Dense(2 * c, name="query")(asked) + nn.Dense(2 * c, name="portraits")(z)
        query = query.reshape(n, 2, c)
        scale = self.param("sharpness", nn.initializers.constant(math.log(8)), (2,))
        query = rms_norm(query) * (jnp.exp(scale) / c)[:, None]
        shift = nn.Dense(self.width, name="find_shift")(asked)
        position = nn.Dense(self.width, name="find_position")(anchors / self.camera.view)
        look = self.param("find_look", lecun, (c, self.width))
        out = self.param("find", nn.initializers.normal(0.02), (self.width, 6))
        bias = self.param("find_bias", zeros, (6,))

        def propose(cells: Array, query: Array, shift: Array) -> Array:
            similarity = jnp.einsum("ngc,npc->ngp", cells, query)
            x = (cells.reshape(-1, c) @ look).reshape(-1, h * w, self.width)
            x = nn.relu(x + position + shift[:, None]).reshape(-1, self.width) @ out + bias
            return jnp.concatenate([similarity, x.reshape(-1, h * w, 6)], -1)

        raw = in_chunks(propose, h * w, cells, query, shift).swapaxes(1, 2)
        x, y = (anchors[:, i] + REACH * jnp.tanh(raw[:, 2 + 2 * i : 4 + 2 * i]) for i in (0, 1))
        sigma = FOCUS_FLOOR + (0.02 - FOCUS_FLOOR) / math.log(2) * nn.softplus(raw[:, 6:])
        return Focus(raw[:, :2], x, y, sigma)


class _Mover(nn.Module):
    """What to do with two places: normalised maps [n,h,w,C], pose [n,7], z [n,Z], place [n,2,2] m
    -> Mixture."""

    camera: Camera
    width: int

    @nn.compact
    def __call__(self, maps: Array, pose: Array, z: Array, place: Array) -> Mixture:
        n, h, w, c = maps.shape
        cells = maps.reshape(n, h * w, c)
        around = bilinear_weights(place / self.camera.view, h, w, offsets=True)
        looks = jnp.einsum("npsg,ngc->npsc", around, cells).reshape(n, 2, -1)
        looks = nn.relu(nn.Dense(self.width, name="look")(looks))
        under = bilinear_weights(self.camera.project(pose), h, w, offsets=True)
        under = jnp.einsum("nsg,ngc->nsc", under, cells).reshape(n, -1)
        under = nn.relu(nn.Dense(self.width, name="under")(under))

        way = place[:, 1] - place[:, 0]
        length = jnp.sqrt(jnp.sum(jnp.square(way), -1, keepdims=True) + 1e-4)
        way = way / length
        x, y = way[:, 0], way[:, 1]
        across = jnp.stack([-y, x], -1)
        heading = jnp.stack([2 * x * y, jnp.square(x) - jnp.square(y)], -1)  # of twice the angle
        yaw = yaw_features(pose[:, 5])
        turned = yaw_features(pose[:, 5] - jnp.arctan2(y, x + 1e-6))

        aim = jnp.concatenate([looks.reshape(n, -1), z, _tiles(length[:, 0], LENGTHS, 0.04)], -1)
        aim = nn.relu(nn.Dense(2 * self.width, name="aim")(aim))

        # The demonstrated lengths, and what the gripper is short of them. An embedding that knows
        # none is free to learn what it says there.
        sizes = z[:, -SIZES:] / (SIZE_SCALE * math.sqrt(z.shape[-1]))
        shown = 0.1 + UNIT * sizes[:, :2]
        above = pose[:, 2:3] - shown
        closed, opened = (pose[:, 6] - (0.5 + 0.5 * sizes[:, i]) for i in (2, 3))
        known = [_pose_features(self.camera, pose), turned, under, aim]
        known += [above / UNIT, _tiles(above, ABOVE, 0.01).reshape(n, -1)]
        known += [closed[:, None], _tiles(closed, CLOSED, 0.04)]
        known += [opened[:, None], _tiles(opened, OPENED, 0.1)]
        for gripper in (pose[:, :2], self.camera.on_table(pose)):
            apart = gripper[:, None] - place
            distance = jnp.sqrt(jnp.sum(jnp.square(apart), -1) + 1e-8)
            along, aside = (jnp.einsum("npc,nc->np", apart, v) for v in (way, across))
            known += [apart.reshape(n, -1) / UNIT, along / UNIT, aside / UNIT]
            known += [_tiles(v, DISTANCES, 0.01).reshape(n, -1) for v in (distance, jnp.abs(aside))]
            known += [_tiles(along, OFFSETS, 0.02).reshape(n, -1)]
        context = nn.relu(nn.Dense(4 * self.width, name="context0")(jnp.concatenate(known, -1)))
        context = nn.relu(nn.Dense(2 * self.width, name="context1")(context))

        small = nn.initializers.normal(0.02)
        count = 16  # four per anchor
        raw = nn.Dense((count + 1) * RAW, kernel_init=small, name="component")(context)
        raw = raw.reshape(n, count + 1, RAW)
        # Every other component starts with open fingers, the rest with closed ones: what lies
        # between them holds nothing.
        raw = raw.at[:, :count, 6].add(jnp.tile(jnp.array([1.0, -1.0]), 8))
        # Half of them start where the tool hovers, half as high as the demonstration shows.
        low = jnp.tile(sizes[:, :2], 2)[..., None, None]
        high = jnp.full_like(low, (HOVER_Z - 0.1) / UNIT)
        start = jnp.broadcast_to(jnp.concatenate([high, low], 2), (n, 4, 2, 2))
        raw = raw.at[:, :count, 3].add(start.reshape(n, count))
        offset = nn.Dense(2 * count, kernel_init=small, name="aim_offset")(aim)
        offset = REACH * jnp.tanh(offset.reshape(n, 4, 4, 2))
        beside = place - BESIDE * way[:, None]
        # Offsets from the places are those of the picture, offsets beside them turn with the way.
        frame = jnp.stack([way, across], 1)
        along = jnp.einsum("npkd,ndc->npkc", offset[:, 2:], frame)
        means = [place[:, :, None] + offset[:, :2], beside[:, :, None] + along]
        xy = jnp.concatenate(means, 1).reshape(n, count, 2)
        # The object's own direction, the present one where any will do, or across the way.
        angles = nn.Dense(4 * count, kernel_init=small, name="aim_yaw")(aim).reshape(n, count, 4)
        natural = 5 * angles[..., :2] + 5 * angles[..., 2:3] * yaw[:, None]
        natural = natural - 5 * angles[..., 3:] * heading[:, None]

        # The way up leads from wherever the gripper is. This component is sharp at the height that
        # labels of going up have, or it would explain the way down as well. Its fingers start as
        # they are when the demonstration ends, or it would leave an object that it has to take.
        stay = raw[:, count:].at[..., 3].set((LIFTED_Z - 0.1) / UNIT).at[..., 7:9].set(-20.0)
        stay = stay.at[..., 6].add(sizes[:, 3:])
        stay = stay.at[..., 4:6].set(3 * yaw[:, None])
        raw = jnp.concatenate([raw[:, :count].at[..., 4:6].set(natural / 5), stay], 1)
        still = pose[:, None, :2]
        tilt = nn.Dense(2, kernel_init=nn.initializers.zeros, name="tilt")(context)
        return _mixture(raw, jnp.concatenate([xy, still], 1), tilt)


def _hindsight(found: Focus, guess: Array, focus: Array, seen: Array) -> Array:
    """The places to act on when training: the guess [n,2,2] where it is close to one of the
    candidates focus [n,2,K,2] or there is nothing to be seen (seen bool [n,2]), elsewhere the
    likeliest candidate.

    So that the density of actions learns with the small errors that it meets when acting, and not
    with the large ones, for which no action is right.
    """
    apart = jnp.sum(jnp.square(guess[:, :, None] - focus), -1).min(-1)
    likely = jax.lax.stop_gradient(found.log_prob(focus)).argmax(-1)
    likely = jnp.take_along_axis(focus, likely[..., None, None], 2)[:, :, 0]
    return jnp.where(((apart < CLOSE**2) | ~seen)[..., None], guess, likely)


class _Summary(nn.Module):
    """The paper's trunk: spatial softmax, pose and demonstration into an MLP -> [n,128]."""

    camera: Camera
    maps: int = 32

    @nn.compact
    def __call__(self, maps: Array, pose: Array, z: Array) -> Array:
        places = spatial_softmax(nn.Dense(self.maps)(rms_norm(maps)) * 4)
        z = z * math.sqrt(z.shape[-1])
        places = places.reshape(len(pose), -1) * 2
        x = jnp.concatenate([places, _pose_features(self.camera, pose), z], -1)
        for _ in range(2):
            x = nn.relu(nn.Dense(128)(x))
        return x


class SpatialSoftmaxMDN(nn.Module):
    """The paper's head: spatial softmax, MLP, mixture density of a few components."""

    camera: Camera
    components: int = 8

    @nn.compact
    def __call__(self, maps: Array, pose: Array, z: Array, *_: Any) -> Mixture:
        x = _Summary(self.camera)(maps, pose, z)
        raw = nn.Dense(self.components * RAW)(x).reshape(len(x), self.components, RAW)
        tilt = nn.Dense(2, kernel_init=nn.initializers.zeros)(x)
        return _mixture(raw, self.camera.view * raw[..., 1:3], tilt)


class MSEHead(nn.Module):
    """Spatial softmax, MLP, one Gaussian of fixed width: eq. 2 as a squared error."""

    camera: Camera
    sigma: tuple[float, ...] = (0.05, 0.05, 0.05, 0.05, 0.05, 0.25, 0.25)

    @nn.compact
    def __call__(self, maps: Array, pose: Array, z: Array, *_: Any) -> FixedGaussian:
        raw = nn.Dense(8)(_Summary(self.camera)(maps, pose, z))
        yaw = 0.5 * jnp.arctan2(raw[:, 5], raw[:, 6] + 1.0)
        mean = [raw[:, :2] * self.camera.view, 0.1 + UNIT * raw[:, 2:3], 0.05 * raw[:, 3:5]]
        mean += [yaw[:, None], 0.5 + 0.5 * raw[:, 7:]]
        return FixedGaussian(jnp.concatenate(mean, -1), self.sigma)


class Discretised(nn.Module):
    """Spatial softmax, MLP, cross-entropy over `bins` bins of each dimension."""

    camera: Camera
    bins: int = 32
    ceiling: float = 0.35  # m; highest z with a bin of its own

    @nn.compact
    def __call__(self, maps: Array, pose: Array, z: Array, *_: Any) -> Binned:
        x = _Summary(self.camera)(maps, pose, z)
        view, quarter = self.camera.view, math.pi / 2
        low = (-view, -view, 0.0, -0.5, -0.5, -quarter, 0.0)
        high = (view, view, self.ceiling, 0.5, 0.5, quarter, 1.0)
        return Binned(nn.Dense(7 * self.bins)(x).reshape(len(x), 7, self.bins), low, high)


# A learned loss: what a demonstration without actions means for the policy that watches it.


def looked_at(focus: Focus, maps: Array) -> tuple[Array, Array]:
    """Where a policy looks and what it sees there: maps [n,h,w,C] -> mean places [n,2,2] m and
    features [n,2,C], both smooth in the policy's parameters."""
    attention = jax.nn.softmax(focus.logit, -1)
    where = jnp.stack([jnp.sum(attention * a, -1) for a in (focus.x, focus.y)], -1)
    cells = rms_norm(maps).reshape(len(maps), -1, maps.shape[-1])
    return where, jnp.einsum("npg,ngc->npc", attention, cells)


class LearnedLoss(nn.Module):
    """A loss of what the policy looks at in the pictures of a demonstration (Yu et al. 2018, one
    stage of MIL without actions): (where [S,2,2] m, what [S,2,C], maps [S,h,w,C], pose [S,7] or
    None) -> scalar.

    It looks at the pictures itself as well (four attended places), so that it can tell where the
    policy should have looked. Two temporal convolutions; the loss is the mean square of what comes
    out, after Yu et al.
    """

    camera: Camera
    width: int = 64

    @nn.compact
    def __call__(self, where: Array, what: Array, maps: Array, pose: Array | None) -> Array:
        n, h, w, c = maps.shape
        cells = rms_norm(maps)
        own = nn.Dense(4, name="attend")(cells) * 4
        attention = jax.nn.softmax(own.reshape(n, h * w, 4), axis=1)
        seen = jnp.einsum("ngd,ngc->ndc", attention, cells.reshape(n, h * w, c))
        places = spatial_softmax(own)
        mine = where / self.camera.view
        apart = mine[:, :, None] - places[:, None]
        parts = [mine, what, seen, places, apart, jnp.square(apart) * 10]
        x = jnp.concatenate([a.reshape(n, -1) for a in parts], -1)
        if pose is not None:
            x = jnp.concatenate([x, _pose_features(self.camera, pose)], -1)
        out = _Temporal(self.width, self.width)(nn.Dense(self.width)(x)[None])
        return jnp.mean(jnp.square(out))


# The policy.

EMBEDDINGS: dict[str, Callable[..., nn.Module]] = {
    "pose_anchored": PoseAnchored,
    "images_only_predicted": ImagesOnlyPredicted,
    "images_only": ImagesOnly,
}
HEADS: dict[str, Callable[..., nn.Module]] = {
    "anchored_mixture": AnchoredMixture,
    "spatial_softmax_mdn": SpatialSoftmaxMDN,
    "mse": MSEHead,
    "discretised": Discretised,
}


class Policy(nn.Module):
    """Embedding f and policy g with one shared encoder (Singh et al. 2020, section IV-A, fig. 3).

    embedding: a key of EMBEDDINGS; head: a key of HEADS; embedding_size: Z, more than SIZES;
    channels, blocks, bfloat16: of the encoder. A policy without demonstration (eq. 1) is the same
    policy given z = 0.
    Raises ConfigError when applied with an unknown name.
    """

    camera: Camera = Camera()
    embedding: str = "pose_anchored"
    head: str = "anchored_mixture"
    embedding_size: int = 32
    channels: int = 32
    blocks: int = 3
    bfloat16: bool = False

    def setup(self) -> None:
        for field, table in (("embedding", EMBEDDINGS), ("head", HEADS)):
            if getattr(self, field) not in table:
                raise ConfigError(
                    f"Policy.{field}: {getattr(self, field)!r} is unknown; use one of "
                    f"{sorted(table)}"
                )
        self.encoder = Encoder(self.channels, self.blocks, self.bfloat16)
        self.embedder = EMBEDDINGS[self.embedding](self.camera, self.embedding_size)
        self.actor = HEADS[self.head](self.camera)

    def encode(self, image: Array) -> Array:
        """uint8 [..., H,W,3] -> feature maps [..., h,w,C]."""
        maps = self.encoder(image.reshape(-1, *image.shape[-3:]))
        return maps.reshape(*image.shape[:-3], *maps.shape[1:])

    def embed_maps(self, maps: Array, demo_pose: Array) -> tuple[Array, Array]:
        """Encoded demonstrations [N,M,h,w,C], poses [N,K,7] -> (unit z [N,Z], auxiliary [N]).

        The auxiliary loss is zero for embeddings that have none.
        """
        return self.embedder(maps, demo_pose)

    def act_maps(
        self,
        maps: Array,
        pose: Array,
        z: Array,
        hindsight: tuple[Array, Array] | None = None,
        memory: tuple[Focus, Array] | None = None,
    ) -> Density:
        """Encoded observations [n,h,w,C], poses [n,7], embeddings [n,Z] -> density over actions.

        For a head that acts on places, and else without effect:
        hindsight: when training, candidates for the places [n,2,K,2] m and whether they are to be
        seen, bool [n,2]. memory: when acting, the density's `focus` after the picture before, and
        what share it is to have (`Focus.after`).
        """
        return self.actor(maps, pose, z, hindsight, memory)

    def portray(self, maps: Array, spots: Array) -> Array:
        """The embedding that asks for two spots [n,2,2] m on the table of encoded pictures
        [n,h,w,C], as if a demonstration were about what lies there: unit z [n,Z].

        Only if `recalls`.
        """
        return self.embedder.portray(maps, spots)

    def find(self, maps: Array, z: Array) -> Focus:
        """Where the two places lie that z [n,Z] is about, in encoded pictures [n,h,w,C].

        Only for a head that acts on places.
        """
        return self.actor.find(maps, z)

    @property
    def recalls(self) -> bool:
        """Whether it can be asked to find again what it is shown (`portray`, `find`)."""
        return hasattr(EMBEDDINGS[self.embedding], "portray") and hasattr(HEADS[self.head], "find")

    def embed(self, demo_image: Array, demo_pose: Array) -> Array:
        """f: uint8 [N,M,H,W,3], poses [N,K,7] -> unit vectors z [N,Z]."""
        return self.embed_maps(self.encode(demo_image), demo_pose)[0]

    def act(
        self, image: Array, pose: Array, z: Array, memory: tuple[Focus, Array] | None = None
    ) -> Density:
        """g: uint8 [n,H,W,3], poses [n,7], z [n,Z] (zeros: no demonstration) -> density."""
        return self.act_maps(self.encode(image), pose, z, memory=memory)

    def __call__(self, demo_image: Array, demo_pose: Array, image: Array, pose: Array) -> Density:
        """Acts on n observations, each after its own demonstration (N = n); initialises all."""
        return self.act(image, pose, self.embed(demo_image, demo_pose))


def init(policy: Policy, key: Array, image_size: int = 64, frames: int = 2) -> Any:
    """Parameters of `policy` for demonstrations of M = `frames` frames.

    They fit any size of picture and any K; an embedding that pools places in the current frame has
    more of them for M > 2 than for M = 2.
    """
    image = jnp.zeros((1, image_size, image_size, 3), jnp.uint8)
    pose = jnp.zeros((1, 7))
    demo = jnp.repeat(image[:, None], frames, 1), jnp.repeat(pose[:, None], frames + 2, 1)
    return _init(policy, key, *demo, image, pose)["params"]


@functools.partial(jax.jit, static_argnums=0)
def _init(policy: Policy, key: Array, *args: Array) -> Any:
    return policy.init(key, *args)
