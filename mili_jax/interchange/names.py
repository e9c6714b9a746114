"""Names of numbers and cameras: ours from theirs, and what usual names mean."""

from __future__ import annotations

import re
from collections.abc import Sequence

from mili_jax.interchange.recording import Column

POSITIONS = ("x", "y", "z")
ANGLES = ("roll", "pitch", "yaw")
USUAL = (*POSITIONS, *ANGLES, "gripper")  # of seven numbers in Open X
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_BAD = re.compile(r"[^a-z0-9]+")
# The end of a field's name, and the names of its numbers.
_KNOWN: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("eef_pos", POSITIONS),
    ("ee_pos", POSITIONS),
    ("tcp_pos", POSITIONS),
    ("world_vector", POSITIONS),
    ("position", POSITIONS),
    ("rotation_delta", ANGLES),
    ("euler", ANGLES),
    ("eef_quat", ("qx", "qy", "qz", "qw")),
    ("ee_quat", ("qx", "qy", "qz", "qw")),
    ("quat", ("qx", "qy", "qz", "qw")),
    ("cartesian_position", (*POSITIONS, *ANGLES)),
    ("gripper_qpos", ("finger_joint_0", "finger_joint_1")),
)


def ours(name: str) -> str:
    """A name of small letters, digits and _, of at most 40."""
    name = _BAD.sub("_", _CAMEL.sub("_", name).lower()).strip("_")
    if not name or not name[0].isalpha():
        name = f"n_{name}".rstrip("_")
    return name[:40].rstrip("_")


def tail(field: str) -> str:
    """The last part of a field's name."""
    return re.split(r"[/.]", field)[-1]


def unlike(names: Sequence[str]) -> list[str]:
    """The names, a number behind those that were there before."""
    found: list[str] = []
    for name in names:
        new, k = name, 2
        while new in found:
            new, k = f"{name[:37]}_{k}", k + 1
        found.append(new)
    return found


def camera(field: str) -> str:
    """Of "obs/agentview_image" it is "agentview"."""
    name = ours(tail(field))
    for end in ("_image", "_rgb"):
        if name.endswith(end) and len(name) > len(end):
            name = name[: -len(end)]
    return name


def is_wrist(field: str) -> bool:
    return any(word in field.lower() for word in ("wrist", "hand", "gripper"))


def of_numbers(column: Column, fits_usual: bool) -> tuple[list[str], str]:
    """The names of a field's numbers, and where they are from."""
    if column.names:
        return [ours(name) for name in column.names], "names as the files have them"
    last, count = ours(tail(column.name)), column.size
    for end, known in _KNOWN:
        if last.endswith(end) and len(known) == count:
            return list(known), f"what {last} usually holds"
    if count == 1:
        return [last], "the field's own name"
    if count == 7 and fits_usual:
        return list(USUAL), (
            "the files name no numbers; seven are usually x, y, z, roll, pitch, yaw and gripper, "
            "and the ranges fit"
        )
    return [f"{last[:36]}_{k}" for k in range(count)], "the files name no numbers"


def is_gripper(name: str) -> bool:
    return name == "finger" or ("gripper" in name and "qpos" not in name)


def quantity(name: str) -> str:
    """ "length", "angle", "quaternion" or "" by a number's name."""
    last = name.rsplit("_", 1)[-1]
    if last in POSITIONS or name.startswith("finger_joint"):
        return "length"
    # The pitch of a shoulder is a joint's; of a tool, it is the tool's.
    if name in ANGLES or re.fullmatch(r"(eef?|tcp|tool)_(roll|pitch|yaw|r[xyz])", name):
        return "angle"
    return "quaternion" if last in ("qx", "qy", "qz", "qw") else ""
