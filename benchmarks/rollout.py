"""Control steps per second of the environment, against the bare physics and camera calls it needs,
and of rollouts in processes, against gymnasium's AsyncVectorEnv.

    python -m benchmarks.rollout
    python -m benchmarks.rollout --image_size=100 --processes=1 --repetitions=9

The floor does what no environment can do without: the physics steps and one picture per control
step, with the joint targets set once per control step. It follows the joint positions that the
environment reached with the same scene, so that the same contacts are computed. Resets are timed
apart. Environment and floor alternate within a process, episode by episode. Seconds are of CPU
time (one core does a process's work), so that what else the machine is doing counts little.

The second table is in seconds of the clock, so it wants a quiet machine. Both collect the same
episodes of the same scenes with the same actions in as many processes, resets and the keeping of
all steps included: rollouts go on by themselves in each process, the vector environment takes one
step of all at a time and sends the pictures through shared memory.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import multiprocessing
import time
from collections.abc import Sequence
from multiprocessing.synchronize import Barrier

import gymnasium
import numpy as np
import pybullet as p
from absl import app, flags

from mili_jax.domains import rollout
from mili_jax.domains.kitchen import scenes, tasks
from mili_jax.domains.kitchen.domain import KITCHEN
from mili_jax.domains.kitchen.env import HORIZON, KitchenEnv, object_pool
from mili_jax.domains.kitchen.viewpoints import CAMERA_HEIGHT, VIEW_HALF
from mili_jax.domains.kitchen.world import SUBSTEPS, World
from mili_jax.domains.rollout import Trial
from mili_jax.types import PolicyFn

_IMAGE_SIZE = flags.DEFINE_integer("image_size", 64, "side of the picture in pixels")
_EPISODES = flags.DEFINE_integer("episodes", 8, "scenes per repetition", lower_bound=1)
_REPETITIONS = flags.DEFINE_integer("repetitions", 5, "how often all is measured", lower_bound=1)
_PROCESSES = flags.DEFINE_list("processes", ["1", "2"], "numbers of processes to measure with")
_SEED = flags.DEFINE_integer("seed", 0, "of the scenes")

# Like the controller's.
FORCES = [120.0] * 3 + [6.0] * 3 + [12.0] * 2
GAINS = [0.35] * 6 + [0.25] * 2


@dataclasses.dataclass(frozen=True)
class Measurement:
    """Seconds of CPU time that one repetition in one process took."""

    steps: int
    env: float
    floor: float
    resets: int
    reset: float


def sweep(rng: np.random.Generator) -> np.ndarray:
    """[HORIZON, 7] a trivial policy: wander low over the table, opening and closing the fingers."""
    k = np.arange(HORIZON)[:, None]
    rate, phase = rng.uniform(0.15, 0.5, 7), rng.uniform(0, 2 * math.pi, 7)
    middle = np.array([0.0, 0.0, 0.08, 0.0, 0.0, 0.0, 0.5])
    return middle + np.sin(rate * k + phase) * [0.18, 0.18, 0.07, 0.0, 0.0, 1.2, 0.5]


def time_env(env: KitchenEnv, actions: np.ndarray) -> tuple[float, np.ndarray]:
    """Seconds for the steps, and the joint positions [HORIZON, 8] after each of them."""
    joints = np.empty((len(actions), 8))
    total = 0.0
    for k, action in enumerate(actions):
        began = time.process_time()
        env.step(action)
        total += time.process_time() - began
        joints[k] = env.world.joints()
    return total, joints


def time_floor(world: World, joints: np.ndarray, size: int) -> float:
    """Seconds for the physics and the pictures alone."""
    c = world.client
    view = p.computeViewMatrix([0, 0, CAMERA_HEIGHT], [0, 0, 0], [0, 1, 0])
    angle = math.degrees(2 * math.atan(VIEW_HALF / CAMERA_HEIGHT))
    projection = p.computeProjectionMatrixFOV(angle, 1.0, 0.3, CAMERA_HEIGHT + 0.2)
    indices, targets = list(range(joints.shape[1])), joints.tolist()
    began = time.process_time()
    for target in targets:
        p.setJointMotorControlArray(
            world.gripper, indices, p.POSITION_CONTROL, target, forces=FORCES,
            positionGains=GAINS, physicsClientId=c,
        )  # fmt: skip
        for _ in range(SUBSTEPS):
            p.stepSimulation(physicsClientId=c)
        p.getCameraImage(
            size, size, view, projection, lightDirection=[0, 0, 1], shadow=0,
            lightAmbientCoeff=0.65, lightDiffuseCoeff=0.35, lightSpecularCoeff=0.0,
            renderer=p.ER_TINY_RENDERER, flags=p.ER_NO_SEGMENTATION_MASK, physicsClientId=c,
        )  # fmt: skip
    return time.process_time() - began


def measure(
    size: int, episodes: int, repetitions: int, seed: int, barrier: Barrier | None = None
) -> list[Measurement]:
    """One measurement per repetition; with a barrier, in step with the other processes."""
    env = KitchenEnv(image_size=size)
    pool, listed = object_pool("train"), tasks.load_tasks()["train"]
    results = []
    for repetition in range(-1, repetitions):  # the first is to warm up
        rng = np.random.default_rng(seed)
        spent = {"env": 0.0, "floor": 0.0, "reset": 0.0}
        if barrier is not None:
            barrier.wait()
        for _ in range(episodes):
            task = listed[int(rng.integers(len(listed)))]
            options = {"task": task.id, "scene": scenes.sample([task], pool, rng)}
            actions = sweep(rng)
            began = time.process_time()
            env.reset(seed=0, options=options)
            spent["reset"] += time.process_time() - began
            seconds, joints = time_env(env, actions)
            spent["env"] += seconds
            env.reset(seed=0, options=options)
            spent["floor"] += time_floor(env.world, joints, size)
        if repetition >= 0:
            results.append(Measurement(episodes * HORIZON, resets=episodes, **spent))
    env.close()
    return results


def _worker(
    queue: multiprocessing.Queue, barrier: Barrier, size: int, episodes: int, repetitions: int,
    seed: int,
) -> None:  # fmt: skip
    queue.put(measure(size, episodes, repetitions, seed, barrier))


def measure_together(
    processes: int, size: int, episodes: int, repetitions: int, seed: int
) -> list[list[Measurement]]:
    """[processes][repetitions] measurements taken at the same time, each in its own process."""
    spawn = multiprocessing.get_context("spawn")
    queue: multiprocessing.Queue = spawn.Queue()
    barrier = spawn.Barrier(processes)
    workers = [
        spawn.Process(target=_worker, args=(queue, barrier, size, episodes, repetitions, seed + i))
        for i in range(processes)
    ]
    for worker in workers:
        worker.start()
    results = [queue.get(timeout=600) for _ in workers]
    for worker in workers:
        worker.join()
    return results


def plan(episodes: int, seed: int) -> list[tuple[Trial, np.ndarray]]:
    """Trials and the actions [HORIZON,7] to be taken in them."""
    rng = np.random.default_rng(seed)
    pool, listed = object_pool("train"), tasks.load_tasks()["train"]
    made = []
    for i in range(episodes):
        task = listed[int(rng.integers(len(listed)))]
        scene = scenes.sample([task], pool, rng).to_json()
        made.append((Trial(f"t{i}", task.id, scene, 0), sweep(rng)))
    return made


def _collect(queue: multiprocessing.Queue, barrier: Barrier, size: int, episodes: int) -> None:
    env, planned = KitchenEnv(image_size=size), plan(episodes, 0)
    actions = {trial.episode_id: iter(rows) for trial, rows in planned + planned[:1]}

    def actor(trials: Sequence[Trial]) -> PolicyFn:
        rows = actions[trials[0].episode_id]
        return lambda image, pose: next(rows)[None]

    run = functools.partial(rollout.run_job, KITCHEN.simulator, [env], actor=actor)
    run(trials=[planned[0][0]])  # to warm up
    actions |= {trial.episode_id: iter(rows) for trial, rows in planned}
    barrier.wait()
    queue.put(sum(map(len, run(trials=[trial for trial, _ in planned]))))


def rollouts_per_second(processes: int, size: int, episodes: int) -> float:
    """Control steps per second of rollouts in so many processes, all at the same time."""
    spawn = multiprocessing.get_context("spawn")
    queue: multiprocessing.Queue = spawn.Queue()
    barrier = spawn.Barrier(processes + 1)
    workers = [
        spawn.Process(target=_collect, args=(queue, barrier, size, episodes))
        for _ in range(processes)
    ]
    for worker in workers:
        worker.start()
    barrier.wait()
    began = time.perf_counter()
    steps = sum(queue.get(timeout=600) for _ in workers)
    seconds = time.perf_counter() - began
    for worker in workers:
        worker.join()
    return steps / seconds


def vector_per_second(processes: int, size: int, episodes: int) -> float:
    """The same through gymnasium's AsyncVectorEnv."""
    make = functools.partial(KitchenEnv, image_size=size)
    envs = gymnasium.vector.AsyncVectorEnv([make] * processes, shared_memory=True, context="spawn")
    steps = 0
    for k, (trial, actions) in enumerate([*plan(1, 1), *plan(episodes, 0)]):
        if k == 1:  # the first is to warm up
            began, steps = time.perf_counter(), 0
        kept = []
        seen, _ = envs.reset(seed=0, options={"task": trial.task, "scene": trial.scene})
        for row in actions:
            kept.append((seen["image"], seen["pose"], row))
            seen, *_ = envs.step(np.tile(row, (processes, 1)))
            steps += processes
    seconds = time.perf_counter() - began
    envs.close()
    return steps / seconds


