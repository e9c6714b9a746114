# ruff: noqa: E501 - tables, a case a line
"""Damaged and wild LeRobot folders."""

from __future__ import annotations

import random

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from damage_tools import (
    LARGE,
    STEPS,
    buried,
    content,
    cut,
    emptied,
    in_json,
    named,
    text,
    without,
)
from makers import (
    FPS,
    episode,
    write_video,
)


def info(change, *said):
    def damage(folder):
        in_json(folder / "meta/info.json", change)
        return named("info.json", *said)

    return damage


def feature(name, *said, **changes):
    return info(lambda i: i["features"][name].update(changes), *said)


def lines(name, change, *said):
    def damage(folder):
        text(folder / "meta" / name, change)
        return named(name, *said)

    return damage


def table(change, *said, name="data/chunk-000/episode_000001.parquet"):
    """A table changed by a function of it."""

    def damage(folder):
        path = folder / name
        changed = change(pq.read_table(path))
        path.unlink()
        pq.write_table(changed, path)
        return named(path.name, *said)

    return damage


def with_column(name, make_column):
    def change(old):
        return old.set_column(old.schema.get_field_index(name), name, make_column(old[name]))

    return change


def numbers(name, change):
    """A column of vectors with its numbers changed in place."""

    def make_column(old):
        flat = np.stack(old.to_numpy()).copy()
        change(flat)
        return pa.FixedSizeListArray.from_arrays(pa.array(flat.ravel()), flat.shape[1])

    return with_column(name, make_column)


def scalars(name, change):
    def make_column(old):
        values = old.to_numpy().copy()
        change(values)
        return pa.array(values)

    return with_column(name, make_column)


def put(place, value):
    return lambda array: array.__setitem__(place, value)


def ragged(old):
    rows = [list(map(float, row)) for row in old.to_pylist()]
    rows[2] = rows[2][:5]
    return pa.array(rows)


def video(change, key="front", number=1, *said):
    def damage(folder):
        path = folder / f"videos/chunk-000/observation.images.{key}/episode_{number:06d}.mp4"
        change(path)
        return named(path.name, f"observation.images.{key}", *said)

    return damage


def frames(count, fps=FPS, codec="libx264", size=(24, 32)):
    def change(path):
        path.unlink()
        made = episode(1, steps=max(count, 2), height=size[0], width=size[1])
        write_video(path, made.front[:count], fps, codec)

    return change


def sound(path):
    path.unlink()
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("aac", rate=16000)
        samples = av.AudioFrame(format="fltp", layout="mono", samples=1024)
        samples.sample_rate, samples.pts = 16000, 0
        for array in samples.planes:
            array.update(bytes(4096))
        container.mux(stream.encode(samples))
        container.mux(stream.encode(None))


def rows(change, *said, name="meta/episodes/chunk-000/file-000.parquet"):
    """The lines of a v3.0 table of episodes, changed as dictionaries."""

    def damage(folder):
        path = folder / name
        found = pq.read_table(path).to_pylist()
        change(found)
        path.unlink()
        pq.write_table(pa.Table.from_pylist(found), path)
        return named(*(said or (path.name,)))

    return damage


def each(**changes):
    def change(found):
        for row in found:
            row.update(changes)

    return change


def one(number, **changes):
    return lambda found: found[number].update(changes)


def lost(field):
    def change(found):
        for row in found:
            row.pop(field)

    return change


EPISODE = "data/chunk-000/episode_000001.parquet"
FRONT = "videos/observation.images.front"
FILE = "data/chunk-000/file-000.parquet"

