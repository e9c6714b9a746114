"""The policy: embedding f and policy g with one shared encoder (Singh et al. 2020, section IV-A).

A policy is built for a `Spec`. Of a robot with a tool above a table the default embedding looks at
the demonstration where the gripper was (`PoseAnchored`), and the default head finds two places on
the table and acts on them (`AnchoredMixture`); both know where cells of the feature map lie on the
table by the first camera's matrix, or learn it. The heads and the images-only embedding of the
paper serve any robot.

Dimension letters are those of `mili_jax.types`; n is any number of observations.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import cast

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt8

from mili_jax import plugins
from mili_jax.given import whole
from mili_jax.policy.embedding import SIZES, Embedding
from mili_jax.policy.embeddings.images_only import ImagesOnly
from mili_jax.policy.embeddings.images_only_predicted import ImagesOnlyPredicted
from mili_jax.policy.embeddings.path_anchored import PathAnchored
from mili_jax.policy.embeddings.pose_anchored import PoseAnchored
from mili_jax.policy.encoder import Encoder
from mili_jax.policy.features import YAW_PERIOD
from mili_jax.policy.focus import Focus
from mili_jax.policy.fusion import Fuse
from mili_jax.policy.heads.anchored_mixture import AnchoredMixture
from mili_jax.policy.heads.path_mixture import PathMixture
from mili_jax.policy.heads.spatial_softmax import Discretised, MSEHead, SpatialSoftmaxMDN
from mili_jax.policy.protocols import Density, FocusHead, Hindsight, Memory, Portrayer
from mili_jax.policy.view import View, views_of
from mili_jax.spec import Camera, Spec
from mili_jax.types import ConfigError, Params

EMBEDDINGS: dict[str, Callable[..., nn.Module]] = {
    "pose_anchored": PoseAnchored,
    "path_anchored": PathAnchored,
    "images_only_predicted": ImagesOnlyPredicted,
    "images_only": ImagesOnly,
}
HEADS: dict[str, Callable[..., nn.Module]] = {
    "anchored_mixture": AnchoredMixture,
    "path_mixture": PathMixture,
    "spatial_softmax_mdn": SpatialSoftmaxMDN,
    "mse": MSEHead,
    "discretised": Discretised,
}
SHIFT = 0.02  # of its greatest entry, by which a learned camera's matrix moves per unit of `shift`


def check(spec: Spec, embedding: str, head: str) -> None:
    """Raises ConfigError for an embedding or a head that does not exist, is no flax module or does
    not fit a robot."""
    for kind, name, own, other in (
        ("embedding", embedding, EMBEDDINGS, "images_only"),
        ("head", head, HEADS, "spatial_softmax_mdn"),
    ):
        field, found = f"config.policy.{kind} = {name!r}", plugins.find(f"{kind}s", name, own)
        if not (isinstance(found, type) and issubclass(found, nn.Module)):
            raise ConfigError(f"{field} leads to {found!r}, which is no class of flax modules")
        if hasattr(found, "check_spec"):
            found.check_spec(spec, field)
        elif issubclass(found, (FocusHead, Portrayer)):
            _check_places(spec, field, other)


def _check_places(spec: Spec, field: str, other: str) -> None:
    """Raises ConfigError unless places of a table can be found and acted on."""
    if spec.tool is None:
        raise ConfigError(
            f"{field} acts on places of a table and needs a robot with a tool above one "
            f"(Spec.tool); take {other!r}"
        )
    first = spec.cameras[0]
    if first.mount == "tool":
        raise ConfigError(
            f"{field} finds places in the picture of the first camera, and {first.name!r} moves "
            "with the tool; name a fixed one first"
        )
    for layout in (spec.pose, spec.action):
        *_, yaw, finger = layout.fields
        if yaw.period is None or abs(yaw.period - YAW_PERIOD) > 1e-6:
            raise ConfigError(
                f"{field} takes a gripper that is the same after half a turn, and 'yaw' has the "
                f"period {yaw.period}; give it {YAW_PERIOD:.6f}, or take {other!r}"
            )
        if (finger.low, finger.high) != (0, 1):
            raise ConfigError(
                f"{field} takes fingers from 0, closed, to 1, open, and 'finger' goes from "
                f"{finger.low:g} to {finger.high:g}; scale it, or take {other!r}"
            )


class Policy(nn.Module):
    """f and g for a robot.

    embedding: a key of EMBEDDINGS; head: a key of HEADS; either may be somebody else's
    (`mili_jax.plugins`). embedding_size: Z, more than `embedding.SIZES`; channels, blocks,
    bfloat16: of the encoder. A policy without demonstration (eq. 1) is the same policy given z = 0.
    Raises ConfigError when applied with an unknown name.
    """

    spec: Spec
    embedding: str = "pose_anchored"
    head: str = "anchored_mixture"
    embedding_size: int = 32
    channels: int = 32
    blocks: int = 3
    bfloat16: bool = False

    def setup(self) -> None:
        self.encoder = Encoder(self.channels, self.blocks, self.bfloat16)
        self.embedder = self._module("embedding", EMBEDDINGS)(self.spec, self.embedding_size)
        self.actor = self._module("head", HEADS)(self.spec)
        if self.spec.views > 1:
            self.fuse = Fuse()
        if self.learns_camera:
            start = self.param("camera", lambda key: jnp.asarray(first_guess(self.spec)))
            shift = self.param("camera_shift", nn.initializers.zeros, (3, 4))
            self.views = views_of(self.spec, _moved(start, shift))
        else:
            self.views = views_of(self.spec)

    def _module(self, field: str, own: dict[str, Callable[..., nn.Module]]) -> type[nn.Module]:
        return plugins.find(f"{field}s", getattr(self, field), own)

    @property
    def learns_camera(self) -> bool:
        """Whether it has to learn where the cells of the first picture lie on the table."""
        return self.spec.tool is not None and self.spec.cameras[0].matrix is None

    @property
    def feels(self) -> bool:
        """Whether it knows what its fingers feel, in two more columns of observed poses
        (`batches.sampling.with_felt`). Without them it acts as if they felt nothing."""
        return self.spec.tool is not None

    @property
    def acts_on_places(self) -> bool:
        """Whether its density says which places it acts on (`FocusHead`)."""
        return issubclass(self._module("head", HEADS), FocusHead)

    @property
    def recalls(self) -> bool:
        """Whether it can be asked to find again what it is shown (`portray`, `find`)."""
        return self.acts_on_places and issubclass(self._module("embedding", EMBEDDINGS), Portrayer)

    def view(self) -> View | None:
        """Of the first camera, if anything is known of it."""
        return self.views[0]

    def encode(self, image: UInt8[Array, "..."]) -> Float[Array, "*n h w c"]:
        """Pictures [...,(V,)H,W,3] -> feature maps of the first camera [...,h,w,C]."""
        picture = self.spec.picture
        lead = image.shape[: image.ndim - len(picture)]
        maps = self.encoder(image.reshape(-1, *picture[-3:]))
        if self.spec.views > 1:
            maps = self.fuse(maps.reshape(-1, self.spec.views, *maps.shape[1:]), self.views)
        return maps.reshape(*lead, *maps.shape[1:])

    def embed_maps(
        self, maps: Float[Array, "n m h w c"], demo_pose: Float[Array, "n k d"]
    ) -> tuple[Float[Array, "n z"], Float[Array, " n"]]:
        """Encoded demonstrations and poses (`demo_inputs`) -> unit z, and a loss of the embedding's
        own, zero where it has none."""
        return self.embedder(maps, demo_pose, self.view())

    def act_maps(
        self,
        maps: Float[Array, "n h w c"],
        pose: Float[Array, "n d"],
        z: Float[Array, "n z"],
        hindsight: Hindsight | None = None,
        memory: Memory | None = None,
    ) -> Density:
        """Encoded observations, poses, embeddings -> density over actions.

        For a head that acts on places, and else without effect:
        hindsight: when training, candidates for the places (m) and whether they are to be seen.
        memory: when acting, the density's `focus` after the picture before, and what share it is to
        have (`Focus.after`).
        """
        return self.actor(maps, pose, Embedding.of(z), self.view(), hindsight, memory)

    def portray(
        self, maps: Float[Array, "n h w c"], spots: Float[Array, "n 2 2"]
    ) -> Float[Array, "n z"]:
        """The unit z that asks for two spots (m on the table) of encoded pictures, as if a
        demonstration were about what lies there. Only if `recalls`."""
        return self.embedder.portray(maps, spots, self.view())

    def find(self, maps: Float[Array, "n h w c"], z: Float[Array, "n z"]) -> Focus:
        """Where the two places lie that z is about, in encoded pictures. Only for a head that acts
        on places."""
        return self.actor.find(maps, Embedding.of(z), self.view())

    def embed(
        self, demo_image: UInt8[Array, "n m ..."], demo_pose: Float[Array, "n k d"]
    ) -> Float[Array, "n z"]:
        """f: the unit z of demonstrations."""
        return self.embed_maps(self.encode(demo_image), demo_pose)[0]

    def act(
        self,
        image: UInt8[Array, "n ..."],
        pose: Float[Array, "n d"],
        z: Float[Array, "n z"],
        memory: Memory | None = None,
    ) -> Density:
        """g: observations and z (zeros: no demonstration) -> density."""
        return self.act_maps(self.encode(image), pose, z, memory=memory)

    def __call__(self, demo_image: Array, demo_pose: Array, image: Array, pose: Array) -> Density:
        """Acts on n observations, each after its own demonstration (N = n); initialises all."""
        return self.act(image, pose, self.embed(demo_image, demo_pose))


def views_with(policy: Policy, params: Params) -> tuple[View | None, ...]:
    """The view of each camera as these parameters of the policy have it."""
    if not policy.learns_camera:
        return views_of(policy.spec)
    return views_of(policy.spec, _moved(params["camera"], params["camera_shift"]))


def view_with(policy: Policy, params: Params) -> View:
    """That of the first camera, for a policy that acts on places of a table."""
    view = views_with(policy, params)[0]
    assert view is not None  # `check` refuses such a policy for any other robot
    return view


def _moved(start: Float[Array, "3 4"], shift: Float[Array, "3 4"]) -> Float[Array, "3 4"]:
    """A learned camera's matrix: where it started, and what learning adds."""
    start = jax.lax.stop_gradient(start)
    return start + SHIFT * jnp.abs(start).max() * shift


