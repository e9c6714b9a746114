"""The mapping as a small YAML file that people read and change.

A value that nobody could guess stands there as "?"; such a file is refused until it is filled in.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence

import yaml

from mili_jax.interchange.mapping import (
    CameraLine,
    NumberLine,
    SuccessLine,
    TaskLine,
)
from mili_jax.interchange.mapping import Mapping as Plan
from mili_jax.types import ConfigError

UNKNOWN = "?"
_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_./-]*")
_WORDS = {"null", "true", "false", "yes", "no", "on", "off"}
# The safe loader, the quick one where there is one.
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_LIMIT = 10_000_000  # characters; a mapping has some thousands
_NUMBER = ("name", "field", "index", "unit", "low", "high", "period", "closed", "open", "delta")
_GROUP = ("unit", "delta", "numbers")
_TOP = (
    *("format", "splits", "picture", "cameras", "pose", "action", "deltas", "outside", "task"),
    *("success", "fps", "to_fps", "last_step", "short", "facts"),
)


def as_plain(plan: Plan) -> dict[str, object]:
    """A mapping as plain values, as `render` writes them."""
    return {
        "format": plan.format,
        "splits": dict(plan.splits),
        "picture": {"height": plan.height, "width": plan.width, "fit": plan.fit},
        "cameras": [_camera(line) for line in plan.cameras],
        "pose": {"numbers": [_number(line) for line in plan.pose]},
        "action": {"numbers": [_number(line) for line in plan.action]},
        "deltas": plan.deltas,
        "outside": plan.outside,
        "task": {
            key: value
            for key, value in vars(plan.task).items()
            if value is not None and not (key == "as_is" and not value)
        },
        "success": {
            key: value
            for key, value in vars(plan.success).items()
            if value is not None and not (key == "rule" and plan.success.field is None)
        },
        "fps": plan.fps,
        "to_fps": plan.to_fps,
        "last_step": plan.last_step,
        "short": plan.short,
        "facts": dict(plan.facts),
    }


def _camera(line: CameraLine) -> dict[str, object]:
    raw: dict[str, object] = {"name": line.name, "field": line.field, "codec": line.codec}
    if line.matrix is not None:
        raw |= {"matrix": [list(row) for row in line.matrix]}
    if line.heights is not None:
        raw |= {"depth": line.depth, "heights": line.heights}
    return raw if line.mount == "world" else {**raw, "mount": line.mount}


def _number(line: NumberLine) -> dict[str, object]:
    raw: dict[str, object] = {"name": line.name, "field": line.field, "index": line.index}
    raw["unit"] = line.unit
    if line.gripper:
        raw |= {"closed": line.closed, "open": line.open}
    else:
        raw |= {"low": line.low, "high": line.high}
    if line.period is not None:
        raw["period"] = line.period
    return {**raw, "delta": True} if line.delta else raw


def render(raw: Mapping[str, object], why: Mapping[str, str] | None = None, head: str = "") -> str:
    """The file's text.

    why: comments, by place: "fps", "cameras[0]", "pose", "pose[3]". head: lines at the top.
    """
    why = why or {}
    lines = [f"# {line}".rstrip() for line in head.splitlines()]
    for key in _TOP:
        if key not in raw:
            continue
        value = raw[key]
        if note := why.get(key):
            lines += ["", *_comment(note, "")]
        if isinstance(value, list):
            lines += [f"{key}:", *_items(value, key, why, "  ")]
        elif isinstance(value, Mapping) and "numbers" in value:
            lines.append(f"{key}:")
            lines += [f"  {k}: {_scalar(v)}" for k, v in value.items() if k != "numbers"]
            lines += ["  numbers:", *_items(value["numbers"], key, why, "    ")]
        elif isinstance(value, Mapping) and value:
            lines += [f"{key}:", *(f"  {_scalar(k)}: {_scalar(v)}" for k, v in value.items())]
        else:
            lines.append(f"{key}: {_scalar(value)}")
    return "\n".join(lines).lstrip("\n") + "\n"


def _items(
    values: Sequence[object], key: str, why: Mapping[str, str], indent: str
) -> Iterator[str]:
    for k, value in enumerate(values):
        if note := why.get(f"{key}[{k}]"):
            yield from _comment(note, indent)
        yield f"{indent}- {_scalar(value)}"
    if not values:
        yield f"{indent}[]"


def _comment(text: str, indent: str) -> Iterator[str]:
    words, line = text.split(), ""
    for word in words:
        if line and len(indent) + len(line) + len(word) > 96:
            yield f"{indent}# {line}"
            line = ""
        line = f"{line} {word}".strip()
    if line:
        yield f"{indent}# {line}"


def _scalar(value: object) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_scalar(k)}: {_scalar(v)}" for k, v in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(_scalar, value)) + "]"
    if isinstance(value, str):
        if _PLAIN.fullmatch(value) and value.lower() not in _WORDS:
            return value
        text = yaml.safe_dump(value, default_style='"', width=10**9, allow_unicode=True)
        return str(text).strip()
    if isinstance(value, float):
        text = repr(value)
        # YAML takes 1e-05 for text, 1.0e-05 for a number.
        return text.replace("e", ".0e") if "e" in text and "." not in text else text
    return json.dumps(value)


def parse(text: str, where: str) -> Plan:
    """The mapping in a file's text.

    Raises ConfigError, naming `where` and the place in it: no YAML, a value left open, a key that
    does not exist or is missing, or a value that cannot be.
    """
    if len(text) > _LIMIT:
        raise ConfigError(f"{where} is no mapping file: it has {len(text)} characters")
    try:
        # References could make a short file endlessly long.
        if any(getattr(event, "anchor", None) for event in yaml.parse(text, Loader=_Loader)):
            raise ConfigError(f"{where}: anchors and aliases (& and *) are not used in a mapping")
        node = yaml.compose(text, Loader=_Loader)
        raw = yaml.load(text, Loader=_Loader)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise ConfigError(f"{where} is no YAML: {' '.join(str(error).split())}") from error
    if not isinstance(raw, dict):
        raise ConfigError(f"{where} is no mapping file: it must have keys such as `format`")
    if open_lines := sorted(set(_unknown(node, 0))):
        places = ", ".join(map(str, open_lines[:20]))
        raise ConfigError(
            f'{where}: fill in the "?" in line{"s" if len(open_lines) > 1 else ""} {places}'
            f"{' and more' if len(open_lines) > 20 else ''}; the comments there say what is known"
        )
    try:
        return _plan(raw)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from None


def unknown_lines(text: str) -> list[str]:
    """The lines of a file's text that must be filled in."""
    node = yaml.compose(text, Loader=_Loader)
    lines = text.splitlines()
    return [f"line {n}: {lines[n - 1].strip()}" for n in sorted(set(_unknown(node, 0)))]


