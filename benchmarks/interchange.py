"""Episodes a second from other people's files into a dataset, and out again.

    python -m benchmarks.interchange
    python -m benchmarks.interchange --episodes=2000 --processes=1,2

Writes episodes of 30 steps with noisy, photograph-like pictures as TFRecord (JPEG), LeRobot v3.0
(H.264) and robomimic into a temporary folder and imports them. The first line says milliseconds of
CPU an episode by parts: reading a record, decoding and converting it, writing it, committing the
split. The table says episodes a second of the clock, the start of processes included, and the CPU
milliseconds of all processes an episode, which a busy machine disturbs less.
"""

from __future__ import annotations

import dataclasses
import io
import json
import os
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds
from absl import app, flags, logging
from google.protobuf import json_format
from PIL import Image
from tensorflow_datasets.proto import tf_example_pb2

from mili_jax.interchange import tfrecord
from mili_jax.interchange.convert import convert
from mili_jax.interchange.exporting import export_episodes
from mili_jax.interchange.guess import guess
from mili_jax.interchange.importing import import_episodes
from mili_jax.interchange.sources import open_source
from mili_jax.interchange.store import finish, to_episode, write_shard

_EPISODES = flags.DEFINE_integer("episodes", 1200, "episodes of 30 steps as TFRecord")
_VIDEO = flags.DEFINE_integer("video_episodes", 200, "of them in the other formats")
_SIZE = flags.DEFINE_integer("image_size", 64, "side of a picture in pixels")
_PROCESSES = flags.DEFINE_list("processes", ["1", "2"], "how many import at a time")

STEPS, SHARDS = 30, 4