def spread(values: Sequence[float], form: str) -> str:
    """Median and range."""
    low, middle, high = np.min(values), np.median(values), np.max(values)
    return f"{middle:{form}} ({low:{form}}-{high:{form}})"


def main(argv: list[str]) -> None:
    del argv
    size, episodes, repetitions = _IMAGE_SIZE.value, _EPISODES.value, _REPETITIONS.value
    print(
        f"{size}x{size} pixels, {episodes} scenes x {HORIZON} control steps x {SUBSTEPS} physics "
        f"steps, {repetitions} repetitions: median (range)"
    )
    row = "{:>9}  {:>20}  {:>20}  {:>18}  {:>18}"
    print(row.format("processes", "env steps/s", "floor steps/s", "env / floor", "reset ms"))
    for count in map(int, _PROCESSES.value):
        found = measure_together(count, size, episodes, repetitions, _SEED.value)
        each = list(zip(*found, strict=True))
        print(
            row.format(
                count,
                spread([sum(m.steps / m.env for m in ms) for ms in each], ".0f"),
                spread([sum(m.steps / m.floor for m in ms) for ms in each], ".0f"),
                spread([sum(m.floor for m in ms) / sum(m.env for m in ms) for ms in each], ".2f"),
                spread([1000 * m.reset / m.resets for ms in each for m in ms], ".1f"),
            ),
            flush=True,
        )
    print("\ncontrol steps/s by the clock, resets included")
    row = "{:>9}  {:>20}  {:>20}  {:>24}"
    print(row.format("processes", "rollouts", "AsyncVectorEnv", "rollouts/AsyncVectorEnv"))
    alone: list[float] = []
    for count in map(int, _PROCESSES.value):
        mine, theirs = [], []
        for _ in range(repetitions):
            mine.append(rollouts_per_second(count, size, episodes))
            theirs.append(vector_per_second(count, size, episodes))
        ratio = [a / b for a, b in zip(mine, theirs, strict=True)]
        columns = spread(mine, ".0f"), spread(theirs, ".0f"), spread(ratio, ".2f")
        print(row.format(count, *columns), flush=True)
        if not alone:
            alone = mine
        else:
            gain = [a / b for a, b in zip(mine, alone, strict=True)]
            print(f"{count} processes against {_PROCESSES.value[0]}: {spread(gain, '.2f')}")


if __name__ == "__main__":
    app.run(main)
