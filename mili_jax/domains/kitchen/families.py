"""The kitchen's four families. `docs/extending.md` adds one from outside."""

from __future__ import annotations

from mili_jax.domains.kitchen.family import Families, KitchenTask, by_name
from mili_jax.domains.kitchen.grasp import GRASP
from mili_jax.domains.kitchen.place import PLACE
from mili_jax.domains.kitchen.press import PRESS
from mili_jax.domains.kitchen.push import PUSH
from mili_jax.types import SimulationError

OWN: Families = by_name(PRESS, GRASP, PUSH, PLACE)
FAMILIES = tuple(OWN)


def parse(task_id: str, families: Families = OWN) -> KitchenTask:
    """The task of that name. Raises SimulationError for another family or number of objects;
    whether its objects exist says `tasks.check`."""
    if not isinstance(task_id, str):
        raise SimulationError(f"task {task_id!r}: a task is a text such as 'press:button_01'")
    task = KitchenTask.parse(task_id)
    if task.family not in families:
        raise SimulationError(
            f"task {task_id!r}: no family {task.family!r}; one of {tuple(families)}"
        )
    wanted = len(families[task.family].roles)
    if len(task.objects) != wanted:
        raise SimulationError(
            f"task {task_id!r}: a {task.family} task names {wanted} object(s), got {task.objects}"
        )
    return task
