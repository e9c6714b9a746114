"""The train step: state, one jitted update, and what it is randomised by.

Several devices, of one host or of many, share the rows of a batch (`learning.mesh`) and have the
state each in full. Networks see the rows of their device, losses those of all: a batch has the same
loss whatever the number of devices.
"""

from __future__ import annotations

from collections.abc import Callable

import flax.struct
import jax
import jax.numpy as jnp
import optax
from jax.flatten_util import ravel_pytree
from jax.sharding import Mesh, NamedSharding
from jaxtyping import Array, Float, Int

from mili_jax.learning.augment import augment
from mili_jax.learning.hyper import Hyper
from mili_jax.learning.losses import Metrics
from mili_jax.learning.mesh import ROWS, WHOLE
from mili_jax.learning.objective import loss_fn
from mili_jax.policy.policy import Policy, init_params, views_with
from mili_jax.types import Batch, Params

Spots = Float[Array, "b 2 2 2"] | None  # see `augment`


@flax.struct.dataclass
class TrainState:
    """Data only: what a checkpoint holds. `average` is what acts, embeds and is evaluated."""

    step: Int[Array, ""]
    params: Params
    average: Params
    opt_state: optax.OptState


TrainStep = Callable[[TrainState, Batch, int], tuple[TrainState, Metrics]]


def make_optimizer(hyper: Hyper) -> optax.GradientTransformation:
    rate = optax.warmup_cosine_decay_schedule(
        init_value=0.0 if hyper.warmup else hyper.learning_rate,
        peak_value=hyper.learning_rate,
        warmup_steps=hyper.warmup,
        decay_steps=max(hyper.steps, hyper.warmup + 1),
        end_value=hyper.learning_rate / 100,
    )
    update = optax.adamw(rate, weight_decay=hyper.weight_decay)
    return optax.flatten(optax.chain(optax.clip_by_global_norm(hyper.clip), update))


def init_state(
    policy: Policy, hyper: Hyper, seed: int, frames: int = 2, params: Params | None = None
) -> TrainState:
    """A fresh state for demonstrations of M = `frames` frames.

    `params` starts from given parameters (warm start) instead of random ones.
    """
    if params is None:
        params = init_params(policy, jax.random.key(seed), frames=frames)
    return new_state(params, hyper)


def new_state(params: Params, hyper: Hyper) -> TrainState:
    """A state at step 0 of whatever parameters."""
    # Copies: the train step donates its state, and two leaves must not share a buffer.
    params, average = jax.tree.map(jnp.array, (params, params))
    return TrainState(jnp.zeros((), jnp.int32), params, average, make_optimizer(hyper).init(params))


def make_train_step(policy: Policy, hyper: Hyper, mesh: Mesh | None = None) -> TrainStep:
    """The train step: (state, batch, seed) -> (state, metrics), jitted; the old state is consumed.

    Its randomness is fold_in(key(seed), state.step), so a resumed run repeats an unbroken one. With
    a mesh state and batch come from `replicate` and `place`; state and metrics are whole on every
    device, and the same but for the order of sums as without.
    """
    several = mesh if mesh is not None and mesh.size > 1 else None

    def loss(params: Params, batch: Batch, spots: Spots, key: Array) -> tuple[Array, Metrics]:
        return loss_fn(policy, hyper, params, batch, key, spots, several)

    return make_step(loss, policy, hyper, mesh)


def make_step(
    loss: Callable[[Params, Batch, Spots, Array], tuple[Array, Metrics]],
    policy: Policy,
    hyper: Hyper,
    mesh: Mesh | None = None,
    of_policy: Callable[[Params], Params] = lambda params: params,
) -> TrainStep:
    """`make_train_step` for any loss: (params, what `augment` gives, key) -> (loss, metrics).

    of_policy: which of the parameters are those of the policy.
    """
    optimizer = make_optimizer(hyper)

    def train_step(
        state: TrainState, batch: Batch, seed: Int[Array, ""]
    ) -> tuple[TrainState, Metrics]:
        key = jax.random.fold_in(jax.random.key(seed), state.step)
        move, inside = jax.random.split(key)
        views = views_with(policy, of_policy(state.params))
        batch, spots = augment(batch, move, policy.spec, views, hyper)
        gradient = jax.grad(lambda params: loss(params, batch, spots, inside), has_aux=True)
        grads, metrics = gradient(state.params)
        updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        # A young average follows closely; otherwise it would remember the random start.
        decay = jnp.minimum(hyper.ema, (1 + state.step) / (10 + state.step))
        average = optax.incremental_update(params, state.average, 1 - decay)
        metrics = {**metrics, "gradient_norm": jnp.linalg.norm(ravel_pytree(grads)[0])}
        return TrainState(state.step + 1, params, average, opt_state), metrics

    if mesh is None:
        return jax.jit(train_step, donate_argnums=0)
    rows, whole = NamedSharding(mesh, ROWS), NamedSharding(mesh, WHOLE)
    return jax.jit(
        train_step,
        donate_argnums=0,
        in_shardings=(whole, rows, None),
        out_shardings=(whole, whole),
    )
