"""The splits of demonstrations that training reads: the expert's, or imported ones, and those that
people have given on the teleoperation page."""

from __future__ import annotations

from mili_jax.storage.dataset import Dataset

EXPERT = "demos_train"
PEOPLE = "demos_people"  # of no stage, so no stage replaces it
DEMOS = (EXPERT, PEOPLE)


def demo_splits(dataset: Dataset) -> list[str]:
    """Those that are there; the expert's where none is, for whoever says that it is missing."""
    there = dataset.splits()
    return [split for split in DEMOS if split in there] or [EXPERT]
