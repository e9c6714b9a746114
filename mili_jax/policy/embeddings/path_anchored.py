"""The embedding that keeps the path of the hand, and looks at what lies where that leads."""

from __future__ import annotations

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from mili_jax.policy.embeddings.temporal import Temporal
from mili_jax.policy.features import layout_features, rms_norm, unit_vector
from mili_jax.policy.kernels import bilinear_weights
from mili_jax.policy.path import AROUND, POINTS, Path, check_path, view_of
from mili_jax.policy.view import View
from mili_jax.spec import Spec
from mili_jax.types import ConfigError


class PathAnchored(nn.Module):
    """Embeds a demonstration by the path of its hand, and by two portraits: features of the first
    picture around the hand where it touches and where it ends.

    It serves any robot whose pose begins with the hand's x, y and z (m), seen by a calibrated
    camera. See `policy.path` for what z says.
    """

    spec: Spec
    size: int = 1440
    width: int = 64

    @staticmethod
    def check_spec(spec: Spec, field: str) -> None:
        """See `policy.check`."""
        check_path(spec, field)

    @nn.compact
    def __call__(
        self, maps: Float[Array, "n m h w c"], pose: Float[Array, "n k d"], view: View | None
    ) -> tuple[Float[Array, "n z"], Float[Array, " n"]]:
        n, m, h, w, c = maps.shape
        layout, eye = self.spec.pose, view_of(self.spec)
        story = self.size - Path.rest(c, layout)
        if story < 1:
            raise ConfigError(
                f"config.policy.embedding_size = {self.size}: `path_anchored` wants at least "
                f"{Path.rest(c, layout) + 1} for {c} channels"
            )
        key, along = pose[:, :2], pose[:, 2:]
        flat = rms_norm(maps).reshape(n, m, h * w, c)
        spots = key[:, :, None, :3] + AROUND
        weights = bilinear_weights(eye.project(spots), h, w, offsets=False)[..., 0, :]
        weights = weights.reshape(n, -1, h * w)
        # Beside what a picture shows on the average, most of which is the table.
        flat = flat - flat[:, :1].mean(2, keepdims=True)
        seen, later = (weights @ flat[:, k] for k in (0, m - 1))
        both = jnp.concatenate([seen, seen - later], -1).reshape(n, 2, len(AROUND), 2 * c)
        portraits = unit_vector(seen.reshape(n, 2, -1)).reshape(n, 2, len(AROUND), c)

        # Where tasks differ: what the hand does, and what lies there before and after.
        features = layout_features(layout, along)
        way = (along - along[:, -1:])[..., :3] / 0.1
        step = jnp.diff(along[..., :3], axis=1, append=along[:, -1:, :3]) / 0.05
        looks = nn.Dense(self.width, name="look")(both.mean(2).reshape(n, -1))
        x = jnp.concatenate([features, way, step], -1)
        x = nn.relu(nn.Dense(self.width, name="track")(x) + looks[:, None])
        shown = unit_vector(Temporal(story)(x))

        path = Path(
            story=shown,
            portraits=portraits,
            points=_resampled(along),
            key=key,
            known=jnp.ones(n),
        )
        return path.join(layout), jnp.zeros(n)


def _resampled(along: Float[Array, "n k d"]) -> Float[Array, "n p d"]:
    """Poses evenly along a path, `POINTS` of them."""
    at = np.linspace(0, along.shape[1] - 1, POINTS)
    low = np.floor(at).astype(int)
    high, part = np.minimum(low + 1, along.shape[1] - 1), (at - low)[:, None].astype(np.float32)
    return along[:, low] * (1 - part) + along[:, high] * part
