"""Rollouts: what a trial becomes depends on the trial alone, wherever it runs, beside whatever."""

from __future__ import annotations

import ctypes
import dataclasses
import functools
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from mili_jax.domains import rollout
from mili_jax.domains.kitchen import scenes, tasks
from mili_jax.domains.kitchen.domain import KITCHEN
from mili_jax.domains.kitchen.env import HORIZON, KitchenEnv, object_pool
from mili_jax.domains.kitchen.spec import spec
from mili_jax.domains.kitchen.world import RENDERER
from mili_jax.domains.rollout import Player, Request, Teacher, Trial
from mili_jax.types import SimulationError, Task
from mili_jax.workers import pool as worker_pool
from mili_jax.workers import stopping
from mili_jax.workers.pool import LOOK, Pool, run_jobs
from mili_jax.workers.worker import STEP_LIMIT, beat

SIZE = 32
ROOT = Path(__file__).resolve().parents[1]
LISTED = tasks.load_tasks()
run_job = functools.partial(rollout.run_job, KITCHEN.simulator)
demonstrate = functools.partial(rollout.demonstrate, KITCHEN.simulator)
demonstration = functools.partial(rollout.demonstration, KITCHEN.simulator)


def make_trials(count, split="train"):
    pool = object_pool(split)
    found = []
    for i in range(count):
        task = LISTED[split][i]
        scene = scenes.sample([task], pool, np.random.default_rng((5, i)))
        found.append(Trial(f"trial-{i}", task.id, scene.to_json(), 5000 + i, 1, "scripted"))
    return found


def asked(task):
    return Task(task.id, task.family)


def scripted(trials):
    """A pure function of what each row sees: sweeps low through the scene, then rests."""

    def policy(image, pose):
        assert image.shape == (len(trials), SIZE, SIZE, 3) and image.dtype == np.uint8
        assert pose.shape == (len(trials), 7) and pose.dtype == np.float32
        # Greenish pixels draw the tool sideways, so that the pictures matter, too. Integer sums,
        # because those of floats depend on how many rows there are.
        green = (image[..., 1].astype(int) - image[..., 0]).clip(0).sum(axis=1)
        drawn = green @ (2 * np.arange(SIZE) + 1 - SIZE) / (green.sum(axis=1) + 1) / SIZE
        action = pose.copy()
        action[:, 0] = np.where(pose[:, 2] < 0.04, pose[:, 0] + 0.03, drawn * 0.2)
        action[:, 1] = 0.8 * pose[:, 1] + 0.05 * drawn
        action[:, 2] = 0.03
        action[:, 5] = 0.4 * drawn
        action[:, 6] = 0.4
        return action.astype(np.float64)  # more digits than are stored

    return policy


def make_scripted():
    return scripted


make_player = functools.partial(Player, make_scripted, "kitchen", spec(SIZE), 3)
make_teacher = functools.partial(Teacher, "kitchen", spec(SIZE))


def write(folder, index, episodes):
    """A sink: one file per episode and, when all are there, one for the job."""
    for e in episodes:
        name = f"{e.meta.episode_id}.npz"
        np.savez(folder / name, image=e.image, pose=e.pose, action=e.action)
    (folder / f"job-{index}").write_text(" ".join(e.meta.episode_id for e in episodes))


def keep(found, index, episodes):
    found[index] = episodes


def ignore(index, episodes):
    pass


def same(a, b):
    return (
        a.meta == b.meta
        and np.array_equal(a.image, b.image)
        and np.array_equal(a.pose, b.pose)
        and np.array_equal(a.action, b.action)
    )


@pytest.fixture(scope="module")
def trials():
    return make_trials(6)


@pytest.fixture(scope="module")
def alone(trials):
    """Every trial run for itself, each in a new environment."""
    found = []
    for trial in trials:
        env = KitchenEnv(image_size=SIZE)
        found += run_job([env], [trial], scripted)
        env.close()
    return found


