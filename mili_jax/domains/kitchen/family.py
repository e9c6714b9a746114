"""What a family of tasks is: one record. The kitchen's own are in `families.py`."""

from __future__ import annotations

import dataclasses
import itertools
import re
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from mili_jax.domains.kitchen.objects import ObjectSpec
from mili_jax.types import ConfigError

Role = Callable[[ObjectSpec], bool]
# The measured pose [7] -> the pose [7] that the teacher is heading for now.
Motion = Callable[[np.ndarray], np.ndarray]


@dataclasses.dataclass(frozen=True)
class KitchenTask:
    """A family and the objects it acts on, for example ("place", ("mug_03", "tray_01"))."""

    family: str
    objects: tuple[str, ...]

    @property
    def id(self) -> str:
        """The task's name in files, for example "place:mug_03:tray_01"."""
        return ":".join((self.family, *self.objects))

    @staticmethod
    def parse(task_id: str) -> KitchenTask:
        """The inverse of `id`. Whether there is such a task says `families.parse`."""
        family, *objects = task_id.split(":")
        return KitchenTask(family, tuple(objects))


@dataclasses.dataclass(frozen=True)
class Family:
    """Tasks that are done in one way, each with objects of its own.

    name: of the family in task names, and of its group in reports.
    roles: for each object of a task, whether an object can be that.
    achieved: (`World`, `History`, *names) -> whether the task is done now.
    expert: (`World`, *names) -> the motion of the scripted teacher in one episode.
    room: (where objects are to stand [2] m by name, the catalogue, *names) -> whether the task can
      be done there; None: anywhere.
    moves: whether it takes moving the first object. Those that stand still are then not looked at.
    anywhere: whether a demonstration that has succeeded may end wherever the tool is.

    Raises ConfigError for a name that cannot be, or no role.
    """

    name: str
    roles: tuple[Role, ...]
    achieved: Callable[..., bool]
    expert: Callable[..., Motion]
    room: Callable[..., bool] | None = None
    moves: bool = True
    anywhere: bool = False

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z][a-z0-9_]{0,39}", self.name):
            raise ConfigError(
                f"family {self.name!r}: a name is a-z, 0-9 and _, a letter first, at most 40"
            )
        if not self.roles:
            raise ConfigError(f"family {self.name!r} needs a role for each object of a task")

    def tasks(self, specs: Sequence[ObjectSpec]) -> list[KitchenTask]:
        """Every task that these objects allow."""
        fitting = ([spec.id for spec in specs if role(spec)] for role in self.roles)
        chosen = itertools.product(*fitting)
        return [KitchenTask(self.name, c) for c in chosen if len(set(c)) == len(c)]

    def allows(self, specs: Sequence[ObjectSpec]) -> bool:
        """Whether these objects can play its roles."""
        fit = all(role(spec) for role, spec in zip(self.roles, specs, strict=True))
        return fit and len({spec.id for spec in specs}) == len(specs)

    def fits(
        self, places: Mapping[str, np.ndarray], catalogue: Mapping[str, ObjectSpec], *names: str
    ) -> bool:
        """Whether objects that stand so leave room for a task."""
        return self.room is None or self.room(places, catalogue, *names)


Families = Mapping[str, Family]


def by_name(*families: Family) -> dict[str, Family]:
    """Families in the order of reports. Raises ConfigError if two have one name, or there are
    none."""
    found = {family.name: family for family in families}
    if not families or len(found) < len(families):
        raise ConfigError(f"families {[f.name for f in families]}: each needs a name of its own")
    return found


def button(spec: ObjectSpec) -> bool:
    return spec.button


def graspable(spec: ObjectSpec) -> bool:
    return spec.graspable


def container(spec: ObjectSpec) -> bool:
    return spec.container


def movable(spec: ObjectSpec) -> bool:
    return not spec.button
