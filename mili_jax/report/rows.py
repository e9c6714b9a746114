"""The rows that a report is made of.

Rows come as JSON lines or from the stages of a run; `row_checks` holds them against these types.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NotRequired, TypedDict

Raw = Mapping[str, object]
DEMOS = ("right", "wrong", "none")


class ResultRow(TypedDict):
    """One task under one condition.

    demo: "right", "wrong" or "none". family: the task's group. any_task: how many of the `n`
    episodes achieved some task. outcomes: the single results (0 or 1) in the order of the
    arrangements, which every method and condition shares. steps, trials: what led to the policy.
    """

    method: str
    family: str
    task: str
    n: int
    successes: int
    round: NotRequired[int]
    demo: NotRequired[str]
    config: NotRequired[str]
    commit: NotRequired[str]
    domain: NotRequired[str]
    seed: NotRequired[int]
    split: NotRequired[str]
    any_task: NotRequired[int | None]
    outcomes: NotRequired[Sequence[int] | None]
    arrangements: NotRequired[str | None]
    steps: NotRequired[int]
    trials: NotRequired[int]


class ErrorRow(TypedDict):
    """How near a policy's actions come to those of held-out episodes of one task (`about`), as
    shares of the numbers' ranges; of a domain without a simulator. `error_of` is its method."""

    error_of: str
    round: int
    about: str
    demo: str
    episodes: Sequence[str]
    errors: Sequence[float]
    config: NotRequired[str]
    commit: NotRequired[str]
    domain: NotRequired[str]
    seed: NotRequired[int]
    split: NotRequired[str]
    steps: NotRequired[int]
    trials: NotRequired[int]


class PairingRow(TypedDict):
    """The pairs of a round at one alpha; `chosen` is the alpha that was used. Shares are None where
    nothing can be said."""

    alpha: float
    round: NotRequired[int]
    seed: NotRequired[int]
    config: NotRequired[str]
    domain: NotRequired[str]
    chosen: NotRequired[bool]
    pairs: NotRequired[int | None]
    precision: NotRequired[float | None]
    recall: NotRequired[float | None]
    family_precision: NotRequired[float | None]


class Adaptation(TypedDict):
    """Of what adapts to one demonstration: on how many held-out tasks, the share of them whose loss
    falls, the mean loss before and after."""

    tasks: int
    improved: float
    before: float
    after: float


class Neighbours(TypedDict, total=False):
    """How often the nearest neighbour of a held-out demonstration shows its task, its group."""

    task: float
    family: float


class CostRow(TypedDict):
    """What a policy took, with all that it was trained from; `cost_of` is its method."""

    cost_of: str
    round: int
    steps: int
    seconds: float
    seed: NotRequired[int]
    config: NotRequired[str]
    domain: NotRequired[str]
    adaptation: NotRequired[Adaptation]
    neighbours: NotRequired[Neighbours]


class CollectionRow(TypedDict):
    """What the trials of a round did: how many episodes achieved a task of each group, and of each
    commanded group how many achieved which, or "none". answered: of how many somebody has said yes
    or no; by_people: how many people have answered for."""

    round: int
    trials: int
    useful: int
    answered: NotRequired[int]
    by_people: NotRequired[int]
    achieved: NotRequired[Mapping[str, int]]
    confusion: NotRequired[Mapping[str, Mapping[str, int]]]
