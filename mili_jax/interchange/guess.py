"""A first mapping from names, shapes and what the numbers show. Each line says why it is so.

What cannot be known, such as the unit of a joint, is left as "?" for a person.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Literal, NotRequired, TypedDict

import numpy as np

from mili_jax.interchange import names
from mili_jax.interchange.evidence import (
    Range,
    Sample,
    gripper_ends,
    is_delta,
    look_at,
    open_end,
    range_of,
    widened,
)
from mili_jax.interchange.mapping import Mapping as Plan
from mili_jax.interchange.mapping_file import UNKNOWN, parse, render, unknown_lines
from mili_jax.interchange.recording import OTHER, PICTURE, Column, Source
from mili_jax.interchange.robomimic import ALL
from mili_jax.types import ConfigError

_SMALL = 128  # pixels; pictures up to it keep their size
_ACTIONS = ("steps/action", "action", "actions")
_POSES = (
    ("steps/observation/state",),
    ("observation.state",),
    ("obs/robot0_eef_pos", "obs/robot0_eef_quat", "obs/robot0_gripper_qpos"),
    ("obs/state",),
    ("steps/observation/proprio",),
    ("steps/observation/robot_state",),
    ("steps/observation/cartesian_position", "steps/observation/gripper_position"),
    ("steps/observation/joint_position", "steps/observation/gripper_position"),
)
_TASKS = (
    *("steps/language_instruction", "steps/observation/natural_language_instruction"),
    *("episode_metadata/language_instruction", "task", "ep_meta/lang", "env_args/env_name"),
)
_SUCCESS = (
    *("next.success", "episode/success", "attrs/success", "episode_metadata/success"),
    *("steps/reward", "next.reward", "rewards", "steps/is_terminal"),
)


class Line(TypedDict):
    """A number of a pose or an action in the mapping file; what is left out or "?" is open."""

    name: str
    field: str
    index: int
    unit: NotRequired[str]
    low: NotRequired[float]
    high: NotRequired[float]
    period: NotRequired[float]
    closed: NotRequired[float | str]
    open: NotRequired[float | str]
    delta: NotRequired[bool]


class Group(TypedDict):
    """A pose or an action in the mapping file."""

    unit: NotRequired[str]
    delta: NotRequired[bool | str]
    numbers: list[Line]


class Draft(TypedDict, total=False):
    """The mapping file while it is guessed."""

    format: str
    splits: dict[str, str]
    picture: dict[str, int | str]
    cameras: list[dict[str, str]]
    pose: Group
    action: Group
    deltas: str
    outside: str
    task: dict[str, str]
    success: dict[str, str | bool]
    fps: float | None
    to_fps: float | None
    last_step: str
    short: str
    facts: dict[str, str]


_GROUPS: tuple[Literal["pose"], Literal["action"]] = ("pose", "action")


@dataclasses.dataclass(frozen=True)
class Guess:
    """The text of a mapping file, and the lines of it that a person must fill in."""

    text: str
    open: tuple[str, ...]

    def mapping(self) -> Plan:
        """Raises ConfigError, naming the lines, while something is open."""
        return parse(self.text, "the guessed mapping")


def guess(source: Source) -> Guess:
    """A mapping for a source, by its own mapping file if one came with it.

    Raises ConfigError, saying what is missing, for a source without pictures, actions or poses, and
    DataError as reading does.
    """
    if source.mapping is not None:
        parse(source.mapping, f"the mapping that came with {source.path}")
        return Guess(source.mapping, ())
    splits = _splits(source)
    sample = look_at(source, list(splits))
    raw: Draft = {"format": source.format, "splits": splits}
    why: dict[str, str] = {"splits": "The files' splits and ours."}
    left: list[str] = []
    _cameras(source, sample, raw, why, left)
    pose = _fields(source, sample, "pose")
    action = _fields(source, sample, "action")
    raw["pose"] = _numbers(source, sample, pose, "pose", why)
    raw["action"] = _numbers(source, sample, action, "action", why)
    _deltas(sample, raw, why)
    _group_units(raw, why)
    raw["outside"] = "refuse"
    why["outside"] = (
        f"Bounds are what was seen {sample.said} and a tenth more. A value beyond them is refused; "
        "clip and keep are the other choices."
    )
    _task(source, sample, raw, why)
    _success(source, sample, raw, why)
    _time(source, sample, raw, why)
    raw["short"] = "refuse"
    why["short"] = "An episode of one step is refused; skip and keep are the other choices."
    why["facts"] = "Further facts and their fields: episode_id, seed, useful, policy and more."
    raw["facts"] = _identity(source, sample)
    text = render(raw, why, _head(source, sample, left))
    return Guess(text, tuple(unknown_lines(text)))


def _splits(source: Source) -> dict[str, str]:
    splits = [split for split, count in source.splits.items() if count]
    if source.format == "robomimic":
        splits = [s for s in ("train", "valid") if s in splits] or [ALL]
    if not splits:
        raise ConfigError(f"{source.path} has no split with an episode in it")
    found = {}
    for split in splits:
        name = names.ours(split)
        found[split] = "demos_train" if name in ("train", ALL) else f"demos_{name}"
    return found


def _cameras(
    source: Source,
    sample: Sample,
    raw: Draft,
    why: dict[str, str],
    left: list[str],
) -> None:
    fields = [c for c in source.columns.values() if c.kind == PICTURE and c.name in sample.sizes]
    if not fields:
        others = [f"{c.name} ({c.why})" for c in source.columns.values() if c.kind == OTHER]
        said = f"; what cannot be read: {', '.join(others[:8])}" if others else ""
        raise ConfigError(f"{source.path} has no pictures of a step{said}")
    shown = [c for c in fields if c.name not in sample.still]
    for column in fields:
        if column.name in sample.still:
            left.append(f"{column.name}: all its pictures are the same")
    if not shown:
        raise ConfigError(
            f"{source.path}: every picture of {', '.join(c.name for c in fields)} is the same; a "
            "policy would see nothing"
        )
    shown.sort(key=lambda c: (names.is_wrist(c.name), c.name))
    called = names.unlike([names.camera(c.name) for c in shown])
    raw["cameras"] = [
        {"name": name, "field": c.name, "codec": c.codec}
        for name, c in zip(called, shown, strict=True)
    ]
    why["cameras"] = (
        "All pictures that change, those of a wrist last; take out what the policy need not see. "
        "The first is the one that places are found in. A matrix (spec.Camera) calibrates one."
    )
    height, width = sample.sizes[shown[0].name]
    if max(height, width) <= _SMALL and min(height, width) >= 16:
        raw["picture"] = {"height": height, "width": width, "fit": "stretch"}
        why["picture"] = f"As {shown[0].name} is."
    else:
        scale = 64 / min(height, width)
        new = [max(16, 2 * round(side * scale / 2)) for side in (height, width)]
        raw["picture"] = {"height": new[0], "width": new[1], "fit": "stretch"}
        why["picture"] = (
            f"{shown[0].name} is {height} x {width} pixels; made smaller, each new pixel the mean "
            "of the area that it covers. fit: crop takes the middle in the new proportions."
        )
    if len({sample.sizes[c.name] for c in shown}) > 1:
        why["picture"] += " The cameras differ in size; all come out like this."


def _fields(source: Source, sample: Sample, group: str) -> list[Column]:
    there = {
        name: source.columns[name]
        for name in sample.numbers
        if np.dtype(source.columns[name].dtype).kind in "fiu"
    }
    for wanted in [(name,) for name in _ACTIONS] if group == "action" else _POSES:
        if all(name in there for name in wanted):
            return [there[name] for name in wanted]
    if group == "action":
        parts = [c for name, c in there.items() if name.startswith(("steps/action/", "action."))]
        parts = [c for c in parts if "terminate" not in c.name]
        if parts:
            return parts
        candidates = [name for name in there if "action" in name.lower()]
    else:
        candidates = [
            name
            for name, column in there.items()
            if name.startswith(("steps/observation/", "observation.", "obs/"))
            and column.dtype.startswith("float")
        ]
        if len(candidates) == 1:
            return [there[candidates[0]]]
    raise ConfigError(
        f"{source.path}: which field is the {group} cannot be guessed; "
        + (f"it may be among {', '.join(candidates)}. " if candidates else "none looks like it. ")
        + "Write a mapping file (docs/other_robots.md shows one) and give it with --map"
    )


def _numbers(
    source: Source, sample: Sample, columns: Sequence[Column], group: str, why: dict[str, str]
) -> Group:
    lines: list[Line] = []
    seen: list[Range] = []
    reasons = []
    for column in columns:
        episodes = sample.numbers[column.name]
        ranges = [range_of(episodes, k) for k in range(column.size)]
        called, reason = names.of_numbers(column, _usual(ranges))
        reasons.append(f"{column.name}: {reason}.")
        for k, (name, found) in enumerate(zip(called, ranges, strict=True)):
            lines.append({"name": name, "field": column.name, "index": k})
            seen.append(found)
    for line, name in zip(lines, names.unlike([line["name"] for line in lines]), strict=True):
        line["name"] = name
    for k, (line, found) in enumerate(zip(lines, seen, strict=True)):
        episodes = sample.numbers[line["field"]]
        why[f"{group}[{k}]"] = f"Seen {found}. " + _unit(line, found, episodes)
    why[group] = " ".join(reasons)
    return {"numbers": lines}


def _usual(ranges: Sequence[Range]) -> bool:
    """Whether seven numbers can be metres, radians and a gripper."""
    if len(ranges) != 7:
        return False
    return (
        max(r.largest for r in ranges[:3]) <= 3
        and max(r.largest for r in ranges[3:6]) <= 6.3
        and ranges[6].largest <= 1.1
    )


def _unit(line: Line, found: Range, episodes: Sequence[np.ndarray]) -> str:
    """Adds unit and bounds to a line; what speaks for them."""
    name, index = line["name"], line["index"]
    if names.is_gripper(name):
        if (ends := gripper_ends(found)) is not None:
            where, reason = open_end(episodes, index, ends)
            line["unit"] = "1"
            if where is None:
                line |= {"closed": UNKNOWN, "open": UNKNOWN}
                return f"A gripper; {ends[0]:g} or {ends[1]:g} is open, it is not known: {reason}."
            line |= {"closed": ends[0] if where == ends[1] else ends[1], "open": where}
            return f"A gripper, open at {where:g}: {reason}."
        line |= {"unit": UNKNOWN, "closed": UNKNOWN, "open": UNKNOWN}
        return "A gripper, but of no usual range: say which value is closed and which open."
    kind = names.quantity(name)
    line["unit"] = UNKNOWN
    line["low"], line["high"] = widened(found)
    if kind == "quaternion":
        line |= {"unit": "1", "low": -1.0, "high": 1.0}
        return "Of a quaternion."
    if kind == "length":
        if found.largest <= 3:
            line["unit"] = "m"
            return "Metres by their size: an arm's reach."
        return "Too far for metres; mm or cm?"
    if kind == "angle":
        if found.largest <= 6.3:
            line["unit"] = "rad"
            return "Radians by their size."
        return "Too much for radians; deg?"
    if found.largest > 6.3:
        return "Unit not known; joints in degrees look like this, so do shares of a hundred."
    return "Unit not known; joints in radians look like this."


def _deltas(sample: Sample, raw: Draft, why: dict[str, str]) -> None:
    """Says which numbers of the action are changes, and gives angles their period."""
    pose = {line["name"]: line for line in raw["pose"]["numbers"]}
    votes: list[bool] = []
    seen = {}
    lines = raw["action"]["numbers"]
    for k, line in enumerate(lines):
        base = pose.get(line["name"])
        if "closed" in line or base is None:
            continue
        verdict, reason = is_delta(
            sample.numbers[line["field"]],
            line["index"],
            sample.numbers[base["field"]],
            base["index"],
        )
        seen[k] = (verdict, reason)
        if verdict is not None:
            votes.append(verdict)
    share = sum(votes) / len(votes) if votes else 0.5
    common: bool | str = True if share >= 2 / 3 else False if share <= 1 / 3 else UNKNOWN
    raw["action"] = {"delta": common, **raw["action"]}
    if common == UNKNOWN:
        text = (
            f"Changes (delta: true) or targets? {sum(votes)} numbers look like changes and "
            f"{len(votes) - sum(votes)} like targets."
            if votes
            else "Changes (delta: true) or targets? Nothing in the numbers tells."
        )
    else:
        kind = "changes" if common else "targets"
        text = f"They look like {kind} ({sum(v is common for v in votes)} of {len(votes)} numbers)."
    why["action"] = f"{why['action']} {text}"
    for k, line in enumerate(lines):
        if "closed" in line:
            if common:
                line["delta"] = False
        elif k in seen:
            verdict, reason = seen[k]
            why[f"action[{k}]"] += f" {reason[0].upper()}{reason[1:]}."
            if verdict is not None and verdict != common and common != UNKNOWN:
                why[f"action[{k}]"] += " It differs from the others."
    raw["deltas"] = "keep"
    if common:
        why["deltas"] = (
            "keep: the policy learns changes. add_to_pose makes targets of them: the measured pose "
            "plus the change. accumulate adds them up from the first pose."
        )
    for group in _GROUPS:
        if group == "action" and common is not False:
            continue
        for line in raw[group]["numbers"]:
            if line.get("unit") == "rad" and names.quantity(line["name"]) == "angle":
                line["period"] = 6.283185307179586
                if line["low"] >= -3.2 and line["high"] <= 3.2:
                    line |= {"low": -3.141592653589793, "high": 3.141592653589793}


def _group_units(raw: Draft, why: dict[str, str]) -> None:
    """Where most units of a group are open, they are asked for once."""
    for group in _GROUPS:
        lines = raw[group]["numbers"]
        missing = [line for line in lines if line["unit"] == UNKNOWN and "closed" not in line]
        if len(missing) > 2 and len(missing) > len(lines) / 2:
            for line in missing:
                del line["unit"]
            raw[group] = {"unit": UNKNOWN, **raw[group]}
            why[group] += " `unit` is of all lines without one of their own: m, mm, rad, deg, 1."


def _task(source: Source, sample: Sample, raw: Draft, why: dict[str, str]) -> None:
    texts: dict[str, list[str]] = {**sample.texts}
    for name, values in sample.facts.items():
        if all(isinstance(value, str) for value in values):
            texts[name] = [str(value) for value in values]
    usual = [name for name in _TASKS if name in texts]
    usual += [n for n in texts if _names_a_task(n) and n not in usual]
    # A name that all episodes share says less than one that tells them apart.
    usual.sort(key=lambda name: len(set(texts[name])) < 2)
    if not usual:
        raw["task"] = {"name": UNKNOWN}
        why["task"] = (
            f"No field has an instruction (texts: {', '.join(texts) or 'none'}); give the name of "
            "the one task, or a field instead of name."
        )
        return
    filled = [name for name in usual if any(texts[name])]
    field = (filled or usual)[0]
    found = texts[field]
    different, empty = len(set(found)), sum(not text.strip() for text in found)
    why["task"] = f"{different} instruction{'s' * (different > 1)} {sample.said}."
    if different == 1:
        why["task"] += " One-shot imitation needs several tasks; other texts: "
        why["task"] += f"{', '.join(n for n in texts if n != field) or 'none'}."
    raw["task"] = {"field": field, "empty": "refuse"}
    if empty:
        raw["task"]["empty"] = UNKNOWN
        why["task"] += (
            f" {empty} of {len(found)} episodes have none: skip them, or give a name for them."
        )


def _names_a_task(field: str) -> bool:
    last = field.lower().rpartition("/")[2]
    return "instruction" in field.lower() or last in ("task", "task_name", "language", "lang")


def _success(source: Source, sample: Sample, raw: Draft, why: dict[str, str]) -> None:
    silent = []
    for field in _SUCCESS:
        answers = _answers(field, sample)
        if answers is None:
            continue
        rule, yes, total = answers
        if yes:
            raw["success"] = {"field": field, "rule": rule}
            if field in sample.facts:
                del raw["success"]["rule"]
            why["success"] = f"It says yes in {yes} of {total} episodes."
            if yes == total:
                why["success"] += " Perhaps it always does."
            return
        silent.append(field)
    raw["success"] = {"assume": True}
    said = f"{', '.join(silent)} never says yes {sample.said}" if silent else "No field says it"
    why["success"] = f"{said}; demonstrations are taken for successful. Set false if they were not."


def _answers(field: str, sample: Sample) -> tuple[str, int, int] | None:
    if field in sample.facts:
        values = [v for v in sample.facts[field] if isinstance(v, (bool, int, float))]
        return ("last", sum(v > 0.5 for v in values), len(values)) if values else None
    if field not in sample.numbers:
        return None
    rule = "any" if "reward" in field else "last"
    take: Callable[[np.ndarray], bool] = (
        (lambda v: bool((v > 0.5).any())) if rule == "any" else (lambda v: bool(v[-1].max() > 0.5))
    )
    episodes = sample.numbers[field]
    return rule, sum(map(take, episodes)), len(episodes)


def _time(source: Source, sample: Sample, raw: Draft, why: dict[str, str]) -> None:
    raw["fps"] = None if source.fps is None else float(source.fps)
    raw["to_fps"] = None
    why["fps"] = (
        "Steps a second, as the files say."
        if source.fps
        else "Steps a second; the files do not say. An export to LeRobot needs it."
    )
    why["to_fps"] = "Steps a second to keep; null for all."
    raw["last_step"] = "keep"
    why["last_step"] = "drop leaves out the last step, where the files have no action in it."
    field = raw["action"]["numbers"][0]["field"]
    last = sample.numbers.get("steps/is_last")
    moves = [line for line in raw["action"]["numbers"] if "closed" not in line]
    if last is None or not moves or not all(bool(v[-1].all()) for v in last):
        return
    index = [line["index"] for line in moves if line["field"] == field]
    actions = [values[:, index] for values in sample.numbers[field]]
    idle = sum(bool((~np.isfinite(a[-1]) | (a[-1] == 0)).all()) for a in actions)
    before = sum(bool((a[-2] == 0).all()) for a in actions if len(a) > 1)
    if idle > 0.9 * len(actions) and before < 0.5 * len(actions):
        raw["last_step"] = "drop"
        why["last_step"] = f"{idle} of {len(actions)} episodes have no action in their last step."


def _identity(source: Source, sample: Sample) -> dict[str, str]:
    """A field that names episodes, if all its values differ."""
    for name in ("episode/episode_index", "demo", "episode_metadata/episode_id"):
        values = sample.facts.get(name)
        if values and sample.whole and len(set(map(str, values))) == len(values):
            return {"episode_id": name}
    return {}


def _head(source: Source, sample: Sample, left: list[str]) -> str:
    lines = [
        f"How the {source.format} episodes in {source.path} are read: a guess to check, from what "
        f"was seen {sample.said}.",
        'Fill in every "?", change what is wrong, then import with --map and this file.',
    ]
    lines += list(source.notes)
    lines += _flags(source, sample)
    others = [f"{c.name}: {c.why}" for c in source.columns.values() if c.kind == OTHER]
    if left or others:
        lines.append("Left out: " + "; ".join([*left, *others[:12]]) + ".")
    return "\n".join(lines)


def _flags(source: Source, sample: Sample) -> list[str]:
    found = []
    for name, values in sample.facts.items():
        field = name.rsplit("has_", 1)[-1] if "/has_" in name else ""
        column = next((c for c in source.columns if field and names.tail(c) == field), None)
        if column and not any(values) and column in sample.sizes and column not in sample.still:
            found.append(f"{name} is 0 throughout, but {column} has pictures; they are taken.")
    last = sample.numbers.get("steps/is_last")
    if last and not any(v.any() for v in last):
        found.append("steps/is_last is 0 throughout; an episode ends with its record.")
    return found
