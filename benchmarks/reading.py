"""What the trainer waits for data that stream from the shards, and reading against plain grain.

    python -m benchmarks.reading
    python -m benchmarks.reading --image_size=100 --episodes=600

Stored episodes of noise-free pictures are written to a temporary folder. Then as many episodes are
read into batches by the trainer's own loader and by a plain grain pipeline: TFDS's random access
source, a map that takes a few steps of an episode, batches, the same number of threads. Episodes
per second are of the clock; CPU time stands beside them. The data wait is the share of a training's
time between the end of one step and the arrival of the next batch, with the default network.
"""

from __future__ import annotations

import functools
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import grain
import numpy as np
import tensorflow_datasets as tfds
from absl import app, flags

from mili_jax.batches import sampling
from mili_jax.batches.pool import Pool, read_pool
from mili_jax.batches.sampling import Groups
from mili_jax.domains.kitchen.domain import KITCHEN
from mili_jax.domains.kitchen.families import FAMILIES
from mili_jax.domains.kitchen.spec import spec
from mili_jax.learning.hyper import Hyper
from mili_jax.learning.mesh import make_mesh, place, replicate
from mili_jax.learning.step import init_state, make_train_step
from mili_jax.policy.policy import Policy
from mili_jax.storage.dataset import Dataset
from mili_jax.types import Batch, Episode, EpisodeMeta

_IMAGE_SIZE = flags.DEFINE_integer("image_size", 64, "side of the picture in pixels")
_EPISODES = flags.DEFINE_integer("episodes", 320, "stored episodes, of 30 steps")
_BATCH = flags.DEFINE_integer("batch", 48, "pairs of episodes in a batch")
_BATCHES = flags.DEFINE_integer("batches", 20, "batches that are timed")
_THREADS = flags.DEFINE_integer("threads", 2, "that read")
_REPETITIONS = flags.DEFINE_integer("repetitions", 3, "how often all is measured", lower_bound=1)

LENGTH, FRAMES, PLACES, STEPS = 30, 2, 14, 4