def first_guess(spec: Spec) -> Float[np.ndarray, "3 4"]:
    """A camera's matrix before anything is known: above the table, looking straight down."""
    assert spec.tool is not None
    matrix = Camera.straight_down("guess", spec.tool.reach, 4 * spec.tool.reach).matrix
    return np.asarray(matrix, np.float32)


def init_params(policy: Policy, key: Array, frames: int = 2) -> Params:
    """Parameters of `policy` for demonstrations of M = `frames` frames.

    They fit any size of picture and any K; an embedding that pools places in the current frame has
    more of them for M > 2 than for M = 2. Raises as `check`, and ConfigError for a size that cannot
    be.
    """
    if not isinstance(policy.spec, Spec):
        raise ConfigError(f"the spec of a policy is {policy.spec!r}; it must be a Spec")
    for field, least in (("embedding_size", SIZES + 1), ("channels", 1), ("blocks", 0)):
        whole(getattr(policy, field), f"the {field} of a policy", least)
    whole(frames, "the frames of a demonstration", 1)
    check(policy.spec, policy.embedding, policy.head)
    image = jnp.zeros((1, *policy.spec.picture), jnp.uint8)
    pose = jnp.zeros((1, len(policy.spec.pose)))
    demo = jnp.repeat(image[:, None], frames, 1), jnp.repeat(pose[:, None], frames + 2, 1)
    traced = isinstance(key, jax.core.Tracer)  # then it is compiled as whatever asks for it
    initialised = (policy.init if traced else _init_params(policy))(key, *demo, image, pose)
    return cast(Params, initialised["params"])


# It runs once: what it takes is to be compiled, half as long if nothing is optimised.
ONCE = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}


@functools.cache
def _init_params(policy: Policy) -> Callable[..., Params]:
    return jax.jit(policy.init, compiler_options=ONCE)
