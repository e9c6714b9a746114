"""Small files of other people's formats, made without the package: what the readers are held to."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import os
import struct
from fractions import Fraction

import av
import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import tensorflow_datasets as tfds
from google.protobuf import json_format
from PIL import Image
from tensorflow_datasets.core.example_serializer import ExampleSerializer

HEIGHT, WIDTH, FPS = 24, 32, 10
NAMES = ("x", "y", "z", "roll", "pitch", "yaw", "gripper")
TASKS = ("put the carrot on the plate", "Open the drawer.")


@dataclasses.dataclass
class Made:
    """An episode as a robot would log it: pictures uint8 [T,H,W,3] of two cameras, state and action
    float32 [T,7] (metres, radians, gripper 0 closed to 1 open)."""

    front: np.ndarray
    wrist: np.ndarray
    state: np.ndarray
    action: np.ndarray
    task: str
    success: bool


def episode(seed, steps=12, delta=False, height=HEIGHT, width=WIDTH):
    """A tool that goes along a smooth path and closes its gripper half way."""
    rng = np.random.default_rng(seed)
    time = np.arange(steps + 1)
    centre = np.array([0.3, 0.0, 0.15, 0.0, 0.0, 0.0])
    phase, speed = rng.uniform(0, 6, 6), rng.uniform(0.1, 0.4, 6)
    reach = np.array([0.1, 0.1, 0.05, 0.4, 0.3, 0.8])
    path = centre + reach * np.sin(phase + np.outer(time, speed))
    gripper = (time < steps // 2).astype(float)
    state = np.column_stack([path, gripper])[:-1].astype(np.float32)
    target = path[1:] - path[:-1] if delta else path[1:]
    action = np.column_stack([target, gripper[1:]]).astype(np.float32)

    def camera(scale):
        y, x = np.mgrid[:height, :width]
        base = np.stack([x * 255 / width, y * 255 / height, (x + y) * 2.0], -1)
        pictures = np.repeat(base[None], steps, 0)
        for k in range(steps):
            left = int((path[k, 0] - 0.15) / 0.3 * width * scale) % (width - 6)
            top = int((path[k, 1] + 0.15) / 0.3 * height) % (height - 6)
            pictures[k, top : top + 6, left : left + 6] = 40 * (seed % 5) + 60
        return np.clip(pictures, 0, 255).astype(np.uint8)

    return Made(camera(1.0), camera(0.7), state, action, TASKS[seed % len(TASKS)], bool(seed % 3))


def episodes(count, **kinds):
    return [episode(seed, **kinds) for seed in range(count)]


# TFRecord, with a checksum of its own


def _table():
    table = []
    for n in range(256):
        for _ in range(8):
            n = (n >> 1) ^ (0x82F63B78 if n & 1 else 0)
        table.append(n)
    return table


_TABLE = _table()


def crc32c(data):
    """Castagnoli's, bit by bit from its polynomial."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = _TABLE[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    return crc ^ 0xFFFFFFFF


def masked(data):
    crc = crc32c(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) % 2**32


def frame(record):
    length = struct.pack("<Q", len(record))
    return length + struct.pack("<I", masked(length)) + record + struct.pack("<I", masked(record))


def picture(array, form):
    file = io.BytesIO()
    Image.fromarray(array).save(file, form, **({"quality": 95} if form == "jpeg" else {}))
    return file.getvalue()


def rlds_features(form="png", cameras=("image_0", "wrist"), height=HEIGHT, width=WIDTH, **extra):
    image = tfds.features.Image(shape=(height, width, 3), encoding_format=form)
    vector = tfds.features.Tensor(shape=(7,), dtype=np.float32)
    return tfds.features.FeaturesDict(
        {
            "steps": tfds.features.Dataset(
                {
                    "observation": {**dict.fromkeys(cameras, image), "state": vector},
                    "action": vector,
                    "language_instruction": tfds.features.Text(),
                    "is_first": np.bool_,
                    "is_last": np.bool_,
                    "is_terminal": np.bool_,
                    "reward": np.float32,
                    **extra,
                }
            ),
            "episode_metadata": {
                "file_path": tfds.features.Text(),
                "number": np.int32,
                "has_image_0": np.bool_,
            },
        }
    )


