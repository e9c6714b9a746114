"""The head that follows the demonstrated path, moved to where things lie now."""

from __future__ import annotations

import math

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from mili_jax.policy.densities import FLOOR, START, Mixture
from mili_jax.policy.embedding import Embedding
from mili_jax.policy.features import direction, rms_norm, tiles
from mili_jax.policy.focus import FOCUS_FLOOR, Focus, in_hindsight
from mili_jax.policy.path import AROUND, CLOCK, REACH, Path, check_path, moved, view_of
from mili_jax.policy.protocols import Hindsight, Memory
from mili_jax.policy.ranges import half_ranges, middles
from mili_jax.policy.view import View
from mili_jax.spec import Spec

# The ways that a place may have moved since it was shown (m): along the table, up and down.
SIDE, RISES = np.arange(-0.24, 0.241, 0.04), np.array([-0.1, 0.0, 0.1])
WAYS = np.stack(np.meshgrid(RISES, SIDE, SIDE, indexing="ij")[::-1], -1).reshape(-1, 3)
WAYS = WAYS.astype(np.float32)
PLAIN = 0.1  # of the mean square of a cell's features, of what looks like nothing
PRIOR = 16  # width of what says where things may be
UNIT = 0.1  # m; lengths are of order one in it
STEP = 0.0625  # s; about a control step
LAGS = STEP * np.array([-4.0, -3.0, -2.0, -1.0, 0.0, 1.0], np.float32)  # s, after the clock
ALONG = np.array([-0.12, -0.06, -0.03, 0.0, 0.03, 0.06, 0.12])  # m before and after a point
NEAR = np.array([0.0, 0.015, 0.03, 0.05, 0.08, 0.12])  # m from the hand to a point of the path


@flax.struct.dataclass
class PathDensity:
    """A mixture over actions whose components lie along a path, and the places that moved it."""

    mixture: Mixture
    focus: Focus

    def log_prob(self, action: Float[Array, "n a"]) -> Float[Array, " n"]:
        """See `Density.log_prob`."""
        return self.mixture.log_prob(action)

    def mode(self) -> Float[Array, "n a"]:
        """See `Density.mode`."""
        return self.mixture.mode()

    def sample(self, key: Array, temperature: float = 1.0) -> Float[Array, "n a"]:
        """See `Density.sample`."""
        return self.mixture.sample(key, temperature)


class PathMixture(nn.Module):
    """Where do the two places of the demonstration lie now, and where on its path is the hand?

    The portrait of each place is laid over the picture at every place where it may have moved to.
    Two more components say that it has not moved (the touch), or as far as the touch has (the end).
    The path is moved with the two places, and with it what the demonstrated robot was sent. That is
    where the mixture over actions has its components.

    Of the demonstration it sees the path and the portraits alone. What tells tasks apart (the
    story) says nothing of a task that is new.

    It serves any robot whose pose and action begin with the hand's x, y and z (m), seen by a
    calibrated camera; the embedding must be `path_anchored`.
    """

    spec: Spec
    width: int = 64

    @staticmethod
    def check_spec(spec: Spec, field: str) -> None:
        """See `policy.check`."""
        check_path(spec, field)

    def setup(self) -> None:
        self.finder = _Finder(self.spec, self.width)
        self.follower = _Follower(self.spec, self.width)

    def __call__(
        self,
        maps: Float[Array, "n h w c"],
        pose: Float[Array, "n d"],
        shown: Embedding,
        view: View | None,
        hindsight: Hindsight | None = None,
        memory: Memory | None = None,
    ) -> PathDensity:
        path = Path.of(shown.z, maps.shape[-1], self.spec.pose)
        found, up = self.finder(rms_norm(maps), path, hindsight)
        if memory is not None:
            found = found.after(*memory)
        place = jax.lax.stop_gradient(found.mode())
        if hindsight is not None:
            # All of it, seen now or not: the path is moved to the end.
            place = in_hindsight(found, place, hindsight[0], jnp.ones_like(hindsight[1]))
        lifted = jax.lax.stop_gradient(_height(found, up, place))
        shift = jnp.concatenate([place - path.key[..., :2], lifted[..., None]], -1)
        return PathDensity(self.follower(pose, path, shift), found)

    def find(self, maps: Float[Array, "n h w c"], shown: Embedding, view: View | None) -> Focus:
        """See `FocusHead.find`."""
        path = Path.of(shown.z, maps.shape[-1], self.spec.pose)
        return self.finder(rms_norm(maps), path, None)[0]