def write(root: Path, size: int, episodes: int) -> Dataset:
    """Episodes in which a small square moves over a still background, in shards of 32."""
    rng = np.random.default_rng(0)
    dataset = Dataset(root, spec(size))
    made = []
    for number in range(episodes):
        image = np.tile(rng.integers(0, 256, (size // 8, size // 8, 3), np.uint8).repeat(8, 0)
                        .repeat(8, 1), (LENGTH, 1, 1, 1))  # fmt: skip
        image = np.pad(image, [(0, 0), *[(0, size - image.shape[1])] * 2, (0, 0)], mode="edge")
        for k in range(LENGTH):
            image[k, k : k + 6, k : k + 6] = 255
        pose = rng.uniform(0, 0.2, (LENGTH, 7)).astype(np.float32)
        family = FAMILIES[number % 4]
        task = f"{family}:a{number // 8}" + (":b" if family in ("push", "place") else "")
        meta = EpisodeMeta(f"e{number}", task, "{}", 0, 0, "", "", "none", True, True, ())
        made.append(Episode(image, pose, pose, meta))
    shards = [made[at : at + 32] for at in range(0, episodes, 32)]
    for shard, some in enumerate(shards):
        dataset.write_shard("demos", shard, some)
    dataset.commit("demos", len(shards))
    return dataset


def batches_of(dataset: Dataset) -> Callable[[int], Batch]:
    """The batch of a step, as a training that streams makes it."""
    pool = read_pool(KITCHEN, dataset, "demos", demonstrations=True)
    return functools.partial(
        _sample,
        pool,
        sampling.group_by_task(pool),
        size=_BATCH.value,
        pair_fraction=0.0,
        policy_steps=STEPS,
        frames=FRAMES,
        places=PLACES,
    )


def _sample(pool: Pool, groups: Groups, step: int, **sizes: float) -> Batch:
    return sampling.sample_batch(pool, groups, None, 0, step, **sizes)


def own(dataset: Dataset, threads: int) -> Callable[[int], None]:
    """Reads so many batches as a training that streams does."""
    make = batches_of(dataset)

    def read(count: int) -> None:
        for _ in sampling.prefetch(make, 0, count, threads=threads, ahead=2 * threads):
            pass

    return read


def plain(dataset: Dataset, threads: int) -> Callable[[int], None]:
    """Reads as many episodes, and steps of them, by what TFDS and grain offer."""
    source = tfds.builder_from_directory(dataset.path).as_data_source("demos")

    class Pick(grain.transforms.RandomMap):
        def random_map(self, episode: dict, rng: np.random.Generator) -> dict[str, np.ndarray]:
            steps = list(episode["steps"])
            some = [0, len(steps) - 1, *rng.integers(0, len(steps), STEPS // 2)]
            return {
                "image": np.stack([steps[k]["observation"]["image"] for k in some]),
                "pose": np.stack([steps[k]["observation"]["pose"] for k in some]),
                "action": np.stack([steps[k]["action"] for k in some]),
            }

    options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=4 * threads)

    def read(count: int) -> None:
        pipeline = grain.MapDataset.source(source).seed(0).shuffle().repeat().random_map(Pick())
        batches = iter(pipeline.batch(2 * _BATCH.value).to_iter_dataset(options))
        for _ in range(count):
            next(batches)
        batches.close()

    return read


def timed(read: Callable[[int], None], count: int) -> tuple[float, float]:
    """Seconds of the clock and of CPU time."""
    wall, cpu = time.perf_counter(), time.process_time()
    read(count)
    return time.perf_counter() - wall, time.process_time() - cpu


def data_wait(dataset: Dataset, threads: int, steps: int) -> tuple[float, float]:
    """Share of a training's time that is waiting for data, and seconds per step."""
    policy = Policy(spec(_IMAGE_SIZE.value), embedding_size=64, blocks=2)
    hyper, mesh = Hyper(), make_mesh()
    state = replicate(init_state(policy, hyper, 0, FRAMES), mesh)
    step_fn = make_train_step(policy, hyper, mesh)

    make = batches_of(dataset)
    waited = 0.0
    batches = sampling.prefetch(make, 0, steps + 2, threads=threads, ahead=2 * threads)
    for k in range(steps + 2):
        if k == 2:  # compiled, and the threads are under way
            began, waited = time.perf_counter(), 0.0
        asked = time.perf_counter()
        _, batch = next(batches)
        waited += time.perf_counter() - asked
        state, metrics = step_fn(state, place(batch, mesh), 0)
        metrics["loss"].block_until_ready()
    whole = time.perf_counter() - began
    batches.close()
    return waited / whole, whole / steps


def main(argv: list[str]) -> None:
    del argv
    count, threads = _BATCHES.value, _THREADS.value
    episodes = 2 * _BATCH.value * count
    with tempfile.TemporaryDirectory() as folder:
        dataset = write(Path(folder), _IMAGE_SIZE.value, _EPISODES.value)
        readers = {"own": own(dataset, threads), "plain grain": plain(dataset, threads)}
        costs: dict[str, list[tuple[float, float]]] = {name: [] for name in readers}
        for repetition in range(-1, _REPETITIONS.value):  # the first is to warm up
            for name, read in readers.items():
                cost = timed(read, count if repetition >= 0 else 2)
                if repetition >= 0:
                    costs[name].append(cost)
        middle = {name: np.median(np.array(c), 0) for name, c in costs.items()}
        print(f"{_IMAGE_SIZE.value}x{_IMAGE_SIZE.value} pixels, {threads} threads, {episodes} "
              f"episodes read, median of {_REPETITIONS.value}")  # fmt: skip
        for name, (wall, cpu) in middle.items():
            print(f"{name:>12}: {episodes / wall:7.0f} episodes/s, {1000 * cpu / episodes:.2f} ms "
                  f"of CPU time each")  # fmt: skip
        ratio = middle["plain grain"] / middle["own"]
        print(f"own / plain grain: {ratio[0]:.2f} by the clock, {ratio[1]:.2f} by CPU time")
        share, seconds = data_wait(dataset, threads, count)
        print(f"data wait: {100 * share:.1f}% of a step of {seconds:.3f} s")


if __name__ == "__main__":
    app.run(main)
