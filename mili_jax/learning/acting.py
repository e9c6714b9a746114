"""Embedding demonstrations and acting after them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, cast

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, UInt8

from mili_jax.given import number, reals
from mili_jax.policy.focus import Focus
from mili_jax.policy.policy import Policy
from mili_jax.policy.protocols import Density, FocusDensity, Memory
from mili_jax.spec import FINGER, Spec
from mili_jax.types import AnyArray, ConfigError, DataError, Params, PolicyFn

# Share of earlier pictures in where the two places are believed to lie when acting: the tool hides
# what it is above. What is acted on moves once the tool has been down, and from then on it is
# looked for again. Where it is brought to stays.
MEMORY = (0.8, 0.95)

# Of a robot without a tool above a table nobody knows when it is in the way of what it looks for.
# It believes the mean of so many pictures, the first ones.
FIRST = 4

Context = TypeVar("Context")  # what an answer depends on beside the observation: a tree of arrays
Respond = Callable[[Context, Array, Array, Memory | None], Density]
Play = Callable[..., PolicyFn]
Embed = Callable[[Params, AnyArray, AnyArray], Array]
# The focus so far, how low (m) each tool has been, where its fingers were sent and where they were.
Past = tuple[Focus | None, AnyArray, AnyArray, AnyArray]


def make_embed(policy: Policy) -> Embed:
    """f, jitted: (params, demo_image uint8 [N,M,(V,)H,W,3], demo_pose [N,K,D]) -> unit z [N,Z]."""
    return jax.jit(lambda params, *demo: policy.apply({"params": params}, *demo, method="embed"))


def make_act(
    policy: Policy, temperature: float = 0.0, memory: tuple[float, float] = MEMORY
) -> Callable[..., PolicyFn]:
    """Acting: (params, z [n,Z], seed=0) -> a function of one trial each of n robots.

    That function takes their next observations, image uint8 [n,(V,)H,W,3] and pose float32 [n,D],
    and returns the mode of g, or a sample of it at `temperature`: actions float32 [n,A]. It raises
    DataError for observations of other shapes or types, or numbers that are not finite.

    It remembers: `memory` is the share of earlier pictures in where it believes each of the two
    places to lie that the trial is about; of the first, which is moved then, only until the tool
    has been down (`Tool.down`). Of a tool it remembers where its fingers were and where it sent
    them, which says what they feel (`batches.sampling.with_felt`). Its randomness is
    fold_in(key(seed), number of the call).
    """

    def respond(
        context: tuple[Params, Array], image: Array, pose: Array, memory: Memory | None
    ) -> Density:
        params, z = context
        density = policy.apply({"params": params}, image, pose, z, memory, method="act")
        return cast(Density, density)

    play = make_player(respond, policy, temperature, memory)

    def begin(params: Params, z: AnyArray, seed: int = 0) -> PolicyFn:
        z = check_z(policy, z)
        return play((params, z), seed, len(z))

    return begin


def make_player(
    respond: Respond[Context], policy: Policy, temperature: float, memory: tuple[float, float]
) -> Play:
    """`make_act` for anything that responds: (context, seed, n=None) -> a function of one trial
    each of n robots, of any number for None.

    respond: (context, image, pose, what is remembered or None) -> density over actions. Raises
    ConfigError for a temperature or a memory that cannot be.
    """
    if number(temperature, "temperature") < 0:
        raise ConfigError(f"temperature is {temperature}; it must be at least 0 (0: the mode)")
    if np.shape(memory) != (2,) or not all(0 <= number(m, "memory") <= 1 for m in memory):
        raise ConfigError(f"memory is {memory}; it must be two shares from 0 to 1")
    remembers, tool = policy.acts_on_places, policy.spec.tool

    @jax.jit
    def step(
        context: Context,
        image: Array,
        pose: Array,
        past: Past,
        seed: Int[Array, ""],
        t: Int[Array, ""],
    ) -> tuple[Array, Past]:
        focus, lowest, sent, before = past
        kept = None
        finger = pose[:, FINGER] if policy.feels else lowest
        if policy.feels:
            felt = jnp.where(t > 0, jnp.stack([finger - sent, finger - before]), 0.0).T
            pose = jnp.concatenate([pose, felt], 1)
        if remembers and tool is not None:
            lowest = jnp.where(t > 0, jnp.minimum(lowest, pose[:, 2]), pose[:, 2])
            first = jnp.where(lowest > tool.down, memory[0], 0.0)
            share = jnp.stack([first, jnp.full_like(lowest, memory[1])], 1)
            weight = jnp.where(t > 0, share, 0.0)[:, :, None]
            kept = None if focus is None else (focus, weight)
        elif remembers:
            share = jnp.where(t < FIRST, t / (t + 1.0), 1.0)
            weight = jnp.broadcast_to(share, (len(pose), 2, 1))
            kept = None if focus is None else (focus, weight)
        density = respond(context, image, pose, kept)
        if temperature:
            action = density.sample(jax.random.fold_in(jax.random.key(seed), t), temperature)
        else:
            action = density.mode()
        focus = cast(FocusDensity, density).focus if remembers else None
        sent = action[:, FINGER] if policy.feels else lowest
        return action, (focus, lowest, sent, finger)

    def start(context: Context, seed: int, robots: int | None = None) -> PolicyFn:
        past: Past = None, None, None, None
        t = 0

        def act(image: np.ndarray, pose: np.ndarray) -> np.ndarray:
            nonlocal past, t
            image, pose = check_observation(policy.spec, image, pose, robots)
            if t == 0:
                nothing = None, pose[:, 0], pose[:, 0], pose[:, 0]
                shapes = jax.eval_shape(step, context, image, pose, nothing, seed, t)[1]
                past = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)
            action, past = step(context, image, pose, past, seed, t)
            t += 1
            return np.asarray(action)

        return act

    return start


def check_z(policy: Policy, z: AnyArray) -> AnyArray:
    """The embeddings [n,Z]. Raises DataError for what are none: they would give other actions, or
    none that are numbers, without a word."""
    given = reals(z, "z, the embeddings of demonstrations,")
    if given.ndim != 2 or given.shape[1] != policy.embedding_size or not np.isfinite(given).all():
        raise DataError(
            f"acting: z is {given.dtype} {given.shape}; this policy wants finite numbers (robots, "
            f"{policy.embedding_size})"
        )
    return z if isinstance(z, jax.Array | np.ndarray) else given.astype(np.float32)


def check_observation(
    spec: Spec, image: np.ndarray, pose: np.ndarray, robots: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """The observations as arrays. Raises DataError for what a robot of this spec does not see: it
    would give other actions without a word.

    robots: how many there are, None for any number.
    """
    image, pose = np.asarray(image), np.asarray(pose)
    if pose.shape[1:] != (len(spec.pose),) or not np.issubdtype(pose.dtype, np.floating):
        raise DataError(
            f"acting: the poses are {pose.dtype} {pose.shape}; this policy wants float32 "
            f"(robots, {len(spec.pose)}): {', '.join(spec.pose.names)}"
        )
    if image.dtype != np.uint8 or image.shape != (len(pose), *spec.picture):
        raise DataError(
            f"acting: the pictures are {image.dtype} {image.shape}; this policy wants uint8 "
            f"{(len(pose), *spec.picture)}, values 0 to 255"
        )
    if not np.isfinite(pose).all():
        row, column = np.argwhere(~np.isfinite(pose))[0]
        raise DataError(
            f"acting: {spec.pose.names[column]!r} of robot {row} is {pose[row, column]}; a pose "
            "must be finite"
        )
    if not len(pose) or robots not in (None, len(pose)):
        wanted = "one at least" if robots is None else f"{robots}, as there are demonstrations"
        raise DataError(f"acting: there are {len(pose)} robots; this policy wants {wanted}")
    return image, pose.astype(pose.dtype.newbyteorder("="), copy=False)


def embed_all(
    embed: Embed,
    params: Params,
    demo_image: UInt8[np.ndarray, "n ..."],
    demo_pose: Float[np.ndarray, "n k d"],
    chunk: int = 64,
) -> Float[np.ndarray, "n z"]:
    """Embeds any number of episodes in calls of one fixed shape.

    The inputs may be memory-mapped or lazy: only `chunk` episodes are read at a time.
    """
    if len(demo_image) != len(demo_pose):
        raise ConfigError(
            f"embed_all: pictures of {len(demo_image)} episodes and poses of {len(demo_pose)}"
        )
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
