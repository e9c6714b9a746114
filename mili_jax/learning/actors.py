"""What acts in a worker process: a policy and the demonstrations that it is to follow.

A module of its own, so that the processes that simulate import the network and nothing else of
what training needs.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import jax
import numpy as np

from mili_jax.learning import acting, adapting
from mili_jax.learning.hyper import Hyper
from mili_jax.learning.mil import MilHyper, Shown
from mili_jax.policy.policy import Policy
from mili_jax.types import Params, PolicyFn


class Trial(Protocol):
    """What an actor needs to know of a trial (see `domains.rollout.Trial`)."""

    @property
    def demonstration(self) -> str:
        """The id of what it follows, "" for nothing."""

    @property
    def seed(self) -> int:
        """Of its chance."""


# Compiled once for all the policies that one process acts by.
_make_act = functools.cache(acting.make_act)
_make_adapting_act = functools.cache(adapting.make_act)

Actor = Callable[[Sequence[Trial]], PolicyFn]  # starts the trials of a job


@dataclasses.dataclass(frozen=True)
class MakeActor:
    """Makes, in a worker process, the policy for a job's trials.

    embeddings: demonstration id -> z float32 [Z]; a trial without demonstration gets zeros.
    """

    policy: Policy
    params: Params
    embeddings: Mapping[str, np.ndarray]
    temperature: float = 0.0

    def __call__(self) -> Actor:
        start = _make_act(self.policy, self.temperature)
        zeros = np.zeros(self.policy.embedding_size, np.float32)

        def actor(trials: Sequence[Trial]) -> PolicyFn:
            z = np.stack(
                [self.embeddings[t.demonstration] if t.demonstration else zeros for t in trials]
            )
            return start(self.params, z, trials[0].seed)

        return actor


@dataclasses.dataclass(frozen=True)
class MakeAdaptingActor:
    """The same for MIL: the policy first adapts to the demonstration of each trial.

    supports: demonstration id -> the steps that it is adapted to; a trial without demonstration
    acts unadapted.
    """

    policy: Policy
    hyper: Hyper
    mil: MilHyper
    params: Params
    supports: Mapping[str, Shown]

    def __call__(self) -> Actor:
        start = _make_adapting_act(self.policy, self.hyper, self.mil)
        any_support = next(iter(self.supports.values()))

        def actor(trials: Sequence[Trial]) -> PolicyFn:
            given = [self.supports.get(t.demonstration, any_support) for t in trials]
            support = jax.tree.map(lambda *a: np.stack(a), *given)
            shown = np.array([bool(t.demonstration) for t in trials])
            return start(self.params, support, shown, trials[0].seed)

        return actor
