"""What the `meta/` of a LeRobot folder says: features, tasks, episodes, splits, paths."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import NotRequired, TypedDict, cast

import numpy as np

from mili_jax.interchange.parquet import read_rows
from mili_jax.interchange.recording import NUMBER, OTHER, PICTURE, TEXT, Column
from mili_jax.types import DataError

TASK = "task"  # the column that stands for task_index
VERSIONS = ("v2.1", "v3.0")
# Of the rows of meta/episodes, what says where an episode is and not what it is.
_PLACES = ("data/", "videos/", "meta/", "stats/", "dataset_from_index", "dataset_to_index")


@dataclasses.dataclass(frozen=True)
class Listed:
    """An episode as the metadata list it.

    data: numbers for the template of its file. videos: by camera, (numbers for the template, begin,
    end in s). alone: of v2.1, its files hold nothing else. facts: what else is said of it.
    """

    length: int
    data: Mapping[str, int]
    videos: Mapping[str, tuple[Mapping[str, int], float, float]]
    alone: bool
    facts: Mapping[str, object]


class Feature(TypedDict):
    """A feature in `info.json`. names: a list, of lists or not, or an object of such lists."""

    dtype: str
    shape: list[int]
    names: NotRequired[object]
    info: NotRequired[object]  # of a video: an object, in older files under the other name
    video_info: NotRequired[object]


class Info(TypedDict):
    """What is read of `info.json`. Numbers, splits and paths are checked when they are used."""

    codebase_version: str
    features: dict[str, Feature]
    fps: float
    total_episodes: int
    data_path: str
    video_path: NotRequired[str | None]
    chunks_size: NotRequired[int]
    splits: NotRequired[dict[str, str]]


def read_info(path: Path) -> Info:
    """`meta/info.json`, looked through. Raises DataError naming it and the field."""
    file = path / "meta" / "info.json"
    try:
        info = json.loads(file.read_bytes())
    except FileNotFoundError:
        raise DataError(f"{file} is missing: {path} is no LeRobot dataset") from None
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{file} is no JSON ({error})") from error
    if not isinstance(info, dict):
        raise DataError(f"{file} is no JSON object")
    for field in ("codebase_version", "fps", "features", "total_episodes", "data_path"):
        if field not in info:
            raise DataError(f"{file} lacks {field!r}")
    if info["codebase_version"] not in VERSIONS:
        raise DataError(
            f"{file}: codebase_version is {info['codebase_version']!r}; {' and '.join(VERSIONS)} "
            "are read, LeRobot's own scripts convert older ones"
        )
    features = info["features"]
    if not isinstance(features, dict) or not features:
        raise DataError(f"{file}: features must be an object that is not empty")
    for name, feature in features.items():
        shape = feature.get("shape") if isinstance(feature, dict) else None
        good = isinstance(shape, list) and all(type(n) is int and n > 0 for n in shape)
        if not good or not isinstance(feature.get("dtype"), str):
            raise DataError(f"{file}: feature {name!r} needs a dtype and a shape of whole numbers")
    return cast(Info, info)


def number(path: Path, info: Mapping[str, object], field: str) -> float:
    """A field of `info.json` that must be a number."""
    value = info[field]
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise DataError(f"{path / 'meta/info.json'}: {field} is {value!r}, it must be a number")
    return value


def columns_of(path: Path, info: Info) -> dict[str, Column]:
    """The features by name, and TASK."""
    found = {name: _column(path, name, raw) for name, raw in info["features"].items()}
    if "task_index" in found:
        found[TASK] = Column(TASK, TEXT, (), "string")
    return found


def _column(path: Path, name: str, raw: Feature) -> Column:
    dtype, shape = raw["dtype"], tuple(raw["shape"])
    if dtype in ("image", "video"):
        return _camera(name, raw, shape)
    if dtype == "string":
        return Column(name, TEXT, (), dtype)
    try:
        kind = np.dtype(dtype).kind
    except TypeError:
        return Column(name, OTHER, shape, dtype, why=f"of the type {dtype!r}")
    if kind not in "fiub" or len(shape) > 1:
        return Column(name, OTHER, shape, dtype, why=f"{dtype} of shape {shape}")
    names = tuple(map(str, _flat(raw.get("names"))))
    if len(names) != (shape[0] if shape else 1):
        names = ()
    return Column(name, NUMBER, () if shape == (1,) else shape, dtype, names=names)


def _camera(name: str, raw: Feature, shape: tuple[int, ...]) -> Column:
    info: dict[str, object] = {}
    for details in (raw.get("video_info"), raw.get("info")):
        info |= details if isinstance(details, dict) else {}
    codec = str(info.get("video.codec") or "")
    if info.get("is_depth_map") or info.get("video.is_depth_map"):
        return Column(name, OTHER, shape, raw["dtype"], why="a depth map")
    order = [str(n).rstrip("s") for n in _flat(raw.get("names"))]
    if len(shape) == 3 and (order[:1] == ["channel"] or (shape[0] == 3 and shape[2] != 3)):
        shape = (shape[1], shape[2], shape[0])
    if len(shape) != 3 or shape[2] != 3:
        why = f"a picture of shape {shape}, not of three bytes a pixel"
        return Column(name, OTHER, shape, raw["dtype"], why=why)
    return Column(name, PICTURE, shape, "uint8", codec=codec)


def _flat(names: object) -> list[object]:
    if isinstance(names, dict):
        names = list(names.values())
    if not isinstance(names, list):
        return []
    return [leaf for name in names for leaf in (_flat(name) if isinstance(name, list) else [name])]


def read_tasks(path: Path, version: str) -> dict[int, str]:
    """The text of every task_index."""
    if version == "v2.1":
        file = path / "meta" / "tasks.jsonl"
        rows = _lines(file)
    else:
        file = path / "meta" / "tasks.parquet"
        rows = read_rows(file)
        # pandas writes the index under its name, or under this where it has none.
        rows = [{**row, "task": row.get("task", row.get("__index_level_0__"))} for row in rows]
    found: dict[int, str] = {}
    for k, row in enumerate(rows):
        index, text = row.get("task_index"), row.get("task")
        if type(index) is not int or not isinstance(text, str):
            raise DataError(f"{file}, row {k}: needs a whole task_index and a text task")
        if index in found:
            raise DataError(f"{file}, row {k}: task_index {index} is there twice")
        found[index] = text
    return found


def listed_episodes(path: Path, version: str) -> dict[int, Listed]:
    """The episodes by episode_index, in their order."""
    if version == "v2.1":
        file = path / "meta" / "episodes.jsonl"
        rows = _lines(file)
    else:
        file = path / "meta" / "episodes"
        parts = sorted(file.glob("*/*.parquet")) if file.is_dir() else []
        if not parts:
            raise DataError(f"{file} holds no parquet file; without it nobody finds the episodes")
        rows = [row for part in parts for row in read_rows(part, _not_stats)]
    found: dict[int, Listed] = {}
    for k, row in enumerate(rows):
        index, length = row.get("episode_index"), row.get("length")
        if type(index) is not int or index < 0 or type(length) is not int or length < 1:
            raise DataError(
                f"{file}, row {k}: needs a whole episode_index and a length of 1 or more, has "
                f"{index!r} and {length!r}"
            )
        if index in found:
            raise DataError(f"{file}, row {k}: episode {index} is there twice")
        facts = {
            f"episode/{name}": value
            for name, value in row.items()
            if not name.startswith(_PLACES)
            and name not in ("tasks", "length")
            and isinstance(value, (bool, int, float, str))
        }
        if version == "v2.1":
            found[index] = Listed(length, {}, {}, True, facts)
        else:
            data, videos = _v3_places(file, index, row)
            found[index] = Listed(length, data, videos, False, facts)
    return dict(sorted(found.items()))


def _not_stats(name: str) -> bool:
    return not name.startswith("stats/")


def _v3_places(
    file: Path, index: int, row: Mapping[str, object]
) -> tuple[dict[str, int], dict[str, tuple[dict[str, int], float, float]]]:
    def whole(name: str) -> int:
        value = row.get(name)
        if type(value) is not int or value < 0:
            raise DataError(f"{file}: {name} of episode {index} is {value!r}, no whole number")
        return value

    def seconds(name: str) -> float:
        value = row.get(name)
        if not isinstance(value, (int, float)) or not math.isfinite(value):
            raise DataError(f"{file}: {name} of episode {index} is {value!r}, no number")
        return float(value)

    def places(above: str) -> dict[str, int]:
        return {n: whole(f"{above}/{n}") for n in ("chunk_index", "file_index")}

    end = "/from_timestamp"
    cameras = [n[len("videos/") : -len(end)] for n in row if n.endswith(end)]
    videos = {
        key: (
            places(f"videos/{key}"),
            seconds(f"videos/{key}/from_timestamp"),
            seconds(f"videos/{key}/to_timestamp"),
        )
        for key in cameras
        if row[f"videos/{key}{end}"] is not None
    }
    return places("data"), videos


def splits_of(path: Path, info: Info) -> dict[str, tuple[int, int]]:
    """(first, one after the last) episode_index of every split."""
    raw = info.get("splits") or {"train": f"0:{int(number(path, info, 'total_episodes'))}"}
    found = {}
    try:
        for name, span in raw.items():
            first, last = str(span).split(":")
            found[str(name)] = (int(first), int(last))
    except (ValueError, AttributeError) as error:
        raise DataError(
            f'{path / "meta/info.json"}: splits must be like {{"train": "0:100"}} ({error})'
        ) from error
    return found


def path_of(
    path: Path, info: Mapping[str, object], field: str, numbers: Mapping[str, object]
) -> Path:
    """A file by the template `data_path` or `video_path`. It must lie in the folder."""
    template = info.get(field)
    try:
        if not isinstance(template, str):
            raise ValueError(f"is {template!r}")
        name = template.format(**numbers)
    except (KeyError, IndexError, ValueError, AttributeError) as error:
        raise DataError(
            f"{path / 'meta/info.json'}: {field} {template!r} is not understood ({error})"
        ) from error
    parts = Path(name).parts
    if Path(name).is_absolute() or ".." in parts or not parts:
        raise DataError(f"{path / 'meta/info.json'}: {field} {template!r} leads out of the folder")
    return path / name


def _lines(file: Path) -> list[dict[str, object]]:
    try:
        lines = file.read_text().splitlines()
    except FileNotFoundError:
        raise DataError(f"{file} is missing") from None
    except (OSError, ValueError) as error:
        raise DataError(f"{file} cannot be read ({error})") from error
    rows = []
    for k, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise DataError(f"{file}, line {k} is no JSON ({error})") from error
        if not isinstance(row, dict):
            raise DataError(f"{file}, line {k} is no JSON object")
        rows.append(row)
    return rows