def test_the_scripted_trials_differ_and_do_something(trials, alone):
    assert [e.meta.episode_id for e in alone] == [t.episode_id for t in trials]
    assert len({len(e) for e in alone}) > 1, "they end at different times"
    assert all(6 <= len(e) <= HORIZON for e in alone)
    assert any(e.meta.achieved_tasks for e in alone)
    for trial, e in zip(trials, alone, strict=True):
        e_facts = dataclasses.asdict(e.meta)
        for field, value in dataclasses.asdict(trial).items():
            assert e_facts[field] == value
        assert e.meta.renderer == RENDERER
        assert e.image.dtype == np.uint8 and e.pose.dtype == e.action.dtype == np.float32
        assert e.image.shape == (len(e), SIZE, SIZE, 3) and e.action.shape == (len(e), 7)
        assert e.meta.success == (e.meta.task in e.meta.achieved_tasks)


@pytest.mark.parametrize("count", [2, 4, 8])
def test_the_number_of_environments_changes_nothing(trials, alone, count):
    envs = [KitchenEnv(image_size=SIZE) for _ in range(count)]
    found = run_job(envs, trials, scripted)
    assert len(found) == len(alone) and all(map(same, found, alone))
    # Again in the same environments, in another order and beside other trials.
    order = [3, 0, 5, 1, 4, 2, 0]
    again = run_job(envs, [trials[i] for i in order], scripted)
    assert all(same(e, alone[i]) for e, i in zip(again, order, strict=True))
    for env in envs:
        env.close()


def test_disturbed_trials_store_what_the_policy_commanded(trials, alone):
    found = {}
    for count in (1, 4):
        envs = [KitchenEnv(image_size=SIZE) for _ in range(count)]
        found[count] = run_job(envs, trials, scripted, noise=1.0)
        for env in envs:
            env.close()
    assert all(map(same, found[1], found[4]))
    assert sum(not np.array_equal(a.pose, b.pose) for a, b in zip(found[1], alone, strict=True)) > 1
    for e, trial in zip(found[1], trials, strict=True):
        policy = scripted([trial])
        frames = zip(e.image, e.pose, strict=True)
        commanded = [policy(image[None], pose[None])[0] for image, pose in frames]
        np.testing.assert_array_equal(e.action, np.float32(commanded))


@pytest.mark.parametrize("processes", [0, 2])
def test_processes_and_grouping_change_nothing(trials, alone, processes, tmp_path):
    jobs = [(7, trials[4:6]), (2, trials[:1]), (9, trials[1:4])]
    done = list(run_jobs(jobs, make_player, functools.partial(write, tmp_path), processes))
    assert sorted(job.job for job in done) == [2, 7, 9]
    for index, metas, steps, incidents, set_aside in done:
        assert not incidents and not set_aside
        expected = [alone[trials.index(t)] for t in dict(jobs)[index]]
        assert metas == [e.meta for e in expected]
        assert steps == sum(map(len, expected))
        for e in expected:
            with np.load(tmp_path / f"{e.meta.episode_id}.npz") as stored:
                for field in ("image", "pose", "action"):
                    assert np.array_equal(stored[field], getattr(e, field)), field


def test_replaying_stored_actions_ends_the_same(alone):
    env = KitchenEnv(image_size=SIZE)
    for e in alone:
        images, poses = [], []

        def watch(env, images=images, poses=poses):
            images.append(env.world.image(SIZE))
            poses.append(env.world.pose())

        rollout.replay(env, e.meta, e.action, watch)
        assert np.array_equal(np.stack(images[:-1]), e.image[1:])
        assert np.array_equal(np.stack(poses[:-1]), e.pose[1:])
        outcome = env.outcome()
        assert outcome["success"] == e.meta.success and outcome["useful"] == e.meta.useful
        assert outcome["achieved_tasks"] == e.meta.achieved_tasks
    env.close()


