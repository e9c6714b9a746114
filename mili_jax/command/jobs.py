"""Commands as jobs of a scheduler, through submitit or as tasks of Ray."""

from __future__ import annotations

import contextlib
import importlib
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from mili_jax.storage.files import make_directory
from mili_jax.types import ConfigError
from mili_jax.workers import commands, stopping
from mili_jax.workers.commands import JobError
from mili_jax.workers.ray import connect

if TYPE_CHECKING:
    from ml_collections import ConfigDict

DAY = 24 * 60  # minutes; what submitit does by default is 5
MOST_SEEDS = 2**31
LOOK = 1.0  # s between two looks at whether to stop
NODE_LIMIT = 60.0  # s in which a node that is large enough for a job has to be there
TIMEOUTS = 1000  # after which a job is not queued again: it cannot be getting on
Chains = Mapping[str, Sequence[list[str]]]  # commands by the seed's folder, each after the last


def numbers(seeds: Sequence[str]) -> list[int]:
    """The seeds of --seeds. Raises ConfigError for what is no seed or comes twice."""
    given = [seed.strip() for seed in seeds if seed.strip()]
    for seed in given:
        if not seed.isdecimal():
            raise ConfigError(f"--seeds names {seed!r}, which is no number")
    found = [int(seed) for seed in given]
    if not found:
        raise ConfigError("--seeds names no seed")
    if max(found) >= MOST_SEEDS:
        raise ConfigError(f"--seeds names {max(found)}; a seed is 0..{MOST_SEEDS - 1}")
    if len(set(found)) < len(found):
        raise ConfigError(f"--seeds={','.join(seeds)} names a seed twice")
    return found


def refuse_seed(changes: Sequence[tuple[str, str]]) -> None:
    """Raises ConfigError if fields that the command line changes include the seed, which --seeds
    says."""
    if any(name == "seed" for name, _ in changes):
        raise ConfigError("config.seed is what --seeds says; give the seed there")


def run(arguments: Sequence[str], address: str, _after: object = None) -> None:
    """A job in a Ray cluster. Raises JobError with what the command said of its error."""
    # Here, not by a runtime environment: see `workers.ray`.
    os.environ["RAY_ADDRESS"] = address
    Job(arguments)()


class Job:
    """A command that a scheduler may stop: it saves what it has, is queued again and goes on."""

    def __init__(self, arguments: Sequence[str]) -> None:
        self.arguments = list(arguments)
        self._pid = 0

    def __call__(self) -> None:
        """Raises JobError, with what the command said of it, if it did not come to its end."""

        def begin() -> None:
            # The scheduler's signal goes to all processes, and would end this one without a save.
            signal.signal(signal.SIGUSR2, signal.SIG_IGN)
            stopping.die_with_parent(signal.SIGTERM)

        given = [*self.arguments, commands.STOPPED_FLAG]
        process = subprocess.Popen(given, stderr=subprocess.PIPE, preexec_fn=begin)
        self._pid = process.pid
        assert process.stderr is not None
        said = b""
        while piece := os.read(process.stderr.fileno(), 1 << 16):
            os.write(2, piece)  # as it comes, into the job's log
            said = said[-(1 << 16) :] + piece
        code = process.wait()
        if code:
            why = commands.last_words(said.decode(errors="replace"), code)
            raise JobError(f"{' '.join(self.arguments[1:])} ended with {code}: {why}")

    def checkpoint(self) -> object:
        """Called by submitit when time is over or the job is preempted: what to queue again."""
        with contextlib.suppress(ProcessLookupError, ChildProcessError):  # it has just ended
            if self._pid:
                os.kill(self._pid, signal.SIGTERM)
                # `__call__` waits as well, below this signal's handler: leave it to be found.
                os.waitid(os.P_PID, self._pid, os.WEXITED | os.WNOWAIT)
        return _needed("submitit").helpers.DelayedSubmission(Job(self.arguments))


