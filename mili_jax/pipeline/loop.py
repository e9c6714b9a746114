"""The training loop: steps, metrics, checkpoints, and how it goes on after it was stopped.

Knows neither what is learned nor from what: a step function and a function that draws batches come
in, checkpoints and the stage's manifest go out (`storage.workdir`).
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import jax
import numpy as np
from jax.experimental import multihost_utils
from tqdm import tqdm

from mili_jax.batches import sampling
from mili_jax.batches.sampling import Batch
from mili_jax.learning.losses import Metrics
from mili_jax.learning.mesh import make_mesh, place, replicate
from mili_jax.learning.step import TrainState
from mili_jax.storage.values import plain
from mili_jax.storage.workdir import Workdir
from mili_jax.types import DataError
from mili_jax.workers import stopping

METRICS_EVERY = 20  # steps
COLLAPSED = 0.99  # mean cosine of two tasks from which on they count as one
LOG = logging.getLogger(__name__)


def train(
    workdir: Workdir,
    name: str,
    state: TrainState,
    step_fn: Callable[..., tuple[TrainState, Metrics]],
    batch: Callable[..., Batch],
    *,
    steps: int,
    config: Mapping[str, object],
    inputs: Mapping[str, str],
    facts: Mapping[str, object],
    seed: int,
    checkpoint_every: int,
    threads: int = 1,
) -> None:
    """Trains to the end, from the latest checkpoint of this training if there is one, and finishes
    its stage.

    Args:
      name: of the stage.
      step_fn: (state, batch, seed) to the next state and its metrics.
      batch: what step `step=` (from 0) trains on; called from `threads` threads.
      config, inputs: what it is made from. A checkpoint that was made from something else is
        dropped, with a warning.
      facts: what the manifest says beside the steps, the seconds and the last metrics.

    On SIGINT, SIGTERM and SIGHUP it ends the step, saves a checkpoint (at the end also finishes the
    stage) and raises Stopped; the same call goes on from there and ends with the same bits on one
    device. Raises DataError when the loss is no longer finite.
    """
    began = time.time()
    of: dict[str, Mapping[str, object]] = {"config": plain(config), "inputs": dict(inputs)}
    start, before = workdir.latest_step(name) or 0, 0.0
    if start:
        known = workdir.checkpoint_facts(name, start)
        same = workdir.agrees(known["of"]["config"], of["config"])
        if same and known["of"]["inputs"] == of["inputs"]:
            state, before = workdir.load_checkpoint(name, state, start), known["seconds"]
        else:
            LOG.warning("%s was trained from other data or settings; it is trained again", name)
            workdir.drop_checkpoints(name)
            start = 0
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(f"start of {name}")

    def save(done: int) -> Path:
        seconds = round(before + time.time() - began, 1)
        return workdir.save_checkpoint(name, state, done, of=of, seconds=seconds)

    mesh = make_mesh()
    state = replicate(state, mesh)
    batches = sampling.prefetch(
        lambda i: batch(step=i), start, steps, threads=threads, ahead=2 * threads
    )
    recent: list[Metrics] = []
    shown: dict[str, float] = {}
    saved, stop = None, False
    with (
        _stopping() as asked,
        contextlib.closing(batches),
        tqdm(total=steps, initial=start, desc=name, unit="step", mininterval=1) as bar,
    ):
        for step, drawn in batches:
            state, metrics = step_fn(state, place(drawn, mesh), seed)
            recent.append(metrics)
            done = step + 1
            if done % METRICS_EVERY == 0 or done == steps:
                gathered = jax.device_get(recent)
                shown = {k: float(np.mean([m[k] for m in gathered])) for k in gathered[0]}
                workdir.write_metrics(name, done, shown)
                bar.set_postfix({k: f"{shown[k]:.2f}" for k in ("nll", "loss") if k in shown})
                recent = []
                if not np.isfinite(shown["loss"]):
                    raise DataError(
                        f"{name}: the loss is {shown['loss']} at step {done}; lower its learning "
                        "rate (config.train, config.improve or config.baselines)"
                    )
            stop = asked(done)
            if stop or done % checkpoint_every == 0 or done == steps:
                saved = save(done)
            bar.update()
            if stop and done < steps:
                raise stopping.stopped(f"at {name}, step {done} of {steps}")
        if shown.get("other_cosine", 0) > COLLAPSED:
            LOG.warning(
                "%s: all demonstrations have nearly the same embedding (mean cosine of two tasks "
                "%.4f), so the policy cannot tell tasks apart and nothing can be paired; try "
                "config.train.embedding_gradient=0, a larger config.train.batch, or more tasks",
                name,
                shown["other_cosine"],
            )
        if saved is None:  # killed between its last checkpoint and its manifest
            saved = save(steps)
        workdir.finish(
            name,
            config,
            inputs=inputs,
            outputs=[saved],
            seconds=workdir.checkpoint_facts(name, steps)["seconds"],
            steps=steps,
            **facts,
            **{f"last_{k}": v for k, v in shown.items()},
        )
        if stop:  # nothing is left to do here, but what follows must not begin
            raise stopping.stopped(f"at the end of {name}")


@contextlib.contextmanager
def _stopping() -> Iterator[Callable[[int], bool]]:
    """Gives what says after a step, counted from 1, whether to stop there.

    Several hosts agree on a step, whichever of them was asked.
    """
    if jax.process_count() == 1:
        with stopping.asking("this step") as asked:
            yield lambda step: asked()
    else:
        # JAX listens to SIGTERM itself, and tells the other hosts; the other signals become one.
        with stopping.asking("a step of all hosts", lambda: os.kill(os.getpid(), signal.SIGTERM)):
            yield multihost_utils.reached_preemption_sync_point
