"""One recording by its mapping: the arrays and facts of an episode of ours."""

from __future__ import annotations

import dataclasses
import math
import unicodedata
from collections.abc import Sequence
from typing import Any

import numpy as np

from mili_jax.interchange.mapping import FACTS, Mapping, NumberLine
from mili_jax.interchange.recording import Recording
from mili_jax.interchange.resize import resize
from mili_jax.types import ConfigError, DataError, Task

# How far a value may lie beyond its bounds, as a share of their span: a measured pose overshoots.
_SLACK = {"pose": 0.05, "action": 1e-4}


@dataclasses.dataclass(frozen=True)
class Converted:
    """image uint8 [T,(V,)H,W,C], pose float32 [T,D], action float32 [T,A].

    facts: keys of `mapping.FACTS`, where the mapping has fields for them. clipped: how many numbers
    were brought back to their bounds, outside: how many were kept beyond.
    """

    image: np.ndarray
    pose: np.ndarray
    action: np.ndarray
    task: str
    language: str
    success: bool
    facts: dict[str, Any]  # of the types in `mapping.FACTS`
    clipped: int
    outside: int


def left_out(recording: Recording, mapping: Mapping) -> str | None:
    """Why the mapping leaves an episode out, None if it does not.

    It needs the recording's length and its task's field alone.
    """
    if mapping.short == "skip" and recording.length - (mapping.last_step == "drop") < 2:
        return f"{recording.where} has too few steps ({recording.length})"
    line = mapping.task
    if line.field is not None and line.empty == "skip":
        text = _text(recording, line.field, line.changes)
        if not (text if line.as_is else task_name(text)).strip():
            return f"{recording.where} has no instruction"
    return None


def convert(recording: Recording, mapping: Mapping) -> Converted:
    """Raises DataError, naming the recording's place and the field, for what the mapping does not
    allow."""
    task, language = task_of(recording, mapping)
    success = _success(recording, mapping)
    length = recording.length - (mapping.last_step == "drop")
    if length < 1 or (length < 2 and mapping.short != "keep"):
        raise DataError(
            f"{recording.where} has {recording.length} step{'s' * (recording.length > 1)}; an "
            "episode needs two with an action. Set short: skip in the mapping to leave such "
            "episodes out, or keep"
        )
    counts = {"clipped": 0, "outside": 0}
    raw_pose = _raw(recording, mapping.pose, "pose", length, mapping, counts)
    raw_action = _raw(recording, mapping.action, "action", length, mapping, counts)
    pose, action = _units(raw_pose, mapping.pose), _units(raw_action, mapping.action)
    absolute = np.array([not line.delta for line in mapping.action])
    if mapping.deltas != "keep":
        action = _integrated(pose, action, mapping)
        absolute[:] = True
    steps, pose, action = _resampled(pose, action, absolute, mapping)
    if len(steps) < min(2, length):
        raise DataError(
            f"{recording.where}: of {length} steps one is left at to_fps {mapping.to_fps:g}; keep "
            "more steps a second"
        )
    return Converted(
        _pictures(recording, mapping, steps),
        pose,
        action,
        task,
        language,
        success,
        _facts(recording, mapping),
        **counts,
    )


def task_of(recording: Recording, mapping: Mapping) -> tuple[str, str]:
    """(the task's name, the instruction in words)."""
    line = mapping.task
    language = "" if line.language is None else _text(recording, line.language, "first")
    if line.name is not None:
        return line.name, language
    assert line.field is not None
    text = _text(recording, line.field, line.changes)
    name = text if line.as_is else task_name(text)
    if not name.strip():
        if line.empty in ("refuse", "skip"):
            raise DataError(
                f"{recording.where}: {line.field} is empty, so nobody knows the task. Set "
                "task.empty in the mapping to skip, or to a name for such episodes"
            )
        return line.empty, language
    try:
        Task(name, "")
    except ConfigError as error:
        raise DataError(
            f"{recording.where}: {line.field} makes no name of a task ({error}); give task.name in "
            "the mapping and the field as task.language"
        ) from None
    return name, language if line.language is not None else text


