"""Networks and acting: names, sizes, demonstrations and observations."""

from __future__ import annotations

import functools
import math

import jax
import numpy as np
from specs import arm, numbers, pictures, table

from mili_jax.learning import acting
from mili_jax.policy.policy import Policy, check, init_params
from sweep.row import Row

AREA = "Policies and acting"
SIZES = {"embedding_size": 12, "channels": 4, "blocks": 1}


def made(frames=2, **changes):
    given = {"spec": arm(), "embedding": "images_only", "head": "mse", **SIZES, **changes}
    return init_params(Policy(**given), jax.random.key(0), frames)


@functools.cache
def start(temperature=0.0):
    """A policy whose parameters are zeros: nothing has to be compiled for them."""
    policy = Policy(arm(), "images_only", "mse", **SIZES)
    shapes = jax.eval_shape(lambda key: init_params(policy, key), jax.random.key(0))
    params = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)
    return policy, params, acting.make_act(policy, temperature)


def acts(z=None, image=None, pose=None):
    """An action of two arms, with this in the place of what is right."""
    policy, params, begin = start()
    act = begin(params, np.zeros((2, 12), np.float32) if z is None else z)
    right = pictures(policy.spec, 0, 2), numbers(policy.spec.pose, 0, 2)
    return act(
        right[0] if image is None else image(right[0]), right[1] if pose is None else pose(right[1])
    )


def two_robots(action):
    return action.shape == (2, 4) and bool(np.isfinite(action).all())


ROWS = [
    Row("a head in capitals", lambda _: made(head="MSE"), "no 'MSE'"),
    Row("no head", lambda _: made(head=None), "head.*None"),
    Row("a head that is no module", lambda _: made(head="os:getcwd"), "no class of flax modules"),
    Row("a head as a class", lambda _: check(arm(), "images_only", int), "head.*int"),
    Row("an embedding with a space", lambda _: made(embedding="images only"), "no 'images only'"),
    Row("places of a table for an arm", lambda _: made(head="anchored_mixture"), "Spec.tool"),
    Row("no robot", lambda _: made(spec=None), "spec.*None"),
    Row("a robot by its name", lambda _: made(spec="kitchen"), "spec.*'kitchen'"),
    Row("no channels", lambda _: made(channels=0), "channels.*0"),
    Row("channels as text", lambda _: made(channels="32"), "channels.*'32'"),
    Row("negative blocks", lambda _: made(blocks=-1), "blocks.*-1"),
    Row("a z of sizes alone", lambda _: made(embedding_size=4), "embedding_size.*4"),
    Row("a z of 12.0 numbers", lambda _: made(embedding_size=12.0), "embedding_size.*12.0"),
    Row("a demonstration of no frames", lambda _: made(frames=0), "frames.*0"),
    Row("a demonstration of half a frame", lambda _: made(frames=0.5), "frames.*0.5"),
    Row(
        "a temperature of NaN", lambda _: acting.make_act(start()[0], math.nan), "temperature.*nan"
    ),
    Row("a negative temperature", lambda _: acting.make_act(start()[0], -1.0), "temperature.*-1"),
    Row(
        "a temperature as text",
        lambda _: acting.make_act(start()[0], "warm"),
        "temperature.*'warm'",
    ),
    Row("a memory in per cent", lambda _: acting.make_act(start()[0], 0.0, (80, 95)), "memory.*80"),
    Row("a memory of one share", lambda _: acting.make_act(start()[0], 0.0, 0.8), "memory.*0.8"),
    Row("a z of NaN", lambda _: acts(z=np.full((2, 12), np.nan, np.float32)), "z.*finite"),
    Row("a z of another size", lambda _: acts(z=np.zeros((2, 32), np.float32)), r"z.*\(2, 32\)"),
    Row(
        "a z of one robot without its axis",
        lambda _: acts(z=np.zeros(12, np.float32)),
        r"z.*\(12,\)",
    ),
    Row(
        "a z of three robots for two", lambda _: acts(z=np.zeros((3, 12), np.float32)), "3.*2|2.*3"
    ),
    Row("a z of text", lambda _: acts(z=[["a"] * 12] * 2), "^z, "),
    Row("no z", lambda _: acts(z=[]), "z "),
    Row("a z in lists", lambda _: acts(z=np.zeros((2, 12)).tolist()), two_robots),
    Row("observations in lists", lambda _: acts(pose=lambda p: p.tolist()), two_robots),
    Row("pictures in lists", lambda _: acts(image=lambda i: i.tolist()), "pictures are int64"),
    Row("pictures of None", lambda _: acts(image=lambda i: np.array(None)), "pictures are object"),
    Row("pictures that are masked", lambda _: acts(image=lambda i: i > 9), "pictures are bool"),
    Row("poses of None", lambda _: acts(pose=lambda p: np.array(None)), "poses are object"),
    Row("poses in half precision", lambda _: acts(pose=lambda p: p.astype(np.float16)), two_robots),
    Row(
        "poses in the bytes of another machine",
        lambda _: acts(pose=lambda p: p.astype(">f4")),
        two_robots,
    ),
    Row("poses that are complex", lambda _: acts(pose=lambda p: p * 1j), "poses are complex64"),
    Row("poses of no robot", lambda _: acts(pose=lambda p: p[:0], image=lambda i: i[:0]), "robot"),
    Row("poses with their columns first", lambda _: acts(pose=lambda p: p.T), "poses are float32"),
    Row(
        "embeddings of no episodes",
        lambda _: acting.embed_all(lambda *a: None, {}, np.zeros((0, 2)), np.zeros((0, 2, 4))),
        "no episode to embed",
    ),
    Row(
        "more pictures than poses to embed",
        lambda _: acting.embed_all(lambda *a: a[2], {}, np.zeros((3, 2)), np.zeros((2, 2, 4))),
        "3.*2",
    ),
    Row(
        "a robot that is refused by a tool's head",
        lambda _: check(table(), "pose_anchored", "tool:Head"),
        "'tool:Head'",
    ),
]