def test_a_policy_may_reuse_its_array(trials, alone):
    buffer = np.zeros((1, 7))

    def actor(group):
        policy = scripted(group)

        def act(image, pose):
            buffer[:] = policy(image, pose)
            return buffer

        return act

    env = KitchenEnv(image_size=SIZE)
    assert same(run_job([env], trials[:1], actor)[0], alone[0])
    env.close()


def test_demonstrations_repeat_from_scene_and_seed():
    first, second = KitchenEnv(image_size=SIZE), KitchenEnv(image_size=SIZE)
    disturbed = []
    for trial in make_trials(4, "test"):
        a = demonstrate(first, trial)
        demonstrate(second, dataclasses.replace(trial, seed=trial.seed + 1))
        assert same(demonstrate(second, trial), a)
        calm = demonstrate(second, trial, noise=0.0)
        disturbed.append(not np.array_equal(calm.pose, a.pose))
        # The first label answers the first picture, before any disturbance.
        assert np.array_equal(calm.action[0], a.action[0])
    assert any(disturbed)
    first.close()
    second.close()


def test_a_demonstration_succeeds_and_says_how_to_repeat_it():
    env = KitchenEnv(image_size=SIZE)
    for i in (0, 1, 2, 3):
        request = Request(f"train-{i}", asked(LISTED["train"][i]), "train", 900 + 100 * i)
        e = demonstration(env, request)
        assert e.meta.success and e.meta.useful and e.meta.task == request.task.name
        assert 0 <= e.meta.seed - request.seed < request.attempts
        assert same(e, demonstration(env, request))
        trial = Trial(e.meta.episode_id, e.meta.task, e.meta.scene, e.meta.seed)
        assert same(e, demonstrate(env, trial))
    env.close()


def test_a_demonstration_that_cannot_be_had():
    env = KitchenEnv(image_size=SIZE, horizon=3)
    with pytest.raises(SimulationError, match="'place:mug_04:pan_04' succeeded in 2 attempts"):
        demonstration(
            env, Request("x", Task("place:mug_04:pan_04", "place"), "train", 1, attempts=2)
        )
    env.close()


def test_requests_run_in_processes_give_the_same_as_here():
    requests = [Request(f"r{i}", asked(LISTED["train"][i]), "train", 100 * i) for i in range(3)]
    jobs = [(0, requests[:1]), (1, requests[1:])]
    here: dict = {}
    facts = sorted(run_jobs(jobs, make_teacher, functools.partial(keep, here), 0))
    assert sorted(run_jobs(jobs, make_teacher, ignore, 2)) == facts
    assert [m for job in facts for m in job.metas] == [e.meta for i in (0, 1) for e in here[i]]


def test_no_jobs():
    assert list(run_jobs([], make_player, ignore, 2)) == []


# Workers that fail


class Failing:
    def __call__(self, job, skip):
        raise SimulationError(f"no object {job[0]!r}")


def fail_to_start():
    raise SimulationError("no such policy")


def die_at_start():
    os.kill(os.getpid(), signal.SIGKILL)


def touch(folder, index, episodes):
    (folder / f"job-{index}").write_text(str(os.getpid()))


class Nothing:
    def __call__(self, job, skip):
        return []


class Busy:
    """Says who it is, and is at it for a while."""

    def __call__(self, job, skip):
        folder, seconds = job
        Path(folder, f"pid-{os.getpid()}").touch()
        time.sleep(seconds)
        return []


def kill():
    os.kill(os.getpid(), signal.SIGKILL)


def hang():
    time.sleep(600)


def stop():
    os.kill(os.getpid(), signal.SIGSTOP)


def segfault():
    ctypes.string_at(0)


WAYS = {f.__name__: f for f in (kill, hang, stop, segfault)}
SAID = {
    "kill": "killed by signal 9",
    "hang": "no sign of life",
    "stop": "no sign of life",
    "segfault": "killed by signal 11",
}