def task_name(text: str) -> str:
    """An instruction as a name: small letters, single spaces, no full stop at its end, and what a
    name may not have, such as a slash, as a hyphen."""
    words = " ".join(unicodedata.normalize("NFC", text).lower().split()).rstrip(" .!;,")
    return "".join("-" if c in "/\\" or not c.isprintable() else c for c in words)


def _text(recording: Recording, field: str, changes: str) -> str:
    if field in recording.texts:
        texts = recording.texts[field]
        different = [k for k, text in enumerate(texts) if text != texts[0]]
        if different and changes == "refuse":
            k = different[0]
            raise DataError(
                f"{recording.where}: {field} changes at step {k} from {texts[0]!r} to "
                f"{texts[k]!r}. Set task.changes: first in the mapping to keep the first"
            )
        text = texts[0]
    else:
        value = _fact(recording, field)
        text = "" if value is None else str(value)
    if "\0" in text or len(text) > 2000:
        raise DataError(f"{recording.where}: {field} is no instruction ({len(text)} characters)")
    return text


def _fact(recording: Recording, field: str) -> object:
    if field not in recording.facts:
        raise DataError(f"{recording.where} has no field {field!r}, which the mapping names")
    return recording.facts[field]


def _success(recording: Recording, mapping: Mapping) -> bool:
    line = mapping.success
    if line.field is None:
        return bool(line.assume)
    if line.field not in recording.numbers:
        return _truth(recording, line.field, _fact(recording, line.field))
    values = _column(recording, line.field)
    if not np.isfinite(values).all():
        raise DataError(f"{recording.where}: {line.field} holds NaN or infinity")
    return bool((values > 0.5).any() if line.rule == "any" else (values[-1] > 0.5).any())


def _truth(recording: Recording, field: str, value: object) -> bool:
    if isinstance(value, (bool, int, float)):
        return value > 0.5
    raise DataError(f"{recording.where}: {field} is {value!r}, no yes or no")


def _facts(recording: Recording, mapping: Mapping) -> dict[str, str | int]:
    found: dict[str, str | int] = {}
    for fact, field in mapping.facts.items():
        if field in recording.texts:
            found[fact] = recording.texts[field][0]
            continue
        value = _fact(recording, field)
        if FACTS[fact] is bool:
            found[fact] = _truth(recording, field, value)
        elif FACTS[fact] is str and isinstance(value, (str, int)):
            found[fact] = str(value)
        elif FACTS[fact] is int and isinstance(value, int):
            found[fact] = int(value)
        else:
            raise DataError(
                f"{recording.where}: {field} is {value!r}, which is no {fact} "
                f"({FACTS[fact].__name__})"
            )
    return found


def _column(recording: Recording, field: str) -> np.ndarray:
    """[T,n], in the files' own type."""
    if field not in recording.numbers:
        raise DataError(f"{recording.where} has no numbers {field!r}, which the mapping names")
    values = recording.numbers[field]
    return values.reshape(len(values), -1)


def _raw(
    recording: Recording,
    lines: Sequence[NumberLine],
    group: str,
    length: int,
    mapping: Mapping,
    counts: dict[str, int],
) -> np.ndarray:
    """float64 [T,D] in the files' units, within their bounds or as the mapping wants it."""
    found = np.empty((length, len(lines)))
    for k, line in enumerate(lines):
        values = _column(recording, line.field)
        what = f"{line.field}[{line.index}] ({group} {line.name!r})"
        if line.index >= values.shape[1]:
            raise DataError(
                f"{recording.where}: {what} does not exist, the field has {values.shape[1]} numbers"
            )
        column = values[:length, line.index].astype(np.float64)
        if not np.isfinite(column).all():
            step = int(np.flatnonzero(~np.isfinite(column))[0])
            raise DataError(f"{recording.where}: {what} is {column[step]} at step {step}")
        found[:, k] = _bounded(column, line, group, recording.where, what, mapping, counts)
    return found


