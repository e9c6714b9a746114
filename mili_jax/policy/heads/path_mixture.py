"""The head that follows the demonstrated path, moved to where things lie now."""

from __future__ import annotations

import math

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from mili_jax.policy.densities import FLOOR, START, Mixture
from mili_jax.policy.embedding import Embedding
from mili_jax.policy.features import layout_features, rms_norm, tiles, unit_vector
from mili_jax.policy.focus import FOCUS_FLOOR, Focus, in_hindsight
from mili_jax.policy.kernels import in_chunks
from mili_jax.policy.path import Path, check_path, view_of
from mili_jax.policy.protocols import Hindsight, Memory
from mili_jax.policy.ranges import half_ranges, middles
from mili_jax.policy.view import View
from mili_jax.spec import Spec

PROPOSED = 0.05  # m; how far a place may lie from where its cell says
SINCE = np.linspace(-1.0, 1.0, 9)  # of the path, after the touch
UNIT = 0.1  # m; lengths are of order one in it
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
    says how far the place has moved along the table; two more components say that it has not moved
    (the touch), or as far as the touch has (the end). The path is moved with them, up to the touch
    as the first place, from there to the end more and more as the second. Its points are where the
    mixture over actions has its components; which of them is next follows from the way of the hand
    to each of them.

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
        found = self.finder(rms_norm(maps), path, hindsight)
        if memory is not None:
            found = found.after(*memory)
        place = jax.lax.stop_gradient(found.mode())
        if hindsight is not None:
            place = in_hindsight(found, place, hindsight[0], jnp.ones_like(hindsight[1]))
        return PathDensity(self.follower(pose, path, place), found)

    def find(self, maps: Float[Array, "n h w c"], shown: Embedding, view: View | None) -> Focus:
        """See `FocusHead.find`."""
        path = Path.of(shown.z, maps.shape[-1], self.spec.pose)
        return self.finder(rms_norm(maps), path, None)


class _Finder(nn.Module):
    """Compares every cell of normalised maps with the portraits of a path."""

    spec: Spec
    width: int

    @nn.compact
    def __call__(
        self, maps: Float[Array, "n h w c"], path: Path, hindsight: Hindsight | None
    ) -> Focus:
        n, h, w, c = maps.shape
        cells = maps.reshape(n, h * w, c)
        eye = view_of(self.spec)
        # Cells that show what the spot showed lie as high as that.
        spot = path.key[..., :3] + path.spots
        there = eye.at_height(eye.cells(h, w)[None, None], spot[..., 2:3])  # [n,2,g,2]
        moved = there - spot[:, :, None, :2]
        compare = self.param("compare", nn.initializers.lecun_normal(), (c, self.width))
        query = unit_vector(path.portraits @ compare)
        sharp = jnp.exp(self.param("sharpness", nn.initializers.constant(math.log(10)), (2,)))
        look = self.param("look", nn.initializers.lecun_normal(), (2 * c, self.width))
        near = nn.Dense(self.width, name="moved")(jnp.clip(moved / UNIT, -4, 4))
        which = self.param("which", nn.initializers.normal(0.1), (2, self.width))
        out = self.param("out", nn.initializers.normal(0.02), (self.width, 4))
        bias = self.param("bias", nn.initializers.zeros, (4,))

        def propose(cells: Array, portraits: Array, query: Array, near: Array) -> Array:
            alike = jnp.einsum("ngw,npw->npg", unit_vector(cells @ compare), query)
            mine = cells @ look[:c]
            theirs = portraits @ look[c:]
            x = nn.relu(mine[:, None] + theirs[:, :, None] + near + which[:, None])
            return jnp.concatenate([alike[..., None] * sharp[:, None, None], x @ out + bias], -1)

        raw = in_chunks(propose, h * w, cells, path.portraits, query, near)
        logit = raw[..., 0] + raw[..., 1]
        at = path.key[:, :, None, :2] + moved + PROPOSED * jnp.tanh(raw[..., 2:4])
        width = raw[..., 4]

        # The touch may be where it was shown.
        stay = self.param("stay", nn.initializers.zeros, (2, 2))
        first = self._with(
            (logit[:, :1], at[:, :1], width[:, :1]), path.key[:, :1, :2], stay[:1], None
        )
        touch = jax.lax.stop_gradient(first.mode())
        if hindsight is not None:
            truth, seen = hindsight[0][:, :1], jnp.ones_like(hindsight[1][:, :1])
            touch = in_hindsight(first, touch, truth, seen)
        # The end may have moved as the touch has. Whether it has shows in its own portrait: a goal
        # looks unlike what lies around it.
        end = path.key[:, 1:, :2] + touch - path.key[:, :1, :2]
        alike = nn.Dense(1, name="follows")(
            nn.relu(nn.Dense(self.width, name="follows0")(path.portraits.reshape(n, -1)))
        )
        second = self._with((logit[:, 1:], at[:, 1:], width[:, 1:]), end, stay[1:], alike)
        both: Focus = jax.tree.map(lambda a, b: jnp.concatenate([a, b], 1), first, second)
        return both

    @staticmethod
    def _with(
        of_cells: tuple[Array, Array, Array],
        place: Float[Array, "n 1 2"],
        stay: Float[Array, "1 2"],
        more: Float[Array, "n 1"] | None,
    ) -> Focus:
        """Components of cells and one at a given place."""
        logit, at, width = of_cells
        n = len(logit)
        # About as likely as all cells that look like nothing together.
        extra = math.log(logit.shape[-1]) + 5 * stay[:, 0] + (0 if more is None else more)
        extra = jnp.broadcast_to(extra, (n, 1))[..., None]
        logit = jnp.concatenate([logit, extra], -1)
        at = jnp.concatenate([at, place[:, :, None]], 2)
        own = jnp.broadcast_to(stay[:, 1], (n, 1))[..., None]
        width = jnp.concatenate([width, own], -1)
        sigma = FOCUS_FLOOR + (0.02 - FOCUS_FLOOR) / math.log(2) * nn.softplus(width)
        return Focus(logit, at[..., 0], at[..., 1], sigma)


