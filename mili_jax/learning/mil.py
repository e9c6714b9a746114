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
from collections.abc import Callable
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from mili_jax.learning import acting, losses
from mili_jax.learning.acting import MEMORY
from mili_jax.learning.hyper import Hyper
from mili_jax.learning.losses import Metrics
from mili_jax.learning.maml import adapt, meta_loss
from mili_jax.learning.step import TrainState, make_step, new_state
from mili_jax.policy import learned_loss
from mili_jax.policy.learned_loss import LearnedLoss
from mili_jax.policy.policy import Policy, init_params, views_with
from mili_jax.policy.view import View
from mili_jax.types import Batch, ConfigError, DataError, Params, PolicyFn

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

    image: Any
    pose: Any
    action: Any
    focus: Any
    focus_seen: Any


def check(head: str, support: str) -> None:
    """Raises ConfigError for a head that a support without actions cannot teach."""
    if support != "video_pose_action" and head != "anchored_mixture":
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
    params: dict[str, Any] = {
        "policy": init_params(policy, first, frames),
        "bias": jnp.full((policy.embedding_size,), policy.embedding_size**-0.5, jnp.float32),
    }
    theta = _adapting(params, hyper)
    params["rates"] = jax.tree.map(lambda p: jnp.full(p.shape, hyper.inner_rate, p.dtype), theta)
    check(policy.head, hyper.support)
    if hyper.support != "video_pose_action":
        look = jnp.zeros((2, 2, 2)), jnp.zeros((2, 2, policy.channels))
        maps = jnp.zeros((2, 2, 2, policy.channels))
        pose = jnp.zeros((2, 7)) if hyper.support == "video_pose" else None
        view = views_with(policy, params["policy"])[0]
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


def _shared(params: Params) -> dict[str, Any]:
    """What of a policy's parameters neither adapts nor encodes: where its cameras are."""
    return {k: params[k] for k in ("camera", "camera_shift", "fuse") if k in params}


def _adapting(params: Params, hyper: MilHyper) -> Params:
    theta = {"actor": params["policy"]["actor"], "bias": params["bias"]}
    if hyper.adapted == "all":
        theta["encoder"] = params["policy"]["encoder"]
    return theta


def _rows(shown: Shown, rows: Any) -> Shown:
    return Shown(*(field[rows] for field in shown))


class _Losses:
    """The inner and the outer loss of one task, given what does not adapt."""

    def __init__(self, policy: Policy, hyper: Hyper, mil: MilHyper, params: Params) -> None:
        self.policy, self.hyper, self.mil, self.params = policy, hyper, mil, params

    def density(self, theta: Params, shown: Shown, hindsight: bool) -> tuple[Any, Array]:
        """The density over actions at every step, and the feature maps."""
        maps = shown.image
        if "encoder" in theta:
            maps = encode(self.policy, {**_shared(self.params["policy"]), **theta}, maps)
        z = jnp.broadcast_to(theta["bias"], (len(maps), len(theta["bias"])))
        known = (shown.focus, shown.focus_seen) if hindsight else None
        density = self.policy.apply(
            {"params": {**_shared(self.params["policy"]), "actor": theta["actor"]}},
            maps,
            shown.pose,
            z,
            known,
            method="act_maps",
        )
        return density, maps

    def outer(self, theta: Params, shown: Shown) -> Array:
        """Eq. 2's loss on the query: imitation, and the places known in hindsight."""
        density, _ = self.density(theta, shown, True)
        loss, _ = losses.one_shot_imitation(density.log_prob(shown.action))
        return loss + self.hyper.focus_weight * self.pointing(density, shown)

    def pointing(self, density: Any, shown: Shown) -> Array:
        if not self.policy.acts_on_places:
            return jnp.zeros(())
        return losses.pointing(density.focus.log_prob(shown.focus), shown.focus_seen)

    def inner(self, theta: Params, shown: Shown) -> Array:
        """What the demonstration teaches: its actions, or what psi makes of a video of it."""
        if self.mil.support == "video_pose_action":
            return self.outer(theta, shown)
        poses = self.mil.support == "video_pose"
        if not poses:
            shown = shown._replace(pose=jnp.zeros_like(shown.pose))
        density, maps = self.density(theta, shown, False)
        where, what = learned_loss.looked_at(density.focus, maps)
        pose = shown.pose if poses else None
        psi = {"params": self.params["loss"]}
        view = cast(View, views_with(self.policy, self.params["policy"])[0])
        learned: Any = LearnedLoss().apply(psi, where, what, maps, pose, view)
        return learned + self.pointing(density, shown) if poses else learned

    def adapt(self, theta: Params, support: Shown) -> Params:
        return adapt(self.inner, theta, support, self.params["rates"], **self.options)

    @property
    def options(self) -> dict[str, Any]:
        m = self.mil
        return {"steps": m.inner_steps, "first_order": m.first_order, "clip": m.clip}


