"""Worker processes as their parent sees them: what dies or hangs is replaced."""

from __future__ import annotations

import contextlib
import ctypes
import multiprocessing
import os
import signal
import sys
import threading
import time
import types
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from multiprocessing import connection as connections
from multiprocessing import reduction, resource_tracker
from pathlib import Path
from typing import Generic

from mili_jax.types import SimulationError
from mili_jax.workers import stopping
from mili_jax.workers.worker import (
    BEGUN,
    IDLE,
    ITEM,
    LIMIT,
    START_LIMIT,
    STEP_LIMIT,
    TIME,
    Done,
    Incident,
    Item,
    Job,
    Runner,
    Sink,
    run_job_of,
    work,
)

PROCESS_RECYCLE = 40  # jobs per worker after which it is replaced: whatever leaks stays small
LOOK = 0.5  # s between two looks at the workers; one that has died is noticed at once
KILL_LIMIT = 10.0  # s in which a worker ends that was killed
_KILLED = f"was killed by signal {signal.SIGKILL:d}"
_ADVICE = ("what it printed says why", "perhaps by the system, for the memory that it took")
Assigned = tuple[int, Sequence[Item], set[int]]  # a job, and which of its items are left out
FATAL = 2  # workers that a trial may kill; then it is set aside
FATAL_OUTSIDE = 5  # the same for a job whose workers die outside any trial; then it is an error


def _vitals(pid: int) -> tuple[float, set[str]]:
    """Seconds of CPU time that a process has used, and the states that its threads are in."""
    found = []
    for file in [Path(f"/proc/{pid}/stat"), *Path(f"/proc/{pid}/task").glob("*/stat")]:
        with contextlib.suppress(OSError):  # a thread that has ended meanwhile
            found.append(file.read_text().rpartition(")")[2].split())  # proc(5), from field 3 on
    if not found:
        return 0.0, set()
    return sum(map(int, found[0][11:13])) / os.sysconf("SC_CLK_TCK"), {f[0] for f in found[1:]}


class _Worker(Generic[Item]):
    """A worker process as its parent sees it."""

    def __init__(self, make_runner: Callable[[], Runner[Item]], sink: Sink) -> None:
        context = multiprocessing.get_context("spawn")
        now = time.monotonic()
        self.pulse = context.RawArray(ctypes.c_double, (now, 0.0, START_LIMIT, STEP_LIMIT, -1, 0))
        self._used, self._busy = 0.0, now  # CPU time at the last look; when it was last at work
        self.connection, theirs = context.Pipe()
        self.process = context.Process(
            target=work, args=(theirs, self.pulse, os.getpid()), daemon=True
        )
        try:
            # By itself it would start, and then let signals through again, below.
            resource_tracker.ensure_running()
            with stopping.shielded():
                self.process.start()
        except OSError as error:
            raise SimulationError(f"a worker process could not be started ({error})") from error
        theirs.close()
        self.job: Assigned[Item] | None = None
        self.jobs = 0
        self._first: tuple[Callable[[], Runner[Item]], Sink] | None = (make_runner, sink)
        self._sender = threading.Thread()

    def give(self, job: Assigned[Item]) -> None:
        self.job = job
        self.jobs += 1
        self.pulse[ITEM], self.pulse[IDLE] = -1, STEP_LIMIT
        self.pulse[TIME] = self._busy = time.monotonic()
        self.pulse[LIMIT] = START_LIMIT
        messages = [job] if self._first is None else [self._first, job]
        self._first = None
        pickled = [reduction.ForkingPickler.dumps(message) for message in messages]
        # A thread of its own: a policy's parameters fill the pipe until the worker reads, if ever.
        self._sender = threading.Thread(target=self._send, args=(pickled,), daemon=True)
        self._sender.start()

    def _send(self, messages: Sequence[memoryview]) -> None:
        with contextlib.suppress(OSError):  # it is dead, which the next look finds
            for message in messages:
                self.connection.send_bytes(message)

    def look(self) -> Done | Exception | str | None:
        """Its answer, or an error that is its last; or, as text, how it died; or None while it is
        at work."""
        if self.connection.poll():
            try:
                return self.connection.recv()
            except (EOFError, OSError):
                self.process.join(STEP_LIMIT)
        code = self.process.exitcode
        if code is None:
            return self._hung()
        if code < 0:
            return _KILLED if code == -signal.SIGKILL else f"was killed by signal {-code}"
        if not self.pulse[BEGUN]:
            return SimulationError(_not_begun(code))
        return f"ended with exit code {code}"

    def _hung(self) -> str | None:
        """How it has hung, if it has: it is silent for too long, or idle where it should work.

        One that gets no share of the CPUs, because the machine does other things, has not hung: a
        thread of it could run and has not had the seconds that it may take.
        """
        now, (time_, cpu, limit, idle) = time.monotonic(), self.pulse[:ITEM]
        used, states = _vitals(self.process.pid or 0)
        if used != self._used or states & {"R", "D"}:
            self._used, self._busy = used, now
        if now - time_ > limit and not ("R" in states and used - cpu < limit):
            return f"gave no sign of life for {limit:g} s"
        if states == {"T"}:  # stopped
            idle = STEP_LIMIT
        if now - max(time_, self._busy) > idle:
            return f"gave no sign of life and was idle for {idle:g} s"
        return None

    def close(self) -> None:
        self.process.kill()
        self.process.join(KILL_LIMIT)
        if self.process.exitcode is None:
            return  # in a call to a disk that does not answer; the kernel ends it after that
        if self._sender.ident is not None:
            self._sender.join()
        self.process.close()
        self.connection.close()


