"""LeRobot datasets, v2.1 (a file per episode) and v3.0 (episodes one after another in files)."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from mili_jax.interchange.lerobot_meta import (
    TASK,
    Info,
    Listed,
    columns_of,
    listed_episodes,
    number,
    path_of,
    read_info,
    read_tasks,
    splits_of,
)
from mili_jax.interchange.parquet import DataFile, Rows
from mili_jax.interchange.recording import (
    MAPPING,
    NUMBER,
    PICTURE,
    TEXT,
    Column,
    EncodedPictures,
    Pictures,
    Recording,
)
from mili_jax.interchange.video import VideoPictures
from mili_jax.types import DataError


@dataclasses.dataclass(frozen=True)
class Place:
    """Where an episode is: rows of a parquet file, and for each camera a video and its begin (s).

    alone: whether each of its videos holds nothing else.
    """

    index: int
    length: int
    data: Path
    videos: Mapping[str, tuple[Path, float]]
    alone: bool
    facts: Mapping[str, object]


@dataclasses.dataclass(frozen=True)
class LerobotSource:
    """A LeRobot folder that `open_lerobot` looked through."""

    path: Path
    columns: Mapping[str, Column]
    videos: frozenset[str]
    tasks: Mapping[int, str]
    places: Mapping[str, tuple[Place, ...]]
    fps: float
    notes: tuple[str, ...]
    mapping: str | None
    format: str = "lerobot"

    @property
    def splits(self) -> Mapping[str, int]:
        return {split: len(places) for split, places in self.places.items()}

    def read(
        self, split: str, numbers: Sequence[int], names: Collection[str] | None = None
    ) -> Iterator[Recording]:
        """Recordings with the columns `names`, by default all that can be read."""
        wanted = [
            column
            for column in self.columns.values()
            if (names is None or column.name in names) and column.kind in (PICTURE, NUMBER, TEXT)
        ]
        opened: DataFile | None = None
        try:
            for k in numbers:
                place = self.places[split][k]
                if opened is None or opened.path != place.data:
                    if opened is not None:
                        opened.close()
                    opened = DataFile(place.data)
                yield self._recording(opened, place, split, k, wanted)
        finally:
            if opened is not None:
                opened.close()

    def _recording(
        self, file: DataFile, place: Place, split: str, k: int, wanted: Sequence[Column]
    ) -> Recording:
        where = f"{place.data}, episode {place.index}"
        stored = [c for c in wanted if c.per_step and c.name not in self.videos and c.name != TASK]
        fixed = ["timestamp", "frame_index"]
        if any(column.name == TASK for column in wanted):
            fixed.append("task_index")
        rows = file.episode(place.index, [*fixed, *(c.name for c in stored)])
        if len(rows) != place.length:
            raise DataError(
                f"{where} has {len(rows)} rows, the metadata promise {place.length} steps; copy "
                "the file again"
            )
        times = rows.numbers("timestamp", (), "float32").astype(np.float64)
        frames = rows.numbers("frame_index", (), "int64")
        if not np.array_equal(frames, np.arange(place.length)):
            raise DataError(f"{where}: frame_index does not count from 0 to {place.length - 1}")
        if not (np.isfinite(times).all() and (np.diff(times) > 0).all()):
            raise DataError(f"{where}: timestamp does not rise from row to row")
        pictures: dict[str, Pictures] = {}
        numbers: dict[str, np.ndarray] = {}
        texts: dict[str, tuple[str, ...]] = {}
        facts: dict[str, object] = {}
        for column in wanted:
            name = column.name
            if not column.per_step:
                facts[name] = place.facts.get(name)
            elif name == TASK:
                texts[name] = self._tasks(rows.numbers("task_index", (), "int64"), where)
            elif column.kind == PICTURE:
                pictures[name] = self._pictures(column, place, rows, times, where)
            elif column.kind == TEXT:
                texts[name] = rows.texts(name)
            else:
                numbers[name] = rows.numbers(name, column.shape, column.dtype)
        return Recording(where, split, k, place.length, pictures, numbers, texts, facts)

    def _tasks(self, indices: np.ndarray, where: str) -> tuple[str, ...]:
        unknown = sorted(set(indices.tolist()) - set(self.tasks))
        if unknown:
            raise DataError(f"{where}: task_index {unknown[0]} is not among the tasks in meta/")
        return tuple(self.tasks[i] for i in indices.tolist())

    def _pictures(
        self, column: Column, place: Place, rows: Rows, times: np.ndarray, where: str
    ) -> Pictures:
        size = (column.shape[0], column.shape[1])
        if column.name not in self.videos:
            blobs = rows.pictures(column.name, self.path)
            return EncodedPictures(where, column.name, blobs, size)
        path, begin = place.videos[column.name]
        frames = place.length if place.alone else None
        return VideoPictures(where, column.name, path, times + begin, 0.5 / self.fps, size, frames)


def open_lerobot(path: Path | str, partial: bool = False) -> LerobotSource:
    """Looks through a LeRobot folder of version v2.1 or v3.0.

    Args:
      partial: take the episodes of which all files are there, and name the others in a note.

    Raises DataError naming the file: no or wrong metadata, another version, episodes that
    `info.json` promises and that are not there.
    """
    path = Path(path)
    if not path.is_dir():
        raise DataError(f"{path} is no folder; give the one that holds meta/info.json")
    info = read_info(path)
    columns = columns_of(path, info)
    videos = frozenset(
        name for name, raw in info["features"].items() if raw["dtype"] == "video"
    ) & frozenset(name for name, column in columns.items() if column.kind == PICTURE)
    tasks = read_tasks(path, info["codebase_version"])
    listed = listed_episodes(path, info["codebase_version"])
    columns.update(_extra(listed))
    promised, notes = number(path, info, "total_episodes"), []
    fps = number(path, info, "fps")
    if not fps > 0:
        raise DataError(f"{path / 'meta/info.json'}: fps is {fps}, it must be above 0")
    unlisted = [i for i in range(int(promised)) if i not in listed]
    if len(listed) != promised:
        text = (
            f"{path / 'meta/info.json'} promises {promised} episodes, {len(listed)} are listed in "
            "meta/"
        )
        if not partial:
            raise DataError(f"{text}; copy the folder again, or ask for what is there (--partial)")
        notes.append(f"{text}.")
    places, gone = {}, {}
    for index, episode in listed.items():
        place = _place(path, info, index, episode, videos, fps)
        files = [place.data, *(file for file, _ in place.videos.values())]
        missing = [file for file in files if not file.is_file()]
        if missing:
            gone[index] = missing[0]
        else:
            places[index] = place
    if gone or unlisted:
        text = (
            f"{path / 'meta/info.json'} promises {promised} episodes, {len(places)} are there. "
            f"Missing: {ranges(sorted({*gone, *unlisted}))}"
        )
        if gone:
            text += f" (the first is {next(iter(gone.values()))})"
        if not partial:
            raise DataError(f"{text}; copy them, or ask for what is there (--partial)")
        notes.append(f"{text}.")
    if not places:
        raise DataError(f"{path} holds no episode of which all files are there; {notes[-1]}")
    splits = splits_of(path, info)
    found = {
        split: tuple(places[i] for i in range(*span) if i in places)
        for split, span in splits.items()
    }
    found = {split: places for split, places in found.items() if places}
    inside = {place.index for split in found.values() for place in split}
    if left := sorted(set(places) - inside):
        notes.append(f"These episodes are in no split of info.json and left out: {ranges(left)}.")
    if not found:
        raise DataError(
            f"{path / 'meta/info.json'}: none of its splits has an episode that is there"
        )
    own = path / MAPPING
    return LerobotSource(
        path,
        columns,
        videos,
        tasks,
        found,
        float(fps),
        tuple(notes),
        own.read_text() if own.is_file() else None,
    )


def read_lerobot(
    path: Path | str, splits: Sequence[str] | None = None, partial: bool = False
) -> Iterator[Recording]:
    """The episodes of a LeRobot folder, one at a time. Raises DataError as `open_lerobot` at once,
    and for an episode when its turn comes."""
    source = open_lerobot(path, partial)
    return (
        recording
        for split in (source.splits if splits is None else splits)
        for recording in source.read(split, range(source.splits[split]))
    )


def ranges(numbers: Sequence[int]) -> str:
    """ "0-9, 11-99" of rising numbers."""
    found: list[list[int]] = []
    for n in numbers:
        if found and n == found[-1][1] + 1:
            found[-1][1] = n
        else:
            found.append([n, n])
    return ", ".join(f"{a}-{b}" if a < b else str(a) for a, b in found)


def _extra(listed: Mapping[int, Listed]) -> dict[str, Column]:
    kinds: dict[str, str] = {}
    for episode in listed.values():
        for name, value in episode.facts.items():
            kinds[name] = TEXT if isinstance(value, str) else NUMBER
    return {name: Column(name, kind, per_step=False) for name, kind in kinds.items()}


def _place(
    path: Path,
    info: Info,
    index: int,
    episode: Listed,
    videos: Collection[str],
    fps: float,
) -> Place:
    size = number(path, info, "chunks_size") if info.get("chunks_size") else 1000
    chunk = index // max(1, int(size))
    numbers = {"episode_index": index, "episode_chunk": chunk}
    data = path_of(path, info, "data_path", {**numbers, **episode.data})
    found = {}
    for key in sorted(videos):
        at = episode.videos.get(key)
        if at is None and not episode.alone:
            raise DataError(f"{path}/meta/episodes: episode {index} has no video of {key}")
        chunk_file, begin, end = at or ({}, 0.0, episode.length / fps)
        if abs((end - begin) * fps - episode.length) > 1.5:
            raise DataError(
                f"{path}/meta/episodes: of episode {index}, {key} lasts from {begin:g} to {end:g} "
                f"s, {(end - begin) * fps:.1f} steps; its length is {episode.length}"
            )
        file = path_of(path, info, "video_path", {**numbers, "video_key": key, **chunk_file})
        found[key] = (file, begin)
    return Place(index, episode.length, data, found, episode.alone, episode.facts)
