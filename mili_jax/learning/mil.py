"""MIL: one-shot imitation by gradient steps on the demonstration (Finn et al. 2017b), which is MAML
(`learning.maml`) on the project's policy.

Letters are the papers': theta are the parameters, theta' those after the inner loop, psi those of a
learned loss.

A batch (`batches.sampling.sample_tasks`) has two rows per task: row i holds steps of one episode
and row B + i steps of another one of the same task. The first half are queries, the second
supports.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Float, Int

from mili_jax import plugins
from mili_jax.learning import losses
from mili_jax.learning.hyper import Hyper
from mili_jax.learning.losses import Metrics
from mili_jax.learning.maml import adapt, meta_loss
from mili_jax.learning.step import Spots, TrainState, TrainStep, make_step, new_state
from mili_jax.policy import learned_loss
from mili_jax.policy.learned_loss import LearnedLoss
from mili_jax.policy.policy import HEADS, Policy, init_params, view_with
from mili_jax.policy.protocols import Density, FocusDensity, FocusHead, Hindsight, Memory
from mili_jax.types import AnyArray, Batch, ConfigError, DataError, Params

# What a demonstration shows: with actions it is imitated; without, a learned loss says what it
# means, and poses, if there are any, say which places it is about.
SUPPORTS = ("video_pose_action", "video_pose", "video")
ADAPTED = ("actor", "all")


@dataclasses.dataclass(frozen=True)
class MilHyper:
    """What MIL has beside `Hyper`. Raises ConfigError on a value out of range."""

    support: str = "video_pose_action"  # one of SUPPORTS
    adapted: str = "actor"  # one of ADAPTED: the encoder is shared by all tasks, or adapts too
    inner_steps: int = 1
    inner_rate: float = 0.01  # to begin with; every parameter's own is learned
    first_order: bool = False
    clip: float = 10.0  # of each element of the inner gradient; 0 for none

    def __post_init__(self) -> None:
        def need(ok: bool, field: str, wanted: str) -> None:
            if not ok:
                raise ConfigError(f"MilHyper.{field}: {getattr(self, field)!r} is not {wanted}")

        need(self.support in SUPPORTS, "support", f"one of {SUPPORTS}")
        need(self.adapted in ADAPTED, "adapted", f"one of {ADAPTED}")
        need(self.inner_steps >= 1, "inner_steps", "at least 1")
        need(self.inner_rate > 0, "inner_rate", "positive")
        need(self.clip >= 0, "clip", "at least 0")


class Shown(NamedTuple):
    """S steps of an episode, each field with any axes in front.

    image uint8 [S,(V,)H,W,3], or its feature map [S,h,w,C] where the encoder does not adapt; pose
    float32 [S,D] and action float32 [S,A]; focus float32 [S,2,C,2] m and focus_seen bool [S,2]: see
    `domains.base.Hindsight`.
    """

    image: AnyArray
    pose: AnyArray
    action: AnyArray
    focus: AnyArray
    focus_seen: AnyArray


def check(head: str, support: str) -> None:
    """Raises ConfigError for a head that a support without actions cannot teach."""
    found = plugins.find("heads", head, HEADS)
    if support != "video_pose_action" and not issubclass(found, FocusHead):
        raise ConfigError(
            f"policy.head {head!r} cannot adapt to {support!r}: a learned loss reads where the "
            "policy looks; take anchored_mixture"
        )


def init(policy: Policy, hyper: MilHyper, key: Array, frames: int = 2) -> Params:
    """theta, its rates and psi.

    policy: of `init_params`; bias [Z]: stands where other methods have the embedding (the bias
    transformation); rates: a tree like what adapts; loss: psi, where the support has no actions.
    Raises as `check`.
    """
    first, second = jax.random.split(key)
    of_policy = init_params(policy, first, frames)
    check(policy.head, hyper.support)
    params = {
        "policy": of_policy,
        "bias": jnp.full((policy.embedding_size,), policy.embedding_size**-0.5, jnp.float32),
    }
    theta = _adapting(params, hyper)
    params["rates"] = jax.tree.map(lambda p: jnp.full(p.shape, hyper.inner_rate, p.dtype), theta)
    if hyper.support != "video_pose_action":
        look = jnp.zeros((2, 2, 2)), jnp.zeros((2, 2, policy.channels))
        maps = jnp.zeros((2, 2, 2, policy.channels))
        pose = jnp.zeros((2, 7)) if hyper.support == "video_pose" else None
        view = view_with(policy, of_policy)
        params["loss"] = LearnedLoss().init(second, *look, maps, pose, view)["params"]
    return params


def init_state(
    policy: Policy,
    hyper: Hyper,
    mil: MilHyper,
    seed: int,
    frames: int = 2,
    params: Params | None = None,
) -> TrainState:
    """A fresh state for `make_train_step`, with the given parameters if there are any."""
    if params is None:
        params = init(policy, mil, jax.random.key(seed), frames=frames)
    return new_state(params, hyper)


def _shared(params: Params) -> Params:
    """What of a policy's parameters all tasks share beside its encoder: where its cameras are, and
    what makes one picture of several."""
    return {k: params[k] for k in ("camera", "camera_shift", "fuse") if k in params}


def _adapting(params: Params, hyper: MilHyper) -> Params:
    theta = {"actor": params["policy"]["actor"], "bias": params["bias"]}
    if hyper.adapted == "all":
        theta["encoder"] = params["policy"]["encoder"]
    return theta


def _rows(shown: Shown, rows: slice | np.ndarray) -> Shown:
    return Shown(*(field[rows] for field in shown))


def encode(policy: Policy, params: Params, image: Array, theta: Params | None = None) -> Array:
    """uint8 [...,(V,)H,W,3] -> feature maps [...,h,w,C], by the encoder of the policy's parameters
    or, if it is there, that of theta."""
    encoder = (params if theta is None else theta)["encoder"]
    variables = {"params": {**_shared(params), "encoder": encoder}}
    return cast(Array, policy.apply(variables, image, method="encode"))


def act(
    policy: Policy,
    params: Params,
    theta: Params,
    maps: Array,
    pose: Array,
    hindsight: Hindsight | None = None,
    memory: Memory | None = None,
) -> Density:
    """The density over actions [n,A] of a policy that has adapted to a task: theta stands where its
    own parameters and the embedding would."""
    variables = {"params": {**_shared(params), "actor": theta["actor"]}}
    z = jnp.broadcast_to(theta["bias"], (len(maps), len(theta["bias"])))
    arguments = maps, pose, z, hindsight, memory
    return cast(Density, policy.apply(variables, *arguments, method="act_maps"))


class Losses:
    """The inner and the outer loss of one task, given what does not adapt."""

    def __init__(self, policy: Policy, hyper: Hyper, mil: MilHyper, params: Params) -> None:
        self.policy, self.hyper, self.mil, self.params = policy, hyper, mil, params

    @property
    def theta(self) -> Params:
        """What adapts, before it does."""
        return _adapting(self.params, self.mil)

    def encoded(self, shown: Shown) -> Shown:
        """With feature maps for pictures, where the encoder does not adapt."""
        if self.mil.adapted == "all":
            return shown
        return shown._replace(image=encode(self.policy, self.params["policy"], shown.image))

    def density(self, theta: Params, shown: Shown, hindsight: bool) -> tuple[Density, Array]:
        """The density over actions at every step, and the feature maps."""
        params, maps = self.params["policy"], shown.image
        if self.mil.adapted == "all":
            maps = encode(self.policy, params, maps, theta)
        known = (shown.focus, shown.focus_seen) if hindsight else None
        return act(self.policy, params, theta, maps, shown.pose, known), maps

    def outer(self, theta: Params, shown: Shown) -> Float[Array, ""]:
        """Eq. 2's loss on the query: imitation, and the places known in hindsight."""
        density, _ = self.density(theta, shown, True)
        loss, _ = losses.one_shot_imitation(density.log_prob(shown.action))
        if not self.policy.acts_on_places:
            return loss
        return loss + self.hyper.focus_weight * _pointing(density, shown)

    def inner(self, theta: Params, shown: Shown) -> Float[Array, ""]:
        """What the demonstration teaches: its actions, or what psi makes of a video of it."""
        if self.mil.support == "video_pose_action":
            return self.outer(theta, shown)
        poses = self.mil.support == "video_pose"
        if not poses:
            shown = shown._replace(pose=jnp.zeros_like(shown.pose))
        density, maps = self.density(theta, shown, False)
        where, what = learned_loss.looked_at(cast(FocusDensity, density).focus, maps)
        pose = shown.pose if poses else None
        psi, view = {"params": self.params["loss"]}, view_with(self.policy, self.params["policy"])
        learned = cast(Array, LearnedLoss().apply(psi, where, what, maps, pose, view))
        return learned + _pointing(density, shown) if poses else learned

    def adapt(self, theta: Params, support: Shown) -> Params:
        """theta' after the inner loop."""
        m, rates = self.mil, self.params["rates"]
        return adapt(
            self.inner, theta, support, rates, m.inner_steps, first_order=m.first_order, clip=m.clip
        )


