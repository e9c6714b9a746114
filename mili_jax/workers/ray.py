"""`workers.pool.run_jobs` on a Ray cluster: the same jobs, the same shards, on other machines.

An actor holds a `workers.pool.Pool` of one process, so a worker that dies or hangs is noticed,
replaced and set aside by the same code as on one machine. Ray starts an actor again whose node is
gone. No episode travels: workers write shards to the file system that all nodes share, the driver
commits.
"""

from __future__ import annotations

import importlib
import logging
import os
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import ModuleType
from typing import TYPE_CHECKING

from mili_jax.types import ConfigError, SimulationError
from mili_jax.workers import stopping
from mili_jax.workers.pool import Pool
from mili_jax.workers.worker import Done, Item, Job, Runner, Sink

if TYPE_CHECKING:
    from ray import ObjectRef
    from ray.actor import ActorHandle

RESTARTS = 5  # of an actor; its job is tried as often
CONNECT_LIMIT = 30.0  # s in which a cluster has to answer
ACTOR_LIMIT = 300.0  # s without a sign of any actor after which they are given up
BUSY_LIMIT = 24 * 3600.0  # the same in a cluster that others may be using
LOOK = 30.0  # s between two questions whether they are there
LOG = logging.getLogger(__name__)


class Host:
    """An actor: runs one job after the other in a process of its own."""

    def __init__(
        self, make_runner: Callable[[], Runner[object]], sink: Sink, environment: Mapping[str, str]
    ) -> None:
        # Not by a runtime environment of Ray's: with one, a shell starts the interpreter without
        # quotes, and from a folder with a space in its name that fails for ever.
        os.environ.update(environment)
        self.pool = Pool(make_runner, sink, 1)

    def there(self) -> None:
        """Answers as soon as there is a place for it, and while it is at work as well."""

    def run(self, job: Job[object], required: bool) -> Done:
        (done,) = self.pool.run([job], required)
        return done


def connect(workers: int) -> ModuleType:
    """Joins the cluster of RAY_ADDRESS, or makes one on this machine that only it can reach.

    Returns the module `ray`. Raises ConfigError without it, without a cluster that answers within
    CONNECT_LIMIT seconds, or where Ray cannot keep its files.
    """
    address = os.environ.get("RAY_ADDRESS")
    if not address:
        # Whatever the name says: with it Ray takes the loopback address for this node's on Linux,
        # too, and binds nothing else. Read when Ray is imported.
        os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    try:
        ray = importlib.import_module("ray")
    except ImportError as error:
        raise ConfigError(
            "config.machine.backend = 'ray' needs Ray: pip install -e '.[cluster]'"
        ) from error
    if ray.is_initialized():
        return ray
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    options: dict[str, object] = {"log_to_driver": False, "logging_level": "ERROR"}
    if address:
        _try(address)
    else:
        options |= {"num_cpus": workers, "include_dashboard": False}
    try:
        with stopping.same_handlers(), stopping.shielded(signal.SIGHUP):
            ray.init(**options)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise ConfigError(f"no Ray cluster to run on ({error}); look at RAY_ADDRESS") from error
    except OSError as error:  # a path that is too long for a socket, no space, no permission
        raise ConfigError(
            f"Ray cannot keep its files where TMPDIR says ({error}); set RAY_TMPDIR to a folder "
            "with a short path that can be written"
        ) from error
    return ray


def _try(address: str) -> None:
    """Joins the cluster from a process that can be ended: by itself Ray tries for ever.

    Raises ConfigError if that takes longer than CONNECT_LIMIT.
    """
    code = "import ray; ray.init(log_to_driver=False, logging_level='ERROR')"
    try:
        subprocess.run(
            [sys.executable, "-c", code],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=CONNECT_LIMIT,
            preexec_fn=stopping.die_with_parent,
        )  # an error of another kind comes again, with its words, where this process joins
    except subprocess.TimeoutExpired:
        raise ConfigError(
            f"no Ray cluster answers at RAY_ADDRESS={address} within {CONNECT_LIMIT:g} s; start "
            "it, correct the address, or unset it to run on this machine alone"
        ) from None


def run_jobs(
    jobs: Sequence[Job[Item]],
    make_runner: Callable[[], Runner[Item]],
    sink: Sink,
    processes: int,
    required: bool = False,
) -> Iterator[Done]:
    """As `workers.pool.run_jobs`, on `processes` actors of one CPU each.

    Raises ConfigError without a cluster. Raises SimulationError, naming the job, if actors die
    again and again, and if for ACTOR_LIMIT seconds (BUSY_LIMIT in a cluster of RAY_ADDRESS, where
    they may be waiting for other people's work) none of them shows that it is there. Errors of the
    factory, a runner or the sink arrive as they are.
    """
    if not jobs:
        return
    workers = max(1, min(processes, len(jobs)))
    ray = connect(workers)
    # What decides the bits of a policy's arithmetic must be the same there.
    passed = ("XLA_FLAGS", "JAX_PLATFORMS")
    environment = {name: os.environ[name] for name in passed if name in os.environ}
    actor = ray.remote(
        num_cpus=1,
        max_restarts=RESTARTS,
        max_task_retries=RESTARTS,
        concurrency_groups={"signs": 1},  # beside what it is at
    )(Host)
    hosts = [actor.remote(make_runner, sink, environment) for _ in range(workers)]
    signs = _Signs(ray, hosts)
    # An actor that waits for a free core gets no job before it has said that it is there.
    running: dict[ObjectRef, tuple[ActorHandle, Job[Item] | None]] = {
        host.there.remote(): (host, None) for host in hosts
    }
    waiting = deque(jobs)
    left = len(jobs)
    try:
        while left:
            answered = signs.wait(list(running))
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


class _Signs:
    """Asks actors, while they are waited for, whether they are there."""

    def __init__(self, ray: ModuleType, hosts: Sequence[ActorHandle]) -> None:
        self._ray, self._hosts = ray, hosts
        self._limit = BUSY_LIMIT if os.environ.get("RAY_ADDRESS") else ACTOR_LIMIT
        self._asked: dict[ObjectRef, int] = {}  # questions without an answer, and of which actor
        self._there: set[int] = set()  # who has answered at all

    def wait(self, references: list[ObjectRef]) -> ObjectRef:
        """The first of the references that is ready. Warns of what is waited for, and raises
        SimulationError if no actor gives a sign for too long."""
        last = time.monotonic()
        while True:
            ready, _ = self._ray.wait([*references, *self._asked], timeout=LOOK)
            silent = time.monotonic() - last
            if ready and ready[0] not in self._asked:
                return ready[0]
            if ready:
                self._there.add(self._asked.pop(ready[0]))
                last = time.monotonic()
            elif silent > self._limit:
                raise SimulationError(
                    f"no actor gave a sign for {silent:.0f} s: {self._missing()}; see whether Ray "
                    "can start processes there"
                )
            else:
                if silent > 1.5 * LOOK:  # they have been asked, and did not answer
                    LOG.warning("waiting for Ray's actors: %s", self._missing())
                for k in set(range(len(self._hosts))) - set(self._asked.values()):
                    sign: ObjectRef = (
                        self._hosts[k].there.options(concurrency_group="signs").remote()
                    )
                    self._asked[sign] = k

    def _missing(self) -> str:
        cpus = self._ray.cluster_resources().get("CPU", 0)
        free = self._ray.available_resources().get("CPU", 0)
        return (
            f"{len(self._there)} of {len(self._hosts)} have answered so far, the cluster has "
            f"{cpus:g} CPUs, {free:g} of them free"
        )