def _bounded(
    column: np.ndarray,
    line: NumberLine,
    group: str,
    where: str,
    what: str,
    mapping: Mapping,
    counts: dict[str, int],
) -> np.ndarray:
    low, high = line.low, line.high
    if line.closed is not None and line.open is not None:
        low, high = min(line.closed, line.open), max(line.closed, line.open)
        if line.delta:
            low, high = low - high, high - low
    if line.period is not None and mapping.outside != "keep":
        # An angle means the same a period further; what is within its bounds stays as it is.
        turns = np.rint((column - (low + high) / 2) / line.period)
        beyond = (column < low) | (column > high)
        column = np.where(beyond, column - turns * line.period, column)
    slack = _SLACK[group] * (high - low)
    wrong = (column < low - slack) | (column > high + slack)
    if wrong.any():
        if mapping.outside == "refuse":
            step = int(np.flatnonzero(wrong)[0])
            raise DataError(
                f"{where}: {what} is {column[step]:g} at step {step}, beyond its bounds "
                f"{low:g} to {high:g}. Widen them in the mapping, or set outside: clip or keep"
            )
        if mapping.outside == "clip":
            counts["clipped"] += int(wrong.sum())
            return np.where(wrong, np.clip(column, low, high), column)
        counts["outside"] += int(wrong.sum())
    return column


def _units(raw: np.ndarray, lines: Sequence[NumberLine]) -> np.ndarray:
    """float32; what needs no change keeps its bits."""
    offset = np.array([line.offset for line in lines])
    scale = np.array([line.scale for line in lines])
    return ((raw - offset) * scale).astype(np.float32)


def _integrated(pose: np.ndarray, action: np.ndarray, mapping: Mapping) -> np.ndarray:
    """The targets that changes mean: from the measured pose of each step, or from the first."""
    names = [line.name for line in mapping.pose]
    action = action.copy()
    for k, line in enumerate(mapping.action):
        if not line.delta:
            continue
        base = names.index(line.name)
        change = action[:, k].astype(np.float64)
        start = pose[:, base].astype(np.float64)
        accumulated = mapping.deltas == "accumulate"
        target = start[0] + np.cumsum(change) if accumulated else start + change
        field = mapping.pose[base].described()
        if field.period is not None:
            turns = np.rint((target - (field.low + field.high) / 2) / field.period)
            beyond = (target < field.low) | (target > field.high)
            target = np.where(beyond, target - turns * field.period, target)
        action[:, k] = target
    return action


def _resampled(
    pose: np.ndarray, action: np.ndarray, absolute: np.ndarray, mapping: Mapping
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The steps that are kept, and what is measured and commanded there.

    A kept step lasts until the next: its target is the last one of that time, its change the sum.
    """
    length = len(pose)
    if mapping.to_fps is None or mapping.fps is None or mapping.to_fps == mapping.fps:
        return np.arange(length), pose, action
    ratio = mapping.fps / mapping.to_fps
    steps = np.rint(np.arange(math.ceil(length / ratio) + 1) * ratio).astype(int)
    steps = np.unique(steps[steps < length])
    last = np.append(steps[1:], length) - 1
    sums = np.add.reduceat(action.astype(np.float64), steps, axis=0).astype(np.float32)
    return steps, pose[steps], np.where(absolute, action[last], sums)


def _pictures(recording: Recording, mapping: Mapping, steps: np.ndarray) -> np.ndarray:
    size = mapping.height, mapping.width
    channels = 3 + any(line.depth is not None for line in mapping.cameras)
    image = np.zeros((len(steps), len(mapping.cameras), *size, channels), np.uint8)
    for v, line in enumerate(mapping.cameras):
        for field, first, last in ((line.field, 0, 3), (line.heights, 3, 4)):
            if field is None:
                continue
            if field not in recording.pictures:
                raise DataError(
                    f"{recording.where} has no pictures {field!r}, which the mapping names"
                )
            pictures = recording.pictures[field].read(steps, line.codec)
            for new, picture in zip(image[:, v, ..., first:last], pictures, strict=True):
                new[...] = resize(picture, *size, mapping.fit)[..., : last - first]
    return image[:, 0] if len(mapping.cameras) == 1 else image