def rlds_record(features, made, number, form="png", cameras=("image_0", "wrist"), **extra):
    """The record of an episode, by TFDS's own serializer."""
    steps = len(made.state)
    pictures = {"image_0": made.front, "wrist": made.wrist}
    example = {
        "steps": [
            {
                "observation": {
                    **{name: io.BytesIO(picture(pictures[name][t], form)) for name in cameras},
                    "state": made.state[t],
                },
                "action": made.action[t],
                "language_instruction": made.task,
                "is_first": t == 0,
                "is_last": t == steps - 1,
                "is_terminal": t == steps - 1,
                "reward": np.float32(made.success and t == steps - 1),
                **{name: values[t] for name, values in extra.items()},
            }
            for t in range(steps)
        ],
        "episode_metadata": {
            "file_path": f"/logs/{number}",
            "number": number,
            "has_image_0": True,
        },
    }
    serializer = ExampleSerializer(features.get_serialized_info())
    return serializer.serialize_example(features.encode_example(example))


def write_rlds(folder, splits, form="png", file_format="tfrecord", shards=1, delta=True, **kinds):
    """A TFDS folder of {split: how many episodes}; the episodes by split."""
    folder.mkdir(parents=True)
    features = rlds_features(form)
    made, listed = {}, []
    for split, count in splits.items():
        made[split] = episodes(count, delta=delta, **kinds)
        records = [rlds_record(features, m, k, form) for k, m in enumerate(made[split])]
        parts = [records[k::shards] for k in range(shards)]
        for k, part in enumerate(parts):
            name = f"robot-{split}.{file_format}-{k:05d}-of-{shards:05d}"
            write_records(folder / name, part, file_format)
        made[split] = [m for k in range(shards) for m in made[split][k::shards]]
        listed.append({"name": split, "shardLengths": [str(len(part)) for part in parts]})
    write_description(folder, features, listed, file_format)
    return made


def write_records(path, records, file_format="tfrecord"):
    if file_format == "tfrecord":
        path.write_bytes(b"".join(map(frame, records)))
        return
    from array_record.python.array_record_module import ArrayRecordWriter

    writer = ArrayRecordWriter(str(path), "group_size:1")
    for record in records:
        writer.write(record)
    writer.close()


def write_description(folder, features, splits, file_format="tfrecord"):
    described = json_format.MessageToDict(features.to_proto())
    (folder / "features.json").write_text(json.dumps(described))
    info = {"name": "robot", "version": "1.0.0", "fileFormat": file_format, "splits": splits}
    (folder / "dataset_info.json").write_text(json.dumps(info))


# LeRobot


@contextlib.contextmanager
def same_scheduling():
    """SVT-AV1 that runs as root makes the thread which opens it a real-time one. That would take
    the processor from all others, and so would whatever it starts."""
    before = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        yield
    finally:
        os.sched_setscheduler(0, *before)


def write_video(path, pictures, fps=FPS, codec="libx264", lossless=False):
    path.parent.mkdir(parents=True, exist_ok=True)
    with same_scheduling(), av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=fps)
        stream.height, stream.width = pictures.shape[1:3]
        stream.pix_fmt = "yuv420p"
        if codec == "libx264":
            stream.options = {"crf": "0" if lossless else "12", "g": "2"}
        for k, array in enumerate(pictures):
            image = av.VideoFrame.from_ndarray(array, format="rgb24")
            image.pts, image.time_base = k, Fraction(1, fps)
            container.mux(stream.encode(image))
        container.mux(stream.encode(None))


