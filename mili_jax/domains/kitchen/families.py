"""The kitchen's four families, and how their tasks are named."""

from __future__ import annotations

import dataclasses

from mili_jax.types import SimulationError

FAMILIES = ("press", "grasp", "push", "place")


@dataclasses.dataclass(frozen=True)
class KitchenTask:
    """A family and the objects it acts on: ("press", b), ("grasp", a), ("push"|"place", a, b).

    Raises SimulationError for another family or number of objects.
    """

    family: str
    objects: tuple[str, ...]

    def __post_init__(self) -> None:
        if self.family not in FAMILIES:
            raise SimulationError(f"unknown task family {self.family!r}; one of {FAMILIES}")
        wanted = 1 if self.family in ("press", "grasp") else 2
        if len(self.objects) != wanted:
            raise SimulationError(
                f"a {self.family} task names {wanted} object(s), got {self.objects}"
            )

    @property
    def id(self) -> str:
        """The task's name in files, for example "place:mug_03:tray_01"."""
        return ":".join((self.family, *self.objects))

    @staticmethod
    def parse(task_id: str) -> KitchenTask:
        """The inverse of `id`. Raises SimulationError on a malformed name."""
        family, *objects = task_id.split(":")
        return KitchenTask(family, tuple(objects))