class Cursed(KitchenEnv):
    """A table that ends its process in the fourth step of the trials that say so.

    `curses` maps seeds to a way to die and how often; `folder` remembers how often it was.
    """

    def __init__(self, curses, folder, **arguments):
        super().__init__(**arguments)
        self.curses, self.folder = curses, folder

    def reset(self, *, seed=None, options=None):
        self.at, self.trial = 0, seed
        return super().reset(seed=seed, options=options)

    def step(self, action):
        self.at += 1
        way, times = self.curses.get(self.trial, ("", 0))
        if self.at == 4 and len(list(self.folder.glob(f"{self.trial}-*"))) < times:
            (self.folder / f"{self.trial}-{time.monotonic()}").touch()
            WAYS[way]()
        return super().step(action)


class CursedPlayer:
    def __init__(self, curses, folder):
        self.envs = [Cursed(curses, folder, image_size=SIZE) for _ in range(3)]

    def __call__(self, trials, skip=()):
        return run_job(self.envs, trials, scripted, skip)


def cursed(curses, folder):
    return functools.partial(CursedPlayer, curses, folder)


def children():
    """The processes that this one has started and that still run, but for Python's own helper."""
    listed = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    return {
        pid
        for pid in listed
        if b"resource_tracker" not in Path(f"/proc/{pid}/cmdline").read_bytes()
    }


def descriptors():
    return len(os.listdir("/proc/self/fd"))


@pytest.mark.parametrize("way", WAYS)
def test_a_worker_that_ends_in_a_trial_is_replaced_and_nothing_is_lost(
    way, trials, alone, tmp_path
):
    before = children()
    jobs = [(0, trials[:3]), (1, trials[3:])]
    make = cursed({trials[1].seed: (way, 1)}, tmp_path)
    folder = tmp_path / "episodes"
    folder.mkdir()
    done = sorted(run_jobs(jobs, make, functools.partial(write, folder), 2))
    (incident,) = done[0].incidents
    assert (incident.job, incident.item) == (0, "trial-1") and SAID[way] in incident.how
    assert incident.silent <= 5
    assert not done[1].incidents and not any(job.set_aside for job in done)
    assert [m for job in done for m in job.metas] == [e.meta for e in alone]
    for e in alone:
        with np.load(folder / f"{e.meta.episode_id}.npz") as stored:
            assert np.array_equal(stored["image"], e.image)
            assert np.array_equal(stored["pose"], e.pose)
    assert children() == before


def test_a_trial_that_ends_two_workers_is_set_aside_and_the_others_stay_as_they_were(
    trials, alone, tmp_path
):
    """The first of a job, on which the policy's randomness depends, and the last."""
    curses = {trials[0].seed: ("kill", 9), trials[5].seed: ("segfault", 9)}
    sink = functools.partial(touch, tmp_path)
    done = sorted(run_jobs([(0, trials[:3]), (1, trials[3:])], cursed(curses, tmp_path), sink, 1))
    assert [job.set_aside for job in done] == [("trial-0",), ("trial-5",)]
    assert [len(job.incidents) for job in done] == [2, 2]
    assert done[0].metas == [e.meta for e in alone[1:3]]
    assert done[1].metas == [e.meta for e in alone[3:5]]
    assert done[1].steps == sum(map(len, alone[3:5]))


def test_what_is_required_cannot_be_set_aside(trials, tmp_path):
    curses = {trials[0].seed: ("kill", 9)}
    for jobs, required in (([(0, trials[:3])], True), ([(0, trials[:1])], False)):
        with pytest.raises(SimulationError, match=r"'trial-0' ended 2 workers.*signal 9"):
            list(run_jobs(jobs, cursed(curses, tmp_path), ignore, 1, required))
        for file in tmp_path.glob("50*"):
            file.unlink()


