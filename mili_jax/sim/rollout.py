"""Many episodes: scripted demonstrations and policy trials, in lockstep and in several processes.

A job is a list of trials that one process runs with one batched policy call per control step. What
a trial becomes depends on the trial alone, not on the process or on what ran before it: jobs are
cut by index, and every episode rebuilds its world.
"""

from __future__ import annotations

import concurrent.futures
import dataclasses
import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from typing import Any

import numpy as np

from mili_jax.sim import objects, scenes, tasks
from mili_jax.sim.env import RENDERER, KitchenEnv, Recorder, object_pool
from mili_jax.sim.experts import Expert
from mili_jax.sim.world import Scene
from mili_jax.types import Episode, EpisodeMeta, PolicyFn, SimulationError

# Disturbances of the executed command while the label stays right, so that a policy sees how to
# come back (DART, Laskey et al. 2017).
NOISE_SHARE = 0.2  # of the steps
NOISE_XY = 0.02  # m, standard deviation
NOISE_Z = 0.01  # m
NOISE_YAW = 0.25  # rad
NOISE_FINGER = 0.5  # of the opening
CLOSED_SHARE = 0.3  # of the demonstrations begin with the fingers at a random opening
LOW_SHARE = 0.25  # of the demonstrations begin low, beside the objects, with the same fingers
LOW_Z = (0.015, 0.10)  # m, heights of the tool there
LOW_ROOM = (0.025, 0.035)  # m from the tool's axis to footprints there; more per opening
HOLD_STEPS = 2  # steps a demonstration goes on after it has succeeded and come to its last pose
LOCKSTEP = 16  # environments per process
PROCESS_RECYCLE = 40  # jobs per worker after which all are replaced: PyBullet's memory grows


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
    held, done = 0, False
    while not done and held <= HOLD_STEPS:
        label = expert.act()
        recorder.add(observation, label)
        command = label.astype(np.float64)
        if noise and rng.random() < NOISE_SHARE:
            command[:2] += rng.normal(0, NOISE_XY * noise, 2)
            command[2] += abs(rng.normal(0, NOISE_Z * noise))
            command[5] += rng.normal(0, NOISE_YAW * noise)
        if noise and rng.random() < NOISE_SHARE / 2:
            command[6] -= abs(rng.normal(0, NOISE_FINGER * noise))  # the other way would drop
        observation, _, terminated, truncated, _ = env.step(command)
        done = terminated or truncated
        if watch is not None:
            watch(env)
        arrived = float(np.abs(observation["pose"][:3] - label[:3]).max()) < 0.015
        held = (
            held + 1 if env.success() and (arrived or env.task.family in ("press", "push")) else 0
        )
    return recorder.episode(_meta(trial, env))


def replay(
    env: KitchenEnv,
    meta: EpisodeMeta,
    action: np.ndarray,
    watch: Callable[[KitchenEnv], None],
) -> None:
    """Runs a policy's stored actions float32 [T,7] again: the same scene and bits as before."""
    env.reset(seed=meta.seed, options={"task": meta.task, "scene": meta.scene})
    for row in action:
        env.step(row)
        watch(env)


def run_job(envs: Sequence[KitchenEnv], trials: Sequence[Trial], actor: Actor) -> list[Episode]:
    """Runs the trials in lockstep, as many at a time as there are environments.

    The policy always sees len(envs) rows (finished ones keep their last observation), so that its
    compiled shape, and with it every row's arithmetic, is the same in every call.
    """
    episodes: list[Episode] = []
    for first in range(0, len(trials), len(envs)):
        group = list(trials[first : first + len(envs)])
        padded = group + [group[-1]] * (len(envs) - len(group))
        policy = actor(padded)
        recorders = [Recorder() for _ in group]
        seen = [
            env.reset(seed=t.seed, options={"task": t.task, "scene": t.scene})[0]
            for env, t in zip(envs, group, strict=False)
        ]
        active = list(range(len(group)))
        rows = seen + [seen[-1]] * (len(envs) - len(group))
        image = np.stack([s["image"] for s in rows])
        pose = np.stack([s["pose"] for s in rows])
        while active:
            action = policy(image, pose)
            running = []
            for i in active:
                # As stored, so that a replay of what is stored repeats the episode.
                command = np.asarray(action[i], np.float32)
                recorders[i].add(seen[i], command)
                seen[i], _, terminated, truncated, _ = envs[i].step(command)
                image[i], pose[i] = seen[i]["image"], seen[i]["pose"]
                if not (terminated or truncated):
                    running.append(i)
            active = running
        episodes += [
            r.episode(_meta(t, env)) for r, t, env in zip(recorders, group, envs, strict=False)
        ]
    return episodes


