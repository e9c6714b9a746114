"""What is damaged in a run's folder, and what has to go so that the run makes exactly that again.

A stage is a function of its config and of what earlier stages wrote, so what is lost can be made
again, bit for bit: the damaged file is taken away together with the manifest of the stage that made
it, and the run's own command does that stage, shard or training again. Nothing is deleted, it moves
to `damaged/` in the workdir.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

from mili_jax.storage import verify
from mili_jax.storage.dataset import NAME, VERSION
from mili_jax.storage.files import (
    atomic_write,
    exists,
    fault,
    read_lines,
    read_sealed,
    unreadable,
)
from mili_jax.storage.stages import all_rows
from mili_jax.storage.workdir import lock
from mili_jax.types import DataError

_OF_SPLIT = re.compile(r"mili-(\w+)\.array_record-\d{5}")
_OF_LABELS = re.compile(r"labels_(\w+)\.jsonl")
_OF_PAIRS = re.compile(r"pairs_\w+_(\d+)\.csv")


@dataclasses.dataclass(frozen=True)
class Damage:
    """A damaged or missing file, what is wrong with it, and all that has to go with it."""

    path: Path
    why: str
    drop: tuple[Path, ...]


def examine(path: Path) -> list[Damage]:
    """Verifies every shard, label file, pair table, manifest, checkpoint and row file of a run.

    A run that writes meanwhile may make it see damage where there is none.
    Raises DataError if `path` is no workdir.
    """
    path = _workdir(path)
    found: dict[Path, Damage] = {}
    for damage in (*_manifests(path), *_checkpoints(path), *_dataset(path), *_lines(path)):
        known = found.get(damage.path)
        drop = damage.drop if known is None else (*known.drop, *damage.drop)
        found[damage.path] = Damage(
            damage.path, known.why if known else damage.why, tuple(dict.fromkeys(drop))
        )
    return list(found.values())


def repair(path: Path) -> list[Damage]:
    """Takes away what `examine` finds; the run's own command makes it again. Of a label file in
    which some lines cannot be read the others stay.

    Raises ConfigError while a run uses the folder, DataError if it is no workdir or the file system
    refuses.
    """
    path = _workdir(path)
    with lock(path):
        found = examine(path)
        answers = {
            d.path: good
            for d in found
            if _OF_LABELS.fullmatch(d.path.name) and (good := verify.good_labels(d.path))
        }
        gone = {
            file: _take_away(path, file)
            for file in dict.fromkeys(file for damage in found for file in damage.drop)
            if file.exists()
        }
        if (metrics := path / "metrics.jsonl") in gone:
            _keep_good_lines(gone[metrics], metrics)
        if any(d.path.name == "results.jsonl" or d.path.parent.name == "rows" for d in found):
            atomic_write(path / "results.jsonl", all_rows(path))
        data = _data(path)
        if any(damage.path.parent == data for damage in found):
            verify.forget(data, [d.path.name for d in found if d.path.parent == data])
        for file, content in answers.items():
            verify.put_back(file, content)
    return found


def _workdir(path: Path) -> Path:
    path = path.absolute()
    if not exists(path / "lock") and not exists(path / "manifest.json"):
        raise DataError(f"{path} is no workdir of a run: it has neither lock nor manifest.json")
    return path


def _take_away(path: Path, file: Path) -> Path:
    place = path / "damaged" / file.relative_to(path)
    number = 0
    while place.exists():
        number += 1
        place = place.with_name(f"{file.name}.{number}")
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        os.rename(file, place)
    except OSError as error:
        raise DataError(f"{file} could not be moved to {place} ({error.strerror})") from error
    return place


def _keep_good_lines(source: Path, target: Path) -> None:
    kept = []
    for line in source.read_bytes().split(b"\n"):
        try:
            kept += [line + b"\n"] if isinstance(json.loads(line), dict) else []
        except ValueError:
            continue
    atomic_write(target, b"".join(kept))


def _data(path: Path) -> Path:
    return path / "dataset" / NAME / VERSION


def _stage(path: Path, name: str) -> Path:
    return path / "stages" / f"{name}.json"


def _stage_of_split(path: Path, split: str) -> Path:
    return _stage(path, re.sub("^evaluation_", "evaluate_", split))


def _manifests(path: Path) -> Iterator[Damage]:
    """The run's manifest, those of stages, and what these declare."""
    manifest = path / "manifest.json"
    if manifest.exists():  # else the run is about to make it
        try:
            read_sealed(manifest, ("config",))
        except DataError as error:
            yield Damage(manifest, str(error), (manifest,))
    for stage in sorted((path / "stages").glob("*.json")):
        try:
            outputs = read_sealed(stage, ("outputs",))["outputs"]
        except DataError as error:
            yield Damage(stage, str(error), (stage,))
            continue
        for name, digest in outputs.items():
            output = path / name
            if state := fault(output, digest):
                yield Damage(output, f"{output} is {state}", (output, stage))


def _checkpoints(path: Path) -> Iterator[Damage]:
    for manifest in sorted((path / "checkpoints").glob("*/*.json")):
        folder, stage = manifest.with_suffix(""), _stage(path, manifest.parent.name)
        all_of_it: tuple[Path, ...] = (manifest, folder)
        try:
            last = read_sealed(stage, ("steps",))["steps"]
        except DataError:
            last = None
        if str(last) == manifest.stem:  # an earlier one is not missed
            all_of_it += (stage,)
        try:
            files = read_sealed(manifest, ("files",))["files"]
        except DataError as error:
            yield Damage(manifest, str(error), all_of_it)
            continue
        for name, digest in files.items():
            file = folder / name
            if state := fault(file, digest):
                yield Damage(file, f"{file} is {state}", all_of_it)


def _dataset(path: Path) -> Iterator[Damage]:
    data = _data(path)
    for file, why in verify.verify(data):
        drop: list[Path] = [file]
        if found := _OF_SPLIT.fullmatch(file.name):
            stage = _stage_of_split(path, found[1])
            if not file.exists() and not stage.exists():
                continue  # the run is about to make it
            drop.append(stage)
        elif found := _OF_LABELS.fullmatch(file.name):
            drop.append(_stage(path, found[1].replace("round", "filter")))
        elif found := _OF_PAIRS.fullmatch(file.name):
            drop.append(_stage(path, f"pair_{found[1]}"))
        else:  # the splits are committed again, from the shards that are there
            drop += [data / "dataset_info.json", data / "features.json"]
            shards = map(_OF_SPLIT.fullmatch, os.listdir(data))
            drop += {_stage_of_split(path, shard[1]) for shard in shards if shard}
        yield Damage(file, why, tuple(drop))


def _lines(path: Path) -> Iterator[Damage]:
    """Rows of stages that are not done, the rows of all together, metrics."""
    for file in (*sorted((path / "rows").glob("*.jsonl")), path / "metrics.jsonl"):
        try:
            for _ in read_lines(file, appended=file.name == "metrics.jsonl"):
                pass
        except DataError as error:
            stage = _stage(path, file.stem)
            yield Damage(file, str(error), (file, stage) if file.parent.name == "rows" else (file,))
    results = path / "results.jsonl"
    # A stage that was stopped between its rows and these leaves those of the others.
    whole = [all_rows(path), all_rows(path, finished=True)]
    try:
        content = results.read_bytes()
    except FileNotFoundError:
        content = b""
    except OSError as error:
        raise unreadable(results, error) from error
    # An editor may have left the last end of line out.
    if content.rstrip(b"\n") not in [rows.rstrip(b"\n") for rows in whole]:
        yield Damage(results, f"{results} is not what rows/ holds", (results,))
