"""What a demonstration says to a head that follows its path: `PathEmbedding` writes it into z,
`PathMixture` reads it.

A z is a unit vector of three parts: a story, which alone tells tasks apart, two portraits (features
of what lies around the hand at the two key places), and the path. All but the story are small, so
cosines of z are nearly those of stories.
"""

from __future__ import annotations

import flax.struct
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from mili_jax.policy.features import unit_vector
from mili_jax.policy.ranges import half_ranges, middles
from mili_jax.policy.view import View
from mili_jax.spec import Layout, Spec
from mili_jax.types import ConfigError

POINTS = 24  # of a path, evenly along it
PORTRAIT, LENGTH = 0.3, 0.05  # of these parts beside the story, whose length is one
CLOCK = "clock"  # the field of a pose that says how long the episode has been going on (s)
# The spots of a portrait, from the hand (m): above and below it, beside, before and behind it.
AROUND = np.array(
    [[x, y, z] for z in (0.03, -0.05) for x in (-0.06, 0, 0.06) for y in (-0.06, 0, 0.06)],
    np.float32,
)
REACH = 1.0  # m; places farther from the origin of the world than twice this do not count


@flax.struct.dataclass
class Path:
    """A demonstration as a head that follows its path knows it.

    story: unit vectors. portraits: features at the spots `AROUND` the hand, at the touch and at the
    end, each of these with length one in all. points: poses evenly along the path. key: those at
    the touch and at the end. known: 1, or 0 where there is no demonstration.
    """

    story: Float[Array, "n s"]
    portraits: Float[Array, "n 2 j c"]
    points: Float[Array, "n k d"]
    key: Float[Array, "n 2 d"]
    known: Float[Array, " n"]

    @staticmethod
    def rest(channels: int, layout: Layout) -> int:
        """How many numbers of a z are not the story."""
        return 2 * len(AROUND) * channels + (POINTS + 2) * len(layout) + 1

    def join(self, layout: Layout) -> Float[Array, "n z"]:
        """The z that says all this."""
        n, middle, half = len(self.story), middles(layout), half_ranges(layout)
        poses = jnp.concatenate([self.points, self.key], 1)
        lengths = jnp.concatenate(
            [
                ((poses - middle) / half).reshape(n, -1),
                self.known[:, None],
            ],
            -1,
        )
        portraits = PORTRAIT * self.portraits.reshape(n, -1)
        return unit_vector(jnp.concatenate([self.story, portraits, LENGTH * lengths], -1))

    @staticmethod
    def of(z: Float[Array, "n z"], channels: int, layout: Layout) -> Path:
        """What a z says. Raises ConfigError for one that has no room for it."""
        n, d = len(z), len(layout)
        story = z.shape[-1] - Path.rest(channels, layout)
        if story < 1:
            raise ConfigError(
                f"config.policy.embedding_size = {z.shape[-1]}: a path of {POINTS} points and two "
                f"portraits of {channels} numbers take {z.shape[-1] - story}; give it 32 more"
            )
        # A z was divided by its length, which its last number remembers.
        known = (z[:, -1] != 0).astype(z.dtype)
        scale = jnp.where(z[:, -1] != 0, LENGTH / jnp.where(z[:, -1] != 0, z[:, -1], 1), 0)
        z = z * scale[:, None]
        spots = len(AROUND)
        lengths = z[:, story + 2 * spots * channels :] / LENGTH
        poses = lengths[:, : (POINTS + 2) * d].reshape(n, POINTS + 2, d)
        poses = poses * half_ranges(layout) + middles(layout)
        return Path(
            story=z[:, :story],
            portraits=z[:, story : story + 2 * spots * channels].reshape(n, 2, spots, channels)
            / PORTRAIT,
            points=poses[:, :POINTS],
            key=poses[:, POINTS:],
            known=known,
        )


def check_path(spec: Spec, field: str) -> None:
    """Raises ConfigError unless a robot's hand can be followed by a calibrated camera."""
    first, names = spec.cameras[0], ("x", "y", "z")
    if first.matrix is None or first.mount != "world":
        raise ConfigError(
            f"{field} looks where the hand is in the picture of the first camera, and of "
            f"{first.name!r} nobody says where it stands; calibrate it, or take 'images_only' and "
            "'spatial_softmax_mdn'"
        )
    last = tuple(f"to_{name}" for name in spec.action.names)
    asked = {CLOCK, *last} <= set(spec.pose.names)
    if spec.pose.names[:3] != names or spec.action.names[:3] != names or spec.delta or not asked:
        raise ConfigError(
            f"{field} follows a hand: pose and action must begin with x, y and z, absolute, and a "
            f"pose must have {CLOCK!r} and what was last sent, {', '.join(last)}; this robot has "
            f"{spec.pose.names} and {spec.action.names}"
        )


def moved(path: Path, shift: Float[Array, "n 2 3"], layout: Layout) -> Float[Array, "n k d"]:
    """The points of a path when its two places have moved by `shift` (m): up to the touch as the
    first, from there to the end more and more as the second. Where the hand was sent moves along.
    """
    k = path.points.shape[1]
    off = (path.points - path.key[:, :1])[..., :3]
    touch = jnp.argmin(jnp.sum(jnp.square(off), -1), 1)
    share = (jnp.arange(k) - touch[:, None]) / jnp.maximum(k - 1 - touch[:, None], 1)
    share = jnp.clip(share, 0, 1)[..., None]
    by = (1 - share) * shift[:, None, 0] + share * shift[:, None, 1]
    sent = layout.names.index("to_x")
    return path.points.at[..., :3].add(by).at[..., sent : sent + 3].add(by)


def view_of(spec: Spec) -> View:
    """That of the first camera, of any calibrated robot."""
    return View(jnp.asarray(np.asarray(spec.cameras[0].matrix, np.float32)), REACH)
