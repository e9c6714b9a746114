"""Export to LeRobot v3.0: tables in parquet, pictures in videos or as PNG, statistics, tasks."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mili_jax.interchange import statistics
from mili_jax.interchange.mapping import Mapping as Plan
from mili_jax.interchange.own_mapping import own_mapping, own_text
from mili_jax.interchange.recording import MAPPING
from mili_jax.interchange.statistics import Stats
from mili_jax.interchange.store import Exported, facts_of, pictures_of, streams
from mili_jax.interchange.to_rlds import png
from mili_jax.interchange.video import CRF, VideoWriter
from mili_jax.spec import Spec

__all__ = ["CRF", "plan", "write"]

STATE, ACTION = "observation.state", "action"
_CHUNK = 1000  # files in a folder
_DATA_MB, _VIDEO_MB = 100, 200
_DATA = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
_VIDEO = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"
_EPISODES = "meta/episodes/chunk-000/file-000.parquet"
_INDEX = (
    *(("timestamp", "float32"), ("frame_index", "int64"), ("episode_index", "int64")),
    *(("index", "int64"), ("task_index", "int64")),
)
_OUTCOME = (("next.reward", "float32"), ("next.success", "bool"), ("next.done", "bool"))


def plan(spec: Spec, splits: Sequence[str], fps: float, lossless: bool) -> Plan:
    """The mapping that brings the export back."""
    return own_mapping(
        spec,
        "lerobot",
        STATE,
        ACTION,
        _camera,
        "png" if lossless else "h264",
        lambda fact: f"episode/mili/{fact}",
        splits,
        fps,
    )


def _camera(name: str) -> str:
    return f"observation.images.{name}"


def write(
    folder: Path,
    spec: Spec,
    episodes: Mapping[str, tuple[int, Iterator[Exported]]],
    mapping: Plan,
    lossless: bool,
) -> None:
    """Writes splits, each as (how many episodes, the episodes), one after another."""
    assert mapping.fps is not None
    fps = int(mapping.fps)
    for name in ("data", "meta/episodes/chunk-000"):
        (folder / name).mkdir(parents=True)
    tables = _Tables(folder, spec, lossless)
    videos = {} if lossless else {s.name: _Videos(folder, spec, s.name, fps) for s in streams(spec)}
    tasks: dict[str, int] = {}
    rows: list[dict[str, object]] = []
    spans = {}
    stats: list[dict[str, Stats]] = []
    frame = 0
    try:
        for split, (_, found) in episodes.items():
            first = len(rows)
            for exported in found:
                episode = exported.episode
                views = {_camera(s.name): pictures_of(spec, episode, s) for s in streams(spec)}
                words = episode.meta.language or episode.meta.task
                task = tasks.setdefault(words, len(tasks))
                columns = _columns(exported, len(rows), frame, task, fps)
                place = tables.add(columns, views)
                for name, video in videos.items():
                    place |= video.add(views[_camera(name)])
                own = {name: statistics.of_numbers(values) for name, values in columns.items()}
                some = np.unique(np.linspace(0, len(episode) - 1, 100).astype(int))
                own |= {name: statistics.of_pictures(view[some]) for name, view in views.items()}
                stats.append(own)
                rows.append(_row(exported, len(rows), words, frame, place, own))
                frame += len(episode)
            spans[split] = f"{first}:{len(rows)}"
    finally:
        tables.close()
        for video in videos.values():
            video.close()
    _write_meta(folder, rows, tasks, stats)
    info = _info(spec, fps, lossless, len(rows), frame, len(tasks), spans)
    (folder / "meta/info.json").write_text(json.dumps(info, indent=4))
    (folder / MAPPING).write_text(own_text(mapping))


def _columns(
    exported: Exported, index: int, frame: int, task: int, fps: int
) -> dict[str, np.ndarray]:
    """The numbers of an episode by column, each [T] or [T,n]."""
    episode = exported.episode
    steps = np.arange(len(episode))
    last = steps == steps[-1]
    success = last & episode.meta.success
    return {
        STATE: episode.pose,
        ACTION: episode.action,
        "timestamp": (steps / fps).astype(np.float32),
        "frame_index": steps,
        "episode_index": np.full(len(steps), index),
        "index": frame + steps,
        "task_index": np.full(len(steps), task),
        "next.reward": success.astype(np.float32),
        "next.success": success,
        "next.done": last,
    }


class _Tables:
    """The files under `data/`, a row group for each episode."""

    def __init__(self, folder: Path, spec: Spec, lossless: bool) -> None:
        self._folder = folder
        self._cameras = [_camera(s.name) for s in streams(spec)] if lossless else []
        self._writer: pq.ParquetWriter | None = None
        self._file = 0
        self._bytes = 0

    def add(
        self, columns: Mapping[str, np.ndarray], views: Mapping[str, np.ndarray]
    ) -> dict[str, object]:
        """Appends an episode; where it went."""
        arrays = {name: _array(values) for name, values in columns.items()}
        for name in self._cameras:
            blobs = [{"bytes": png(picture), "path": None} for picture in views[name]]
            kind = pa.struct({"bytes": pa.binary(), "path": pa.string()})
            arrays[name] = pa.array(blobs, kind)
        table = pa.table(arrays)
        if self._writer is not None and self._bytes + table.nbytes > _DATA_MB * 2**20:
            self.close()
            self._file += 1
        if self._writer is None:
            path = self._folder / _DATA.format(**_place(self._file))
            path.parent.mkdir(parents=True, exist_ok=True)
            self._writer = pq.ParquetWriter(path, table.schema, compression="snappy")
            self._bytes = 0
        self._writer.write_table(table)
        self._bytes += table.nbytes
        return {f"data/{name}": value for name, value in _place(self._file).items()}

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None


class _Videos:
    """The videos of a camera, episodes one after another."""

    def __init__(self, folder: Path, spec: Spec, camera: str, fps: int) -> None:
        self._folder, self._spec, self._fps = folder, spec, fps
        self._key = _camera(camera)
        self._writer: VideoWriter | None = None
        self._file = 0

    def add(self, pictures: np.ndarray) -> dict[str, object]:
        """Appends an episode; where it went."""
        if self._writer is not None and self._writer.path.stat().st_size > _VIDEO_MB * 2**20:
            self.close()
            self._file += 1
        if self._writer is None:
            path = self._folder / _VIDEO.format(video_key=self._key, **_place(self._file))
            path.parent.mkdir(parents=True, exist_ok=True)
            size = self._spec.height, self._spec.width
            self._writer = VideoWriter(path, *size, self._fps)
        begin = self._writer.frames
        self._writer.add(pictures)
        above = f"videos/{self._key}"
        return {
            **{f"{above}/{name}": value for name, value in _place(self._file).items()},
            f"{above}/from_timestamp": begin / self._fps,
            f"{above}/to_timestamp": self._writer.frames / self._fps,
        }

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None


def _place(file: int) -> dict[str, int]:
    return {"chunk_index": file // _CHUNK, "file_index": file % _CHUNK}


def _array(values: np.ndarray) -> pa.Array:
    flat = pa.array(values.ravel())
    return flat if values.ndim == 1 else pa.FixedSizeListArray.from_arrays(flat, values.shape[1])


def _row(
    exported: Exported,
    index: int,
    words: str,
    frame: int,
    place: Mapping[str, object],
    stats: Mapping[str, Stats],
) -> dict[str, object]:
    """The episode's line in `meta/episodes`."""
    length = len(exported.episode)
    return {
        "episode_index": index,
        "tasks": [words],
        "length": length,
        **place,
        "dataset_from_index": frame,
        "dataset_to_index": frame + length,
        **{
            f"stats/{column}/{name}": value.tolist()
            for column, own in stats.items()
            for name, value in own.items()
        },
        "meta/episodes/chunk_index": 0,
        "meta/episodes/file_index": 0,
        **{f"mili/{name}": value for name, value in facts_of(exported).items()},
    }