def test_workers_that_never_start_are_an_error_that_comes_to_an_end():
    list(run_jobs([(0, ["x"])], Nothing, ignore, 1))  # what Python starts for good
    before = children(), descriptors()
    with pytest.raises(SimulationError, match=r"job 0, outside its trials, ended 5 workers"):
        list(run_jobs([(0, ["x"])], die_at_start, ignore, 1))
    assert (children(), descriptors()) == before


class Heavy:
    """A factory that no pipe holds at once."""

    def __init__(self):
        self.parameters = np.zeros(2**20)

    def __call__(self):
        return Nothing()


def test_a_worker_that_is_stopped_before_it_reads_is_noticed_as_well(monkeypatch):
    started, stopped = worker_pool._Worker.__init__, []

    def start(worker, *arguments):
        started(worker, *arguments)
        if not stopped:
            stopped.append(os.kill(worker.process.pid, signal.SIGSTOP))

    monkeypatch.setattr(worker_pool._Worker, "__init__", start)
    done = sorted(run_jobs([(0, ["x"]), (1, ["x"])], Heavy(), ignore, 1))
    assert [job.job for job in done] == [0, 1]
    (incident,) = done[0].incidents
    assert incident.item == "" and "no sign of life" in incident.how
    assert incident.silent <= 5


@dataclasses.dataclass
class Once:
    """Hangs the first time that it is called, wherever that is."""

    way: str
    folder: Path

    def __call__(self, *_):
        if not list(self.folder.glob("hung")):
            (self.folder / "hung").touch()
            WAYS[self.way]()
        return Nothing()


@pytest.mark.parametrize("way, where", [
    ("hang", "factory"), ("stop", "factory"), ("stop", "sink")
])  # fmt: skip
def test_a_worker_that_hangs_outside_trials_is_noticed_too(way, where, tmp_path):
    once = Once(way, tmp_path)
    make, sink = (once, ignore) if where == "factory" else (Nothing, once)
    (done,) = run_jobs([(0, ["x"])], make, sink, 1)
    (incident,) = done.incidents
    assert incident.item == "" and "idle" in incident.how
    assert incident.silent <= 5


class Work:
    """A trial that needs a CPU for a second, and is last in line for it."""

    def __call__(self, job, skip):
        os.nice(19)
        beat(0)
        start = time.process_time()
        while time.process_time() - start < 1:
            pass
        return []


def test_a_worker_that_gets_no_cpu_has_not_hung():
    """On one CPU with processes that come first it is silent for longer than STEP_LIMIT."""
    cpus = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cpus)})
    greedy = []
    try:
        with Pool(Work, ignore, 1) as pool:
            (first,) = pool.run([(0, ["x"])])  # it has started, and knows its priority
            command = ["sh", "-c", "while :; do :; done"]
            for _ in range(4):
                greedy.append(subprocess.Popen(command, preexec_fn=stopping.die_with_parent))
            ends = threading.Timer(8, lambda: [process.kill() for process in greedy])
            ends.start()
            begun = time.monotonic()
            (done,) = pool.run([(1, ["x"])])
            took = time.monotonic() - begun
    finally:
        os.sched_setaffinity(0, cpus)
        for process in greedy:
            process.kill()
            process.wait()
    ends.join()
    assert not first.incidents and not done.incidents
    assert took > STEP_LIMIT + LOOK


def test_a_trial_that_is_skipped_keeps_its_row(trials, alone):
    envs = [KitchenEnv(image_size=SIZE) for _ in range(3)]
    for skip in ({0}, {1, 4}, {0, 1, 2}, {2, 3, 4, 5}):
        found = run_job(envs, trials, scripted, skip)
        wanted = [e for i, e in enumerate(alone) if i not in skip]
        assert len(found) == len(wanted) and all(map(same, found, wanted))
    for env in envs:
        env.close()


