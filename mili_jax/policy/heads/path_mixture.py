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
from mili_jax.policy.features import direction, rms_norm, tiles, unit_vector
from mili_jax.policy.focus import FOCUS_FLOOR, Focus, in_hindsight
from mili_jax.policy.kernels import in_chunks
from mili_jax.policy.path import CLOCK, REACH, Path, check_path, moved, view_of
from mili_jax.policy.protocols import Hindsight, Memory
from mili_jax.policy.ranges import half_ranges, middles
from mili_jax.policy.view import View
from mili_jax.spec import Spec

HEIGHTS = np.array([-0.16, -0.08, 0.0, 0.08, 0.16], np.float32)  # m above what was shown
PRIOR = 16  # width of what says where things may be
PROPOSED = 0.05  # m; how far a place may lie from where its cell says
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

    The portrait of each place is compared with every cell of the picture. A cell that looks like it
    says how far the place has moved; two more components say that it has not moved
    (the touch), or as far as the touch has (the end). The path is moved with them, and with it what
    the demonstrated robot was sent. That is where the mixture over actions has its components.

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
    """Compares every cell of normalised maps with the portraits of a path.

    What a cell shows lies somewhere on its ray: as high as in the demonstration, or higher or
    lower. So it makes one component for each of `HEIGHTS`.
    """

    spec: Spec
    width: int

    @nn.compact
    def __call__(
        self, maps: Float[Array, "n h w c"], path: Path, hindsight: Hindsight | None
    ) -> tuple[Focus, Float[Array, "n 2 j"]]:
        """Where the two places lie, and how much higher than shown by each component (m)."""
        n, h, w, c = maps.shape
        cells = maps.reshape(n, h * w, c)
        eye, count = view_of(self.spec), len(HEIGHTS)
        spot = path.key[..., :3] + path.spots
        level = spot[..., None, 2:3] + HEIGHTS[:, None]
        there = eye.at_height(eye.cells(h, w), level)  # [n,2,heights,g,2]
        moved = there - spot[:, :, None, None, :2]

        compare = self.param("compare", nn.initializers.lecun_normal(), (c, self.width))
        query = unit_vector(path.portraits @ compare)
        sharp = jnp.exp(self.param("sharpness", nn.initializers.constant(math.log(10)), (2,)))
        look = self.param("look", nn.initializers.lecun_normal(), (2 * c, self.width))
        which = self.param("which", nn.initializers.normal(0.1), (2, self.width))
        out = self.param("out", nn.initializers.normal(0.02), (self.width, 4))
        bias = self.param("bias", nn.initializers.zeros, (4,))

        def propose(cells: Array, portraits: Array, query: Array) -> Array:
            alike = jnp.einsum("ngw,npw->npg", unit_vector(cells @ compare), query)
            mine, theirs = cells @ look[:c], portraits @ look[c:]
            x = nn.relu(mine[:, None] + theirs[:, :, None] + which[:, None])
            return jnp.concatenate([alike[..., None] * sharp[:, None, None], x @ out + bias], -1)

        raw = in_chunks(propose, h * w, cells, path.portraits, query)[:, :, None]
        # How likely it is to have moved so far, and to lie there at all.
        numbers = jnp.broadcast_to((HEIGHTS / UNIT)[:, None, None], (*moved.shape[:-1], 1))
        prior = jnp.concatenate([jnp.clip(moved / UNIT, -4, 4), numbers, there / REACH], -1)
        kind = self.param("kind", nn.initializers.normal(0.1), (2, PRIOR))
        prior = nn.relu(nn.Dense(PRIOR, name="prior0")(prior) + kind[:, None, None])
        logit = raw[..., 0] + raw[..., 1] + nn.Dense(1, name="prior")(prior)[..., 0]
        at = path.key[:, :, None, None, :2] + moved + PROPOSED * jnp.tanh(raw[..., 2:4])
        width = jnp.broadcast_to(raw[..., 4], logit.shape)
        up = jnp.broadcast_to(HEIGHTS[:, None], (n, 2, count, h * w)).reshape(n, 2, -1)

        def flat(x: Array) -> Array:
            return x.reshape(n, 2, count * h * w, *x.shape[4:])

        of_cells = flat(logit), flat(at), flat(width)
        # The touch may be where it was shown.
        stay = self.param("stay", nn.initializers.zeros, (2, 2))
        nowhere = jnp.zeros((n, 1, 1))
        first = _with(of_cells, 0, path.key[:, :1, :2], stay[0])
        touch = jax.lax.stop_gradient(first.mode())
        if hindsight is not None:
            truth = hindsight[0][:, :1]
            touch = in_hindsight(first, touch, truth, jnp.ones_like(hindsight[1][:, :1]))
        up_first = jnp.concatenate([up[:, :1], nowhere], -1)
        lifted = _height(first, up_first, touch)[..., None]
        # The end may have moved as the touch has. Whether it has shows in the portraits: a goal
        # looks unlike what lies around it.
        end = path.key[:, 1:, :2] + touch - path.key[:, :1, :2]
        follows = nn.relu(nn.Dense(self.width, name="follows0")(path.portraits.reshape(n, -1)))
        follows = nn.Dense(1, name="follows")(follows)
        second = _with(of_cells, 1, end, stay[1], follows)
        up_second = jnp.concatenate([up[:, 1:], jax.lax.stop_gradient(lifted)], -1)
        both: Focus = jax.tree.map(lambda a, b: jnp.concatenate([a, b], 1), first, second)
        return both, jnp.concatenate([up_first, up_second], 1)


def _with(
    of_cells: tuple[Array, Array, Array],
    which: int,
    place: Float[Array, "n 1 2"],
    stay: Float[Array, " 2"],
    more: Float[Array, "n 1"] | float = 0.0,
) -> Focus:
    """Components of cells for one of the two places, and one more at a given place."""
    logit, at, width = (x[:, which : which + 1] for x in of_cells)
    # At first it is about as likely as all cells that look like nothing together.
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
        told = slice(sent, sent + len(layout))

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
            following[..., sent + 3 : told.stop],
            jnp.clip(ended, -3, 3)[..., None],
            jnp.broadcast_to(jnp.eye(len(LAGS)), (n, len(LAGS), len(LAGS))),
        ]
        x = nn.relu(nn.Dense(self.width, name="lag")(jnp.concatenate(features, -1)))
        x = nn.relu(x + nn.Dense(self.width, name="others")(x.reshape(n, -1))[:, None])
        x = nn.relu(nn.Dense(self.width, name="each")(x))
        small = nn.initializers.normal(0.02)
        raw = nn.Dense(1 + len(layout), kernel_init=small, name="component")(x)
        mean = (following[..., told] - middles(layout)) / half_ranges(layout)
        return Mixture(
            logit=raw[..., 0] * path.known[:, None],
            mean=mean,
            sigma=FLOOR + (START - FLOOR) / math.log(2) * nn.softplus(raw[..., 1:]),
            natural=jnp.zeros((n, len(LAGS), 0, 2)),
            layout=layout,
        )
