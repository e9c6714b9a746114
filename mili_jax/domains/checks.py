"""An environment held against its robot's description, before the first episode is made of it."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from mili_jax.domains.base import Expert, SimulatorEnv, lacking
from mili_jax.spec import Layout, Spec
from mili_jax.types import ConfigError

_CLOSE = 1e-5  # relative: bounds are kept in float32


def check_env(env: SimulatorEnv, spec: Spec) -> None:
    """Raises ConfigError for an environment that lacks a member or takes other actions than the
    spec says."""
    _check_members(env, SimulatorEnv)
    space = getattr(env, "action_space", None)
    if space is not None:
        _check_space(type(env).__name__, space, spec.action)


def check_observation(env: SimulatorEnv, observation: object, spec: Spec) -> None:
    """Raises ConfigError for the first thing in which an observation is not as the spec says."""
    name = type(env).__name__
    if not isinstance(observation, dict) or not {"image", "pose"} <= observation.keys():
        found = sorted(observation) if isinstance(observation, dict) else type(observation).__name__
        raise ConfigError(f"{name}: an observation has 'image' and 'pose', this one is {found}")
    image, pose = np.asarray(observation["image"]), np.asarray(observation["pose"])
    if image.shape != spec.picture or image.dtype != np.uint8:
        raise ConfigError(
            f"{name}: its image is {_by(image.shape)} of {image.dtype}, the spec says "
            f"{_by(spec.picture)} of uint8; make one like the other"
        )
    if pose.shape != (len(spec.pose),) or pose.dtype != np.float32:
        raise ConfigError(
            f"{name}: its pose is {_by(pose.shape)} of {pose.dtype}, the spec names "
            f"{len(spec.pose)} of float32 ({', '.join(spec.pose.names)}); make one like the other"
        )
    if not np.isfinite(pose).all():
        field = spec.pose.names[int(np.flatnonzero(~np.isfinite(pose))[0])]
        raise ConfigError(f"{name}: the {field!r} of its pose is no finite number")


def check_expert(expert: Expert) -> None:
    """Raises ConfigError for an expert that lacks a member."""
    _check_members(expert, Expert)


def check_action(expert: Expert, action: np.ndarray, spec: Spec) -> None:
    """Raises ConfigError for a label of an expert that is no action of the spec."""
    if np.shape(action) != (len(spec.action),) or not np.isfinite(action).all():
        raise ConfigError(
            f"{type(expert).__name__}: its action is {np.asarray(action).tolist()}, the spec names "
            f"{len(spec.action)} finite numbers ({', '.join(spec.action.names)})"
        )


def check_outcome(env: SimulatorEnv, outcome: Mapping[str, object]) -> None:
    """Raises ConfigError if an outcome lacks what an episode keeps of it."""
    lost = sorted({"success", "useful", "achieved_tasks"} - set(outcome))
    if lost:
        raise ConfigError(f"{type(env).__name__}: its outcome() lacks {lost[0]!r}")


def _check_members(found: object, protocol: type) -> None:
    if missing := lacking(protocol, found):
        raise ConfigError(
            f"{type(found).__name__} lacks {missing[0]!r}, a member of "
            f"domains.base.{protocol.__name__}"
        )


def _check_space(name: str, space: object, action: Layout) -> None:
    shape = getattr(space, "shape", None)
    if shape != (len(action),):
        raise ConfigError(
            f"{name}: its action_space has shape {shape}, the spec's action has {len(action)} "
            f"numbers ({', '.join(action.names)}); make one like the other"
        )
    lows, highs = getattr(space, "low", None), getattr(space, "high", None)
    if lows is None or highs is None:
        return
    for field, low, high in zip(action.fields, lows, highs, strict=True):
        slack = _CLOSE * max(abs(field.low), abs(field.high))
        if field.low < low - slack or field.high > high + slack:
            raise ConfigError(
                f"{name}: action {field.name!r} may be {field.low:g} to {field.high:g} by the "
                f"spec, {low:g} to {high:g} by its action_space; make one like the other"
            )


def _by(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape)) or "a number"
