"""The inside of a worker process: it gets jobs, answers each, and shows that it lives."""

from __future__ import annotations

import ctypes
import math
import os
import pickle
import time
import traceback
from collections.abc import Callable, Collection, Sequence
from multiprocessing import connection as connections
from typing import NamedTuple, TypeVar

from mili_jax.types import Episode, EpisodeMeta, SimulationError
from mili_jax.workers import stopping

STEP_LIMIT = 4.0  # s without a sign of life after which a worker counts as hung
START_LIMIT = 300.0  # s the same while it starts, or a policy compiles, if it is at work there
SINK_LIMIT = 300.0  # s the same while episodes are written, which may well be waiting
Sink = Callable[[int, list[Episode]], None]

# Workers that may die

Item = TypeVar("Item")  # what an episode is made from, such as a trial
Runner = Callable[[Sequence[Item], Collection[int]], list[Episode]]
Job = tuple[int, Sequence[Item]]
Pulse = ctypes.Array[ctypes.c_double]  # the six numbers by which a worker shows that it lives


class Incident(NamedTuple):
    """A worker that died or hung. `item` is the id of the trial it was in, "" if in none."""

    job: int
    item: str
    how: str
    silent: float  # s between its last sign of life and the moment it was noticed


class Done(NamedTuple):
    """A finished job: the facts of its episodes, their steps, and what went wrong on the way.

    `set_aside` are the ids of its trials that killed FATAL workers: their episodes do not exist.
    """

    job: int
    metas: list[EpisodeMeta]
    steps: int
    incidents: tuple[Incident, ...] = ()
    set_aside: tuple[str, ...] = ()


TIME, _CPU, LIMIT, IDLE, ITEM, BEGUN = range(6)
_pulse: Pulse | None = None  # of this process if it is a worker


def beat(item: int | None = None, limit: float = STEP_LIMIT, idle: float = STEP_LIMIT) -> None:
    """A sign of life of a worker: the next will follow within `limit` seconds, or it has hung.

    item: the index in its job of the trial that is simulated from here on, -1 for none; None
    says that this has not changed.
    idle: seconds that it may until then neither compute nor wait for a disk.
    Without effect outside a worker.
    """
    if _pulse is not None:
        # In this order, so that a short limit never meets an old time.
        _pulse[TIME] = time.monotonic()
        _pulse[_CPU] = time.process_time()
        _pulse[LIMIT] = limit
        _pulse[IDLE] = idle
        if item is not None:
            _pulse[ITEM] = item


def run_job_of(
    runner: Runner[Item], sink: Sink, index: int, items: Sequence[Item], skip: set[int]
) -> Done:
    episodes = runner(items, skip)
    beat(-1, SINK_LIMIT, SINK_LIMIT)
    sink(index, episodes)
    return Done(index, [e.meta for e in episodes], sum(map(len, episodes)))


def work(connection: connections.Connection, pulse: Pulse, parent: int) -> None:
    """What a worker process does: gets a factory and a sink, then jobs, and answers each."""
    global _pulse
    stopping.die_with_parent()
    if os.getppid() != parent:
        return
    _pulse = pulse
    _pulse[BEGUN] = 1
    runner: Runner[object] | None = None
    while True:
        answer: Done | Exception
        try:
            if runner is None:
                make_runner, sink = connection.recv()
            job = connection.recv()
            beat(limit=START_LIMIT)
            runner = runner or make_runner()
            answer = run_job_of(runner, sink, *job)
        except EOFError:
            return
        except Exception as error:
            error.add_note(f"In a worker process:\n{traceback.format_exc()}")
            try:
                pickle.loads(pickle.dumps(error))
                answer = error
            except Exception:
                answer = SimulationError(f"{type(error).__name__}: {error}")
        beat(-1, math.inf, math.inf)
        connection.send(answer)
        if isinstance(answer, Exception):
            return
