"""What can be asked of it."""

from __future__ import annotations

import dataclasses

# Of which split the fixtures of a colour are; "" is plain wood.
COLOURS = {"train": ("", "blue"), "validation": ("green",), "test": ("yellow",)}
# By kind of fixture: what brings it from state 0 to 1, and back.
WORDS = {
    "drawer": ("open {}drawer", "close {}drawer"),
    "lever": ("turn {}lever", "turn {}lever back"),
}


@dataclasses.dataclass(frozen=True)
class Asked:
    """A fixture, and the state that it is to be brought to."""

    name: str
    kind: str
    colour: str
    goal: int


def _of(colour: str) -> list[Asked]:
    filled = f"{colour} " if colour else ""
    return [
        Asked(WORDS[kind][1 - goal].format(filled), kind, colour, goal)
        for goal in (1, 0)
        for kind in WORDS
    ]


SPLITS = {
    split: tuple(asked for colour in colours for asked in _of(colour))
    for split, colours in COLOURS.items()
}
TASKS = {asked.name: asked for listed in SPLITS.values() for asked in listed}
