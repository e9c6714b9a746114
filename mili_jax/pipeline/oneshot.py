"""A trained policy ready to act: `mili_jax.load_policy`.

It comes with the package, from a folder that `mili pack` wrote, or straight from a run.
"""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from mili_jax.batches import sampling
from mili_jax.batches.pool import build_pool
from mili_jax.domains import base
from mili_jax.domains.base import Domain
from mili_jax.domains.rollout import Actor, Trial
from mili_jax.learning import acting, adapting, mil
from mili_jax.learning.hyper import Hyper
from mili_jax.learning.mil import MilHyper, Shown
from mili_jax.policy.policy import Policy, check, init_params
from mili_jax.spec import Spec
from mili_jax.storage import packed
from mili_jax.storage.files import Manifest
from mili_jax.storage.packed import Packed
from mili_jax.types import ConfigError, DataError, Episode, EpisodeMeta, Params, PolicyFn

_NOBODY = EpisodeMeta("", "", "", 0, 0, "", "", "", False, False, ())


@dataclasses.dataclass(frozen=True)
class Shape:
    """How a demonstration is read. frames, places: M and K of `sampling.demo_inputs`; steps: of a
    demonstration that MIL adapts to."""

    frames: int
    places: int
    steps: int


class OneShotPolicy:
    """A trained policy. It acts after one demonstration of a task.

    name: what it is called. spec: its robot, with the cameras it must be given and the numbers of
    its actions. domain: the robot's world. facts: what it was trained on. rows: result rows of
    what it was measured on. card: the model card, Markdown.
    """

    def __init__(self, name: str, held: Packed, where: str) -> None:
        """where: for errors. Raises DataError, naming it and what does not fit."""
        self.name, self.facts, self.rows, self.card = name, held.facts, held.rows, held.card
        try:
            facts = held.facts
            self.spec = Spec.from_json(json.dumps(facts["spec"]))
            self.domain: Domain = base.load(facts["domain"])
            self.shape = Shape(**facts["shown"])
            self.policy = Policy(spec=self.spec, **facts["networks"])
            check(self.spec, self.policy.embedding, self.policy.head)
            self._mil = None if facts["mil"] is None else _mil(facts["mil"])
            asked = packed.flat(jax.eval_shape(self._init))
        except (KeyError, TypeError, ValueError, AttributeError, ConfigError) as error:
            what = f"lacks {error}" if isinstance(error, KeyError) else str(error)
            raise DataError(
                f"{where} does not describe a policy of this version: {what}"
            ) from error
        # Without a simulator the robot is that of its episodes, whatever it was.
        cameras = tuple(camera.name for camera in self.spec.cameras)
        known = self.domain.spec(self.spec.height, cameras) if self.domain.simulator else None
        if known is not None and known != self.spec:
            raise DataError(
                f"{where} is of another robot than the domain {self.domain.name!r} has here: "
                f"{_difference(known, self.spec)}"
            )
        packed.check_fit({path: leaf.shape for path, leaf in asked.items()}, held.params, where)
        # Half precision is for files; what acts is as trained.
        self.params: Params = jax.tree.map(lambda a: np.asarray(a, np.float32), held.params)

    def __repr__(self) -> str:
        size = f"{self.spec.height} x {self.spec.width}"
        cameras = ", ".join(camera.name for camera in self.spec.cameras)
        return f"OneShotPolicy({self.name!r}: {self.domain.name}, {cameras}, {size})"

    def after(self, demonstration: Episode | None, seed: int = 0) -> Attempt:
        """A robot that is about to do what the demonstration shows; None: it is shown nothing.

        Of the demonstration its pictures, poses and actions count (`Episode`), not its facts. Each
        attempt needs a call of its own, since the policy remembers where it looked. `seed` is of
        its chance. Raises DataError for a demonstration by another robot.
        """
        table = {} if demonstration is None else {"shown": demonstration}
        trial = Trial("attempt", "", "", seed, demonstration="shown" if table else "")
        return Attempt(self.actor(table)([trial]))

    def actor(self, demonstrations: Mapping[str, Episode]) -> Actor:
        """What acts in `domains.rollout.run_job`: each trial after the demonstration that its field
        `demonstration` names, "" for none. Raises as `after`."""
        for name, episode in demonstrations.items():
            _check_demonstration(self.spec, name, episode)
        names = list(demonstrations)
        shown = self._shown(list(demonstrations.values()))
        if self._mil is None:
            nothing = np.zeros(self.policy.embedding_size, np.float32)
            table = dict(zip(names, shown, strict=True))

            def start(trials: Sequence[Trial]) -> PolicyFn:
                z = np.stack(
                    [table[t.demonstration] if t.demonstration else nothing for t in trials]
                )
                return self._play(self.params, z, trials[0].seed)

            return start

        def adapt(trials: Sequence[Trial]) -> PolicyFn:
            at = np.array([names.index(t.demonstration) if t.demonstration else 0 for t in trials])
            seen = np.array([bool(t.demonstration) for t in trials])
            support = jax.tree.map(lambda field: field[at], shown)
            return self._play(self.params, support, seen, trials[0].seed)

        return adapt

    def embed(self, demonstrations: Sequence[Episode]) -> np.ndarray:
        """Where demonstrations lie in the latent space of tasks: unit z float32 [N,Z].

        Raises ConfigError for MIL, which has no such space; DataError as `after`.
        """
        if self._mil is not None:
            raise ConfigError(
                f"the policy {self.name!r} is MIL, which has no latent space of tasks"
            )
        for index, episode in enumerate(demonstrations):
            _check_demonstration(self.spec, str(index), episode)
        found: np.ndarray = self._shown(demonstrations)
        return found

    def _init(self) -> Params:
        key = jax.random.key(0)
        if self._mil is None:
            return init_params(self.policy, key, self.shape.frames)
        return mil.init(self.policy, self._mil[1], key, self.shape.frames)

    @functools.cached_property
    def _play(self) -> Any:
        if self._mil is None:
            return acting.make_act(self.policy)
        return adapting.make_act(self.policy, *self._mil)

    @functools.cached_property
    def _embed(self) -> acting.Embed:
        return acting.make_embed(self.policy)

    def _shown(self, episodes: Sequence[Episode]) -> Any:
        """What the policy takes of demonstrations: z [N,Z], or of MIL `Shown` [N,S,...]."""
        if not episodes:
            if self._mil is None:
                return np.zeros((0, self.policy.embedding_size), np.float32)
            return self._shown([_blank(self.spec)])  # adapted to by nobody
        # Their facts may be anybody's, the same of several.
        metas = [dataclasses.replace(_NOBODY, episode_id=str(i)) for i in range(len(episodes))]
        one = [dataclasses.replace(e, meta=m) for e, m in zip(episodes, metas, strict=True)]
        pool = build_pool(self.domain, one, demonstrations=False)
        every = np.arange(len(pool))
        if self._mil is not None:
            return Shown(
                *sampling.steps_along(pool, every, self.shape.steps, felt=self.policy.feels)
            )
        inputs = sampling.demo_inputs(pool, every, self.shape.frames, self.shape.places)
        return acting.embed_all(self._embed, self.params, *inputs, chunk=min(len(pool), 64))