class _Finder(nn.Module):
    """Lays the portraits of a path over the picture, moved by every way on a grid: the more a place
    then looks as it was shown, the likelier it is to have moved so."""

    spec: Spec
    width: int

    @nn.compact
    def __call__(
        self, maps: Float[Array, "n h w c"], path: Path, hindsight: Hindsight | None
    ) -> tuple[Focus, Float[Array, "n 2 j"]]:
        """Where the two places lie, and how much higher than shown by each component (m)."""
        n, h, w, c = maps.shape
        cells = maps.reshape(n, h * w, c)
        cells = cells - cells.mean(1, keepdims=True)
        compare = self.param("compare", nn.initializers.orthogonal(), (c, c))
        cells, shown = cells @ compare, path.portraits @ compare
        # What is as plain as the table looks like nothing.
        cells = cells * jax.lax.rsqrt(jnp.sum(jnp.square(cells), -1, keepdims=True) + PLAIN * c)
        alike = jnp.einsum("npjc,ngc->npjg", shown, cells)
        alike = alike / (jnp.linalg.norm(shown + 1e-6, axis=-1).sum(-1)[..., None, None])

        spots = path.key[:, :, None, :3] + AROUND
        there = spots[:, :, :, None] + WAYS  # [n,2,spots,ways,3]
        uv = jax.lax.stop_gradient(view_of(self.spec).project(there))
        score = _sampled(alike, uv, h, w).sum(2)  # [n,2,ways]
        sharp = jnp.exp(self.param("sharpness", nn.initializers.constant(math.log(15)), (2,)))
        # How likely it is to have moved so far, and to lie there at all.
        place = path.key[:, :, None, :3] + WAYS
        moved = jnp.broadcast_to(WAYS / UNIT, place.shape)
        prior = jnp.concatenate([moved, jnp.square(moved), place / REACH], -1)
        kind = self.param("kind", nn.initializers.normal(0.1), (2, PRIOR))
        prior = nn.relu(nn.Dense(PRIOR, name="prior0")(prior) + kind[:, None])
        logit = sharp[:, None] * score + nn.Dense(1, name="prior")(prior)[..., 0]
        at = path.key[:, :, None, :2] + _finer(logit)
        width = self.param("width", nn.initializers.zeros, (2,))
        width = jnp.broadcast_to(width[:, None], logit.shape)
        up = jnp.broadcast_to(WAYS[:, 2], logit.shape)

        of_ways = logit, at, width
        # The touch may be where it was shown.
        stay = self.param("stay", nn.initializers.constant(-0.4), (2, 2))
        first = _with(of_ways, 0, path.key[:, :1, :2], stay[0])
        touch = jax.lax.stop_gradient(first.mode())
        if hindsight is not None:
            truth = hindsight[0][:, :1]
            touch = in_hindsight(first, touch, truth, jnp.ones_like(hindsight[1][:, :1]))
        up_first = jnp.concatenate([up[:, :1], jnp.zeros((n, 1, 1))], -1)
        lifted = _height(first, up_first, touch)[..., None]
        # The end may have moved as the touch has. Whether it has shows in the portraits: a goal
        # looks unlike what lies around it.
        end = path.key[:, 1:, :2] + touch - path.key[:, :1, :2]
        follows = nn.relu(nn.Dense(self.width, name="follows0")(path.portraits.reshape(n, -1)))
        follows = nn.Dense(1, name="follows")(follows)
        second = _with(of_ways, 1, end, stay[1], follows)
        up_second = jnp.concatenate([up[:, 1:], jax.lax.stop_gradient(lifted)], -1)
        both: Focus = jax.tree.map(lambda a, b: jnp.concatenate([a, b], 1), first, second)
        return both, jnp.concatenate([up_first, up_second], 1)


def _sampled(
    alike: Float[Array, "n p j g"], uv: Float[Array, "n p j k 2"], h: int, w: int
) -> Float[Array, "n p j k"]:
    """Bilinear samples of every map of cells at its own places; beyond the border its value."""
    column = jnp.clip((uv[..., 0] + 1) / 2 * w - 0.5, 0, w - 1.001)
    row = jnp.clip((1 - uv[..., 1]) / 2 * h - 0.5, 0, h - 1.001)
    left, top = jnp.floor(column), jnp.floor(row)
    right, down = column - left, row - top
    corner = (top * w + left).astype(jnp.int32)
    found: Array = jnp.zeros(())
    for step, share in (
        (0, (1 - right) * (1 - down)),
        (1, right * (1 - down)),
        (w, (1 - right) * down),
        (w + 1, right * down),
    ):
        found = found + share * jnp.take_along_axis(alike, corner + step, -1)
    return found


def _finer(logit: Float[Array, "n 2 k"]) -> Float[Array, "n 2 k 2"]:
    """Where the ways of a grid lead (m), each drawn to its likelier neighbours."""
    shape = (*logit.shape[:2], len(RISES), len(SIDE), len(SIDE))
    weight = jnp.exp(jax.lax.stop_gradient(logit - logit.max(-1, keepdims=True))).reshape(shape)
    weight = weight + 1e-9

    def around(x: Array) -> Array:
        window = (1, 1, 1, 3, 3)
        return jax.lax.reduce_window(x, 0.0, jax.lax.add, window, (1,) * 5, "SAME")

    total = around(weight)
    drawn = [around(weight * WAYS[:, i].reshape(shape[2:])) / total for i in range(2)]
    return jnp.stack(drawn, -1).reshape(*logit.shape, 2)


