"""Many episodes: scripted demonstrations and policy trials, in lockstep and in several processes.

A job is a list of trials that one process runs with one batched policy call per control step. What
a trial becomes depends on its job alone, not on the process or on what ran before it: jobs are
cut by index, and every episode rebuilds its world. So a job whose process dies is simply run again.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Sequence
from typing import Any

import numpy as np

from mili_jax.domains.kitchen import objects, scenes, tasks
from mili_jax.domains.kitchen.env import KitchenEnv, Recorder, object_pool
from mili_jax.domains.kitchen.experts import Expert
from mili_jax.domains.kitchen.world import RENDERER, Scene
from mili_jax.types import Episode, EpisodeMeta, PolicyFn, SimulationError
from mili_jax.workers.worker import START_LIMIT, beat

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
