"""What the method needs to know of a robot and its world: the protocol of a domain.

A domain is registered through the entry-point group `mili_jax.domains` and chosen by
`config.domain.name`. `docs/extending.md` adds one from the first line to the test.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np

from mili_jax import plugins
from mili_jax.spec import Spec
from mili_jax.types import ConfigError, Task

BUILT_IN = {
    "kitchen": "mili_jax.domains.kitchen.domain:KITCHEN",
    "kitchen_uncalibrated": "mili_jax.domains.kitchen.domain:UNCALIBRATED",
    "kitchen_side_light": "mili_jax.domains.kitchen.domain:SIDE_LIGHT",
    "logs": "mili_jax.domains.logs:LOGS",
    "metaworld": "mili_jax.domains.metaworld.domain:METAWORLD",
    "metaworld_uncalibrated": "mili_jax.domains.metaworld.domain:UNCALIBRATED",
}
SPLITS = ("train", "validation", "test")


@dataclasses.dataclass(frozen=True)
class Hindsight:
    """What an episode of T steps is about, read off its own numbers afterwards.

    key: the steps at which it touches what it is about and at which that ends.
    key_pose float32 [2,D]: the poses at these steps, freed of what disturbs a single step; None for
      the poses as they are.
    focus float32 [T,2,C,2] m: candidates for the two places on the table that it is about, one of
      which is right. seen bool [T,2]: whether there is something to be seen there.
    """

    key: tuple[int, int]
    focus: np.ndarray
    seen: np.ndarray
    key_pose: np.ndarray | None = None


class SimulatorEnv(Protocol):
    """A Gymnasium environment that can say at any time what it would count as.

    Its observation is {"image" uint8 of `spec.picture`, "pose" float32 [D]}. `reset(seed=,
    options={"task": name, "scene": text})` fixes what is otherwise drawn. `terminated`: the robot
    came to rest; `truncated`: its time was over.

    It may have `marks()` as well, for the page on which people demonstrate: what the commanded task
    is about, each as (name, from the left, from the top), the place in `render` being 0 to 1.
    """

    def reset(
        self, *, seed: int | None = None, options: dict[str, object] | None = None
    ) -> tuple[dict[str, np.ndarray], dict[str, object]]: ...

    def step(
        self, action: np.ndarray
    ) -> tuple[dict[str, np.ndarray], float, bool, bool, dict[str, object]]: ...

    def outcome(self) -> Mapping[str, Any]:
        """What the present state counts as: `success` and `useful` (bool), `achieved_tasks`
        (names). The last step's info says the same."""

    def render(self) -> np.ndarray:
        """A picture for people, uint8 [H,W,3]."""

    def close(self) -> None: ...


class Expert(Protocol):
    """A scripted teacher of one episode: it sees the simulator's state."""

    def act(self) -> np.ndarray:
        """float32 [A], the action it would take now."""

    def done(self) -> bool:
        """Whether the episode may end here; asked once before every step."""


@runtime_checkable
class Simulator(Protocol):
    """What a domain with a simulator adds.

    An episode must be a function of (scene, seed, actions): a trial whose worker died is run again.
    """

    renderer: str  # what draws the pictures; it is stored with every episode

    def tasks(self, split: str) -> Sequence[Task]:
        """The tasks of "train", "validation" or "test", always in the same order."""

    def make_env(self, spec: Spec) -> SimulatorEnv:
        """An environment of its own."""

    def make_expert(self, env: Any) -> Expert:
        """For the episode that `env` was just reset to."""

    def sample_scene(
        self,
        split: str,
        rng: np.random.Generator,
        tasks: Sequence[Task] = (),
        foil: Task | None = None,
    ) -> str:
        """A random scene as text in which the given tasks can be done; `foil`'s objects are there
        too."""

    def rearrange(self, scene: str, rng: np.random.Generator) -> str:
        """The same objects, arranged differently."""

    def disturb_start(self, scene: str, rng: np.random.Generator) -> str:
        """The scene, perhaps begun as a failed attempt would be, for those who learn from it."""

    def disturb(
        self, action: np.ndarray, share: float, noise: float, rng: np.random.Generator
    ) -> np.ndarray:
        """What is executed instead of an action [D], in that share of the steps: float64 [D]."""


