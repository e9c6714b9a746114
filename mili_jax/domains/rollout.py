"""Many episodes: demonstrations of the scripted expert and trials of a policy, in lockstep.

A job is a list of trials that one process runs with one batched policy call per control step. What
a trial becomes depends on its job alone, not on the process or on what ran before it: jobs are
cut by index, and every episode begins with a reset. So a job whose process dies is run again.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Sequence

import numpy as np

from mili_jax.domains import base
from mili_jax.domains.base import Simulator, SimulatorEnv
from mili_jax.domains.checks import (
    check_action,
    check_env,
    check_expert,
    check_observation,
    check_outcome,
)
from mili_jax.spec import Spec
from mili_jax.types import Episode, EpisodeMeta, PolicyFn, SimulationError, Task
from mili_jax.workers.worker import START_LIMIT, beat

# Shares of steps in which something else is executed than the label or command that is stored, so
# that a policy sees how to come back (DART, Laskey et al. 2017; of trials the filter keeps those
# that do). A trial ends at rest, so it is disturbed less.
NOISE_SHARE = 0.2  # of a demonstration's steps
TRIAL_NOISE_SHARE = 0.1  # of a trial's
LOCKSTEP = 16  # environments per process

Watch = Callable[[SimulatorEnv], None]  # called after every step, to film it for instance


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


@dataclasses.dataclass(frozen=True)
class Request:
    """A demonstration wanted: the expert tries with fresh arrangements until it succeeds."""

    episode_id: str
    task: Task
    split: str
    seed: int
    attempts: int = 10
    policy: str = "expert"

    def made(self, meta: EpisodeMeta) -> bool:
        """Whether an episode is one that this request may become."""
        first = meta.episode_id == self.episode_id and meta.task == self.task.name
        return first and 0 <= meta.seed - self.seed < self.attempts


Actor = Callable[[Sequence[Trial]], PolicyFn]  # given a job's trials, the policy for all of them


class Recorder:
    """Collects the steps of an episode: what was seen, and the label or command that answered."""

    def __init__(self) -> None:
        self.image: list[np.ndarray] = []
        self.pose: list[np.ndarray] = []
        self.action: list[np.ndarray] = []

    def add(self, observation: dict[str, np.ndarray], action: np.ndarray) -> None:
        self.image.append(observation["image"])
        self.pose.append(observation["pose"])
        self.action.append(np.array(action, np.float32))  # the caller may reuse its array

    def episode(self, meta: EpisodeMeta) -> Episode:
        return Episode(np.stack(self.image), np.stack(self.pose), np.stack(self.action), meta)


def demonstrate(
    simulator: Simulator,
    env: SimulatorEnv,
    trial: Trial,
    noise: float = 1.0,
    watch: Watch | None = None,
    spec: Spec | None = None,
) -> Episode:
    """One attempt of the scripted expert; `action` holds its labels, not the disturbed commands.

    spec: what the environment and the labels are held against. Raises ConfigError where they do not
    fit it.
    """
    observation = _reset(env, trial, spec)
    rng = np.random.default_rng((trial.seed, 1))
    expert = simulator.make_expert(env)
    if spec is not None:
        check_expert(expert)
    recorder = Recorder()
    ended = truncated = False
    while not ended and not expert.done():
        beat()
        label = expert.act()
        if spec is not None and not recorder.action:
            check_action(expert, label, spec)
        recorder.add(observation, label)
        command = simulator.disturb(label, NOISE_SHARE, noise, rng)
        observation, _, terminated, truncated, _ = env.step(command)
        ended = terminated or truncated
        if watch is not None:
            watch(env)
    return recorder.episode(_meta(simulator, env, trial, not truncated))


def demonstration(
    simulator: Simulator,
    env: SimulatorEnv,
    request: Request,
    noise: float = 1.0,
    spec: Spec | None = None,
) -> Episode:
    """The first successful attempt; distractors vary between seeds.

    Its seed is the request's plus the number of failures before it.

    Raises SimulationError when no attempt succeeds, and as `demonstrate`.
    """
    for attempt in range(request.attempts):
        rng = np.random.default_rng((request.seed, attempt))
        scene = simulator.sample_scene(request.split, rng, [request.task])
        if noise:
            scene = simulator.disturb_start(scene, rng)
        trial = Trial(request.episode_id, request.task.name, scene, request.seed + attempt)
        episode = demonstrate(simulator, env, trial, noise, spec=spec)
        if episode.meta.success:
            return episode
    raise SimulationError(
        f"no demonstration of {request.task.name!r} succeeded in {request.attempts} attempts"
    )


def replay(env: SimulatorEnv, meta: EpisodeMeta, action: np.ndarray, watch: Watch) -> None:
    """Runs a policy's stored actions float32 [T,A] again: the same scene and bits as before, if
    nothing disturbed it."""
    env.reset(seed=meta.seed, options={"task": meta.task, "scene": meta.scene})
    for row in action:
        env.step(row)
        watch(env)


def run_job(
    simulator: Simulator,
    envs: Sequence[SimulatorEnv],
    trials: Sequence[Trial],
    actor: Actor,
    skip: Collection[int] = (),
    noise: float = 0.0,
    spec: Spec | None = None,
) -> list[Episode]:
    """Runs the trials in lockstep, as many at a time as there are environments.

    With noise other things are executed now and then; what is stored is the policy's command.

    The policy always sees len(envs) rows (finished ones keep their last observation), so that its
    compiled shape, and with it every row's arithmetic, is the same in every call. Trials whose
    index is in `skip` are not run but keep their row, so the others become what they would be.
    Raises ConfigError for an environment that does not fit the spec, if there is one.
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
        seen: dict[int, dict[str, np.ndarray]] = {}  # by trial, the last observation
        for i in active:
            beat(first + i)
            seen[i] = _reset(envs[i], group[i], spec)
        last = seen[active[-1]]
        rows = [seen.get(i, last) for i in range(len(group))] + [last] * (len(envs) - len(group))
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
                    command = simulator.disturb(command, TRIAL_NOISE_SHARE, noise, rngs[i])
                seen[i], _, terminated, truncated, _ = envs[i].step(command)
                image[i], pose[i] = seen[i]["image"], seen[i]["pose"]
                if terminated:
                    rested.add(i)
                elif not truncated:
                    running.append(i)
            active = running
            beat(-1)
        episodes += [
            recorders[i].episode(_meta(simulator, envs[i], group[i], i in rested)) for i in kept
        ]
    return episodes


