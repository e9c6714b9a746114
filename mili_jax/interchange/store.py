"""Where imported episodes go and exported ones are from: the one module that knows `Dataset`."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from mili_jax.interchange.convert import Converted
from mili_jax.spec import Spec
from mili_jax.storage.dataset import Dataset
from mili_jax.storage.labels import Label, resolve
from mili_jax.types import ConfigError, DataError, Episode, EpisodeMeta

T = TypeVar("T")

_ROUND = re.compile(r"round_(\d{1,9})")  # a split of trials
RENDERER = "camera"  # of pictures that no simulator drew


def open_dataset(root: Path | str) -> tuple[Dataset, Spec]:
    """The dataset in a folder and its robot.

    Raises DataError if no split is committed there, or nothing says which robot it is.
    """
    dataset = Dataset(root)
    if not dataset.splits():
        raise DataError(f"{root} holds no dataset of this package (mili/1.0.0)")
    if dataset.spec is None:
        raise DataError(
            f"{dataset.path} has no spec.json: it was written before robots were described; open "
            "it with its robot's spec and commit a split"
        )
    return dataset, dataset.spec


def to_episode(
    converted: Converted, default_id: str, split: str
) -> tuple[Episode, list[dict[str, object]]]:
    """An episode of a split of ours, and the answers of the filter that came with it.

    Raises DataError for facts that are not what they should be.
    """
    facts = dict(converted.facts)
    trials = _ROUND.fullmatch(split)
    labels = _rows("labels", facts.pop("labels", "[]"), dict)
    success = converted.success
    achieved = facts.pop("achieved_tasks", None)
    if achieved is None:
        achieved = json.dumps([converted.task] if success else [])
    meta = EpisodeMeta(
        episode_id=facts.pop("episode_id", default_id),
        task=converted.task,
        scene=facts.pop("scene", ""),
        seed=facts.pop("seed", 0),
        round=facts.pop("round", int(trials[1]) if trials else 0),
        policy=facts.pop("policy", "expert"),
        demonstration=facts.pop("demonstration", ""),
        renderer=facts.pop("renderer", RENDERER),
        useful=facts.pop("useful", success),
        success=success,
        achieved_tasks=tuple(_rows("achieved_tasks", achieved, str)),
        terminated=facts.pop("terminated", True),
        language=converted.language,
    )
    assert not facts, facts
    if not meta.episode_id:
        raise DataError("episode_id is empty")
    return Episode(converted.image, converted.pose, converted.action, meta), labels


def _rows(fact: str, text: str, kind: type[T]) -> list[T]:
    try:
        rows = json.loads(text or "[]")
    except (ValueError, RecursionError) as error:
        raise DataError(f"{fact} is no JSON list ({error})") from error
    if not isinstance(rows, list) or not all(isinstance(row, kind) for row in rows):
        raise DataError(f"{fact} is no JSON list of {kind.__name__}")
    return rows


def write_shard(
    root: Path, spec: Spec, split: str, shard: int, episodes: Sequence[Episode]
) -> None:
    """A shard that `finish` publishes; different processes may write different ones."""
    Dataset(root, spec).write_shard(split, shard, episodes)


def finish(
    root: Path, spec: Spec, split: str, shards: int, labels: Sequence[dict[str, Any]]
) -> None:
    """Publishes a split and the answers of the filter that came with it."""
    dataset = Dataset(root, spec)
    dataset.commit(split, shards)
    if labels:
        try:
            dataset.write_labels(split, [Label(**row) for row in labels])
        except TypeError as error:
            raise DataError(
                f"labels of {split!r} are not answers of the filter: {error}"
            ) from error


@dataclasses.dataclass(frozen=True)
class Exported:
    """An episode on its way out. answers: of the filter, as plain values; useful: what they say in
    the end (no where they agree on nothing), and what the episode itself says where there are none.
    """

    episode: Episode
    split: str
    answers: tuple[dict[str, object], ...]
    useful: bool


def read_all(dataset: Dataset, splits: Sequence[str]) -> Iterator[Exported]:
    """The episodes of these splits, one at a time, with their labels."""
    for split in splits:
        labels = dataset.read_labels(split)
        useful = resolve(labels)
        given: dict[str, list[dict[str, object]]] = {}
        for label in labels:
            given.setdefault(label.episode_id, []).append(dataclasses.asdict(label))
        for episode in dataset.read(split):
            name = episode.meta.episode_id
            said = bool(useful[name]) if name in useful else episode.meta.useful
            yield Exported(episode, split, tuple(given.get(name, ())), said)


@dataclasses.dataclass(frozen=True)
class Stream:
    """Pictures that other formats have as a camera: the colours of one of ours, or the heights that
    it sees, in grey. name: of the stream."""

    name: str
    camera: int
    heights: bool


def streams(spec: Spec) -> tuple[Stream, ...]:
    """Those of a robot, a camera's heights after its colours. Raises ConfigError if two have one
    name."""
    found = []
    for k, camera in enumerate(spec.cameras):
        found.append(Stream(camera.name, k, False))
        if camera.depth is not None:
            found.append(Stream(heights_of(camera.name), k, True))
    names = [stream.name for stream in found]
    if len(set(names)) < len(names):
        raise ConfigError(f"cameras {names}: the heights of one are called as another; rename it")
    return tuple(found)


def heights_of(camera: str) -> str:
    """The name of the stream with the heights that a camera sees."""
    return f"{camera}_heights"


def pictures_of(spec: Spec, episode: Episode, stream: Stream) -> np.ndarray:
    """uint8 [T,H,W,3] of a stream."""
    view = episode.image if spec.views == 1 else episode.image[:, stream.camera]
    return np.repeat(view[..., 3:], 3, axis=-1) if stream.heights else view[..., :3]


def facts_of(exported: Exported) -> dict[str, str | int]:
    """What other formats keep of an episode beside its steps: keys of `mapping.FACTS`, and its
    task, language and success."""
    meta = exported.episode.meta
    return {
        "episode_id": meta.episode_id,
        "task": meta.task,
        "language": meta.language,
        "scene": meta.scene,
        "seed": meta.seed,
        "round": meta.round,
        "policy": meta.policy,
        "demonstration": meta.demonstration,
        "renderer": meta.renderer,
        "useful": meta.useful,
        "success": meta.success,
        "achieved_tasks": json.dumps(list(meta.achieved_tasks)),
        "terminated": meta.terminated,
        "labels": json.dumps(list(exported.answers)),
    }
