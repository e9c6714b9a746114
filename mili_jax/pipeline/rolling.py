"""Episodes made by workers, shard by shard."""

from __future__ import annotations

import functools
import logging
import os
import re
from collections.abc import Callable, Sequence
from typing import TypeVar

from tqdm import tqdm

from mili_jax.domains.rollout import Request, Trial
from mili_jax.pipeline.run import Run
from mili_jax.pipeline.schema import BACKENDS
from mili_jax.storage.dataset import write_shard
from mili_jax.storage.made import declared
from mili_jax.types import DataError
from mili_jax.workers import pool, ray
from mili_jax.workers.worker import Job, Runner

# By config.machine.backend: two ways to the same shards.
_RUN_JOBS = dict(zip(BACKENDS, (pool.run_jobs, ray.run_jobs), strict=True))
connect_ray = ray.connect
LOG = logging.getLogger(__name__)
Item = TypeVar("Item", bound=Trial | Request)


def roll_out(
    run: Run,
    split: str,
    items: Sequence[Item],
    make_runner: Callable[[], Runner[Item]],
    title: str,
    required: bool = False,
) -> dict[str, object]:
    """Runs requests or trials as shards of a split, those that are missing, and commits it.

    Returns the number of episodes, and the ids of the trials that had to be set aside because
    they killed their workers; if `required`, that is an error. What is there of an older policy of
    the same name, or from other settings, makes room first: see `_make_room`.

    Raises DataError if the split holds episodes that this run did not make.
    """
    size = run.config.machine.shard
    jobs = [(i, items[at : at + size]) for i, at in enumerate(range(0, len(items), size))]
    if _outdated(run, split, jobs):
        _make_room(run, split, items)
    missing = [job for job in jobs if not run.dataset.has_shard(split, job[0])]
    root, made = run.dataset.path.parents[1], run.workdir.made(split)
    sink = functools.partial(write_shard, root, run.spec, split, made=made)
    there = len(items) - sum(len(job) for _, job in missing)
    with (
        simulating(),
        tqdm(total=len(items), initial=there, desc=title, unit="episode", mininterval=1) as bar,
    ):
        machine = run.config.machine
        run_jobs = _RUN_JOBS[machine.backend]
        for done in run_jobs(missing, make_runner, sink, machine.processes, required):
            for incident in done.incidents:
                where = incident.item or f"shard {incident.job}"
                LOG.warning("%s: a worker at %s %s; run again", split, where, incident.how)
            for name in done.set_aside:
                LOG.warning("%s: %s is set aside, it kills its workers", split, name)
            bar.update(len(done.metas) + len(done.set_aside))
    run.dataset.commit(split, len(jobs))
    count = run.dataset.splits()[split]
    aside: list[str] = []
    if count < len(items):  # some perhaps by an earlier process, so the file says which
        kept = {m.episode_id for m in run.dataset.read_metadata(split)}
        aside = [item.episode_id for item in items if item.episode_id not in kept]
    return {"episodes": count, "set_aside": aside}


def _outdated(run: Run, split: str, jobs: Sequence[Job[Item]]) -> bool:
    """Whether a shard that is there holds other episodes than its job would make."""
    for index, items in jobs:
        if not run.dataset.has_shard(split, index):
            continue
        asked = {item.episode_id: item for item in items}
        metas = run.dataset.read_shard_metadata(split, index)
        if not all(m.episode_id in asked and asked[m.episode_id].made(m) for m in metas):
            return True
        if isinstance(items[0], Request) and len(metas) < len(items):
            return True  # of trials some may have been set aside
    return run.dataset.has_shard(split, len(jobs))


def _make_room(run: Run, split: str, items: Sequence[Item]) -> None:
    """Takes outdated episodes out of the way of those that a stage makes.

    What this run declared that it made is dropped; if people have answered for it, it is set aside.
    So is what looks like the work of such a run: of one from before there were declarations, say,
    or a copy. Raises DataError for all else, which is somebody's own.
    """
    digests, made_by = run.dataset.shard_digests(split), declared(run.workdir.made(split))
    if made_by.issuperset(digests.values()):
        kept = run.dataset.drop(split, made_by)
    else:
        _check_looks_made(run, split, [int(name.rpartition("-")[2]) for name in digests], items)
        kept = run.dataset.set_aside(split)
    what = "dropped" if kept is None else f"kept in {kept}, the answers of people with it"
    LOG.warning(
        "%s is of an older policy or of other settings; it is made again, and what was there is %s",
        split,
        what,
    )


def _check_looks_made(run: Run, split: str, shards: Sequence[int], items: Sequence[Item]) -> None:
    asked = {item.episode_id: item for item in items}
    name, _, parameters = items[0].policy.partition("@")
    for index in shards:
        for m in run.dataset.read_shard_metadata(split, index):
            item = asked.get(m.episode_id)
            older = parameters and re.fullmatch(rf"{re.escape(name)}@[0-9a-f]{{12}}", m.policy)
            if not older and not (item is not None and item.made(m)):
                raise DataError(
                    f"shard {index} of {split!r} in {run.dataset.path} holds {m.episode_id!r} of "
                    f"the policy {m.policy!r}, which this stage of this run did not make: episodes "
                    "of your own need no such stage; go on with the next one, or move them away"
                )


class simulating:  # noqa: N801
    """While it lasts, new processes run JAX on the CPU, where there is one for each core, and on
    one thread: an accelerator is for this process, which trains."""

    FLAGS = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"

    def __enter__(self) -> None:
        self._before = {name: os.environ.get(name) for name in ("XLA_FLAGS", "JAX_PLATFORMS")}
        flags = f"{self._before['XLA_FLAGS'] or ''} {self.FLAGS}".strip()
        os.environ.update(XLA_FLAGS=flags, JAX_PLATFORMS="cpu")

    def __exit__(self, *error: object) -> None:
        for name, value in self._before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
