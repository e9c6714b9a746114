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
XY_FLOOR, Z_FLOOR, FINGER_FLOOR = 0.012, 0.012, 0.15  # m, m, 1; smallest standard deviations
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

    def share(self, place: Array, h: int, w: int) -> Array:
        """Bilinear shares of places on the table among the cells: [...,2] m -> [...,h*w]."""
        return bilinear_weights(place / self.view, h, w, offsets=False)[..., 0, :]

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


def in_chunks(f: Callable[..., Array], cells: int, *args: Array) -> Array:
    """f(*args) along the leading axis, in chunks of about CHUNK cells on CPU, at once elsewhere."""
    n = len(args[0])
    chunk = max(1, CHUNK // cells)
    if jax.default_backend() != "cpu" or n <= chunk:
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
    if jax.default_backend() != "cpu":
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
    Raises ConfigError if H or W is not a multiple of 4.
    """

    channels: int = 32
    blocks: int = 3

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

        def encode(image: Array) -> Array:
            x = _patches(image) @ stem + stem_bias
            for conv, conv_bias, mix, mix_bias in blocks:
                hidden = conv3x3(rms_norm(x).reshape(-1, h, w, c), conv) + conv_bias
                x = x + nn.relu(hidden).reshape(-1, c) @ mix + mix_bias
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
    """Two temporal convolutions of width 3, pooled over time: [N,T,D] -> unit vectors [N,Z]."""

    size: int
    width: int = 64

    @nn.compact
    def __call__(self, x: Array) -> Array:
        for _ in range(2):
            padded = jnp.pad(x, ((0, 0), (1, 1), (0, 0)), mode="edge")
            window = jnp.concatenate([padded[:, :-2], x, padded[:, 2:]], -1)
            x = nn.relu(nn.Dense(self.width)(window))
        pooled = jnp.concatenate([x.mean(1), x.max(1), x[:, 0], x[:, -1]], -1)
        z = nn.Dense(self.size)(nn.relu(nn.Dense(2 * self.width)(rms_norm(pooled))))
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
    """Features around the gripper's place at each time, and ahead of it, in the first, current and
    last frame.

    Ahead is where the gripper is moving: what is pushed, and what it is pushed to, lie there.
    """

    camera: Camera
    size: int
    width: int = 64

    @nn.compact
    def __call__(self, maps: Array, pose: Array) -> Array:
        n, m, h, w, c = maps.shape
        k = pose.shape[1]
        around = bilinear_weights(self.camera.project(pose), h, w, offsets=True)
        step = jnp.concatenate([pose[:, 1:2], pose[:, 2:], pose[:, -1:]], 1)[..., :2]
        step = step - jnp.concatenate([pose[:, :1], pose[:, :-1]], 1)[..., :2]
        step = step * jax.lax.rsqrt(jnp.sum(jnp.square(step), -1, keepdims=True) + 0.01**2)
        there = pose[:, :, None, :2] + step[:, :, None] * AHEAD[:, None]
        ahead = bilinear_weights(there / self.camera.view, h, w, offsets=False)
        weights = jnp.concatenate([around, ahead[:, :, :, 0]], 2)
        flat = rms_norm(maps).reshape(n, m, h * w, c)
        ends = jnp.einsum("nksg,nfgc->nkfsc", weights, flat[:, np.array([0, m - 1])])
        samples = [ends[:, :, 0], ends[:, :, 1]]
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
        return _Temporal(self.size, self.width)(x)


class PoseAnchored(nn.Module):
    """Embeds a demonstration by what lies where the gripper goes (poses are given).

    With M = 2 frames these are the first and the last one; with more, the frame nearest in time to
    each pose is pooled as well.
    """

    camera: Camera
    size: int = 32

    @nn.compact
    def __call__(self, maps: Array, pose: Array) -> tuple[Array, Array]:
        return _Pooled(self.camera, self.size)(maps, pose), jnp.zeros(len(pose))


class ImagesOnlyPredicted(nn.Module):
    """As `PoseAnchored`, but the gripper's pose is read from the pictures, so that video is enough.

    The auxiliary loss (squared error in units of 5 cm, of the finger and of the yaw's sine and
    cosine) teaches the reading where poses are known; the embedding itself never sees the given
    poses. The gradient of the embedding does not move the places it looks at.
    """

    camera: Camera
    size: int = 32

    @nn.compact
    def __call__(self, maps: Array, pose: Array) -> tuple[Array, Array]:
        n, m, h, w, c = maps.shape
        cells = rms_norm(maps).reshape(n, m, h * w, c)
        hidden = nn.relu(nn.Dense(c, name="look")(cells))
        attention = jax.nn.softmax(nn.Dense(1, name="where")(hidden)[..., 0] * 4, -1)
        seen = jnp.einsum("nmg,gc->nmc", attention, self.camera.cells(h, w))
        there = jnp.einsum("nmg,nmgc->nmc", attention, hidden)
        read = nn.Dense(4, name="read")(nn.relu(nn.Dense(64, name="read_hidden")(there)))
        z, finger = read[..., 0] * UNIT + 0.1, read[..., 1] * 0.5 + 0.5
        yaw = 0.5 * jnp.arctan2(read[..., 2], read[..., 3] + 1e-6)

        true = pose[:, _frames_at(pose.shape[1], m)]
        error = jnp.sum(jnp.square((seen - self.camera.on_table(true)) / UNIT), -1)
        error += jnp.square((z - true[..., 2]) / UNIT)
        error += jnp.square(finger - true[..., 6])
        error += jnp.sum(jnp.square(read[..., 2:] - yaw_features(true[..., 5])), -1)

        xy = seen * (1 - z / self.camera.height)[..., None]
        tilt = jnp.zeros_like(xy)
        guess = jnp.concatenate([xy, z[..., None], tilt, yaw[..., None], finger[..., None]], -1)
        guess = jax.lax.stop_gradient(guess)
        return _Pooled(self.camera, self.size)(maps, guess), error.mean(-1)


class ImagesOnly(nn.Module):
    """The paper's embedding (section IV-A): per-frame features, then temporal convolution."""

    camera: Camera
    size: int = 32
    maps: int = 32

    @nn.compact
    def __call__(self, maps: Array, pose: Array) -> tuple[Array, Array]:
        n, m, h, w, c = maps.shape
        frames = rms_norm(maps).reshape(n * m, h, w, c)
        places = spatial_softmax(nn.Dense(self.maps)(frames) * 4).reshape(n, m, -1)
        mean = nn.relu(nn.Dense(c)(frames)).mean((1, 2)).reshape(n, m, c)
        x = nn.relu(nn.Dense(64)(jnp.concatenate([places * 2, mean * 2], -1)))
        return _Temporal(self.size)(x), jnp.zeros(n)


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
    attention: Array | None = None  # log attention to every cell [n,places,G], where there is one

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
        spread = jax.tree.map(lambda a: a[:, None], dataclasses.replace(self, attention=None))
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
PARTNER = np.array([1, 0, 3, 2])  # attended places come in pairs
LIFTED_Z = 0.17  # m, height of a label that stays where the gripper is
BESIDE = 0.07  # m between an attended place and the tool that pushes it
AHEAD = np.array([0.05, 0.085, 0.12, 0.155])  # m ahead of the gripper
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


class AnchoredMixture(nn.Module):
    """One mixture component per cell, anchored at the cell's place on the table (module docstring).

    The demonstration asks `places` questions: each is a query compared with every cell, and its
    soft-argmax is an attended place. A cell knows its similarities, its offset from the gripper and
    from the attended places, and the demonstration. Further components are anchored at the
    attended places, for every ordered pair of them where a tool stands that moves the one towards
    the other and where that ends, and at the gripper's own place for lifting.
    """

    camera: Camera
    places: int = 4
    width: int = 64

    @nn.compact
    def __call__(self, maps: Array, pose: Array, z: Array) -> Mixture:
        n, h, w, c = maps.shape
        anchors = jnp.asarray(self.camera.cells(h, w))
        cells = rms_norm(maps).reshape(n, h * w, c)
        z = z * math.sqrt(z.shape[-1])

        query = nn.Dense(self.places * c, bias_init=nn.initializers.normal(0.3), name="query")(z)
        query = rms_norm(query.reshape(n, self.places, c))
        scale = self.param("sharpness", nn.initializers.constant(math.log(8)), (self.places,))
        similarity = jnp.einsum("ngc,npc->ngp", cells, query) * (jnp.exp(scale) / c)
        log_attention = jax.nn.log_softmax(similarity, 1)
        attention = jnp.exp(log_attention)
        place = jnp.einsum("ngp,gc->npc", attention, anchors)
        seen = jnp.einsum("ngp,ngc->npc", attention, cells)

        gripper_uv = self.camera.project(pose)
        gripper = gripper_uv[:, None] * self.camera.view
        weights = bilinear_weights(gripper_uv, h, w, offsets=False)
        under = jnp.einsum("nsg,ngc->nsc", weights, cells)
        points = jnp.concatenate([gripper, place], 1)
        point_cells = jnp.concatenate([under, seen], 1)

        way = place[:, PARTNER] - place
        way = way * jax.lax.rsqrt(jnp.sum(jnp.square(way), -1, keepdims=True) + 1e-4)
        beside = jnp.concatenate([place - BESIDE * way, place[:, PARTNER] - BESIDE * way], 1)
        x, y = way[..., 0], way[..., 1]
        heading = jnp.stack([2 * x * y, jnp.square(x) - jnp.square(y)], -1)  # of twice the angle
        heading = jnp.concatenate([heading, heading], 1)

        goals = jnp.concatenate([place, beside], 1)
        apart = goals - pose[:, None, :2]
        distance = jnp.sqrt(jnp.sum(jnp.square(apart), -1) + 1e-8)
        known = [apart / UNIT, _tiles(distance, DISTANCES, 0.01), heading, point_cells]
        known = [_pose_features(self.camera, pose), z, *(x.reshape(n, -1) for x in known)]
        context = nn.relu(nn.Dense(4 * self.width)(jnp.concatenate(known, -1)))
        context = nn.relu(nn.Dense(2 * self.width)(context))

        small = nn.initializers.normal(0.02)
        lecun, zeros = nn.initializers.lecun_normal(), nn.initializers.zeros
        gain = nn.Dense(self.width, name="gain")(context)
        shift = nn.Dense(self.width, name="shift")(context)
        position = nn.Dense(self.width, name="position")(anchors / self.camera.view)
        cell = self.param("cell", lecun, (c, self.width))
        local = self.param("local", lecun, (4 * self.places + 3, self.width))
        hidden = self.param("hidden", lecun, (self.width, self.width))
        hidden_bias = self.param("hidden_bias", zeros, (self.width,))
        # Where a component lies follows from the picture and the demonstration alone. Told where
        # the gripper is, a policy would propose that place: on the way down it is always nearly
        # right, and it never brings the gripper there.
        half = self.width // 2
        aim_shift = nn.Dense(half, name="aim_shift")(z)
        aim_cell = self.param("aim_cell", lecun, (c, half))
        aim_local = self.param("aim_local", lecun, (4 * self.places, half))
        aim_out = self.param("aim", small, (half, 2))
        out = self.param("component", small, (self.width, RAW))
        out_bias = self.param("component_bias", zeros, (RAW,))

        def components(
            cells: Array, similarity: Array, points: Array, gain: Array, shift: Array, aim: Array
        ) -> Array:
            # Planes of [n,G,points] rather than an axis of two: the compiler vectorises the last.
            dx = anchors[:, None, 0] - points[:, None, :, 0]
            dy = anchors[:, None, 1] - points[:, None, :, 1]
            near = jnp.exp((jnp.square(dx) + jnp.square(dy)) / (-2 * 0.03**2))
            bounded = [2 * d / (0.1 + jnp.abs(d)) for d in (dx, dy)]
            # Without the first point, the gripper.
            still = [similarity, near[..., 1:], *(b[..., 1:] for b in bounded)]
            view = jnp.concatenate(still, -1).reshape(-1, 4 * self.places)
            a = (cells.reshape(-1, c) @ aim_cell + view @ aim_local).reshape(-1, h * w, half)
            a = nn.relu(a + aim[:, None]).reshape(-1, half) @ aim_out
            features = jnp.concatenate([similarity, near, *bounded], -1)
            features = features.reshape(-1, 4 * self.places + 3)
            x = (cells.reshape(-1, c) @ cell).reshape(-1, h * w, self.width)
            x = x * (1 + gain[:, None]) + shift[:, None] + position
            x = nn.relu(x.reshape(-1, self.width) + features @ local)
            x = nn.relu(x @ hidden + hidden_bias)
            x = x @ out + out_bias
            x = jnp.concatenate([x[:, :1], a, x[:, 3:]], -1)
            return x.reshape(-1, h * w, RAW)

        raw = in_chunks(components, h * w, cells, similarity, points, gain, shift, aim_shift)
        # What is asked for is proposed, without a detour through the layers above.
        halves = nn.initializers.constant(0.5)
        asked = nn.Dense(self.places, bias_init=halves, name="asked")(context)
        raw = raw.at[..., 0].add(jnp.einsum("ngp,np->ng", similarity, asked))

        extra = 3 * self.places
        looks = jnp.concatenate([seen, seen, seen[:, PARTNER]], 1)
        heading = jnp.concatenate([jnp.zeros_like(heading[:, : self.places]), heading], 1)
        goal_z = jnp.broadcast_to(z[:, None], (n, extra, z.shape[-1]))
        about = jnp.concatenate([looks, heading], -1)
        y = nn.Dense(extra * self.width, name="goal")(context).reshape(n, extra, self.width)
        y = nn.relu(y + nn.Dense(self.width, name="goal_look")(about))
        y = nn.Dense(RAW, kernel_init=small, name="goal_component")(y)
        a = nn.relu(nn.Dense(self.width, name="goal_aim")(jnp.concatenate([about, goal_z], -1)))
        a = nn.Dense(2, kernel_init=small, name="goal_aim_out")(a)
        y = jnp.concatenate([y[..., :1], a, y[..., 3:]], -1)
        # Fingers that push stand across the way.
        across = nn.Dense(extra, kernel_init=small, name="across")(context)[..., None]
        y = y.at[..., 4:6].add(-across * heading)

        # What has been lifted is carried up from wherever it was taken, which no cell shows. The
        # component is sharp at that height, or it would explain labels on the way down as well.
        stay = nn.Dense(RAW, kernel_init=small, name="stay")(context)[:, None]
        stay = stay.at[..., 1:3].set(0).at[..., 3].set((LIFTED_Z - 0.1) / UNIT)
        stay = stay.at[..., 7:9].set(-20.0)

        raw = jnp.concatenate([raw, y, stay], 1)
        own = jnp.concatenate([goals, pose[:, None, :2]], 1)
        anchor = jnp.concatenate([jnp.broadcast_to(anchors, (n, *anchors.shape)), own], 1)
        tilt = nn.Dense(2, kernel_init=nn.initializers.zeros, name="tilt")(context)
        mixture = _mixture(raw, anchor + REACH * jnp.tanh(raw[..., 1:3]), tilt)
        return dataclasses.replace(mixture, attention=log_attention.swapaxes(1, 2))


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
    def __call__(self, maps: Array, pose: Array, z: Array) -> Mixture:
        x = _Summary(self.camera)(maps, pose, z)
        raw = nn.Dense(self.components * RAW)(x).reshape(len(x), self.components, RAW)
        tilt = nn.Dense(2, kernel_init=nn.initializers.zeros)(x)
        return _mixture(raw, self.camera.view * raw[..., 1:3], tilt)


class MSEHead(nn.Module):
    """Spatial softmax, MLP, one Gaussian of fixed width: eq. 2 as a squared error."""

    camera: Camera
    sigma: tuple[float, ...] = (0.05, 0.05, 0.05, 0.05, 0.05, 0.25, 0.25)

    @nn.compact
    def __call__(self, maps: Array, pose: Array, z: Array) -> FixedGaussian:
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
    def __call__(self, maps: Array, pose: Array, z: Array) -> Binned:
        x = _Summary(self.camera)(maps, pose, z)
        view, quarter = self.camera.view, math.pi / 2
        low = (-view, -view, 0.0, -0.5, -0.5, -quarter, 0.0)
        high = (view, view, self.ceiling, 0.5, 0.5, quarter, 1.0)
        return Binned(nn.Dense(7 * self.bins)(x).reshape(len(x), 7, self.bins), low, high)


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

    embedding: a key of EMBEDDINGS; head: a key of HEADS; embedding_size: Z; channels, blocks: of
    the encoder. A policy without demonstration (eq. 1) is the same policy given z = 0.
    Raises ConfigError when applied with an unknown name.
    """

    camera: Camera = Camera()
    embedding: str = "pose_anchored"
    head: str = "anchored_mixture"
    embedding_size: int = 32
    channels: int = 32
    blocks: int = 3

    def setup(self) -> None:
        for field, table in (("embedding", EMBEDDINGS), ("head", HEADS)):
            if getattr(self, field) not in table:
                raise ConfigError(
                    f"Policy.{field}: {getattr(self, field)!r} is unknown; use one of "
                    f"{sorted(table)}"
                )
        self.encoder = Encoder(self.channels, self.blocks)
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

    def act_maps(self, maps: Array, pose: Array, z: Array) -> Density:
        """Encoded observations [n,h,w,C], poses [n,7], embeddings [n,Z] -> density over actions."""
        return self.actor(maps, pose, z)

    def embed(self, demo_image: Array, demo_pose: Array) -> Array:
        """f: uint8 [N,M,H,W,3], poses [N,K,7] -> unit vectors z [N,Z]."""
        return self.embed_maps(self.encode(demo_image), demo_pose)[0]

    def act(self, image: Array, pose: Array, z: Array) -> Density:
        """g: uint8 [n,H,W,3], poses [n,7], z [n,Z] (zeros: no demonstration) -> density."""
        return self.act_maps(self.encode(image), pose, z)

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
    demo = jnp.repeat(image[:, None], frames, 1), jnp.repeat(pose[:, None], frames, 1)
    return _init(policy, key, *demo, image, pose)["params"]


@functools.partial(jax.jit, static_argnums=0)
def _init(policy: Policy, key: Array, *args: Array) -> Any:
    return policy.init(key, *args)
