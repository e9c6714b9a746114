"""Acting by MIL: a policy adapts to a demonstration and acts after it."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array

from mili_jax.learning import mil
from mili_jax.learning.acting import MEMORY, make_player
from mili_jax.learning.hyper import Hyper
from mili_jax.learning.mil import Losses, MilHyper, Shown
from mili_jax.policy.focus import Focus
from mili_jax.policy.policy import Policy
from mili_jax.policy.protocols import Density, Memory
from mili_jax.types import AnyArray, Params, PolicyFn

Adapted = tuple[Params, Params]  # all parameters, and theta' of each robot


def make_act(
    policy: Policy,
    hyper: Hyper,
    options: MilHyper,
    temperature: float = 0.0,
    memory: tuple[float, float] = MEMORY,
) -> Callable[..., PolicyFn]:
    """Acting like `acting.make_act`: (params, support, shown, seed=0) -> a function of one trial.

    support: `Shown` steps of one demonstration for each of n robots, [n,S,...]; shown bool [n]:
    whether the robot gets to see it. One that does not acts by theta.
    """

    @jax.jit
    def learn(params: Params, support: Shown, shown: Array) -> Params:
        of_task = Losses(policy, hyper, options, params)
        theta = of_task.theta

        def one(support: Shown, shown: Array) -> Params:
            adapted = of_task.adapt(theta, support)
            return jax.tree.map(lambda a, b: jnp.where(shown, a, b), adapted, theta)

        return jax.vmap(one)(of_task.encoded(support), shown)

    def respond(context: Adapted, image: Array, pose: Array, memory: Memory | None) -> Density:
        params, theta = context[0]["policy"], context[1]
        if options.adapted == "actor":
            image = mil.encode(policy, params, image)

        def one(
            theta: Params, image: Array, pose: Array, memory: tuple[Focus, Array] | None
        ) -> Density:
            maps, pose = image[None], pose[None]
            if options.adapted == "all":
                maps = mil.encode(policy, params, maps, theta)
            memory = jax.tree.map(lambda a: a[None], memory)
            density = mil.act(policy, params, theta, maps, pose, memory=memory)
            return jax.tree.map(lambda a: a[0], density)

        return jax.vmap(one, (0, 0, 0, None if memory is None else 0))(theta, image, pose, memory)

    play = make_player(respond, policy, temperature, memory)

    def start(params: Params, support: Shown, shown: AnyArray, seed: int = 0) -> PolicyFn:
        return play((params, learn(params, support, shown)), seed)

    return start