def _write_meta(
    folder: Path,
    rows: Sequence[Mapping[str, object]],
    tasks: Mapping[str, int],
    stats: Sequence[Mapping[str, Stats]],
) -> None:
    pq.write_table(pa.Table.from_pylist(list(rows)), folder / _EPISODES, compression="snappy")
    # As pandas stores a frame with the index `task`, which LeRobot reads it as.
    table = pa.table({"task_index": list(tasks.values()), "task": list(tasks)})
    described = [
        {"name": n, "field_name": n, "pandas_type": t, "numpy_type": u, "metadata": None}
        for n, t, u in (("task_index", "int64", "int64"), ("task", "unicode", "object"))
    ]
    names = {"name": None, "field_name": None, "pandas_type": "unicode", "numpy_type": "object"}
    pandas = {
        "index_columns": ["task"],
        "column_indexes": [{**names, "metadata": {"encoding": "UTF-8"}}],
        "columns": described,
        "pandas_version": "2.2.0",
    }
    table = table.replace_schema_metadata({"pandas": json.dumps(pandas)})
    pq.write_table(table, folder / "meta/tasks.parquet")
    whole = {
        column: {
            name: value.tolist()
            for name, value in statistics.together([own[column] for own in stats]).items()
        }
        for column in stats[0]
    }
    (folder / "meta/stats.json").write_text(json.dumps(whole, indent=4))


def _info(
    spec: Spec,
    fps: int,
    lossless: bool,
    episodes: int,
    frames: int,
    tasks: int,
    spans: Mapping[str, str],
) -> dict[str, object]:
    features: dict[str, object] = {
        STATE: {"dtype": "float32", "shape": [len(spec.pose)], "names": list(spec.pose.names)},
        ACTION: {"dtype": "float32", "shape": [len(spec.action)], "names": list(spec.action.names)},
    }
    for stream in streams(spec):
        feature: dict[str, object] = {
            "dtype": "image" if lossless else "video",
            "shape": [spec.height, spec.width, 3],
            "names": ["height", "width", "channels"],
        }
        if not lossless:
            feature["info"] = {
                "video.height": spec.height,
                "video.width": spec.width,
                "video.codec": "h264",
                "video.pix_fmt": VideoWriter.pixels(spec.height, spec.width),
                "video.is_depth_map": False,
                "video.fps": fps,
                "video.channels": 3,
                "has_audio": False,
            }
        features[_camera(stream.name)] = feature
    for name, dtype in (*_INDEX, *_OUTCOME):
        features[name] = {"dtype": dtype, "shape": [1], "names": None}
    return {
        "codebase_version": "v3.0",
        "robot_type": "unknown",
        "total_episodes": episodes,
        "total_frames": frames,
        "total_tasks": tasks,
        "chunks_size": _CHUNK,
        "data_files_size_in_mb": _DATA_MB,
        "video_files_size_in_mb": _VIDEO_MB,
        "fps": fps,
        "splits": dict(spans),
        "data_path": _DATA,
        "video_path": None if lossless else _VIDEO,
        "features": features,
    }
