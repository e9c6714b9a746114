"""Many episodes: scripted demonstrations and policy trials, in lockstep and in several processes.

A job is a list of trials that one process runs with one batched policy call per control step. What
a trial becomes depends on its job alone, not on the process or on what ran before it: jobs are
cut by index, and every episode rebuilds its world. So a job whose process dies is simply run again.
"""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import math
import multiprocessing
import os
import pickle
import signal
import threading
import time
import traceback
import types
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterator, Sequence
from multiprocessing import connection as connections
from multiprocessing import reduction
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mili_jax.sim import objects, scenes, tasks
from mili_jax.sim.env import RENDERER, KitchenEnv, Recorder, object_pool
from mili_jax.sim.experts import Expert
from mili_jax.sim.world import Scene
from mili_jax.types import Episode, EpisodeMeta, PolicyFn, SimulationError

# Disturbances of what is executed while the label or command that is stored stays right, so that a
# policy sees how to come back (DART, Laskey et al. 2017; of trials the filter keeps those that do).
NOISE_SHARE = 0.2  # of a demonstration's steps
TRIAL_NOISE_SHARE = 0.1  # of a trial's, which ends when nothing moves for REST_STEPS
NOISE_XY = 0.02  # m, standard deviation
NOISE_Z = 0.01  # m
NOISE_YAW = 0.25  # rad
NOISE_FINGER = 0.5  # of the opening
CLOSED_SHARE = 0.3  # of the episodes begin with the fingers at a random opening
LOW_SHARE = 0.25  # of the episodes begin low, beside the objects, with the same fingers
LOW_Z = (0.015, 0.10)  # m, heights of the tool there
LOW_ROOM = (0.025, 0.035)  # m from the tool's axis to footprints there; more per opening
HOLD_STEPS = 2  # steps a demonstration goes on after it has succeeded and come to its last pose
LOCKSTEP = 16  # environments per process
PROCESS_RECYCLE = 40  # jobs per worker after which it is replaced: whatever leaks stays small
STEP_LIMIT = 4.0  # s without a sign of life after which a worker counts as hung
START_LIMIT = 300.0  # s the same while it starts, or a policy compiles, if it is at work there
SINK_LIMIT = 300.0  # s the same while episodes are written, which may well be waiting
LOOK = 0.5  # s between two looks at the workers; one that has died is noticed at once
FATAL = 2  # workers that a trial may kill; then it is set aside
FATAL_OUTSIDE = 5  # the same for a job whose workers die outside any trial; then it is an error


@dataclasses.dataclass(frozen=True)
class Trial:
    """One episode to run: a pure description, so that it can be run again and give the same."""

    episode_id: str
    task: str
    scene: str
    seed: int
    round: int = 0
    policy: str = "expert"
    demonstration: str = ""

    def made(self, meta: EpisodeMeta) -> bool:
        """Whether an episode is what this trial becomes."""
        mine = dataclasses.asdict(self)
        return all(getattr(meta, field) == value for field, value in mine.items())


# Given the trials of a job, the policy for all of them at once.
Actor = Callable[[Sequence[Trial]], PolicyFn]
Sink = Callable[[int, list[Episode]], None]


def demonstrate(
    env: KitchenEnv,
    trial: Trial,
    noise: float = 1.0,
    watch: Callable[[KitchenEnv], None] | None = None,
) -> Episode:
    """One attempt of the scripted expert; `action` holds its labels, not the disturbed commands.

    `watch` is called with the environment after every step, to film it for instance.
    """
    observation, _ = env.reset(seed=trial.seed, options={"task": trial.task, "scene": trial.scene})
    assert env.task is not None
    rng = np.random.default_rng((trial.seed, 1))
    expert = Expert(env.task, env.world)
    recorder = Recorder()
    held, done, truncated = 0, False, False
    while not done and held <= HOLD_STEPS:
        beat()
        label = expert.act()
        recorder.add(observation, label)
        command = _disturbed(label, NOISE_SHARE, noise, rng)
        observation, _, terminated, truncated, _ = env.step(command)
        done = terminated or truncated
        if watch is not None:
            watch(env)
        arrived = float(np.abs(observation["pose"][:3] - label[:3]).max()) < 0.015
        held = (
            held + 1 if env.success() and (arrived or env.task.family in ("press", "push")) else 0
        )
    return recorder.episode(_meta(trial, env, not truncated))


def _disturbed(
    command: np.ndarray, share: float, noise: float, rng: np.random.Generator
) -> np.ndarray:
    """What is done instead of a command [7], in that share of the steps, float64."""
    command = command.astype(np.float64)
    if rng.random() < share:
        command[:2] += rng.normal(0, NOISE_XY * noise, 2)
        command[2] += abs(rng.normal(0, NOISE_Z * noise))
        command[5] += rng.normal(0, NOISE_YAW * noise)
    if rng.random() < share / 2:
        command[6] -= abs(rng.normal(0, NOISE_FINGER * noise))  # the other way would drop
    return command