def _unknown(node: yaml.Node | None, depth: int) -> Iterator[int]:
    if depth > 12:
        return
    if isinstance(node, yaml.ScalarNode):
        if node.value.strip() == UNKNOWN:
            yield node.start_mark.line + 1
        return
    for child in node.value if node is not None else ():
        for part in child if isinstance(child, tuple) else (child,):
            yield from _unknown(part, depth + 1)


def _plan(raw: Mapping[str, object]) -> Plan:
    _keys("", raw, _TOP, ("format", "splits", "picture", "cameras", "pose", "action", "task"))
    picture = _table("picture", raw["picture"])
    _keys("picture", picture, ("height", "width", "fit"), ("height", "width"))
    task, success = _table("task", raw["task"]), _table("success", raw.get("success"))
    _keys("task", task, tuple(TaskLine.__dataclass_fields__), ())
    _keys("success", success, tuple(SuccessLine.__dataclass_fields__), ())
    cameras = raw["cameras"]
    if not isinstance(cameras, list) or not cameras:
        raise ConfigError("cameras must be a list of at least one")
    optional = {
        key: _text(key, raw[key])
        for key in ("deltas", "outside", "last_step", "short")
        if raw.get(key) is not None
    }
    return Plan(
        format=_text("format", raw["format"]),
        cameras=tuple(_camera_line(f"cameras[{k}]", line) for k, line in enumerate(cameras)),
        height=_whole("picture.height", picture["height"]),
        width=_whole("picture.width", picture["width"]),
        fit=_text("picture.fit", picture.get("fit", "stretch")),
        pose=_numbers("pose", raw["pose"]),
        action=_numbers("action", raw["action"]),
        task=TaskLine(
            field=_maybe_text("task.field", task.get("field")),
            name=_maybe_text("task.name", task.get("name")),
            empty=_text("task.empty", task.get("empty", "refuse")),
            changes=_text("task.changes", task.get("changes", "refuse")),
            as_is=_truth("task.as_is", task.get("as_is", False)),
            language=_maybe_text("task.language", task.get("language")),
        ),
        success=SuccessLine(
            field=_maybe_text("success.field", success.get("field")),
            rule=_text("success.rule", success.get("rule", "last")),
            assume=None
            if success.get("assume") is None
            else _truth("success.assume", success["assume"]),
        ),
        splits={
            _text("splits", key): _text(f"splits.{key}", value)
            for key, value in _table("splits", raw["splits"]).items()
        },
        fps=_maybe_number("fps", raw.get("fps")),
        to_fps=_maybe_number("to_fps", raw.get("to_fps")),
        facts={
            _text("facts", key): _text(f"facts.{key}", value)
            for key, value in _table("facts", raw.get("facts")).items()
        },
        **optional,
    )


