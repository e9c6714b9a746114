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

import functools
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from mili_jax.policy.camera import Camera
from mili_jax.policy.densities import Density
from mili_jax.policy.embeddings.images_only import ImagesOnly
from mili_jax.policy.embeddings.images_only_predicted import ImagesOnlyPredicted
from mili_jax.policy.embeddings.pose_anchored import PoseAnchored
from mili_jax.policy.encoder import Encoder
from mili_jax.policy.focus import Focus
from mili_jax.policy.heads.anchored_mixture import AnchoredMixture
from mili_jax.policy.heads.spatial_softmax import Discretised, MSEHead, SpatialSoftmaxMDN
from mili_jax.types import ConfigError

Array = jax.Array

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


def init_params(policy: Policy, key: Array, image_size: int = 64, frames: int = 2) -> Any:
    """Parameters of `policy` for demonstrations of M = `frames` frames.

    They fit any size of picture and any K; an embedding that pools places in the current frame has
    more of them for M > 2 than for M = 2.
    """
    image = jnp.zeros((1, image_size, image_size, 3), jnp.uint8)
    pose = jnp.zeros((1, 7))
    demo = jnp.repeat(image[:, None], frames, 1), jnp.repeat(pose[:, None], frames + 2, 1)
    return _init_params(policy, key, *demo, image, pose)["params"]


@functools.partial(jax.jit, static_argnums=0)
def _init_params(policy: Policy, key: Array, *args: Array) -> Any:
    return policy.init(key, *args)