def _meta(trial: Trial, env: KitchenEnv) -> EpisodeMeta:
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
    )


@dataclasses.dataclass(frozen=True)
class Request:
    """A demonstration wanted: the expert tries with fresh arrangements until it succeeds."""

    episode_id: str
    task: str
    split: str
    seed: int
    attempts: int = 10


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
            scene = dataclasses.replace(scene, tool=_first_pose(scene, rng))
        trial = Trial(request.episode_id, request.task, scene.to_json(), request.seed + attempt)
        episode = demonstrate(env, trial, noise)
        if episode.meta.success:
            return episode
    raise SimulationError(f"no demonstration of {request.task} in {request.attempts} attempts")


def _first_pose(scene: Scene, rng: np.random.Generator) -> tuple[float, ...]:
    """Some demonstrations begin where a failed trial would be, to show how to go on from there."""
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

    def __call__(self, requests: Sequence[Request]) -> list[Episode]:
        return [demonstration(self.env, request, self.noise) for request in requests]


class Player:
    """Runs trials of one policy in several environments in lockstep."""

    def __init__(
        self, make_actor: Callable[[], Actor], image_size: int, envs: int = LOCKSTEP
    ) -> None:
        self.actor = make_actor()
        self.envs = [KitchenEnv(image_size=image_size) for _ in range(envs)]

    def __call__(self, trials: Sequence[Trial]) -> list[Episode]:
        return run_job(self.envs, trials, self.actor)


# What a worker process keeps: a runner made once by the factory, and where episodes go.
Runner = Callable[[Sequence[Any]], list[Episode]]
_make_runner: Callable[[], Runner] | None = None
_runner: Runner | None = None
_sink: Sink | None = None


def _start(make_runner: Callable[[], Runner], sink: Sink) -> None:
    global _make_runner, _runner, _sink
    _make_runner, _runner, _sink = make_runner, None, sink


def _start_worker(make_runner: Callable[[], Runner], sink: Sink) -> None:
    # A worker whose parent was killed would wait for its next job for ever.
    threading.Thread(target=_follow_parent, daemon=True).start()
    _start(make_runner, sink)


def _follow_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _run(index: int, job: Sequence[Any]) -> tuple[int, list[EpisodeMeta], int]:
    global _runner
    assert _make_runner is not None and _sink is not None
    if _runner is None:  # made here, where an error of the factory becomes that of the job
        _runner = _make_runner()
    episodes = _runner(job)
    _sink(index, episodes)
    return index, [e.meta for e in episodes], sum(map(len, episodes))


def run_jobs(
    jobs: Sequence[tuple[int, Sequence[Any]]],
    make_runner: Callable[[], Runner],
    sink: Sink,
    processes: int,
) -> Iterator[tuple[int, list[EpisodeMeta], int]]:
    """Runs (index, requests or trials) jobs; yields (index, episode facts, steps) as they finish.

    `make_runner` and `sink` run in the worker processes and must be importable there; the sink
    gets a job's episodes (and writes them) before the job counts as finished. `processes` = 0 runs
    everything in this process. Raises SimulationError when a worker process dies; errors of the
    factory, a runner or the sink arrive as they are.
    """
    if not jobs:
        return
    if processes == 0:
        _start(make_runner, sink)
        for index, job in jobs:
            yield _run(index, job)
        return
    # Workers are replaced together: with `max_tasks_per_child` the executor of Python 3.11 can hang
    # (CPython issue 115634).
    batch = processes * PROCESS_RECYCLE
    for first in range(0, len(jobs), batch):
        yield from _run_pool(jobs[first : first + batch], make_runner, sink, processes)


def _run_pool(
    jobs: Sequence[tuple[int, Sequence[Any]]],
    make_runner: Callable[[], Runner],
    sink: Sink,
    processes: int,
) -> Iterator[tuple[int, list[EpisodeMeta], int]]:
    with concurrent.futures.ProcessPoolExecutor(
        max_workers=min(processes, len(jobs)),
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_start_worker,
        initargs=(make_runner, sink),
    ) as pool:
        futures = [pool.submit(_run, index, job) for index, job in jobs]
        try:
            for future in concurrent.futures.as_completed(futures):
                yield future.result()
        except BrokenProcessPool as error:
            raise SimulationError(
                "a rollout process died; what it had committed is safe, run the command again"
            ) from error
        finally:
            for future in futures:
                future.cancel()
