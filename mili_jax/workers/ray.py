"""`workers.pool.run_jobs` on a Ray cluster: the same jobs, the same shards, on other machines.

An actor holds a `workers.pool.Pool` of one process, so a worker that dies or hangs is noticed,
replaced and set aside by the same code as on one machine; Ray starts an actor again whose node is
gone. No episode travels: workers write shards to the file system that all nodes share, the driver
commits.
"""

from __future__ import annotations

import importlib
import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from mili_jax.types import ConfigError, SimulationError
from mili_jax.workers.pool import Pool
from mili_jax.workers.worker import Done, Job, Runner, Sink

RESTARTS = 5  # of an actor; its job is tried as often


class Host:
    """An actor: runs one job after the other in a process of its own."""

    def __init__(self, make_runner: Callable[[], Runner], sink: Sink) -> None:
        self.pool = Pool(make_runner, sink, 1)

    def ready(self) -> None:
        """Answers as soon as there is a place for it."""

    def run(self, job: Job, required: bool) -> Done:
        (done,) = self.pool.run([job], required)
        return done


def connect(workers: int) -> Any:
    """Joins the cluster of RAY_ADDRESS, or makes one on this machine that only it can reach.

    Returns the module `ray`. Raises ConfigError without it, or without a cluster to reach.
    """
    alone = not os.environ.get("RAY_ADDRESS")
    if alone:
        # Whatever the name says: with it Ray takes the loopback address for this node's on Linux,
        # too, and binds nothing else. Read when Ray is imported.
        os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    try:
        ray: Any = importlib.import_module("ray")
    except ImportError as error:
        raise ConfigError(
            "config.machine.backend = 'ray' needs Ray: pip install -e '.[cluster]'"
        ) from error
    if ray.is_initialized():
        return ray
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    if alone:
        options |= {"num_cpus": workers, "include_dashboard": False}
    try:
        ray.init(**options)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise ConfigError(f"no Ray cluster to run on ({error}); look at RAY_ADDRESS") from error
    return ray


def run_jobs(
    jobs: Sequence[Job],
    make_runner: Callable[[], Runner],
    sink: Sink,
    processes: int,
    required: bool = False,
) -> Iterator[Done]:
    """As `workers.pool.run_jobs`, on `processes` actors of one CPU each.

    Raises ConfigError without a cluster, SimulationError, naming the job, if actors die again and
    again; errors of the factory, a runner or the sink arrive as they are.
    """
    if not jobs:
        return
    workers = max(1, min(processes, len(jobs)))
    ray = connect(workers)
    # What decides the bits of a policy's arithmetic must be the same there.
    told = ("XLA_FLAGS", "JAX_PLATFORMS")
    environment = {name: os.environ[name] for name in told if name in os.environ}
    actor = ray.remote(
        num_cpus=1,
        max_restarts=RESTARTS,
        max_task_retries=RESTARTS,
        runtime_env={"env_vars": environment},
    )(Host)
    hosts = [actor.remote(make_runner, sink) for _ in range(workers)]
    # An actor that waits for a free core gets no job before it has said that it is there.
    running: dict[Any, tuple[Any, Job | None]] = {
        host.ready.remote(): (host, None) for host in hosts
    }
    waiting = deque(jobs)
    left = len(jobs)
    try:
        while left:
            (answered, *_), _ = ray.wait(list(running))
            host, job = running.pop(answered)
            try:
                done = ray.get(answered)
            except ray.exceptions.RayTaskError as error:
                raise error.cause from error
            except ray.exceptions.RayActorError as error:
                what = "an actor" if job is None else f"the actor of job {job[0]}"
                raise SimulationError(f"{what} died {RESTARTS + 1} times ({error})") from error
            if waiting:
                following = waiting.popleft()
                running[host.run.remote(following, required)] = host, following
            if job is not None:
                left -= 1
                yield done
    finally:
        for host in hosts:
            ray.kill(host)
