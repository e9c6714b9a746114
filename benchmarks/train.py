"""The train step against the same network in PyTorch, and against matrix products.

    python -m benchmarks.train            # needs torch, for the first comparison
    python -m benchmarks.train --batch=24 --repetitions=3

The first comparison is of a configuration of the paper's parts (shared encoder, images-only
embedding, squared-error head, hinge), short enough to be written a second time, on one batch,
without augmentation. The two networks start from the same parameters, and the losses of the
first four steps are compared before anything is timed. PyTorch gets its channels-last layout, and
`torch.compile` with --compile.

The second is of the default configuration, augmentation included. The operations that it needs are
those of its products and convolutions, forward and backward, counted in the program as it is
written; what it computes twice to save memory, and everything else, is not counted. Their rate is
set against that of a product of two square matrices, measured in turn with the steps.
"""

from __future__ import annotations

import functools
import math
import os
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags

from mili_jax.domains.kitchen import spec as kitchen
from mili_jax.domains.kitchen.hindsight import CANDIDATES
from mili_jax.learning import objective
from mili_jax.learning.hyper import Hyper
from mili_jax.learning.step import init_state, make_train_step
from mili_jax.policy import kernels
from mili_jax.policy.policy import Policy, init_params
from mili_jax.types import Batch, Params

IMAGE_SIZE = flags.DEFINE_integer("image_size", 64, "side of the picture in pixels")
_BATCH = flags.DEFINE_integer("batch", 48, "pairs of episodes in a batch")
_STEPS = flags.DEFINE_integer("policy_steps", 4, "steps imitated per pair")
REPETITIONS = flags.DEFINE_integer("repetitions", 7, "how often all is measured", lower_bound=1)
_COMPILE = flags.DEFINE_bool("compile", False, "torch.compile as well")
_MATRIX = flags.DEFINE_integer("matrix", 2048, "side of the matrices")

PLACES = 14
POLICY = Policy(kitchen.spec(64), embedding_size=64, channels=32, blocks=2)
PAPER = POLICY.clone(embedding="images_only", head="mse")
PLAIN = Hyper(
    warmup=0, contrastive="hinge", demo_dropout=0.0, dihedral=False, shift=0, colours=0,
    brightness=0.0, contrast=0.0,
)  # fmt: skip


def make_batch(size: int, b: int, p: int, truncated: bool = False) -> Batch:
    """Pictures of noise, poses in reach."""
    rng = np.random.default_rng(0)

    def pose(*shape: int) -> np.ndarray:
        return rng.uniform(0, 0.2, (*shape, 7)).astype(np.float32)

    return Batch(
        demo_image=rng.integers(0, 256, (b, 2, 2, size, size, 3), np.uint8),
        demo_pose=pose(b, 2, PLACES),
        image=rng.integers(0, 256, (b, p, size, size, 3), np.uint8),
        pose=pose(b, p),
        action=pose(b, p),
        task=np.arange(b, dtype=np.int32),
        focus=rng.uniform(-0.2, 0.2, (b, p, 2, CANDIDATES, 2)).astype(np.float32),
        focus_seen=np.ones((b, p, 2), bool),
        truncated_image=rng.integers(0, 256, (b, 1, size, size, 3), np.uint8)
        if truncated
        else None,
        truncated_pose=pose(b, PLACES) if truncated else None,
    )


def products(jaxpr: Any) -> int:
    """Multiplications and additions in the matrix products and convolutions of a program."""
    total = 0
    for equation in jaxpr.eqns:
        name, out = equation.primitive.name, equation.outvars[0].aval
        if name == "dot_general":
            (contracted, _), _ = equation.params["dimension_numbers"]
            shape = equation.invars[0].aval.shape
            total += 2 * math.prod(out.shape) * math.prod(shape[i] for i in contracted)
        elif name == "conv_general_dilated":
            kernel, layout = equation.invars[1].aval.shape, equation.params["dimension_numbers"]
            out_features = kernel[layout.rhs_spec[0]]
            total += 2 * math.prod(out.shape) * math.prod(kernel) // out_features
        inner = sum(
            products(getattr(value, "jaxpr", value))
            for parameter in equation.params.values()
            for value in (parameter if isinstance(parameter, (tuple, list)) else (parameter,))
            if hasattr(getattr(value, "jaxpr", value), "eqns")
        )
        total += inner * equation.params.get("length", 1)
    return total


def needed(policy: Policy, hyper: Hyper, params: Params, batch: Batch) -> int:
    """Operations of a step's products, nothing computed twice."""
    chunk, kernels.CHUNK = kernels.CHUNK, 1 << 62
    try:
        loss = functools.partial(objective.loss_fn, policy, hyper)
        spots = np.zeros((len(batch.pose), 2, 2, 2), np.float32)
        gradient = jax.grad(lambda p: loss(p, batch, jax.random.key(0), spots)[0])
        return products(jax.make_jaxpr(gradient)(params).jaxpr)
    finally:
        kernels.CHUNK = chunk