def replay(
    env: KitchenEnv,
    meta: EpisodeMeta,
    action: np.ndarray,
    watch: Callable[[KitchenEnv], None],
) -> None:
    """Runs a policy's stored actions float32 [T,7] again: the same scene and bits as before, if
    nothing disturbed it."""
    env.reset(seed=meta.seed, options={"task": meta.task, "scene": meta.scene})
    for row in action:
        env.step(row)
        watch(env)


def run_job(
    envs: Sequence[KitchenEnv],
    trials: Sequence[Trial],
    actor: Actor,
    skip: Collection[int] = (),
    noise: float = 0.0,
) -> list[Episode]:
    """Runs the trials in lockstep, as many at a time as there are environments.

    What is executed is disturbed, in units of NOISE_*; what is stored is the policy's command.

    The policy always sees len(envs) rows (finished ones keep their last observation), so that its
    compiled shape, and with it every row's arithmetic, is the same in every call. Trials whose
    index is in `skip` are not run but keep their row, so the others become what they would be.
    """
    episodes: list[Episode] = []
    for first in range(0, len(trials), len(envs)):
        group = list(trials[first : first + len(envs)])
        active = [i for i in range(len(group)) if first + i not in skip]
        if not active:
            continue
        beat(-1, START_LIMIT)
        policy = actor(group + [group[-1]] * (len(envs) - len(group)))
        recorders = [Recorder() for _ in group]
        seen: list[Any] = [None] * len(group)
        for i in active:
            beat(first + i)
            t = group[i]
            seen[i] = envs[i].reset(seed=t.seed, options={"task": t.task, "scene": t.scene})[0]
        last = seen[active[-1]]
        rows = [s or last for s in seen] + [last] * (len(envs) - len(group))
        image = np.stack([s["image"] for s in rows])
        pose = np.stack([s["pose"] for s in rows])
        beat(-1, START_LIMIT)
        kept, rested = list(active), set()
        rngs = [np.random.default_rng((t.seed, 2)) for t in group]
        while active:
            action = policy(image, pose)
            running = []
            for i in active:
                beat(first + i)
                # As stored, so that a replay of what is stored repeats an undisturbed episode.
                command = np.asarray(action[i], np.float32)
                recorders[i].add(seen[i], command)
                if noise:
                    command = _disturbed(command, TRIAL_NOISE_SHARE, noise, rngs[i])
                seen[i], _, terminated, truncated, _ = envs[i].step(command)
                image[i], pose[i] = seen[i]["image"], seen[i]["pose"]
                if terminated:
                    rested.add(i)
                elif not truncated:
                    running.append(i)
            active = running
            beat(-1)
        episodes += [recorders[i].episode(_meta(group[i], envs[i], i in rested)) for i in kept]
    return episodes


def _meta(trial: Trial, env: KitchenEnv, terminated: bool) -> EpisodeMeta:
    outcome = env.outcome()
    return EpisodeMeta(
        episode_id=trial.episode_id,
        task=trial.task,
        scene=trial.scene,
        seed=trial.seed,
        round=trial.round,
        policy=trial.policy,
        demonstration=trial.demonstration,
        renderer=RENDERER,
        useful=outcome["useful"],
        success=outcome["success"],
        achieved_tasks=outcome["achieved_tasks"],
        terminated=terminated,
    )


@dataclasses.dataclass(frozen=True)
class Request:
    """A demonstration wanted: the expert tries with fresh arrangements until it succeeds."""

    episode_id: str
    task: str
    split: str
    seed: int
    attempts: int = 10
    policy: str = "expert"

    def made(self, meta: EpisodeMeta) -> bool:
        """Whether an episode is one that this request may become."""
        first = meta.episode_id == self.episode_id and meta.task == self.task
        return first and 0 <= meta.seed - self.seed < self.attempts


def demonstration(env: KitchenEnv, request: Request, noise: float = 1.0) -> Episode:
    """The first successful attempt; distractors vary between seeds.

    Its seed is the request's plus the number of failures before it.

    Raises SimulationError when no attempt succeeds.
    """
    task = tasks.find(request.task)
    pool = object_pool(request.split)
    for attempt in range(request.attempts):
        rng = np.random.default_rng((request.seed, attempt))
        scene = scenes.sample([task], pool, rng)
        if noise:
            scene = dataclasses.replace(scene, tool=first_pose(scene, rng))
        trial = Trial(request.episode_id, request.task, scene.to_json(), request.seed + attempt)
        episode = demonstrate(env, trial, noise)
        if episode.meta.success:
            return episode
    raise SimulationError(f"no demonstration of {request.task} in {request.attempts} attempts")