LEROBOT = {
    **{
        f"info without {field}": ("v21", info(lambda i, f=field: i.pop(f) and None, field))
        for field in ("codebase_version", "fps", "features", "total_episodes", "data_path")
    },
    "info cut": ("v21", content("meta/info.json", b'{"codebase_version": "v2.1", "fp', "JSON")),
    "info a list": ("v21", info(lambda i: [i], "object")),
    "no info": ("v21", without("meta/info.json", "missing")),
    **{
        f"version {version}": ("v21", info(lambda i, v=version: i.update(codebase_version=v), version))
        for version in ("v1.6", "v2.0", "v4.0", "3")
    },
    **{
        f"fps {fps}": ("v21", info(lambda i, f=fps: i.update(fps=f), "fps"))
        for fps in (0, -30, "30", None, True, float("nan"))
    },
    "features a list": ("v21", info(lambda i: i.update(features=[]), "features")),
    "a feature without shape": ("v21", info(lambda i: i["features"]["action"].pop("shape") and None, "action")),
    "a feature of negative shape": ("v21", feature("action", "action", shape=[-7])),
    "a feature of broken shape": ("v21", feature("action", "action", shape=["7"])),
    "a feature without type": ("v21", info(lambda i: i["features"]["action"].pop("dtype") and None, "action")),
    "more numbers promised": (
        "v21", lambda f: feature("action", shape=[8])(f) and named("episode_000000.parquet", "action"),
    ),
    "action called by another type": (
        "v21", lambda f: feature("action", dtype="int64")(f) and named("episode_000000.parquet", "action"),
    ),
    "action of a type that does not exist": ("v21", lambda f: feature("action", dtype="f99")(f) and named("action")),
    "a path that leads out": ("v21", info(lambda i: i.update(data_path="../{episode_index}"), "data_path")),
    "an absolute path": ("v21", info(lambda i: i.update(video_path="/tmp/{episode_index}"), "video_path")),
    "a template of nothing known": ("v21", info(lambda i: i.update(data_path="{file}"), "data_path")),
    "no path of videos": ("v21", info(lambda i: i.update(video_path=None), "video_path")),
    "another folder": (
        "v21", info(lambda i: i.update(data_path="table/{episode_index}.parquet"), "table/0.parquet"),
    ),
    "more episodes promised": ("v21", info(lambda i: i.update(total_episodes=5), "promises 5")),
    "fewer episodes promised": ("v21", info(lambda i: i.update(total_episodes=2), "promises 2")),
    "no number of episodes": ("v21", info(lambda i: i.update(total_episodes="many"), "total_episodes")),
    "chunks of no number": ("v21", info(lambda i: i.update(chunks_size="many"), "chunks_size")),
    "a split without end": ("v21", info(lambda i: i.update(splits={"train": "0"}), "splits")),
    "splits in words": ("v21", info(lambda i: i.update(splits={"train": "all:of"}), "splits")),
    "splits a list": ("v21", info(lambda i: i.update(splits=["train"]), "splits")),
    "a split of nothing": ("v21", info(lambda i: i.update(splits={"train": "7:9"}), "splits")),
    "no tasks": ("v21", without("meta/tasks.jsonl", "missing")),
    "tasks cut": ("v21", lines("tasks.jsonl", lambda t: t[:-20], "line 2")),
    "a task without number": ("v21", lines("tasks.jsonl", lambda t: t.replace("task_index", "index"), "task_index")),
    "a task of no text": ("v21", lines("tasks.jsonl", lambda t: t.replace('"Open the drawer."', "3"), "row 1")),
    "a task twice": ("v21", lines("tasks.jsonl", lambda t: t.replace('"task_index": 1', '"task_index": 0'), "twice")),
    "an unknown task": ("v21", table(scalars("task_index", put(slice(None), 9)), "episode 1", "task_index 9")),
    "a task that changes": ("v21", table(scalars("task_index", put(3, 0)), "episode 1", "task", "step 3")),
    "no list of episodes": ("v21", without("meta/episodes.jsonl", "missing")),
    "a broken line of episodes": ("v21", lines("episodes.jsonl", lambda t: t.replace("{", "[", 1), "line 1")),
    "a line that is a number": ("v21", lines("episodes.jsonl", lambda t: "7\n" + t, "line 1")),
    "an episode twice": ("v21", lines("episodes.jsonl", lambda t: t + t.splitlines()[0] + "\n", "twice")),
    **{
        f"a length of {length}": (
            "v21", lines("episodes.jsonl", lambda t, n=length: t.replace('"length": 6', f'"length": {n}', 1), *said),
        )
        for length, said in ((0, ("row 0", "length")), (-6, ("row 0",)), ('"six"', ("row 0",)), (6.5, ("row 0",)))
    },
    **{
        f"a length of {length} that is none": (
            "v21",
            lambda f, n=length: lines("episodes.jsonl", lambda t: t.replace('"length": 6', f'"length": {n}', 1))(f)
            and named("episode_000000.parquet", "6 rows", f"promise {n}"),
        )
        for length in (5, 7, 600)
    },
    **{
        f"table cut to {k}%": ("v21", lambda f, k=k: cut(f / EPISODE, k / 100) or named("episode_000001.parquet"))
        for k in (0, 5, 20, 40, 60, 80, 95, 99)
    },
    "a table of noise": ("v21", content(EPISODE, random.Random(1).randbytes(3000))),
    "a table of text": ("v21", content(EPISODE, b"episode_index,action\n0,1\n")),
    "no table": ("v21", lambda f: (f / EPISODE).unlink() or named("info.json", "promises 3", "Missing: 1")),
    **{
        f"column renamed {name}": ("v21", table(
            lambda t, n=name: t.rename_columns([f"{c}_new" if c == n else c for c in t.column_names]), name))
        for name in ("action", "observation.state", "timestamp", "frame_index", "task_index", "episode_index",
                     "next.success")
    },
    **{
        f"{value} in {name}": ("v21", table(numbers(name, put((2, 3), value)), "episode 1", f"{name}[3]", "step 2"))
        for name in ("action", "observation.state")
        for value in (np.nan, np.inf, -1e9)
    },
    "text as action": ("v21", table(with_column("action", lambda c: pa.array(["x"] * len(c))), "action")),
    "whole numbers as state": (
        "v21",
        table(with_column("observation.state", lambda c: pa.array([[1] * 7] * len(c))), "observation.state"),
    ),
    "rows of unlike length": ("v21", table(with_column("action", ragged), "episode 1", "action")),
    "six numbers": ("v21", table(with_column(
        "action", lambda c: pa.array([row[:6] for row in c.to_pylist()], pa.list_(pa.float32()))), "action")),
    "an empty row": ("v21", table(with_column(
        "action", lambda c: pa.array([None, *c.to_pylist()[1:]], pa.list_(pa.float32()))), "action")),
    "an empty number": ("v21", table(with_column("action", lambda c: pa.array(
        [[None, *c.to_pylist()[0][1:]], *c.to_pylist()[1:]], pa.list_(pa.float32()))), "action")),
    "an empty time": ("v21", table(with_column(
        "timestamp", lambda c: pa.array([None, *c.to_pylist()[1:]], pa.float32())), "timestamp")),
    "one number as action": ("v21", table(with_column("action", lambda c: pa.array(np.zeros(len(c), "f4"))), "action")),
    "times that fall": ("v21", table(scalars("timestamp", put(3, 0)), "timestamp")),
    "times that stand": ("v21", table(scalars("timestamp", put(slice(None), 0)), "timestamp")),
    "no time": ("v21", table(scalars("timestamp", put(0, np.nan)), "timestamp")),
    "times of another rate": ("v21", lambda f: table(
        with_column("timestamp", lambda c: pa.array(c.to_numpy() * np.float32(7))))(f)
        and named("episode_000001.mp4", "observation.images.front")),
    "steps not counted": ("v21", table(scalars("frame_index", put(2, 9)), "frame_index")),
    "steps from one": ("v21", table(
        with_column("frame_index", lambda c: pa.array(c.to_numpy() + 1)), "frame_index")),
    "another episode's number": ("v21", table(scalars("episode_index", put(slice(None), 2)), "episode 1")),
    "steps of another episode": ("v21", table(scalars("episode_index", put(5, 2)), "episode 1", "5 rows")),
    "a step less": ("v21", table(lambda t: t.slice(0, 5), "5 rows")),
    "a step more": ("v21", table(lambda t: pa.concat_tables([t, t.slice(0, 1)]), "7 rows")),
    "a table without rows": ("v21", table(lambda t: t.slice(0, 0), "episode 1")),
    **{
        f"video cut to {k}%": ("v21", video(lambda p, k=k: cut(p, k / 100)))
        for k in (0, 1, 10, 30, 50, 70, 90, 97)
    },
    "a video of noise": ("v21", video(lambda p: p.write_bytes(random.Random(2).randbytes(9000)))),
    "a video of text": ("v21", video(lambda p: p.write_text("no video"))),
    "no video": ("v21", lambda f: (f / "videos/chunk-000/observation.images.front/episode_000001.mp4").unlink()
                 or named("info.json", "episode_000001.mp4", "Missing: 1")),
    "a video of one colour plane less": ("v21", lambda f: feature("observation.images.front", shape=[24, 32, 1])(f)
                                         and named("v21", "observation.images.front", "(24, 32, 1)")),
    "AV1 where H.264 is promised": ("v21", video(frames(STEPS, codec="libsvtav1", size=(64, 64)), "front", 1, "av1")),
    "MPEG-4 where H.264 is promised": ("v21", video(frames(STEPS, codec="mpeg4"), "front", 1, "mpeg4")),
    "H.265 where H.264 is promised": ("v21", video(frames(STEPS, codec="libx265", size=(64, 64)), "wrist", 2, "hevc")),
    "a larger video": ("v21", video(frames(STEPS, size=(48, 64)), "front", 1, "48 x 64")),
    "a turned video": ("v21", video(frames(STEPS, size=(32, 24)), "wrist", 0, "32 x 24")),
    **{f"a video of {k} frames": ("v21", video(frames(k))) for k in (1, 3, 5, 8, 20)},
    "a video of half the rate": ("v21", video(frames(STEPS, fps=5))),
    "a video of twice the rate": ("v21", video(frames(STEPS, fps=20))),
    "sound alone": ("v21", video(sound)),
    "an empty folder": ("v21", emptied),
    "a folder too high": ("v21", lambda f: buried(f)),
    **{
        f"no table of episodes {k}": ("v30", damage)
        for k, damage in enumerate((
            lambda f: (f / "meta/episodes/chunk-000/file-000.parquet").unlink() or named("meta/episodes"),
            lambda f: cut(f / "meta/episodes/chunk-000/file-000.parquet", 0.5) or named("file-000.parquet"),
            without("meta/tasks.parquet", "missing"),
            lambda f: cut(f / "meta/tasks.parquet", 0.7) or named("tasks.parquet"),
        ))
    },
    **{
        f"episodes without {field}": ("v30", rows(lost(field), "meta/episodes", field))
        for field in ("episode_index", "length", "data/chunk_index", "data/file_index",
                      f"{FRONT}/chunk_index", f"{FRONT}/file_index", f"{FRONT}/to_timestamp")
    },
    "episodes without the begin of a video": (
        "v30", rows(lost(f"{FRONT}/from_timestamp"), "meta/episodes", "observation.images.front"),
    ),
    "a file that is not there": ("v30", rows(each(**{"data/file_index": 7}), "info.json", "file-007.parquet")),
    "a negative file": ("v30", rows(one(1, **{"data/file_index": -1}), "meta/episodes", "data/file_index")),
    "episodes in each other's file": ("v30", rows(one(0, **{"data/file_index": 1}), "file-001.parquet", "episode 0")),
    "a video file that is not there": ("v30", rows(one(2, **{f"{FRONT}/file_index": 9}), "file-009.mp4")),
    "a begin beyond the video": ("v30", rows(
        one(1, **{f"{FRONT}/from_timestamp": 99.0, f"{FRONT}/to_timestamp": 99.6}), "file-000.mp4")),
    "a begin between frames": ("v30", rows(
        one(3, **{f"{FRONT}/from_timestamp": 1.15, f"{FRONT}/to_timestamp": 1.75}), "file-001.mp4")),
    "an end before the begin": ("v30", rows(
        one(1, **{f"{FRONT}/to_timestamp": 0.0}), "meta/episodes", "observation.images.front")),
    "a time of no number": ("v30", rows(
        each(**{f"{FRONT}/from_timestamp": "soon"}), "meta/episodes", "from_timestamp")),
    "a length that is none": ("v30", rows(
        one(1, **{"length": 7, f"{FRONT}/to_timestamp": 1.3, "videos/observation.images.wrist/to_timestamp": 1.3}),
        "file-000.parquet", "episode 1", "6 rows")),
    "an episode twice in v3.0": ("v30", rows(one(1, episode_index=0), "meta/episodes", "twice")),
    "the shared video cut": ("v30", lambda f: cut(f / f"{FRONT}/chunk-000/file-001.mp4", 0.6) or named("file-001.mp4")),
    "the shared table cut": ("v30", lambda f: cut(f / FILE, 0.6) or named("file-000.parquet")),
    "the shared table without an episode": ("v30", table(
        lambda t: t.filter(pa.compute.not_equal(t["episode_index"], 1)), "episode 1", name=FILE)),
    "no picture in a row": ("png", table(with_column("observation.images.front", lambda c: pa.array(
        [None, *c.to_pylist()[1:]], c.type)), "observation.images.front", "step 0", name=FILE)),
    "noise as picture in a row": ("png", table(with_column("observation.images.front", lambda c: pa.array(
        [*c.to_pylist()[:4], {"bytes": b"noise", "path": None}, *c.to_pylist()[5:]], c.type)),
        "observation.images.front", "step 4", name=FILE)),
    "a picture file that is not there": ("png", table(with_column("observation.images.front", lambda c: pa.array(
        [{"bytes": None, "path": "images/7.png"}] * len(c), c.type)), name=FILE)),
    "a picture file outside": ("png", table(with_column("observation.images.front", lambda c: pa.array(
        [{"bytes": None, "path": "../../x.png"}] * len(c), c.type)), "observation.images.front", name=FILE)),
    "a larger picture in a row": ("png", table(with_column("observation.images.wrist", lambda c: pa.array(
        [*c.to_pylist()[:2], {"bytes": LARGE, "path": None}, *c.to_pylist()[3:]], c.type)),
        "observation.images.wrist", "step 2", name=FILE)),
    "a number as picture": ("png", table(with_column(
        "observation.images.front", lambda c: pa.array(range(len(c)))), "observation.images.front", name=FILE)),
}  # fmt: skip