def _reset(env: SimulatorEnv, trial: Trial, spec: Spec | None) -> dict[str, np.ndarray]:
    """The first observation."""
    if spec is not None:
        check_env(env, spec)
    options: dict[str, object] = {"task": trial.task, "scene": trial.scene}
    observation, _ = env.reset(seed=trial.seed, options=options)
    if spec is not None:
        check_observation(env, observation, spec)
    return observation


def _meta(simulator: Simulator, env: SimulatorEnv, trial: Trial, terminated: bool) -> EpisodeMeta:
    outcome = env.outcome()
    check_outcome(env, outcome)
    return EpisodeMeta(
        **dataclasses.asdict(trial),
        renderer=simulator.renderer,
        useful=bool(outcome["useful"]),
        success=bool(outcome["success"]),
        achieved_tasks=tuple(outcome["achieved_tasks"]),
        terminated=terminated,
    )


class Teacher:
    """Runs demonstration requests in one environment of a domain."""

    def __init__(self, domain: str, spec: Spec, noise: float = 1.0) -> None:
        self.simulator = base.simulator_of(base.load(domain), "a demonstration")
        self.env = self.simulator.make_env(spec)
        self.spec, self.noise = spec, noise

    def __call__(self, requests: Sequence[Request], skip: Collection[int] = ()) -> list[Episode]:
        episodes = []
        for i, request in enumerate(requests):
            if i not in skip:
                beat(i)
                episodes.append(
                    demonstration(self.simulator, self.env, request, self.noise, self.spec)
                )
        return episodes


class Player:
    """Runs trials of one policy in several environments in lockstep; noise: see `run_job`."""

    def __init__(
        self,
        make_actor: Callable[[], Actor],
        domain: str,
        spec: Spec,
        envs: int = LOCKSTEP,
        noise: float = 0.0,
    ) -> None:
        self.simulator = base.simulator_of(base.load(domain), "a trial")
        self.actor = make_actor()
        self.spec, self.noise = spec, noise
        self.envs = [self.simulator.make_env(spec) for _ in range(envs)]

    def __call__(self, trials: Sequence[Trial], skip: Collection[int] = ()) -> list[Episode]:
        return run_job(self.simulator, self.envs, trials, self.actor, skip, self.noise, self.spec)