def _not_begun(code: int) -> str:
    """Why a worker has ended that had not even looked for a job."""
    said = f"a worker process ended with exit code {code} before its first job"
    main = sys.modules["__main__"]
    name = getattr(main.__spec__, "name", None) or getattr(main, "__file__", None)
    if name is None:
        return f"{said}; what it printed says why"
    if name == "<stdin>":
        return f"{said}: a worker imports the script that started it, so write that to a file"
    return (
        f"{said}: a worker imports {name}, which started it, and that did not end well. Put what "
        'it does when it is run under `if __name__ == "__main__":`, so that importing it does '
        "nothing"
    )


def _name(item: object) -> str:
    return str(getattr(item, "episode_id", item))


class Pool(Generic[Item]):
    """Worker processes that run jobs. What they hold, a compiled policy, stays between calls.

    A worker that dies or hangs is replaced and its job run again: it is noticed at once, or
    STEP_LIMIT seconds after its last `beat`, of which those do not count that other processes kept
    it from running. While it starts, compiles or writes, one that is stopped is noticed after as
    long, and one that sleeps, unless it writes; else START_LIMIT and SINK_LIMIT hold. A trial in
    which FATAL workers died is set aside: its job runs without it.

    Args:
      make_runner: makes, in a worker, what runs a job's items; it must be importable there.
      sink: gets a job's index and episodes in the worker, and writes them, before the job counts
        as finished. A job may be run, and written, more than once, with the same episodes.
      processes: the number of workers.

    Use it as a context manager, or call `close`; its workers end with the thread that made them.
    """

    def __init__(self, make_runner: Callable[[], Runner[Item]], sink: Sink, processes: int) -> None:
        self._make = make_runner, sink
        self._processes = processes
        self._workers: list[_Worker[Item]] = []

    def __enter__(self) -> Pool[Item]:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: types.TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Ends the workers, whatever they are at."""
        while self._workers:
            self._workers.pop().close()

    def run(self, jobs: Sequence[Job[Item]], required: bool = False) -> Iterator[Done]:
        """Runs (index, items) jobs; yields them as they finish.

        required: nothing may be set aside.

        Raises SimulationError, naming the trial or the job: all trials of a job, or one that is
        required, had to be set aside, or FATAL_OUTSIDE workers died outside any trial of a job.
        Errors of the factory, a runner or the sink arrive as they are.
        """
        waiting = deque((index, items, set[int]()) for index, items in jobs)
        deaths: Counter[tuple[int, int]] = Counter()
        incidents: dict[int, list[Incident]] = {}
        looked = time.monotonic()
        trust = looked  # until when nobody counts as hung
        try:
            while waiting or any(w.job for w in self._workers):
                self._hand_out(waiting)
                busy = [w for w in self._workers if w.job]
                handles = [h for w in busy for h in (w.connection, w.process.sentinel)]
                connections.wait(handles, LOOK)
                now = time.monotonic()
                if now - looked > LOOK + STEP_LIMIT / 2:
                    trust = now + STEP_LIMIT  # this process was stopped, and so perhaps were they
                looked = now
                for worker in busy:
                    answer = worker.look()
                    hung = isinstance(answer, str) and worker.process.is_alive()
                    if answer is None or (hung and now < trust):
                        continue
                    assert worker.job is not None
                    index, items, skip = worker.job
                    if isinstance(answer, Exception):
                        raise answer
                    if isinstance(answer, Done):
                        worker.job = None
                        if worker.jobs >= PROCESS_RECYCLE:
                            self._drop(worker)
                        aside = tuple(_name(items[i]) for i in sorted(skip))
                        yield answer._replace(
                            incidents=tuple(incidents.pop(index, ())), set_aside=aside
                        )
                        looked = time.monotonic()
                        continue
                    at = int(worker.pulse[ITEM])
                    silent = time.monotonic() - worker.pulse[TIME]
                    name = _name(items[at]) if at >= 0 else ""
                    self._drop(worker)
                    incidents.setdefault(index, []).append(Incident(index, name, answer, silent))
                    deaths[index, at] += 1
                    if deaths[index, at] >= (FATAL if at >= 0 else FATAL_OUTSIDE):
                        what = f"trial {name!r}" if at >= 0 else f"job {index}, outside its trials,"
                        said = f"{what} ended {deaths[index, at]} workers: the last {answer}"
                        if at < 0:
                            raise SimulationError(f"{said}; {_ADVICE[answer == _KILLED]}")
                        skip.add(at)
                        if required or len(skip) == len(items):
                            raise SimulationError(f"{said}; it cannot be left out: look into it")
                    waiting.appendleft((index, items, skip))
        finally:
            for worker in [w for w in self._workers if w.job]:
                self._drop(worker)

    def _hand_out(self, waiting: deque[Assigned[Item]]) -> None:
        for worker in [w for w in self._workers if not w.job and not w.process.is_alive()]:
            self._drop(worker)
        while waiting:
            idle = [w for w in self._workers if not w.job]
            if not idle and len(self._workers) >= self._processes:
                return
            if not idle:
                self._workers.append(_Worker(*self._make))
                idle = self._workers[-1:]
            idle[0].give(waiting.popleft())

    def _drop(self, worker: _Worker[Item]) -> None:
        self._workers.remove(worker)
        worker.close()


def run_jobs(
    jobs: Sequence[Job[Item]],
    make_runner: Callable[[], Runner[Item]],
    sink: Sink,
    processes: int,
    required: bool = False,
) -> Iterator[Done]:
    """Runs jobs in a `Pool` of its own; `processes` = 0 runs them in this process, unprotected."""
    if not jobs:
        return
    if processes == 0:
        runner = make_runner()
        for index, items in jobs:
            yield run_job_of(runner, sink, index, items, set())
        return
    with Pool(make_runner, sink, min(processes, len(jobs))) as pool:
        yield from pool.run(jobs, required)