def first_pose(scene: Scene, rng: np.random.Generator) -> tuple[float, ...]:
    """The tool's, x y z roll pitch yaw finger: some episodes that are learned from begin where a
    failed trial would be, to show how to go on from there."""
    tool = scene.tool
    low, closed = rng.random() < LOW_SHARE, rng.random() < CLOSED_SHARE
    height, opening = float(rng.uniform(*LOW_Z)), float(rng.random())
    spots = rng.uniform(-0.2, 0.2, (20, 2))
    catalogue = objects.load_catalogue()
    room = LOW_ROOM[0] + opening * LOW_ROOM[1]
    for spot in spots if low else ():
        if all(
            np.hypot(q.x - spot[0], q.y - spot[1]) > catalogue[q.object].radius + room
            for q in scene.placements
        ):
            return (*spot.round(4).tolist(), round(height, 4), *tool[3:6], round(opening, 4))
    return (*tool[:6], round(opening, 4)) if closed else tool


class Teacher:
    """Runs demonstration requests in one environment."""

    def __init__(self, image_size: int, noise: float = 1.0) -> None:
        self.env = KitchenEnv(image_size=image_size)
        self.noise = noise

    def __call__(self, requests: Sequence[Request], skip: Collection[int] = ()) -> list[Episode]:
        episodes = []
        for i, request in enumerate(requests):
            if i not in skip:
                beat(i)
                episodes.append(demonstration(self.env, request, self.noise))
        return episodes


class Player:
    """Runs trials of one policy in several environments in lockstep; noise: see `run_job`."""

    def __init__(
        self,
        make_actor: Callable[[], Actor],
        image_size: int,
        envs: int = LOCKSTEP,
        noise: float = 0.0,
    ) -> None:
        self.actor = make_actor()
        self.noise = noise
        self.envs = [KitchenEnv(image_size=image_size) for _ in range(envs)]

    def __call__(self, trials: Sequence[Trial], skip: Collection[int] = ()) -> list[Episode]:
        return run_job(self.envs, trials, self.actor, skip, self.noise)


# Workers that may die

Runner = Callable[[Sequence[Any], Collection[int]], list[Episode]]
Job = tuple[int, Sequence[Any]]


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


_TIME, _CPU, _LIMIT, _IDLE, _ITEM = range(5)
_pulse: Any = None  # of this process if it is a worker: those five numbers, which its parent sees


def beat(item: int | None = None, limit: float = STEP_LIMIT, idle: float = STEP_LIMIT) -> None:
    """A sign of life of a worker: the next will follow within `limit` seconds, or it has hung.

    item: the index in its job of the trial that is simulated from here on, -1 for none; None
    says that this has not changed.
    idle: seconds that it may until then neither compute nor wait for a disk.
    Without effect outside a worker.
    """
    if _pulse is not None:
        # In this order, so that a short limit never meets an old time.
        _pulse[_TIME] = time.monotonic()
        _pulse[_CPU] = time.process_time()
        _pulse[_LIMIT] = limit
        _pulse[_IDLE] = idle
        if item is not None:
            _pulse[_ITEM] = item


def _run(runner: Runner, sink: Sink, index: int, items: Sequence[Any], skip: set[int]) -> Done:
    episodes = runner(items, skip)
    beat(-1, SINK_LIMIT, SINK_LIMIT)
    sink(index, episodes)
    return Done(index, [e.meta for e in episodes], sum(map(len, episodes)))


def _work(connection: connections.Connection, pulse: Any, parent: int) -> None:
    """What a worker process does: gets a factory and a sink, then jobs, and answers each."""
    global _pulse
    # A worker does not outlive the thread that started it, whatever state both are in.
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    if os.getppid() != parent:
        return
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # ctrl-C is for the parent
    _pulse = pulse
    runner: Runner | None = None
    while True:
        answer: Any
        try:
            if runner is None:
                make_runner, sink = connection.recv()
            job = connection.recv()
            beat(limit=START_LIMIT)
            runner = runner or make_runner()
            answer = _run(runner, sink, *job)
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


def _vitals(pid: int) -> tuple[float, set[str]]:
    """Seconds of CPU time that a process has used, and the states that its threads are in."""
    found = []
    for file in [Path(f"/proc/{pid}/stat"), *Path(f"/proc/{pid}/task").glob("*/stat")]:
        with contextlib.suppress(OSError):  # a thread that has ended meanwhile
            found.append(file.read_text().rpartition(")")[2].split())  # proc(5), from field 3 on
    if not found:
        return 0.0, set()
    return sum(map(int, found[0][11:13])) / os.sysconf("SC_CLK_TCK"), {f[0] for f in found[1:]}