class _Follower(nn.Module):
    """The mixture over actions: poses, a path, and where its two places lie now (m)."""

    spec: Spec
    width: int

    @nn.compact
    def __call__(
        self, pose: Float[Array, "n d"], path: Path, place: Float[Array, "n 2 2"]
    ) -> Mixture:
        points, touch = moved_path(path, place)
        n, k = points.shape[:2]
        index = jnp.arange(k)
        before = jnp.concatenate([points[:, :1], points[:, :-1]], 1)
        after = jnp.concatenate([points[:, 1:], points[:, -1:]], 1)
        way = pose[:, None, :3] - points[..., :3]
        apart = jnp.sqrt(jnp.sum(jnp.square(way), -1) + 1e-8)
        rest = pose[:, None, 3:] - points[..., 3:]
        heading = (after - before)[..., :3]
        along = jnp.sum(way * unit_vector(heading + 1e-6), -1, keepdims=True)
        since = (index - touch[:, None])[..., None] / k
        shift = (place - path.key[..., :2]).reshape(n, -1)
        features = [
            jnp.clip(way / UNIT, -3, 3),
            tiles(apart, NEAR, 0.02),
            apart[..., None] / UNIT,
            along / UNIT,
            heading / UNIT,
            (after - points)[..., :3] / UNIT,
            rest,
            points[..., 3:],
            (after - points)[..., 3:],
            jnp.broadcast_to((index / k)[None, :, None], (n, k, 1)),
            since,
            tiles(since[..., 0], SINCE, 0.15),
        ]
        x = nn.Dense(self.width, name="point")(jnp.concatenate(features, -1))
        about = jnp.concatenate([layout_features(self.spec.pose, pose), shift / UNIT], -1)
        about = jnp.concatenate([about * path.known[:, None], path.known[:, None]], -1)
        x = nn.relu(x + nn.Dense(self.width, name="about")(about)[:, None])
        for step in range(2):
            # Each point knows its neighbours, and what is true of the nearest.
            padded = jnp.pad(x, ((0, 0), (1, 1), (0, 0)), mode="edge")
            window = jnp.concatenate([padded[:, :-2], x, padded[:, 2:]], -1)
            heavy = jax.nn.softmax(nn.Dense(4, name=f"heavy{step}")(x), 1)
            whole = jnp.einsum("nkq,nkc->nqc", heavy, x).reshape(n, -1)
            y = nn.Dense(self.width, name=f"window{step}")(window)
            y = nn.relu(y + nn.Dense(self.width, name=f"whole{step}")(whole)[:, None])
            x = rms_norm(x + y)
        layout = self.spec.action
        a = len(layout)
        raw = nn.Dense(1 + 2 * a, kernel_init=nn.initializers.normal(0.02), name="component")(x)
        logit, mean, width = raw[..., 0], raw[..., 1 : 1 + a], raw[..., 1 + a :]
        at = (points[..., :3] + UNIT * mean[..., :3] - middles(layout)[:3]) / half_ranges(layout)[
            :3
        ]
        return Mixture(
            logit=logit,
            mean=jnp.concatenate([at, mean[..., 3:]], -1),
            sigma=FLOOR + (START - FLOOR) / math.log(2) * nn.softplus(width),
            natural=jnp.zeros((n, k, 0, 2)),
            layout=layout,
        )


def moved_path(
    path: Path, place: Float[Array, "n 2 2"]
) -> tuple[Float[Array, "n k d"], Int[Array, " n"]]:
    """The points of a path [n,k,d] as they lie when its two places are at `place` (m), and which of
    them is at the touch, [n]."""
    k = path.points.shape[1]
    shift = place - path.key[..., :2]
    off = (path.points - path.key[:, :1])[..., :3]
    touch = jnp.argmin(jnp.sum(jnp.square(off), -1), 1)
    index = jnp.arange(k)
    share = (index - touch[:, None]) / jnp.maximum(k - 1 - touch[:, None], 1)
    share = jnp.clip(share, 0, 1)[..., None]
    by = (1 - share) * shift[:, None, 0] + share * shift[:, None, 1]
    moved = path.points.at[..., :2].add(by)
    return moved, touch