class Attempt:
    """One robot's attempt at what it was shown."""

    def __init__(self, act: PolicyFn) -> None:
        self._act = act

    def act(self, observation: Mapping[str, np.ndarray]) -> np.ndarray:
        """The action float32 [A] after the next observation, {"image": uint8 [(V,)H,W,C], "pose":
        float32 [D]}. Raises DataError for one that this robot cannot make."""
        image, pose = np.asarray(observation["image"]), np.asarray(observation["pose"])
        action: np.ndarray = self._act(image[None], pose[None])[0]
        return action


def load_policy(name: str | Path, policy: str = "") -> OneShotPolicy:
    """A trained policy, ready to act.

    Args:
      name: one that comes with the package ("kitchen"), a folder that `mili pack` wrote, or the
        folder of a run.
      policy: of a run, which of those it trained ("pretrain", "mili_1"); else the loop's last.

    Raises ConfigError if there is nothing of that name, DataError for a damaged or foreign folder.
    """
    own = packed.shipped()
    if str(name) in own:
        return OneShotPolicy(str(name), packed.read(own[str(name)]), str(own[str(name)]))
    folder = Path(name).expanduser()
    if (folder / packed.SUMS).exists():
        return OneShotPolicy(str(name), packed.read(folder), str(folder))
    if (folder / "manifest.json").exists():
        from mili_jax.pipeline import trained  # brings Orbax, which nothing else here needs

        return OneShotPolicy(str(name), trained.of_run(folder, policy), str(folder))
    if folder.exists():
        raise DataError(
            f"{folder} holds neither a packed policy ({packed.SUMS}) nor a run (manifest.json)"
        )
    raise ConfigError(
        f"there is no policy {str(name)!r}: {', '.join(own) or 'none'} comes with the package, "
        "others are named by their folder"
    )


def _mil(raw: Manifest) -> tuple[Hyper, MilHyper]:
    return Hyper(**raw["hyper"]), MilHyper(**raw["options"])


def _blank(spec: Spec) -> Episode:
    """A demonstration of nothing."""
    image = np.zeros((2, *spec.picture), np.uint8)
    pose, action = (np.zeros((2, len(each)), np.float32) for each in (spec.pose, spec.action))
    return Episode(image, pose, action, _NOBODY)


def _difference(known: Spec, held: Spec) -> str:
    fields = [f.name for f in dataclasses.fields(Spec)]
    return "unlike " + ", ".join(f for f in fields if getattr(known, f) != getattr(held, f))


def _check_demonstration(spec: Spec, name: str, episode: Episode) -> None:
    """Raises DataError for an episode of another robot, or of no steps."""
    steps = len(episode.pose)
    wanted = {
        "image": (episode.image, (steps, *spec.picture), "u1"),
        "pose": (episode.pose, (steps, len(spec.pose)), "f4"),
        "action": (episode.action, (steps, len(spec.action)), "f4"),
    }
    for field, (array, shape, kind) in wanted.items():
        if not steps or array.shape != shape or array.dtype != np.dtype(kind):
            raise DataError(
                f"demonstration {name!r}: its field {field} is {array.dtype} {array.shape}; this "
                f"policy wants {np.dtype(kind)} (steps, {', '.join(map(str, shape[1:]))})"
            )
        if not np.isfinite(array).all():
            raise DataError(f"demonstration {name!r}: its field {field} is not finite")