class _Worker:
    """A worker process as its parent sees it."""

    def __init__(self, make_runner: Callable[[], Runner], sink: Sink) -> None:
        context = multiprocessing.get_context("spawn")
        now = time.monotonic()
        self.pulse = context.RawArray(ctypes.c_double, (now, 0.0, START_LIMIT, STEP_LIMIT, -1))
        self._used, self._busy = 0.0, now  # CPU time at the last look; when it was last at work
        self.connection, theirs = context.Pipe()
        self.process = context.Process(
            target=_work, args=(theirs, self.pulse, os.getpid()), daemon=True
        )
        try:
            self.process.start()
        except OSError as error:
            raise SimulationError(f"a worker process could not be started ({error})") from error
        theirs.close()
        self.job: tuple[int, Sequence[Any], set[int]] | None = None
        self.jobs = 0
        self._first: Any = (make_runner, sink)
        self._sender = threading.Thread()

    def give(self, job: tuple[int, Sequence[Any], set[int]]) -> None:
        self.job = job
        self.jobs += 1
        self.pulse[_ITEM], self.pulse[_IDLE] = -1, STEP_LIMIT
        self.pulse[_TIME] = self._busy = time.monotonic()
        self.pulse[_LIMIT] = START_LIMIT
        messages = [job] if self._first is None else [self._first, job]
        self._first = None
        pickled = [reduction.ForkingPickler.dumps(message) for message in messages]
        # A thread of its own: a policy's parameters fill the pipe until the worker reads, if ever.
        self._sender = threading.Thread(target=self._send, args=(pickled,), daemon=True)
        self._sender.start()

    def _send(self, messages: Sequence[Any]) -> None:
        with contextlib.suppress(OSError):  # it is dead, which the next look finds
            for message in messages:
                self.connection.send_bytes(message)

    def look(self) -> Any:
        """Its answer; or, as text, how it died; or None while it is at work."""
        if self.connection.poll():
            try:
                return self.connection.recv()
            except (EOFError, OSError):
                self.process.join(STEP_LIMIT)
        code = self.process.exitcode
        if code is not None:
            return f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
        return self._hung()

    def _hung(self) -> str | None:
        """How it has hung, if it has: it is silent for too long, or idle where it should work.

        One that gets no share of the CPUs, because the machine does other things, has not hung: a
        thread of it could run and has not had the seconds that it may take.
        """
        now, (time_, cpu, limit, idle, _) = time.monotonic(), self.pulse
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
        self.process.join()
        if self._sender.ident is not None:
            self._sender.join()
        self.process.close()
        self.connection.close()


def _name(item: Any) -> str:
    return str(getattr(item, "episode_id", item))


class Pool:
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

    def __init__(self, make_runner: Callable[[], Runner], sink: Sink, processes: int) -> None:
        self._make = make_runner, sink
        self._processes = processes
        self._workers: list[_Worker] = []

    def __enter__(self) -> Pool:
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

    def run(self, jobs: Sequence[Job], required: bool = False) -> Iterator[Done]:
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
                    at = int(worker.pulse[_ITEM])
                    silent = time.monotonic() - worker.pulse[_TIME]
                    name = _name(items[at]) if at >= 0 else ""
                    self._drop(worker)
                    incidents.setdefault(index, []).append(Incident(index, name, answer, silent))
                    deaths[index, at] += 1
                    if deaths[index, at] >= (FATAL if at >= 0 else FATAL_OUTSIDE):
                        what = f"trial {name!r}" if at >= 0 else f"job {index}, outside its trials,"
                        said = f"{what} ended {deaths[index, at]} workers: the last {answer}"
                        if at < 0:
                            raise SimulationError(f"{said}; see whether memory or time ran out")
                        skip.add(at)
                        if required or len(skip) == len(items):
                            raise SimulationError(f"{said}; it cannot be left out: look into it")
                    waiting.appendleft((index, items, skip))
        finally:
            for worker in [w for w in self._workers if w.job]:
                self._drop(worker)

    def _hand_out(self, waiting: deque[tuple[int, Sequence[Any], set[int]]]) -> None:
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

    def _drop(self, worker: _Worker) -> None:
        self._workers.remove(worker)
        worker.close()


def run_jobs(
    jobs: Sequence[Job],
    make_runner: Callable[[], Runner],
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
            yield _run(runner, sink, index, items, set())
        return
    with Pool(make_runner, sink, min(processes, len(jobs))) as pool:
        yield from pool.run(jobs, required)