def _pointing(density: Density, shown: Shown) -> Float[Array, ""]:
    focus = cast(FocusDensity, density).focus
    return losses.pointing(focus.log_prob(shown.focus), shown.focus_seen)


def loss_fn(
    policy: Policy, hyper: Hyper, mil: MilHyper, params: Params, batch: Batch
) -> tuple[Array, Metrics]:
    """The meta-objective on a batch of two rows per task -> (loss, metrics)."""
    of_task = Losses(policy, hyper, mil, params)
    steps = Shown(batch.image, batch.pose, batch.action, batch.focus, batch.focus_seen)
    steps, half = of_task.encoded(steps), len(batch.pose) // 2
    query, support = _rows(steps, slice(half)), _rows(steps, slice(half, None))
    loss, metrics = meta_loss(
        of_task.inner,
        of_task.outer,
        of_task.theta,
        support,
        query,
        params["rates"],
        mil.inner_steps,
        first_order=mil.first_order,
        clip=mil.clip,
    )
    return loss, {**metrics, "loss": loss}


def make_train_step(
    policy: Policy, hyper: Hyper, mil: MilHyper, mesh: Mesh | None = None
) -> TrainStep:
    """The meta-step: (state, batch, seed) -> (state, metrics), jitted; the old state is consumed.

    Augmented like any other batch: each episode is another arrangement, in the colours of its task.
    """

    def loss(params: Params, batch: Batch, spots: Spots, key: Array) -> tuple[Array, Metrics]:
        del spots, key  # nothing is found again, and nothing drawn
        return loss_fn(policy, hyper, mil, params, batch)

    return make_step(loss, policy, hyper, mesh, of_policy=lambda params: params["policy"])


