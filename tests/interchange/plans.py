"""Mappings for the files that `makers` writes."""

from __future__ import annotations

import dataclasses

from makers import HEIGHT, NAMES, WIDTH

from mili_jax.interchange.mapping import CameraLine, Mapping, NumberLine, SuccessLine, TaskLine

FIELDS = {
    "rlds": {
        "state": "steps/observation/state",
        "action": "steps/action",
        "front": ("steps/observation/image_0", "png"),
        "wrist": ("steps/observation/wrist", "png"),
        "task": "steps/language_instruction",
        "success": "steps/reward",
    },
    "lerobot": {
        "state": "observation.state",
        "action": "action",
        "front": ("observation.images.front", "h264"),
        "wrist": ("observation.images.wrist", "h264"),
        "task": "task",
        "success": "next.success",
    },
    "robomimic": {
        "state": "obs/state",
        "action": "actions",
        "front": ("obs/agentview_image", "raw"),
        "wrist": ("obs/robot0_eye_in_hand_image", "raw"),
        "task": None,
        "success": "rewards",
    },
}


def line(name, field, index, **changes):
    """A number of a pose or an action within -4..4, metres or radians."""
    kinds = {"unit": "m" if name in "xyz" else "rad", "low": -4.0, "high": 4.0}
    if name == "gripper":
        kinds = {"unit": "1", "low": 0.0, "high": 1.0, "closed": 0.0, "open": 1.0}
    return NumberLine(name, field, index, **{**kinds, **changes})


def lines(field, **changes):
    return tuple(line(name, field, k, **changes) for k, name in enumerate(NAMES))


def plan(form="rlds", delta=False, cameras=("front",), **changes):
    """The mapping that takes everything as it is."""
    fields = FIELDS[form]
    action = tuple(
        dataclasses.replace(one, delta=delta and one.name != "gripper")
        for one in lines(fields["action"])
    )
    task = TaskLine(field=fields["task"]) if fields["task"] else TaskLine(name="lift")
    split = "all" if form == "robomimic" else "train"
    return dataclasses.replace(
        Mapping(
            format=form,
            cameras=tuple(CameraLine(name, *fields[name]) for name in cameras),
            height=HEIGHT,
            width=WIDTH,
            pose=lines(fields["state"]),
            action=action,
            task=task,
            success=SuccessLine(field=fields["success"], rule="any"),
            splits={split: "demos_train"},
        ),
        **changes,
    )