def encode(policy: Policy, theta: Params, image: Array) -> Array:
    """uint8 [...,(V,)H,W,3] -> feature maps [...,h,w,C], with the encoder in theta."""
    encoder = {"params": {**_shared(theta), "encoder": theta["encoder"]}}
    maps: Any = policy.apply(encoder, image, method="encode")
    return maps


def loss_fn(
    policy: Policy, hyper: Hyper, mil: MilHyper, params: Params, batch: Batch
) -> tuple[Array, Metrics]:
    """The meta-objective on a batch of two rows per task -> (loss, metrics)."""
    steps = Shown(batch.image, batch.pose, batch.action, batch.focus, batch.focus_seen)
    if mil.adapted == "actor":
        steps = steps._replace(image=encode(policy, params["policy"], steps.image))
    half = len(batch.pose) // 2
    query, support = _rows(steps, slice(half)), _rows(steps, slice(half, None))
    of_task = _Losses(policy, hyper, mil, params)
    loss, metrics = meta_loss(
        of_task.inner,
        of_task.outer,
        _adapting(params, mil),
        support,
        query,
        params["rates"],
        **of_task.options,
    )
    return loss, {**metrics, "loss": loss}


def make_train_step(
    policy: Policy, hyper: Hyper, mil: MilHyper, mesh: Any = None
) -> Callable[[TrainState, Batch, int], tuple[TrainState, Metrics]]:
    """The meta-step: (state, batch, seed) -> (state, metrics), jitted; the old state is consumed.

    Augmented like any other batch: each episode is another arrangement, in the colours of its task.
    """
    return make_step(
        lambda params, batch, *_: loss_fn(policy, hyper, mil, params, batch), policy, hyper, mesh
    )


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

    @jax.jit
    def both(params: Params, support: Shown, query: Shown) -> tuple[Array, Array]:
        of_task, theta = _Losses(policy, hyper, mil, params), _adapting(params, mil)
        if mil.adapted == "actor":
            support, query = (
                s._replace(image=encode(policy, params["policy"], s.image))
                for s in (support, query)
            )

        def one(support: Shown, query: Shown) -> tuple[Array, Array]:
            return of_task.outer(theta, query), of_task.outer(of_task.adapt(theta, support), query)

        return jax.vmap(one)(support, query)

    before, after = both(params, _rows(shown, support), _rows(shown, query))
    return np.asarray(before), np.asarray(after)


def make_act(
    policy: Policy,
    hyper: Hyper,
    mil: MilHyper,
    temperature: float = 0.0,
    memory: tuple[float, float] = MEMORY,
) -> Callable[..., PolicyFn]:
    """Acting like `acting.make_act`: (params, support, shown, seed) -> a function of one trial.

    support: `Shown` steps of one demonstration for each of n robots, [n,S,...]; shown bool [n]:
    whether the robot gets to see it. One that does not acts by theta.
    """

    @jax.jit
    def learn(params: Params, support: Shown, shown: Array) -> Params:
        of_task = _Losses(policy, hyper, mil, params)
        theta = _adapting(params, mil)
        if mil.adapted == "actor":
            support = support._replace(image=encode(policy, params["policy"], support.image))

        def one(support: Shown, shown: Array) -> Params:
            adapted = of_task.adapt(theta, support)
            return jax.tree.map(lambda a, b: jnp.where(shown, a, b), adapted, theta)

        return jax.vmap(one)(support, shown)

    def respond(context: Any, image: Array, pose: Array, memory: Any) -> Any:
        params, theta = context
        if mil.adapted == "actor":
            image = encode(policy, params["policy"], image)

        def one(theta: Params, image: Array, pose: Array, memory: Any) -> Any:
            maps = image[None]
            if mil.adapted == "all":
                maps = encode(policy, {**_shared(params["policy"]), **theta}, maps)
            if memory is not None:
                memory = jax.tree.map(lambda a: a[None], memory[0]), memory[1]
            actor = {"params": {**_shared(params["policy"]), "actor": theta["actor"]}}
            z = theta["bias"][None]
            density = policy.apply(actor, maps, pose[None], z, None, memory, method="act_maps")
            return jax.tree.map(lambda a: a[0], density)

        axes = (0, 0, 0, None if memory is None else 0)
        return jax.vmap(one, axes)(theta, image, pose, memory)

    play = acting.make_player(respond, policy, temperature, memory)

    def start(params: Params, support: Shown, shown: Array, seed: int = 0) -> Any:
        return play((params, learn(params, support, shown)), seed)

    return start
