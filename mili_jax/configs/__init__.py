"""The named configurations, a file each.

A file has a docstring that says what it is for, what it takes and what comes of it, and
`fields()`: what differs from the defaults of `pipeline.schema`. One of your own is a file that has
`get_config()`, anywhere.
"""

from __future__ import annotations

import importlib

from ml_collections import ConfigDict

from mili_jax.pipeline.schema import default_config
from mili_jax.types import ConfigError

NAMES = ("run", "many", "limited", "compare", "paper", "metaworld", "logs", "test", "compare_test")


def get_config(name: str) -> ConfigDict:
    """The configuration of that name, its fields known and locked. Raises ConfigError for another
    name."""
    if name not in NAMES:
        raise ConfigError(f"no configuration {name!r}; one of {', '.join(NAMES)}")
    config = default_config(name)
    config.update_from_flattened_dict(importlib.import_module(f"{__name__}.{name}").fields())
    return config.lock()