def _with(
    of_ways: tuple[Array, Array, Array],
    which: int,
    place: Float[Array, "n 1 2"],
    stay: Float[Array, " 2"],
    more: Float[Array, "n 1"] | float = 0.0,
) -> Focus:
    """Components of all ways for one of the two places, and one more at a given place."""
    logit, at, width = (x[:, which : which + 1] for x in of_ways)
    # At first it is less likely than all ways that look like nothing together.
    extra = jnp.broadcast_to(math.log(logit.shape[-1]) + 5 * stay[0] + more, (len(logit), 1))
    logit = jnp.concatenate([logit, extra[..., None]], -1)
    at = jnp.concatenate([at, place[:, :, None]], 2)
    own = jnp.broadcast_to(stay[1], (*width.shape[:2], 1))
    width = jnp.concatenate([width, own], -1)
    sigma = FOCUS_FLOOR + (0.02 - FOCUS_FLOOR) / math.log(2) * nn.softplus(width)
    return Focus(logit, at[..., 0], at[..., 1], sigma)


def _height(
    found: Focus, up: Float[Array, "n p j"], place: Float[Array, "n p 2"]
) -> Float[Array, "n p"]:
    """How much higher than shown (m) places lie: by the components that explain them."""
    square = jnp.square(found.x - place[..., :1]) + jnp.square(found.y - place[..., 1:])
    joint = found.logit - 2 * jnp.log(found.sigma) - 0.5 * square / jnp.square(found.sigma)
    return jnp.sum(jax.nn.softmax(joint, -1) * up, -1)


class _Follower(nn.Module):
    """The mixture over actions: poses, a path, and how far its two places have moved (m).

    Its components are what the demonstrated robot was sent a little earlier and later than the
    clock says. Where the hand is, beside where that of the demonstration was then, says which.
    """

    spec: Spec
    width: int

    @nn.compact
    def __call__(
        self, pose: Float[Array, "n d"], path: Path, shift: Float[Array, "n 2 3"]
    ) -> Mixture:
        layout, names = self.spec.action, self.spec.pose.names
        points = moved(path, shift, self.spec.pose)
        n, k = points.shape[:2]
        clock, sent = names.index(CLOCK), names.index(f"to_{layout.names[0]}")
        command = slice(sent, sent + len(layout))

        def at(time: Float[Array, "n j"]) -> Float[Array, "n j d"]:
            """The points at some times (s) of the demonstration."""
            whole = jnp.maximum(points[:, -1, clock], 1e-3)[:, None]
            index = jnp.clip(time / whole, 0, 1) * (k - 1)
            weight = jnp.maximum(0, 1 - jnp.abs(index[..., None] - jnp.arange(k)))
            return jnp.einsum("njk,nkd->njd", weight, points)

        time = pose[:, clock, None] + LAGS
        here, following = at(time), at(time + STEP)
        way = pose[:, None, :3] - here[..., :3]
        heading = (at(time + 2 * STEP) - at(time - 2 * STEP))[..., :3]
        ahead = direction(heading, 0.01)
        along = jnp.sum(way * ahead, -1)
        apart = jnp.sqrt(jnp.sum(jnp.square(way), -1) + 1e-8)
        rest = (pose[:, None, 3:clock] - here[..., 3:clock]).reshape(n, len(LAGS), -1)
        ended = (time - points[:, -1:, clock]) / STEP
        # Lengths and heights alone: a path is followed in the same way wherever it leads.
        features = [
            tiles(apart, NEAR, 0.02),
            tiles(along, ALONG, 0.02),
            jnp.stack([apart, along, way[..., 2], heading[..., 2]], -1) / UNIT,
            jnp.linalg.norm(heading + 1e-6, axis=-1, keepdims=True) / UNIT,
            rest,
            here[..., 3:clock],
            following[..., sent + 3 : command.stop],
            jnp.clip(ended, -3, 3)[..., None],
            jnp.broadcast_to(jnp.eye(len(LAGS)), (n, len(LAGS), len(LAGS))),
        ]
        x = nn.relu(nn.Dense(self.width, name="lag")(jnp.concatenate(features, -1)))
        x = nn.relu(x + nn.Dense(self.width, name="others")(x.reshape(n, -1))[:, None])
        x = nn.relu(nn.Dense(self.width, name="each")(x))
        small = nn.initializers.normal(0.02)
        raw = nn.Dense(1 + len(layout), kernel_init=small, name="component")(x)
        mean = (following[..., command] - middles(layout)) / half_ranges(layout)
        return Mixture(
            logit=raw[..., 0] * path.known[:, None],
            mean=mean,
            sigma=FLOOR + (START - FLOOR) / math.log(2) * nn.softplus(raw[..., 1:]),
            natural=jnp.zeros((n, len(LAGS), 0, 2)),
            layout=layout,
        )
