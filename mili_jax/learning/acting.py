"""Embedding demonstrations and acting after them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mili_jax.policy.densities import Density
from mili_jax.policy.policy import Policy
from mili_jax.types import ConfigError

Array = jax.Array
Params = Any

# Share of earlier pictures in where the two places are believed to lie when acting: the tool hides
# what it is above. What is acted on moves once the tool has been down, and from then on it is
# looked for anew. Where it is brought to stays.
MEMORY = (0.8, 0.95)
DOWN_Z = 0.09  # m


def make_embed(policy: Policy) -> Callable[[Params, Any, Any], Array]:
    """f: (params, demo_image uint8 [N,M,H,W,3], demo_pose [N,K,7]) -> unit z [N,Z], jitted."""
    return jax.jit(lambda params, *demo: policy.apply({"params": params}, *demo, method="embed"))


def make_act(
    policy: Policy, temperature: float = 0.0, memory: tuple[float, float] = MEMORY
) -> Callable[..., Callable[[Any, Any], Array]]:
    """Acting: (params, z [n,Z], seed) -> a function of one trial each of n robots.

    That function takes their next observations, image uint8 [n,H,W,3] and pose [n,7], and returns
    the mode of g, or a sample of it at `temperature`: actions [n,7]. It remembers: `memory` is the
    share of earlier pictures in where it believes each of the two places to lie that the trial is
    about; of the first, which is moved then, only until the tool has been below DOWN_Z. Its
    randomness is fold_in(key(seed), number of the call).
    """

    def respond(context: Any, image: Array, pose: Array, memory: Any) -> Density:
        params, z = context
        density: Any = policy.apply({"params": params}, image, pose, z, memory, method="act")
        return density

    play = make_player(respond, temperature, memory)
    return lambda params, z, seed=0: play((params, z), seed)


def make_player(
    respond: Callable[[Any, Array, Array, Any], Density],
    temperature: float,
    memory: tuple[float, float],
) -> Callable[[Any, int], Callable[[Any, Any], Array]]:
    """`make_act` for any policy: (context, seed) -> a function of one trial each of n robots.

    respond: (context, image, pose, what is remembered or None) -> density over actions.
    """

    @jax.jit
    def step(
        context: Any, image: Array, pose: Array, past: Any, seed: int, t: int
    ) -> tuple[Array, Any]:
        focus, lowest = past
        lowest = jnp.where(t > 0, jnp.minimum(lowest, pose[:, 2]), pose[:, 2])
        share = jnp.stack(
            [jnp.where(lowest > DOWN_Z, memory[0], 0.0), jnp.full_like(lowest, memory[1])], 1
        )
        weight = jnp.where(t > 0, share, 0.0)[:, :, None]
        kept = None if focus is None else (focus, weight)
        density: Any = respond(context, image, pose, kept)
        past = getattr(density, "focus", None), lowest
        if temperature:
            key = jax.random.fold_in(jax.random.key(seed), t)
            return density.sample(key, temperature), past
        return density.mode(), past

    def start(context: Any, seed: int) -> Callable[[Any, Any], Array]:
        past, t = None, 0

        def act(image: Array, pose: Array) -> Array:
            nonlocal past, t
            if t == 0:
                nothing = None, pose[:, 2]
                shapes = jax.eval_shape(step, context, image, pose, nothing, seed, t)[1]
                past = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)
            action, past = step(context, image, pose, past, seed, t)
            t += 1
            return action

        return act

    return start


def embed_all(
    embed: Callable[[Params, Any, Any], Array],
    params: Params,
    demo_image: np.ndarray,
    demo_pose: np.ndarray,
    chunk: int = 64,
) -> np.ndarray:
    """Embeds any number of episodes in calls of one fixed shape: [N,M,H,W,3], [N,K,7] -> [N,Z].

    The inputs may be memory-mapped or lazy: only `chunk` episodes are read at a time.
    """
    parts = []
    for start in range(0, len(demo_pose), chunk):
        image, pose = demo_image[start : start + chunk], demo_pose[start : start + chunk]
        missing = chunk - len(pose)
        if missing:
            image = np.concatenate([image, np.repeat(image[-1:], missing, 0)])
            pose = np.concatenate([pose, np.repeat(pose[-1:], missing, 0)])
        parts.append(np.asarray(embed(params, image, pose))[: chunk - missing])
    if not parts:
        raise ConfigError("embed_all: there is no episode to embed")
    return np.concatenate(parts)
