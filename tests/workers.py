"""What the processes of the fault tests run: little to import, so that they start fast."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
from test_rollout import SIZE, children, descriptors, make_trials, run_job, scripted

from mili_jax.domains.kitchen import scenes, tasks
from mili_jax.domains.kitchen.env import KitchenEnv, object_pool
from mili_jax.domains.kitchen.spec import spec
from mili_jax.domains.rollout import Player
from mili_jax.storage.dataset import Dataset
from mili_jax.workers.pool import run_jobs

SHARD, SHARDS, SPLITS = 2, 4, 5
SPEC = spec(SIZE)


def write_split_shard(root, index, episodes):
    split, shard = divmod(index, SHARDS)
    Dataset(root, SPEC).write_shard(f"round_{split + 1}", shard, episodes)


def collect(root):
    """Several rounds, the way the stages collect: what is there stays, the rest is made."""
    dataset = Dataset(root, SPEC)
    trials = make_trials(SHARD * SHARDS * SPLITS)
    jobs = [(i, trials[i * SHARD : (i + 1) * SHARD]) for i in range(SHARDS * SPLITS)]
    names = [f"round_{i + 1}" for i in range(SPLITS)]

    def publish():
        for name in names:
            if name not in dataset.splits() and all(
                dataset.has_shard(name, k) for k in range(SHARDS)
            ):
                dataset.commit(name, SHARDS)

    def there(index):
        return dataset.has_shard(names[index // SHARDS], index % SHARDS)

    missing = [job for job in jobs if not there(job[0])]
    for _ in run_jobs(missing, make_player, functools.partial(write_split_shard, root), 2):
        publish()
    publish()


def make_scripted():
    return scripted


def make_player(envs=3):
    return Player(make_scripted, "kitchen", SPEC, envs)


def write_each(root, index, episodes):
    dataset = Dataset(root, SPEC)
    for episode in episodes:
        dataset.write_shard("round_1", int(episode.meta.episode_id.split("-")[1]), [episode])


def resident():
    return int(Path("/proc/self/statm").read_text().split()[1])


def reset_often(count, warm):
    env, pool = KitchenEnv(image_size=SIZE), object_pool("train")
    listed = tasks.load_tasks()["train"]
    for i in range(count):
        if i == warm:
            start = resident(), descriptors(), children()
        task = listed[i % len(listed)]
        scene = scenes.sample([task], pool, np.random.default_rng(i)).to_json()
        env.reset(seed=i, options={"task": task.id, "scene": scene})
        env.step(np.array([0, 0, 0.1, 0, 0, 0, 1.0]))
    growth = resident() / start[0] - 1
    print(f"{count} resets: memory {growth:+.2%} after the first {warm}")
    assert growth <= 0.05
    assert (descriptors(), children()) == start[1:]


EXTREMES = np.array([0, -0.0, 1e-45, 1, -1, 1e3, -1e3, 3.4e38, -3.4e38, 1e19, -1e19], np.float32)


def wild(trials):
    """Random actions, a third of them from the ends of what float32 can say."""
    rng = np.random.default_rng([t.seed for t in trials])

    def policy(image, pose):
        usual = rng.normal(0, 0.3, pose.shape).astype(np.float32)
        return np.where(rng.random(pose.shape) < 1 / 3, rng.choice(EXTREMES, pose.shape), usual)

    return policy


class Wild:
    def __init__(self):
        self.envs = [KitchenEnv(image_size=16, horizon=15) for _ in range(4)]

    def __call__(self, trials, skip=()):
        return run_job(self.envs, trials, wild, skip)


def write_wild(root, index, episodes):
    Dataset(root, spec(16)).write_shard("round_1", index, episodes)