def torch_step(
    policy: Policy, params: Params, hyper: Hyper, batch: Batch, compiled: bool
) -> Callable[[], float]:
    """The configuration of `torch_policy`: a function that takes a step and returns the loss."""
    import torch

    from benchmarks import torch_policy

    weights = {k: v.requires_grad_() for k, v in torch_policy.weights_of(params).items()}
    average = {name: value.detach().clone() for name, value in weights.items()}
    data = {
        name: torch.tensor(value) for name, value in batch._asdict().items() if value is not None
    }
    b, p, m = *data["pose"].shape[:2], data["demo_image"].shape[2]
    network = torch_policy.TorchPolicy(policy)

    def loss_fn() -> Any:
        images = torch.cat([data["demo_image"].flatten(1, 2), data["image"]], 1)
        maps = network.encode(weights, images.flatten(0, 1)).unflatten(0, (b, 2 * m + p))
        z = network.embed(weights, maps[:, : 2 * m].unflatten(1, (2, m)).flatten(0, 1))
        square = z.square().sum(-1)
        apart = (square[:, None] + square[None] - 2 * z @ z.T).clamp(min=0)
        task = data["task"].repeat_interleave(2)
        same = task[:, None] == task[None]
        other, same = ~same, same & ~torch.eye(len(task), dtype=torch.bool)
        contrast = apart[same].mean() + (hyper.beta - apart).clamp(min=0)[other].mean()
        condition = z.reshape(b, 2, -1)[:, 1].repeat_interleave(p, 0)
        pose, action = data["pose"].flatten(0, 1), data["action"].flatten(0, 1)
        imitation = network.loss(weights, maps[:, 2 * m :].flatten(0, 1), pose, condition, action)
        return imitation + hyper.contrastive_weight * contrast

    # Adam with decoupled decay, a cosine rate, clipping and averaging, like ours.
    optimizer = torch.optim.AdamW(
        weights.values(), lr=1.0, betas=(0.9, 0.999), eps=1e-8, weight_decay=hyper.weight_decay
    )
    cosine = lambda k: 0.5 * (1 + math.cos(math.pi * min(1, k / hyper.steps)))  # noqa: E731
    count = 0
    objective = torch.compile(loss_fn) if compiled else loss_fn

    def step() -> float:
        nonlocal count
        for group in optimizer.param_groups:
            group["lr"] = hyper.learning_rate * (0.01 + 0.99 * cosine(count))
        optimizer.zero_grad()
        loss = objective()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights.values(), hyper.clip)
        optimizer.step()
        decay = min(hyper.ema, (1 + count) / (10 + count))
        with torch.no_grad():
            torch._foreach_lerp_(list(average.values()), list(weights.values()), 1 - decay)
        count += 1
        return float(loss.detach())

    return step


def jax_step(policy: Policy, hyper: Hyper, params: Params, batch: Batch) -> Callable[[], float]:
    """A function that takes a step and returns the loss."""
    state = init_state(policy, hyper, 0, params=params)
    train_step = make_train_step(policy, hyper)

    def step() -> float:
        nonlocal state
        state, metrics = train_step(state, batch, 0)
        return float(metrics["loss"])

    return step


def seconds(*functions: Callable[[], Any], repetitions: int) -> np.ndarray:
    """[repetitions,functions], in turn, after a first call of each."""
    for function in functions:
        function()
    out = np.empty((repetitions, len(functions)))
    for row in out:
        for k, function in enumerate(functions):
            began = time.perf_counter()
            function()
            row[k] = time.perf_counter() - began
    return out


def spread(values: np.ndarray, form: str) -> str:
    """Median and range."""
    return f"{np.median(values):{form}} ({values.min():{form}}-{values.max():{form}})"


def main(argv: list[str]) -> None:
    del argv
    size, rows, times = IMAGE_SIZE.value, _BATCH.value, REPETITIONS.value
    batch = make_batch(size, rows, _STEPS.value, truncated=True)
    print(f"{size}x{size} pixels, {rows} pairs, {_STEPS.value} "
          f"policy steps each; {times} repetitions: median (range)")  # fmt: skip
    side = _MATRIX.value
    square = jnp.asarray(np.random.default_rng(0).normal(size=(side, side)).astype(np.float32))
    multiply = jax.jit(jnp.matmul)
    policy = POLICY.clone(spec=kitchen.spec(size))
    params = init_params(policy, jax.random.key(0))
    hyper = Hyper()
    ours = jax_step(policy, hyper, params, batch)
    took = seconds(ours, lambda: multiply(square, square).block_until_ready(), repetitions=times)
    operations = needed(policy, hyper, params, batch)
    rates = operations / took[:, 0] / 1e9, 2 * side**3 / took[:, 1] / 1e9
    print(f"default: {spread(took[:, 0], '.3f')} s a step, {operations / 1e9:.1f} G operations, "
          f"{spread(rates[0], '.0f')} G/s; {side} x {side} matrices {spread(rates[1], '.0f')} G/s; "
          f"share {spread(rates[0] / rates[1], '.2f')}")  # fmt: skip

    try:
        import torch
    except ImportError:
        print("against PyTorch: torch is not installed; pip install 'mili-jax[bench]'")
        return
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    batch = make_batch(size, rows, _STEPS.value)
    paper = PAPER.clone(spec=policy.spec)
    params = init_params(paper, jax.random.key(0))
    theirs = torch_step(paper, params, PLAIN, batch, False)
    ours = jax_step(paper, PLAIN, params, batch)
    losses = np.array([(ours(), theirs()) for _ in range(4)])
    print("losses of the first steps, ours and PyTorch's:", *np.round(losses, 5).tolist())
    np.testing.assert_allclose(losses[:, 0], losses[:, 1], rtol=2e-3, atol=2e-3)
    kinds = {"PyTorch": theirs}
    if _COMPILE.value:
        kinds["PyTorch, compiled"] = torch_step(paper, params, PLAIN, batch, True)
    took = seconds(ours, *kinds.values(), repetitions=times)
    print(f"paper's parts: {spread(took[:, 0], '.3f')} s a step")
    for k, name in enumerate(kinds, 1):
        print(f"{name}: {spread(took[:, k], '.3f')} s, {spread(took[:, k] / took[:, 0], '.2f')} "
              "times ours")  # fmt: skip


if __name__ == "__main__":
    app.run(main)