@runtime_checkable
class Domain(Protocol):
    """A robot and its world.

    groups: of its tasks, in the order of reports; batches are balanced over them.
    hindsight: (pose float32 [T,D], action [T,D]) -> `Hindsight`, or None where nobody knows: then
      heads attend freely and the whole episode counts.
    simulator: None where there are logs alone; stages that need one say so.
    """

    name: str
    groups: tuple[str, ...]
    hindsight: Callable[[np.ndarray, np.ndarray], Hindsight] | None
    simulator: Simulator | None

    def spec(self, image_size: int, cameras: Sequence[str]) -> Spec | None:
        """The robot seen by the named cameras (() for the domain's own choice), in pictures
        `image_size` pixels high; None if that is what its dataset says. Raises ConfigError for a
        camera that it has not."""

    def group(self, task: str) -> str:
        """The group of a task, one of `groups`. Raises ConfigError for a name that is no task."""


def load(name: str) -> Domain:
    """The domain of that name.

    Raises ConfigError: no such domain, an entry point that cannot be imported, an object that lacks
    a member of `Domain` or `Simulator` (named), or groups that cannot be.
    """
    if not isinstance(name, str):
        raise ConfigError(f"domain {name!r}: the name of a domain is a text such as 'kitchen'")
    return _load(name)


@functools.cache
def _load(name: str) -> Domain:
    found = plugins.find("domains", name, BUILT_IN)
    _check_members(name, found, Domain)
    _check_groups(name, found.groups)
    if found.simulator is not None:
        _check_members(name, found.simulator, Simulator)
    if ":" not in name and found.name != name:
        raise ConfigError(f"domain {name!r}: what is registered so calls itself {found.name!r}")
    return found


def lacking(protocol: type, found: object) -> list[str]:
    """What a protocol asks for, its methods and its annotated attributes, and an object lacks."""
    named = {name for name in vars(protocol) if not name.startswith("_")}
    wanted = sorted(named | set(protocol.__annotations__))
    return [member for member in wanted if not hasattr(found, member)]


def _check_members(name: str, found: object, protocol: type) -> None:
    if missing := lacking(protocol, found):
        raise ConfigError(
            f"domain {name!r}: {type(found).__name__} lacks {missing[0]!r}, a member of "
            f"domains.base.{protocol.__name__}"
        )


def _check_groups(name: str, groups: Sequence[str]) -> None:
    fits = isinstance(groups, tuple) and all(isinstance(g, str) and g for g in groups)
    if not fits or not groups or len(set(groups)) < len(groups):
        raise ConfigError(
            f"domain {name!r}: its groups are {groups!r}; it needs a tuple of different names, one "
            "at least"
        )


def group_index(domain: Domain, task: str) -> int:
    """Which of the domain's groups a task is of. Raises ConfigError for a task of none of them."""
    group = domain.group(task)
    if group not in domain.groups:
        raise ConfigError(
            f"domain {domain.name!r}: task {task!r} is of the group {group!r}, which is none of "
            f"{domain.groups}"
        )
    return domain.groups.index(group)


def simulator_of(domain: Domain, what: str) -> Simulator:
    """The domain's simulator. Raises ConfigError, saying what needs one."""
    if domain.simulator is None:
        raise ConfigError(
            f"{what} needs a simulator, and the domain {domain.name!r} has none; bring episodes of "
            "your own instead (docs/data.md): on these `pretrain`, `pair`, `retrain` and "
            "`evaluate` work"
        )
    return domain.simulator
