"""Writes data/tasks.json: 520/40/40 tasks over disjoint objects, from a fixed seed.

    python -m experiments.make_tasks

The order of the training tasks cycles through the families and, within a family, covers the
objects evenly, so that a prefix of the list is a balanced smaller set (the configuration `many`
demonstrates the first 200).
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
from absl import app

from mili_jax.domains.kitchen import objects
from mili_jax.domains.kitchen.families import OWN
from mili_jax.domains.kitchen.family import KitchenTask

SIZES = {"train": 520, "validation": 40, "test": 40}
SEED = 20


def make_tasks() -> dict[str, list[str]]:
    """Task ids by split."""
    rng = np.random.default_rng(SEED)
    return {split: _split(split, size, rng) for split, size in SIZES.items()}


def _split(split: str, size: int, rng: np.random.Generator) -> list[str]:
    specs = [s for s in objects.load_catalogue().values() if s.split == split]
    queues = {name: _even(family.tasks(specs), rng) for name, family in OWN.items()}
    # Families with few objects run out first; the others fill up the rest.
    tasks: list[str] = []
    while len(tasks) < size:
        for queue in queues.values():
            if queue and len(tasks) < size:
                tasks.append(queue.pop(0).id)
        if not any(queues.values()):
            raise ValueError(f"the {split} objects allow only {len(tasks)} of {size} tasks")
    return tasks


def _even(candidates: list[KitchenTask], rng: np.random.Generator) -> list[KitchenTask]:
    """A random order in which every object turns up about equally often in every role."""
    rest = [candidates[i] for i in rng.permutation(len(candidates))]
    used: Counter[tuple[int, str]] = Counter()
    order: list[KitchenTask] = []
    while rest and len(order) < max(SIZES.values()):
        best = min(rest, key=lambda task: sum(used[each] for each in enumerate(task.objects)))
        rest.remove(best)
        used.update(enumerate(best.objects))
        order.append(best)
    return order


def main(argv: list[str]) -> None:
    del argv
    path = Path(__file__).resolve().parents[1] / "data" / "tasks.json"
    path.write_text(json.dumps(make_tasks(), indent=0) + "\n")


if __name__ == "__main__":
    app.run(main)
