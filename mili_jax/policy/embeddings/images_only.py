"""The paper's embedding, from pictures alone."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from mili_jax.policy.embeddings.temporal import Temporal
from mili_jax.policy.features import rms_norm, unit_vector
from mili_jax.policy.kernels import spatial_softmax
from mili_jax.policy.view import View
from mili_jax.spec import Spec


class ImagesOnly(nn.Module):
    """The paper's embedding (section IV-A): per-frame features, then temporal convolution.

    The features of a frame are where `maps` learned attentions look, as seen from where they look
    in the last frame, and what lies there now and lay there in the first. They attend to what has
    changed since the first frame as well as to what there is. A whole scene says so little about
    the task that without this the contrastive loss is least where all embeddings are equal, and
    there its gradient vanishes. It serves any robot.
    """

    spec: Spec
    size: int = 32
    maps: int = 16

    @nn.compact
    def __call__(
        self, maps: Float[Array, "n m h w c"], pose: Float[Array, "n k d"], view: View | None
    ) -> tuple[Float[Array, "n z"], Float[Array, " n"]]:
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
        return unit_vector(Temporal(self.size)(x)), jnp.zeros(n)
