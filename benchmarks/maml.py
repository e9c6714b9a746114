"""The meta-gradient of MAML on the policy against torch.func, and second against first order.

    python -m benchmarks.maml             # needs torch for the comparison
    python -m benchmarks.maml --tasks=8 --adapted=all

The configuration is that of `torch_policy` with the bias transformation, learned rates for each
parameter, a clipped inner gradient and one inner step, on one batch, without augmentation. The
losses and gradients of the two must agree before anything is timed. What is timed is the loss and
its gradient by everything that is learned, not the optimiser. The last line is the project's own
head (places first) at both orders.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags

from benchmarks import train
from mili_jax.domains.kitchen import spec as kitchen
from mili_jax.learning.hyper import Hyper
from mili_jax.learning.mil import ADAPTED, MilHyper, init, loss_fn
from mili_jax.policy.policy import Policy
from mili_jax.types import Batch, Params

_TASKS = flags.DEFINE_integer("tasks", 16, "tasks of a meta-batch")
_ADAPTED = flags.DEFINE_enum("adapted", "actor", ADAPTED, "what the inner step changes")

HYPER = Hyper()


def jax_gradient(
    policy: Policy, mil: MilHyper, params: Params, batch: Batch
) -> Callable[[], tuple[Any, Any]]:
    """A function that returns the loss and its gradient."""

    @jax.jit
    def both(params: Params) -> tuple[jax.Array, Params]:
        return jax.value_and_grad(lambda params: loss_fn(policy, HYPER, mil, params, batch)[0])(
            params
        )

    return lambda: jax.block_until_ready(both(params))


def torch_gradient(
    policy: Policy, mil: MilHyper, params: Params, batch: Batch
) -> Callable[[], tuple[Any, Any]]:
    """The same by torch.func; the gradient by name of the parameter."""
    import torch
    from torch.func import grad, grad_and_value, vmap

    from benchmarks import torch_policy

    def adapting(name: str) -> bool:
        return name.startswith("actor/" if mil.adapted == "actor" else ("actor/", "encoder/"))

    given = torch_policy.weights_of(params["policy"])
    given["bias"] = torch.tensor(np.asarray(params["bias"]))
    rates = {
        name: torch.full_like(value, mil.inner_rate)
        for name, value in given.items()
        if name == "bias" or adapting(name)
    }
    fields = {name: torch.tensor(getattr(batch, name)) for name in ("image", "pose", "action")}
    network = torch_policy.TorchPolicy(policy, channels_last=mil.adapted == "actor")

    def act(weights: Any, image: Any, pose: Any, action: Any) -> Any:
        maps = network.encode(weights, image) if mil.adapted == "all" else image
        z = weights["bias"].expand(len(pose), -1)
        return network.loss(weights, maps, pose, z, action)

    def objective(weights: Any, rates: Any) -> Any:
        theta = {name: weights[name] for name in rates}
        rest = {name: value for name, value in weights.items() if name not in rates}

        def loss(theta: Any, *steps: Any) -> Any:
            return act({**rest, **theta}, *steps)

        def of_task(*steps: Any) -> Any:
            support, query = [s[1] for s in steps], [s[0] for s in steps]
            inner = grad(loss)(theta, *support)
            if mil.first_order:
                inner = {name: value.detach() for name, value in inner.items()}
            adapted = {
                name: theta[name] - rates[name] * inner[name].clamp(-mil.clip, mil.clip)
                for name in theta
            }
            return loss(adapted, *query)

        image = fields["image"]
        if mil.adapted == "actor":
            image = network.encode(weights, image.flatten(0, 1)).unflatten(0, image.shape[:2])
        steps = (image, fields["pose"], fields["action"])
        # Two rows of a task stand half a batch apart: [2B,...] -> [B,2,...].
        return vmap(of_task)(
            *(s.unflatten(0, (2, len(s) // 2)).transpose(0, 1) for s in steps)
        ).mean()

    both = grad_and_value(objective, argnums=(0, 1))

    def step() -> tuple[Any, Any]:
        gradient, loss = both(given, rates)
        return loss, gradient

    return step


def agree(ours: tuple[Any, Any], theirs: tuple[Any, Any]) -> None:
    """Raises AssertionError if the losses or the gradients of the bias and of its rate differ."""
    loss, gradient = ours
    their_loss, (weights, rates) = theirs
    for a, b in (
        (loss, their_loss),
        (gradient["bias"], weights["bias"]),
        (gradient["rates"]["bias"], rates["bias"]),
        (gradient["policy"]["encoder"]["mix0"], weights["encoder/mix0"][:, :, 0, 0].T),
    ):
        scale = float(np.abs(np.asarray(a)).max())
        np.testing.assert_allclose(np.asarray(a), np.asarray(b), rtol=5e-3, atol=2e-3 * scale)


def main(argv: list[str]) -> None:
    del argv
    size, tasks, steps = train.IMAGE_SIZE.value, _TASKS.value, 8
    made = train.make_batch(size, 2 * tasks, steps)
    batch = jax.tree.map(jnp.asarray, made)
    mil = MilHyper(adapted=_ADAPTED.value)
    first = dataclasses.replace(mil, first_order=True)
    times = train.REPETITIONS.value
    print(f"{tasks} tasks x {steps} + {steps} steps, {size}x{size} pixels, {mil.adapted} adapts; "
          f"{times} repetitions: median (range)")  # fmt: skip

    def compare(name: str, policy: Policy, other: bool) -> None:
        policy = policy.clone(spec=kitchen.spec(size))
        params = init(policy, mil, jax.random.key(0))
        ours = [jax_gradient(policy, m, params, batch) for m in (mil, first)]
        theirs = []
        if other:
            import torch

            torch.set_num_threads(len(os.sched_getaffinity(0)))
            theirs = [torch_gradient(policy, m, params, made) for m in (mil, first)]
            for a, b in zip(ours, theirs, strict=True):
                agree(a(), b())
        took = train.seconds(*ours, *theirs, repetitions=times)
        print(f"{name}: {train.spread(took[:, 0], '.3f')} s; second order "
              f"{train.spread(took[:, 0] / took[:, 1], '.2f')} times first order")  # fmt: skip
        for k, order in enumerate(("second", "first")[: len(theirs)]):
            print(f"torch.func, {order} order: {train.spread(took[:, 2 + k], '.3f')} s, "
                  f"{train.spread(took[:, 2 + k] / took[:, k], '.2f')} times ours")  # fmt: skip

    try:
        import torch  # noqa: F401

        there = True
    except ImportError:
        there = False
        print("against torch.func: torch is not installed; pip install 'mili-jax[bench]'")
    compare("paper's parts", train.PAPER, there)
    compare("default", train.POLICY, False)


if __name__ == "__main__":
    app.run(main)