def _camera_line(what: str, raw: object) -> CameraLine:
    raw = _table(what, raw)
    _keys(what, raw, tuple(CameraLine.__dataclass_fields__), ("name", "field"))
    matrix = raw.get("matrix")
    if matrix is not None:
        if not isinstance(matrix, list) or not all(isinstance(row, list) for row in matrix):
            raise ConfigError(f"{what}.matrix must be three rows of four numbers, or left out")
        matrix = tuple(
            tuple(_number_of(f"{what}.matrix", value) for value in row) for row in matrix
        )
    return CameraLine(
        _text(f"{what}.name", raw["name"]),
        _text(f"{what}.field", raw["field"]),
        _text(f"{what}.codec", raw.get("codec") or ""),
        matrix,
        _text(f"{what}.mount", raw.get("mount", "world")),
        _maybe_number(f"{what}.depth", raw.get("depth")),
        _maybe_text(f"{what}.heights", raw.get("heights")),
    )


def _numbers(group: str, raw: object) -> tuple[NumberLine, ...]:
    raw = _table(group, raw)
    _keys(group, raw, _GROUP, ("numbers",))
    lines = raw["numbers"]
    if not isinstance(lines, list) or not lines:
        raise ConfigError(f"{group}.numbers must be a list of at least one")
    common = {key: raw[key] for key in ("unit", "delta") if raw.get(key) is not None}
    found = []
    for k, line in enumerate(lines):
        what = f"{group}[{k}]"
        own = _table(what, line)
        _keys(what, own, _NUMBER, ("name", "field"))
        line = {**common, **own}
        gripper = line.get("closed") is not None or line.get("open") is not None
        if gripper:
            line = {"low": 0.0, "high": 1.0, **line}
            line.setdefault("unit", "1")
        _keys(what, line, _NUMBER, ("unit", "low", "high"))
        found.append(
            NumberLine(
                name=_text(f"{what}.name", line["name"]),
                field=_text(f"{what}.field", line["field"]),
                index=_whole(f"{what}.index", line.get("index", 0)),
                # YAML reads the unit 1 as a number.
                unit=str(line["unit"])
                if line["unit"] == 1
                else _text(f"{what}.unit", line["unit"]),
                low=_number_of(f"{what}.low", line["low"]),
                high=_number_of(f"{what}.high", line["high"]),
                period=_maybe_number(f"{what}.period", line.get("period")),
                closed=_maybe_number(f"{what}.closed", line.get("closed")),
                open=_maybe_number(f"{what}.open", line.get("open")),
                delta=_truth(f"{what}.delta", line.get("delta", False)),
            )
        )
    return tuple(found)


def _keys(
    what: str, raw: Mapping[str, object], known: Sequence[str], needed: Sequence[str]
) -> None:
    above = f"{what}." if what else ""
    for key in raw:
        if key not in known:
            raise ConfigError(f"{above}{key} does not exist; known are {', '.join(known)}")
    for key in needed:
        if key not in raw:
            raise ConfigError(f"{above}{key} is missing")


def _table(what: str, value: object) -> Mapping[str, object]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ConfigError(f"{what} must have keys and values, is {value!r}")
    return value


def _text(what: str, value: object) -> str:
    if not isinstance(value, str):
        raise ConfigError(f"{what} must be text, is {value!r}")
    return value


def _maybe_text(what: str, value: object) -> str | None:
    return None if value is None else _text(what, value)


def _whole(what: str, value: object) -> int:
    if type(value) is not int:
        raise ConfigError(f"{what} must be a whole number, is {value!r}")
    return value


def _number_of(what: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ConfigError(f"{what} must be a number, is {value!r}")
    return float(value)


def _maybe_number(what: str, value: object) -> float | None:
    return None if value is None else _number_of(what, value)


def _truth(what: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise ConfigError(f"{what} must be true or false, is {value!r}")
    return value
