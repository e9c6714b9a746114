"""What a person is asked to demonstrate, one after the other."""

from __future__ import annotations

import dataclasses
import difflib
from collections import Counter
from collections.abc import Sequence

from mili_jax.domains.base import SPLITS, Simulator
from mili_jax.types import ConfigError, SimulationError, Task


@dataclasses.dataclass(frozen=True)
class Plan:
    """The tasks of a page; none: the person does what they like and says afterwards what it was.

    split: whose objects the scenes have. language: how a task is put to a person, by its name.
    """

    tasks: tuple[Task, ...]
    split: str = "train"

    @property
    def free(self) -> bool:
        return not self.tasks

    def next(self, count: Counter[str]) -> Task | None:
        """The first of those that were demonstrated least."""
        return min(self.tasks, key=lambda task: count[task.name]) if self.tasks else None


def chosen(simulator: Simulator, names: Sequence[str], stored: bool) -> Plan:
    """The tasks of these names, in their order.

    stored: whether what is demonstrated will be trained on. Raises ConfigError for a name that is
    no task of the domain, and for a task of another split than "train" that would be trained on.
    """
    every = {task.name: (task, split) for split in SPLITS for task in simulator.tasks(split)}
    found = []
    for name in names:
        if name not in every:
            near = difflib.get_close_matches(name, every, 1, 0.6)
            meant = f"; did you mean {near[0]}?" if near else ""
            raise ConfigError(f"--task={name[:80]}: there is no such task{meant}")
        found.append(every[name])
    splits = list(dict.fromkeys(split for _, split in found))
    if stored and (other := [task.name for task, split in found if split != "train"]):
        raise ConfigError(
            f"--task={other[0]}: this task is for evaluation, and training on it would spoil that; "
            "take a training task, or leave --workdir out to practise"
        )
    if len(splits) > 1:
        raise ConfigError(f"tasks of {' and '.join(splits)} have no objects in common; take one")
    return Plan(tuple(task for task, _ in found), splits[0] if splits else "train")


def why_not(error: SimulationError) -> ConfigError:
    """A scene that cannot be made, for whoever gave the task."""
    return ConfigError(f"{error}; take another --task")


def in_words(task: str) -> str:
    """A task's name as a sentence: "place:mug_03:tray_01" is "place mug 03 on tray 01"."""
    kind, *things = (part.replace("_", " ") for part in task.split(":"))
    if not things:
        return kind
    between = {"place": " on ", "push": " to "}.get(kind, ", ")
    return f"{kind} {between.join(things)}"
