"""One-shot imitation that improves from its own trials (MILI, Singh et al. 2020) in JAX.

Importing this package imports nothing of it. The names of `__all__` are fetched when they are used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mili_jax.configs import get_config
    from mili_jax.domains.base import load as load_domain
    from mili_jax.pipeline.oneshot import OneShotPolicy, load_policy
    from mili_jax.pipeline.run import open_run
    from mili_jax.spec import Camera, Field, Layout, Spec
    from mili_jax.storage.dataset import Dataset
    from mili_jax.types import (
        ConfigError,
        DataError,
        Episode,
        EpisodeMeta,
        MiliError,
        SimulationError,
        Task,
    )

__version__ = "0.2.0"
__all__ = [
    "Camera",
    "ConfigError",
    "DataError",
    "Dataset",
    "Episode",
    "EpisodeMeta",
    "Field",
    "Layout",
    "MiliError",
    "OneShotPolicy",
    "SimulationError",
    "Spec",
    "Task",
    "get_config",
    "load_domain",
    "load_policy",
    "open_run",
]
_TYPES = ("ConfigError", "DataError", "Episode", "EpisodeMeta", "MiliError", "SimulationError")
# Where each of `__all__` comes from: module:name.
_HOMES = {
    **{name: f"mili_jax.types:{name}" for name in (*_TYPES, "Task")},
    **{name: f"mili_jax.spec:{name}" for name in ("Camera", "Field", "Layout", "Spec")},
    "Dataset": "mili_jax.storage.dataset:Dataset",
    "get_config": "mili_jax.configs:get_config",
    **{name: f"mili_jax.pipeline.oneshot:{name}" for name in ("OneShotPolicy", "load_policy")},
    "load_domain": "mili_jax.domains.base:load",
    "open_run": "mili_jax.pipeline.run:open_run",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, _, attribute = _HOMES[name].partition(":")
    return getattr(importlib.import_module(module), attribute)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
