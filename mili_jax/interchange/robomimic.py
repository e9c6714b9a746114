"""robomimic: one HDF5 file, a group `data/demo_0` per episode, lists of them under `mask`."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

import h5py
import numpy as np

from mili_jax.interchange.recording import (
    MAPPING,
    NUMBER,
    OTHER,
    PICTURE,
    TEXT,
    ArrayPictures,
    Column,
    Pictures,
    Recording,
)
from mili_jax.types import DataError

ALL = "all"  # the split of all demonstrations; every mask is a split too
# What HDF5 raises on a damaged file, wherever that shows.
_OF_LIBRARY = (OSError, RuntimeError, KeyError, ValueError, TypeError, OverflowError, MemoryError)
_DEMO = re.compile(r"demo_(\d+)")


@dataclasses.dataclass(frozen=True)
class RobomimicSource:
    """An HDF5 file that `open_robomimic` looked through."""

    path: Path
    columns: Mapping[str, Column]
    demos: Mapping[str, tuple[str, ...]]
    facts: Mapping[str, object]
    notes: tuple[str, ...]
    mapping: str | None
    format: str = "robomimic"
    fps: float | None = None

    @property
    def splits(self) -> Mapping[str, int]:
        return {split: len(demos) for split, demos in self.demos.items()}

    def read(
        self, split: str, numbers: Sequence[int], names: Collection[str] | None = None
    ) -> Iterator[Recording]:
        """Recordings with the columns `names`, by default all that can be read. Their pictures can
        be read until the next one is taken."""
        wanted = [c for c in self.columns.values() if names is None or c.name in names]
        with _opened(self.path) as file:
            for k in numbers:
                yield self._recording(file, split, k, wanted)

    def _recording(
        self, file: h5py.File, split: str, k: int, wanted: Sequence[Column]
    ) -> Recording:
        demo = self.demos[split][k]
        where = f"{self.path}, data/{demo}"
        group = _group(file, f"data/{demo}", self.path)
        length = _length(group, where)
        pictures: dict[str, Pictures] = {}
        numbers: dict[str, np.ndarray] = {}
        facts = {
            "demo": demo,
            **self.facts,
            **_attributes(group, where),
            **{
                f"mask/{mask}": demo in members
                for mask, members in self.demos.items()
                if mask != ALL
            },
        }
        for column in wanted:
            name = column.name
            if not column.per_step or column.kind not in (PICTURE, NUMBER):
                continue
            data = group.get(name)
            if not isinstance(data, h5py.Dataset):
                raise DataError(f"{where} lacks {name!r}, which the first episode has")
            if data.shape[:1] != (length,):
                raise DataError(
                    f"{where}: {name} has {data.shape[0] if data.shape else 'no'} steps, actions "
                    f"{length}"
                )
            described = _column(name, data)
            if (described.kind, described.shape) != (column.kind, column.shape):
                raise DataError(
                    f"{where}: {name} is {data.dtype} {data.shape}, in the first episode a step "
                    f"is {column.dtype} {column.shape}"
                )
            if column.kind == PICTURE:
                pictures[name] = ArrayPictures(where, name, data)
                continue
            try:
                numbers[name] = np.asarray(data[()]).astype(data.dtype.newbyteorder("="))
            except (OSError, RuntimeError, ValueError) as error:
                raise DataError(f"{where}: {name} cannot be read ({error})") from error
        return Recording(where, split, k, length, pictures, numbers, {}, facts)


def open_robomimic(path: Path | str, partial: bool = False) -> RobomimicSource:
    """Looks through an HDF5 file, or a folder that holds just one.

    partial: ignore entries of masks that name no demonstration.

    Raises DataError naming the file and the place in it.
    """
    path = _find(Path(path))
    with _opened(path) as file:
        data = _group(file, "data", path)
        names = [name for name in data if _DEMO.fullmatch(name)]
        if not names:
            raise DataError(f"{path}: the group `data` holds no demo_0, demo_1, ...")
        names.sort(key=lambda name: int(name[5:]))
        notes = []
        if other := sorted(set(data) - set(names)):
            notes.append(f"Left out, since it is no demonstration: {', '.join(other[:5])}.")
        demos = {ALL: tuple(names), **_masks(file, path, names, partial, notes)}
        facts = _environment(data, path)
        first = _group(file, f"data/{names[0]}", path)
        columns = _columns(first, f"{path}, data/{names[0]}")
        total = data.attrs.get("total")
        if total is not None:
            lengths = sum(
                _length(_group(file, f"data/{name}", path), f"{path}, data/{name}")
                for name in names
            )
            if int(total) != lengths:
                text = (
                    f"{path}: data.attrs total is {int(total)}, the episodes have {lengths} steps"
                )
                if not partial:
                    raise DataError(
                        f"{text}; copy the file again, or take what is there (--partial)"
                    )
                notes.append(f"{text}.")
        for name, value in {"demo": names[0], **facts, **_attributes(first, str(path))}.items():
            columns[name] = Column(name, TEXT if isinstance(value, str) else NUMBER, per_step=False)
        for mask in demos:
            if mask != ALL:
                columns[f"mask/{mask}"] = Column(f"mask/{mask}", NUMBER, per_step=False)
        own = _own_mapping(file, path)
    return RobomimicSource(path, columns, demos, facts, tuple(notes), own)


def read_robomimic(
    path: Path | str, splits: Sequence[str] | None = None, partial: bool = False
) -> Iterator[Recording]:
    """The episodes of a file, one at a time, by default all. Raises DataError as `open_robomimic`
    at once, and for an episode when its turn comes."""
    source = open_robomimic(path, partial)
    return (
        recording
        for split in ((ALL,) if splits is None else splits)
        for recording in source.read(split, range(source.splits[split]))
    )


def _find(path: Path) -> Path:
    if path.is_file():
        return path
    if not path.is_dir():
        raise DataError(f"{path} is not there")
    found = sorted(p for p in path.iterdir() if p.suffix in (".hdf5", ".h5"))
    if len(found) != 1:
        names = ", ".join(p.name for p in found) or "none"
        raise DataError(f"{path} should hold one .hdf5 file ({names} there); give the file itself")
    return found[0]


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[h5py.File]:
    try:
        file = h5py.File(path, "r")
    except _OF_LIBRARY as error:
        raise DataError(f"{path} is no readable HDF5 file ({error})") from error
    with file:
        try:
            yield file
        except _OF_LIBRARY as error:
            raise DataError(f"{path} is damaged ({error}); copy it again") from error


def _group(file: h5py.File, name: str, path: Path) -> h5py.Group:
    try:
        found = file.get(name)
    except (OSError, RuntimeError, KeyError) as error:
        raise DataError(f"{path}: {name} cannot be read ({error})") from error
    if not isinstance(found, h5py.Group):
        raise DataError(f"{path} has no group {name!r}, which robomimic's files have")
    return found


def _own_mapping(file: h5py.File, path: Path) -> str | None:
    try:
        text = file[MAPPING][()] if MAPPING in file else None
    except (OSError, RuntimeError, KeyError, ValueError) as error:
        raise DataError(f"{path}: {MAPPING} cannot be read ({error})") from error
    return text.decode() if isinstance(text, bytes) else None


def _length(group: h5py.Group, where: str) -> int:
    actions = group.get("actions")
    if not isinstance(actions, h5py.Dataset) or not actions.shape:
        raise DataError(f"{where} lacks the dataset 'actions'")
    length = int(actions.shape[0])
    promised = group.attrs.get("num_samples")
    if promised is not None and int(promised) != length:
        raise DataError(f"{where}: num_samples is {int(promised)}, actions has {length} steps")
    if length < 1:
        raise DataError(f"{where} has no steps")
    return length


def _columns(group: h5py.Group, where: str) -> dict[str, Column]:
    found: dict[str, Column] = {}

    def add(name: str, data: h5py.Group | h5py.Dataset) -> None:
        if isinstance(data, h5py.Dataset) and not name.startswith("next_obs/"):
            found[name] = _column(name, data)

    try:
        group.visititems(add)
    except (OSError, RuntimeError, KeyError) as error:
        raise DataError(f"{where} cannot be read ({error})") from error
    return found


def _column(name: str, data: h5py.Dataset) -> Column:
    shape, dtype = tuple(data.shape[1:]), str(data.dtype)
    if data.dtype == np.uint8 and len(data.shape) == 4:
        if shape[2] == 3:
            return Column(name, PICTURE, shape, dtype, codec="raw")
        return Column(name, OTHER, shape, dtype, why="a picture that is not [H,W,3]")
    if data.dtype.kind not in "fiub" or len(data.shape) not in (1, 2):
        return Column(name, OTHER, shape, dtype, why=f"{dtype} of shape {data.shape}")
    return Column(name, NUMBER, shape, dtype)


def _masks(
    file: h5py.File, path: Path, names: Sequence[str], partial: bool, notes: list[str]
) -> dict[str, tuple[str, ...]]:
    if "mask" not in file:
        return {}
    found = {}
    for mask, data in _group(file, "mask", path).items():
        try:
            members = [m.decode() if isinstance(m, bytes) else str(m) for m in data[()]]
        except (OSError, RuntimeError, ValueError, AttributeError, TypeError) as error:
            raise DataError(f"{path}: mask/{mask} is no list of names ({error})") from error
        unknown = sorted(set(members) - set(names))
        if unknown and not partial:
            raise DataError(
                f"{path}: mask/{mask} names {unknown[0]!r}, which `data` does not hold "
                f"({len(unknown)} such); take what is there with --partial"
            )
        if unknown:
            notes.append(f"mask/{mask} names {len(unknown)} demonstrations that are not there.")
        found[mask] = tuple(name for name in names if name in set(members))
    return found


def _environment(data: h5py.Group, path: Path) -> dict[str, object]:
    raw = data.attrs.get("env_args")
    if raw is None:
        return {}
    try:
        name = json.loads(raw)["env_name"]
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{path}: data.attrs env_args is no JSON with env_name ({error})"
        ) from error
    return {"env_args/env_name": str(name)}


def _attributes(group: h5py.Group, where: str) -> dict[str, object]:
    """The attributes of an episode that are single values, and what `ep_meta` says in JSON."""
    found: dict[str, object] = {}
    try:
        for name, value in group.attrs.items():
            if isinstance(value, np.generic):
                value = value.item()
            if isinstance(value, bytes):
                value = value.decode()
            if isinstance(value, (bool, int, float, str)) and name != "model_file":
                found[f"attrs/{name}"] = value
        text = found.get("attrs/ep_meta")
        meta = json.loads(text) if isinstance(text, str) else {}
    except (OSError, RuntimeError, ValueError) as error:
        raise DataError(f"{where}: its attributes cannot be read ({error})") from error
    if isinstance(meta, dict) and isinstance(meta.get("lang"), str):
        found["ep_meta/lang"] = meta["lang"]
    return found