def named(arguments: Sequence[str]) -> str:
    """The subcommand of `python -m mili_jax.cli <subcommand> ...`, with its round if it has one."""
    rounds = [word.removeprefix("--round=") for word in arguments if word.startswith("--round=")]
    return "_".join([arguments[3], *rounds])


def on_submitit(
    planned: Chains,
    folder: Path,
    kind: str,
    options: Mapping[str, object],
    asked: Callable[[], bool],
) -> list[str]:
    """Submits through submitit; on this machine each job is waited for. Returns what failed.

    asked: whether to stop here.
    """
    submitit = _needed("submitit")
    most = {f"{kind}_max_num_timeout": TIMEOUTS}
    limit = {"timeout_min": DAY if kind == "slurm" else 30 * DAY}

    def executor_in(place: Path) -> Any:
        try:
            made = submitit.AutoExecutor(folder=place, cluster=kind, **most)
            made.update_parameters(**{**limit, **options})
        except (AssertionError, NameError, TypeError, ValueError) as error:
            raise ConfigError(f"--options: {str(error).splitlines()[0]}") from error
        return made

    with tempfile.TemporaryDirectory() as nowhere:  # what cannot be meant leaves no folder
        executor_in(Path(nowhere))
    make_directory(folder / "jobs")
    executor = executor_in(folder / "jobs")
    failed: list[str] = []
    for seed, chain in planned.items():
        before = None
        for arguments in chain:
            name = f"{seed}_{named(arguments)}"
            executor.update_parameters(name=name)
            if kind == "slurm":
                after: dict[str, str] = {"dependency": f"afterok:{before}"} if before else {}
                executor.update_parameters(slurm_additional_parameters=after)
            # A terminal's signals are for this process, which asks the commands alone to stop.
            with stopping.shielded(signal.SIGINT, signal.SIGHUP):
                job = executor.submit(Job(arguments))
            before = job.job_id
            print(f"{name}: job {before}, {job.paths.stderr}", flush=True)
            failure = job.exception() if kind == "local" else None
            if asked():
                return failed
            if failure is not None:
                failed.append(f"{seed}: {_said(failure)} (see {job.paths.stderr})")
                break  # what comes after it in this seed needs it; other seeds do not
    return failed


def on_ray(planned: Chains, config: ConfigDict, asked: Callable[[], bool]) -> list[str]:
    """Runs the commands as Ray tasks; those of a seed one after the other. Returns what failed."""
    machine = config.machine
    ray = connect(max(1, machine.processes))
    address = ray.get_runtime_context().gcs_address
    # A run whose workers are Ray's own leaves them the room, and only waits for them or trains.
    room = max(1, machine.processes) if machine.backend == "local" else 0
    task = ray.remote(num_cpus=room, max_retries=2)(run)
    last = []
    for chain in planned.values():
        before = None
        for arguments in chain:
            before = task.remote(arguments, address, before)
        last.append(before)
    failed: list[str] = []
    began = time.monotonic()
    for seed, result in zip(planned, last, strict=True):
        while not ray.wait([result], timeout=LOOK)[0]:
            if asked():
                return failed
            largest = max(node["Resources"].get("CPU", 0) for node in ray.nodes())
            if largest < room and time.monotonic() - began > NODE_LIMIT:
                raise ConfigError(
                    f"config.machine.processes = {room}, but no node of the cluster has more than "
                    f"{largest:g} CPUs"
                )
        try:
            ray.get(result)
        except ray.exceptions.RayError as error:
            failed.append(f"{seed}: {_said(error)}")
        else:
            print(f"{seed}: done", flush=True)
    return failed


def _said(error: BaseException) -> str:
    """The job's own words in what an executor makes of its error."""
    lines = str(error).strip().splitlines()
    own = [line.partition("JobError: ")[2] for line in lines if "JobError: " in line]
    return (own or lines or [repr(error)])[-1]


def _needed(package: str) -> ModuleType:
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise ConfigError(f"this needs {package}: pip install -e '.[cluster]'") from error