def improvement(
    policy: Policy,
    hyper: Hyper,
    mil: MilHyper,
    params: Params,
    shown: Shown,
    support: Int[np.ndarray, " tasks"],
    query: Int[np.ndarray, " tasks"],
) -> tuple[Float[np.ndarray, " tasks"], Float[np.ndarray, " tasks"]]:
    """The outer loss on episodes before and after adapting to others of the same task.

    Args:
      shown: steps of N episodes, [N,S,...].
      support, query: indices into them.

    Raises DataError for an episode that is both.
    """
    if (support == query).any():
        row = int(np.argmax(support == query))
        raise DataError(
            f"task {row}: episode {support[row]} is support and query; adapt to one demonstration "
            "and measure on another"
        )

    outer = _make_outer(policy, hyper, mil)
    before, after = outer(params, _rows(shown, support), _rows(shown, query))
    return np.asarray(before), np.asarray(after)


@functools.cache
def _make_outer(
    policy: Policy, hyper: Hyper, mil: MilHyper
) -> Callable[[Params, Shown, Shown], tuple[Array, Array]]:
    """The outer loss of tasks before and after adapting to their supports, jitted."""

    @jax.jit
    def outer(params: Params, support: Shown, query: Shown) -> tuple[Array, Array]:
        of_task = Losses(policy, hyper, mil, params)
        theta = of_task.theta

        def one(support: Shown, query: Shown) -> tuple[Array, Array]:
            return of_task.outer(theta, query), of_task.outer(of_task.adapt(theta, support), query)

        return jax.vmap(one)(of_task.encoded(support), of_task.encoded(query))

    return outer