def lerobot_features(codec="h264", height=HEIGHT, width=WIDTH, kind="video"):
    def camera():
        feature = {
            "dtype": kind,
            "shape": [height, width, 3],
            "names": ["height", "width", "channels"],
        }
        if kind == "video":
            feature["info"] = {"video.codec": codec, "video.fps": FPS}
        return feature

    scalars = {
        "timestamp": "float32",
        "frame_index": "int64",
        "episode_index": "int64",
        "index": "int64",
        "task_index": "int64",
        "next.success": "bool",
    }
    return {
        "observation.state": {"dtype": "float32", "shape": [7], "names": list(NAMES)},
        "action": {"dtype": "float32", "shape": [7], "names": {"motors": list(NAMES)}},
        "observation.images.front": camera(),
        "observation.images.wrist": camera(),
        **{n: {"dtype": d, "shape": [1], "names": None} for n, d in scalars.items()},
    }


def lerobot_table(made, index, start, kind="video"):
    steps = len(made.state)

    def fixed(array):
        return pa.FixedSizeListArray.from_arrays(pa.array(array.ravel()), array.shape[1])

    def stored(pictures):
        blobs = [{"bytes": picture(p, "png"), "path": None} for p in pictures]
        return pa.array(blobs, pa.struct({"bytes": pa.binary(), "path": pa.string()}))

    columns = {
        "observation.state": fixed(made.state),
        "action": fixed(made.action),
        "timestamp": pa.array((np.arange(steps) / FPS).astype(np.float32)),
        "frame_index": pa.array(np.arange(steps)),
        "episode_index": pa.array(np.full(steps, index)),
        "index": pa.array(start + np.arange(steps)),
        "task_index": pa.array(np.full(steps, TASKS.index(made.task))),
        "next.success": pa.array((np.arange(steps) == steps - 1) & made.success),
    }
    if kind == "image":
        columns["observation.images.front"] = stored(made.front)
        columns["observation.images.wrist"] = stored(made.wrist)
    return pa.table(columns)


def lerobot_info(version, made, codec="h264", kind="video", **changes):
    height, width = made[0].front.shape[1:3]
    paths = {
        "v2.1": (
            "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet",
            "videos/chunk-{episode_chunk:03d}/{video_key}/episode_{episode_index:06d}.mp4",
        ),
        "v3.0": (
            "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet",
            "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4",
        ),
    }[version]
    return {
        "codebase_version": version,
        "robot_type": "arm",
        "fps": FPS,
        "total_episodes": len(made),
        "total_frames": sum(len(m.state) for m in made),
        "total_tasks": len(TASKS),
        "chunks_size": 1000,
        "splits": {"train": f"0:{len(made)}"},
        "data_path": paths[0],
        "video_path": paths[1],
        "features": lerobot_features(codec, height, width, kind),
        **changes,
    }