def pictures(rng: np.random.Generator, size: int) -> np.ndarray:
    """uint8 [STEPS,size,size,3]: a blurred scene that drifts, with a camera's noise."""
    small = rng.integers(0, 256, (size // 8 + 2, size // 8 + 2, 3), np.uint8)
    scene = Image.fromarray(small).resize((size + STEPS, size + STEPS), Image.Resampling.BICUBIC)
    wide = np.asarray(scene).astype(np.int16)
    found = np.stack([wide[t : t + size, t : t + size] for t in range(STEPS)])
    return np.clip(found + rng.integers(-3, 4, found.shape), 0, 255).astype(np.uint8)


def jpeg(picture: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "jpeg", quality=95)
    return file.getvalue()


def write_rlds(folder: Path, size: int, episodes: int) -> None:
    """A TFDS folder as Open X has them."""
    folder.mkdir(parents=True)
    vector = tfds.features.Tensor(shape=(7,), dtype=np.float32)
    features = tfds.features.FeaturesDict(
        {
            "steps": tfds.features.Dataset(
                {
                    "observation": {
                        "image": tfds.features.Image(shape=(size, size, 3), encoding_format="jpeg"),
                        "state": vector,
                    },
                    "action": vector,
                    "language_instruction": tfds.features.Text(),
                    "is_last": np.bool_,
                    "reward": np.float32,
                }
            )
        }
    )
    described = json_format.MessageToDict(features.to_proto())
    (folder / "features.json").write_text(json.dumps(described))
    lengths = [episodes // SHARDS] * SHARDS
    info = {"name": "d", "fileFormat": "tfrecord", "splits": [{"name": "train"}]}
    info["splits"] = [{"name": "train", "shardLengths": lengths}]
    (folder / "dataset_info.json").write_text(json.dumps(info))
    rng = np.random.default_rng(0)
    # A hundred different films are enough; decoding does not know that it saw one before.
    films = [[jpeg(p) for p in pictures(rng, size)] for _ in range(100)]
    number = 0
    for shard, length in enumerate(lengths):
        found = []
        for _ in range(length):
            path = np.cumsum(rng.normal(scale=0.01, size=(STEPS + 1, 7)), 0).astype(np.float32)
            path[:, 6] = np.arange(STEPS + 1) < 15
            example = tf_example_pb2.Example()
            fields = example.features.feature
            fields["steps/observation/image"].bytes_list.value.extend(films[number % 100])
            fields["steps/observation/state"].float_list.value.extend(path[:-1].ravel().tolist())
            fields["steps/action"].float_list.value.extend(path[1:].ravel().tolist())
            words = f"task number {number % 50}".encode()
            fields["steps/language_instruction"].bytes_list.value.extend([words] * STEPS)
            fields["steps/is_last"].int64_list.value.extend([0] * (STEPS - 1) + [1])
            fields["steps/reward"].float_list.value.extend([0.0] * (STEPS - 1) + [1.0])
            found.append(example.SerializeToString())
            number += 1
        name = f"d-train.tfrecord-{shard:05d}-of-{SHARDS:05d}"
        tfrecord.write(folder / name, found)


def parts(source: Path, out: Path) -> str:
    """CPU milliseconds an episode of reading, converting and writing, in this process alone."""
    opened = open_source(source, "rlds")
    plan = guess(opened).mapping()
    count = min(200, opened.splits["train"])
    begin = time.process_time()
    recordings = list(opened.read("train", range(count), plan.used))
    read = time.process_time()
    converted = [convert(recording, plan) for recording in recordings]
    changed = time.process_time()
    episodes = [to_episode(one, f"e{k}")[0] for k, one in enumerate(converted)]
    write_shard(out, plan.spec(), "demos_train", 0, episodes)
    written = time.process_time()
    finish(out, plan.spec(), "demos_train", 1, [])
    done = time.process_time()
    spans = (read - begin, changed - read, written - changed, done - written)
    each = [f"{name} {span / count * 1e3:.2f}" for name, span in zip(
        ("read", "decode and convert", "write", "commit"), spans, strict=True
    )]  # fmt: skip
    return ", ".join(each)


def row(what: str, processes: int, episodes: int, work: Callable[[], object]) -> None:
    """A line of the table."""
    wall, cpu = time.perf_counter(), used()
    work()
    speed = episodes / (time.perf_counter() - wall)
    each = (used() - cpu) / episodes * 1e3
    print(f"| {what} | {processes} | {speed:.0f} | {each:.1f} |", flush=True)


def used() -> float:
    """Seconds of CPU of this process and of those that it has ended."""
    own, ended = (
        resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    return own.ru_utime + own.ru_stime + ended.ru_utime + ended.ru_stime


def main(_: list[str]) -> None:
    logging.set_verbosity(logging.WARNING)
    size, total = _SIZE.value, _EPISODES.value // SHARDS * SHARDS
    print(f"{os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}, {size} x {size}, {STEPS} steps")
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        write_rlds(root / "rlds", size, total)
        print(f"ms of CPU an episode: {parts(root / 'rlds', root / 'parts')}")
        plan = guess(open_source(root / "rlds", "rlds")).mapping()
        plan = dataclasses.replace(plan, outside="keep", fps=10.0)
        print("| what | processes | episodes/s | CPU ms an episode |\n|---|---|---|---|")
        for processes in map(int, _PROCESSES.value):
            out = root / f"from_rlds_{processes}"
            row("TFRecord, JPEG", processes, total, lambda out=out, n=processes: import_episodes(
                root / "rlds", "rlds", plan, out, processes=n))  # fmt: skip
        write_rlds(root / "few", size, _VIDEO.value)
        import_episodes(root / "few", "rlds", plan, root / "ours")
        for form in ("lerobot", "robomimic"):
            row(f"export to {form}, read back", 1, _VIDEO.value, lambda form=form: export_episodes(
                root / "ours", form, root / form))  # fmt: skip
            for processes in map(int, _PROCESSES.value):
                out = root / f"from_{form}_{processes}"
                row(form, processes, _VIDEO.value, lambda form=form, out=out, n=processes:
                    import_episodes(root / form, form, None, out, processes=n))  # fmt: skip


if __name__ == "__main__":
    app.run(main)