def test_leaving_early_leaves_no_process_and_no_descriptor(trials):
    list(run_jobs([(0, trials[:1])], make_player, ignore, 1))  # what Python starts for good
    before = children(), descriptors()
    for _ in run_jobs([(i, trials[i : i + 1]) for i in range(6)], make_player, ignore, 2):
        break
    assert (children(), descriptors()) == before


@pytest.mark.parametrize("processes", [0, 1])
def test_errors_in_a_worker_arrive_as_they_are(processes):
    with pytest.raises(SimulationError, match="no object 'mug_00'"):
        list(run_jobs([(0, ["mug_00"])], Failing, ignore, processes))


@pytest.mark.parametrize("processes", [0, 1])
def test_errors_in_a_factory_arrive_as_they_are(processes):
    with pytest.raises(SimulationError, match="no such policy"):
        list(run_jobs([(0, ["mug_00"])], fail_to_start, ignore, processes))


def test_workers_are_replaced_and_all_jobs_done(tmp_path, monkeypatch):
    monkeypatch.setattr(worker_pool, "PROCESS_RECYCLE", 2)
    jobs = [(i, [""]) for i in range(9)]
    done = run_jobs(jobs, Nothing, functools.partial(touch, tmp_path), 2)
    assert sorted(job.job for job in done) == list(range(9))
    workers = {(tmp_path / f"job-{i}").read_text() for i in range(9)}
    assert 3 <= len(workers) <= 6 and str(os.getpid()) not in workers


# Scripts that do their work when they are imported, as a worker imports them
UNGUARDED = """
import sys
import test_rollout
from mili_jax.workers.pool import run_jobs
{more}
list(run_jobs([(0, ["x"]), (1, ["x"])], test_rollout.Nothing, test_rollout.ignore, 2))
"""


@pytest.mark.parametrize("given, more", [
    ("a file", ""),
    ("a file", "if __name__ != '__main__': sys.exit(0)"),
    ("a file", "sys.argv[7 if __name__ != '__main__' else 0]"),
    ("stdin", ""),
])  # fmt: skip
def test_a_script_without_main_guard_is_told_what_it_lacks(given, more, tmp_path):
    script = tmp_path / "collect all.py"
    script.write_text(UNGUARDED.format(more=more))
    path = f"{Path(__file__).parent}{os.pathsep}{ROOT}"
    done = subprocess.run(
        [sys.executable, "-"] if given == "stdin" else [sys.executable, str(script)],
        stdin=script.open() if given == "stdin" else subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=300,
    )
    last = done.stderr.splitlines()[-1]
    assert done.returncode == 1 and "SimulationError: a worker process ended with exit" in last
    if given == "stdin":
        assert "write that to a file" in last
    else:
        assert str(script) in last and 'if __name__ == "__main__":' in last
    assert "memory" not in last


ORPHAN = """
import sys
import test_rollout
from mili_jax.workers.pool import run_jobs
if __name__ == "__main__":
    jobs = [(i, [sys.argv[1], 60]) for i in range(2)]
    list(run_jobs(jobs, test_rollout.Busy, test_rollout.ignore, 2))
"""


def test_workers_do_not_outlive_a_killed_parent(tmp_path):
    script = tmp_path / "orphan.py"
    script.write_text(ORPHAN)
    here = Path(__file__).parent
    path = f"{here}{os.pathsep}{here.parent}"
    parent = subprocess.Popen(
        [sys.executable, str(script), str(tmp_path)], env={**os.environ, "PYTHONPATH": path}
    )
    deadline = time.monotonic() + 40
    while len(pids := [int(f.name[4:]) for f in tmp_path.glob("pid-*")]) < 2:
        assert time.monotonic() < deadline and parent.poll() is None
        time.sleep(0.1)
    parent.kill()
    parent.wait()
    while any(map(alive, pids)):
        assert time.monotonic() < deadline, "the workers are still there"
        time.sleep(0.1)


def alive(pid):
    """Whether the process runs (a killed one that nobody has waited for does not)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