def write_lerobot_v21(folder, count=3, codec="h264", encoder="libx264", kind="video", **kinds):
    """The episodes that the folder holds, a file for each."""
    made = episodes(count, **kinds)
    (folder / "meta").mkdir(parents=True)
    (folder / "data/chunk-000").mkdir(parents=True)
    info = lerobot_info("v2.1", made, codec, kind)
    (folder / "meta/info.json").write_text(json.dumps(info))
    rows = [{"task_index": k, "task": task} for k, task in enumerate(TASKS)]
    (folder / "meta/tasks.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    start, lines = 0, []
    for k, m in enumerate(made):
        path = folder / f"data/chunk-000/episode_{k:06d}.parquet"
        pq.write_table(lerobot_table(m, k, start, kind), path)
        if kind == "video":
            for key, pictures in (("front", m.front), ("wrist", m.wrist)):
                name = f"videos/chunk-000/observation.images.{key}/episode_{k:06d}.mp4"
                write_video(folder / name, pictures, codec=encoder)
        lines.append({"episode_index": k, "tasks": [m.task], "length": len(m.state)})
        start += len(m.state)
    (folder / "meta/episodes.jsonl").write_text("".join(json.dumps(r) + "\n" for r in lines))
    return made


def write_lerobot_v30(folder, count=5, per_file=3, per_video=2, kind="video", groups=True, **kinds):
    """The episodes that the folder holds, `per_file` in a table and `per_video` in a video.

    groups: whether each episode is a row group, or all of a file are one.
    """
    made = episodes(count, **kinds)
    (folder / "meta/episodes/chunk-000").mkdir(parents=True)
    (folder / "data/chunk-000").mkdir(parents=True)
    info = lerobot_info("v3.0", made, kind=kind)
    (folder / "meta/info.json").write_text(json.dumps(info))
    tasks = pa.table({"task_index": list(range(len(TASKS))), "task": list(TASKS)})
    pq.write_table(tasks, folder / "meta/tasks.parquet")
    start, rows, tables = 0, [], []
    for k, m in enumerate(made):
        steps = len(m.state)
        table = lerobot_table(m, k, start, kind)
        tables.append(table)
        row = {
            "episode_index": k,
            "tasks": [m.task],
            "length": steps,
            "data/chunk_index": 0,
            "data/file_index": k // per_file,
            "dataset_from_index": start,
            "dataset_to_index": start + steps,
            "stats/action/mean": m.action.mean(0).tolist(),
        }
        before = sum(len(o.state) for o in made[k // per_video * per_video : k]) / FPS
        if kind == "video":
            for key in ("front", "wrist"):
                above = f"videos/observation.images.{key}"
                row |= {
                    f"{above}/chunk_index": 0,
                    f"{above}/file_index": k // per_video,
                    f"{above}/from_timestamp": before,
                    f"{above}/to_timestamp": before + steps / FPS,
                }
        rows.append(row)
        start += steps
    pq.write_table(pa.Table.from_pylist(rows), folder / "meta/episodes/chunk-000/file-000.parquet")
    for k in range(0, count, per_file):
        path = folder / f"data/chunk-000/file-{k // per_file:03d}.parquet"
        if groups:
            with pq.ParquetWriter(path, tables[0].schema) as writer:
                for table in tables[k : k + per_file]:
                    writer.write_table(table)
        else:
            pq.write_table(pa.concat_tables(tables[k : k + per_file]), path)
    for k in range(0, count if kind == "video" else 0, per_video):
        for key in ("front", "wrist"):
            pictures = np.concatenate([getattr(m, key) for m in made[k : k + per_video]])
            name = f"videos/observation.images.{key}/chunk-000/file-{k // per_video:03d}.mp4"
            write_video(folder / name, pictures)
    return made


# robomimic


def write_robomimic(path, count=3, masks=True, big_endian=False, **kinds):
    """The episodes that the file holds."""
    made = episodes(count, **kinds)
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        data = file.create_group("data")
        data.attrs["total"] = sum(len(m.state) for m in made)
        data.attrs["env_args"] = json.dumps({"env_name": "Lift", "env_type": 1, "env_kwargs": {}})
        kind = ">f4" if big_endian else "<f4"
        for k, m in enumerate(made):
            group = data.create_group(f"demo_{k}")
            group.attrs["num_samples"] = len(m.state)
            last = np.arange(len(m.state)) == len(m.state) - 1
            group["actions"] = m.action.astype(kind)
            group["rewards"] = (last & m.success).astype(np.float64)
            group["dones"] = last.astype(np.int64)
            group["states"] = np.zeros((len(m.state), 3))
            group["obs/state"] = m.state.astype(kind)
            group["obs/agentview_image"] = m.front
            group["obs/robot0_eye_in_hand_image"] = m.wrist
            group["next_obs/state"] = m.state
        if masks:
            names = [f"demo_{k}".encode() for k in range(count)]
            file["mask/train"] = np.array(names[: count - 1])
            file["mask/valid"] = np.array(names[count - 1 :])
    return made
