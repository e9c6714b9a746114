"""What a sample of episodes shows of their numbers: ranges, changes or targets, grippers, units."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from mili_jax.interchange.recording import NUMBER, PICTURE, TEXT, Recording, Source
from mili_jax.types import DataError

EPISODES = 500  # at most looked at
_WIDEST = 64  # numbers in a field; wider ones are features of pictures or words
_ABSURD = 1e6  # no robot measures or commands such a number


@dataclasses.dataclass(frozen=True)
class Sample:
    """Numbers and texts of E episodes, and a few pictures of some of them.

    numbers: by field, one array [T,n] per episode. texts, facts: by field, one value per episode.
    still: fields whose pictures are all the same. sizes: (H, W) by field of pictures.
    """

    numbers: dict[str, list[np.ndarray]]
    texts: dict[str, list[str]]
    facts: dict[str, list[object]]
    still: frozenset[str]
    sizes: dict[str, tuple[int, int]]
    episodes: int
    total: int

    @property
    def whole(self) -> bool:
        return self.episodes == self.total

    @property
    def said(self) -> str:
        """ "in all 25 episodes", "in 500 of 12,345 episodes"."""
        if self.whole:
            return f"in all {self.total} episodes" if self.total > 1 else "in the one episode"
        return f"in {self.episodes} of {self.total:,} episodes"


def look_at(source: Source, splits: Sequence[str]) -> Sample:
    """Reads the numbers of up to EPISODES episodes, evenly over the splits, and first, middle and
    last picture of eight of them."""
    sizes = source.splits
    total = sum(sizes[split] for split in splits)
    share = min(1.0, EPISODES / max(total, 1))
    fields = [
        name
        for name, column in source.columns.items()
        if column.kind in (PICTURE, TEXT)
        or (column.kind == NUMBER and (column.size <= _WIDEST or not column.per_step))
    ]
    numbers: dict[str, list[np.ndarray]] = {}
    texts: dict[str, list[str]] = {}
    facts: dict[str, list[object]] = {}
    same: dict[str, bytes | None] = {}
    shapes: dict[str, tuple[int, int]] = {}
    seen = 0
    for split in splits:
        count = max(1, round(sizes[split] * share))
        chosen = np.unique(np.linspace(0, sizes[split] - 1, count).astype(int)).tolist()
        shown = set(chosen[:: max(1, len(chosen) // 8)])
        for recording in source.read(split, chosen, fields):
            seen += 1
            for name, values in recording.numbers.items():
                flat = values.reshape(len(values), -1)
                _check(recording, name, flat)
                numbers.setdefault(name, []).append(flat)
            for name, words in recording.texts.items():
                texts.setdefault(name, []).append(words[0])
            for name, value in recording.facts.items():
                facts.setdefault(name, []).append(value)
            if recording.number in shown:
                _pictures(recording, same, shapes)
    still = frozenset(name for name, picture in same.items() if picture is not None)
    return Sample(numbers, texts, facts, still, shapes, seen, total)


def _check(recording: Recording, name: str, values: np.ndarray) -> None:
    if values.dtype.kind != "f" or np.isnan(values[-1]).all():
        return
    # Of a last step without action some files have NaN.
    wrong = ~np.isfinite(values[:-1]) | (np.abs(values[:-1]) > _ABSURD)
    if wrong.any():
        step, k = np.argwhere(wrong)[0]
        raise DataError(
            f"{recording.where}: {name}[{k}] is {values[step, k]:g} at step {step}; no robot "
            "measures or commands that, so the file is damaged or the field something else"
        )


def _pictures(
    recording: Recording, same: dict[str, bytes | None], shapes: dict[str, tuple[int, int]]
) -> None:
    steps = np.unique([0, recording.length // 2, recording.length - 1])
    for name, pictures in recording.pictures.items():
        for picture in pictures.read(steps):
            shapes.setdefault(name, (picture.shape[0], picture.shape[1]))
            content = picture.tobytes()
            if same.setdefault(name, content) != content:
                same[name] = None


@dataclasses.dataclass(frozen=True)
class Range:
    """Of one number over a sample."""

    low: float
    high: float

    @property
    def largest(self) -> float:
        return max(abs(self.low), abs(self.high))

    def __str__(self) -> str:
        return f"{self.low:.4g} to {self.high:.4g}"


def range_of(episodes: Sequence[np.ndarray], index: int) -> Range:
    values = np.concatenate([episode[:, index] for episode in episodes])
    values = values[np.isfinite(values)]
    return Range(float(values.min()), float(values.max())) if len(values) else Range(0.0, 0.0)


def widened(found: Range) -> tuple[float, float]:
    """A tenth of the span more on each side, rounded outward to three digits."""
    margin = max(0.1 * (found.high - found.low), 0.05 * found.largest, 1e-3)
    digits = 10.0 ** (math.floor(math.log10(margin)) - 1)
    low = math.floor((found.low - margin) / digits) * digits
    high = math.ceil((found.high + margin) / digits) * digits
    return float(f"{low:.6g}"), float(f"{high:.6g}")


def is_delta(
    action: Sequence[np.ndarray], index: int, pose: Sequence[np.ndarray], base: int
) -> tuple[bool | None, str]:
    """Whether a number of the action is a change of a number of the pose, and what speaks for it.

    None where nothing does: the action stands still, or goes with neither.
    """
    commands, after, change = [], [], []
    for a, p in zip(action, pose, strict=True):
        if len(a) < 3:
            continue
        commands.append(a[:-1, index])
        after.append(p[1:, base])
        change.append(np.diff(p[:, base]))
    if not commands:
        return None, "the episodes are too short to tell"
    command, target = np.concatenate(commands), np.concatenate(after)
    moved = np.concatenate(change)
    if np.ptp(command) == 0:
        return None, "it never changes"
    with_target, with_change = _correlation(command, target), _correlation(command, moved)
    gap = float(np.median(np.abs(command - target)))
    spread = float(np.ptp(target))
    said = f"correlation {with_target:.2f} with the next pose, {with_change:.2f} with its change"
    if with_target > 0.9 and gap < 0.2 * spread and with_target > with_change:
        return False, said
    if with_change > 0.3 and with_change > with_target and np.ptp(command) < 0.75 * 2 * spread:
        return True, said
    if with_change > 0.5 and with_change > with_target + 0.2:
        scale = float(np.std(command) / max(np.std(moved), 1e-12))
        return True, f"{said}, and {scale:.0f} times as large: scaled, so it cannot be added"
    return None, said


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    if np.std(a) < 1e-12 or np.std(b) < 1e-12:
        return 0.0
    return float(np.corrcoef(a.astype(float), b.astype(float))[0, 1])


def gripper_ends(found: Range) -> tuple[float, float] | None:
    """The two ends of a gripper's values by their range, None where it is no known one."""
    if found.low >= -0.05 and 0.5 < found.high <= 1.1:
        return 0.0, 1.0
    if -1.1 <= found.low < -0.5 and found.high <= 1.1:
        return -1.0, 1.0
    if found.low >= -1 and 50 < found.high <= 256:
        return 0.0, 255.0
    if found.low >= -0.005 and 0.005 < found.high <= 0.12:
        return 0.0, float(f"{found.high:.3g}")
    return None


def open_end(
    episodes: Sequence[np.ndarray], index: int, ends: tuple[float, float]
) -> tuple[float | None, str]:
    """The end at which nearly all episodes begin: arms mostly begin open. None where they do not
    agree."""
    middle = sum(ends) / 2
    high = sum(float(values[0, index]) > middle for values in episodes)
    low = len(episodes) - high
    for count, end in ((high, ends[1]), (low, ends[0])):
        if count >= 0.9 * len(episodes):
            return end, f"{count} of {len(episodes)} episodes begin near {end:g}, mostly open"
    return None, f"{high} of {len(episodes)} episodes begin near {ends[1]:g}, the others not"
