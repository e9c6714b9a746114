"""The configuration that a run was made with, as its folder has it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ml_collections import ConfigDict

from mili_jax.pipeline import overrides, schema
from mili_jax.storage.files import read_sealed
from mili_jax.types import ConfigError


def configuration(workdir: Path) -> ConfigDict:
    """The configuration of the run in a folder.

    Who does the work is not kept there, so those fields have their defaults. Raises DataError for a
    missing or damaged manifest, ConfigError for one with fields that are not known here.
    """
    manifest = workdir / "manifest.json"
    kept = read_sealed(manifest, ("config",))["config"]
    config = schema.default_config(str(kept.get("name", "")))
    for name, value in _flat(kept):
        if name not in overrides.BY_NAME:
            raise ConfigError(
                f"{manifest} has config.{name}, which this version does not know: another version "
                "has made the run; use that one, or begin another workdir"
            )
        value = tuple(value) if isinstance(value, list) else value  # JSON has no tuples
        config.update_from_flattened_dict({name: value})
    return config.lock()


def _flat(kept: dict[str, object]) -> Iterator[tuple[str, object]]:
    for section, value in kept.items():
        if isinstance(value, dict):
            yield from ((f"{section}.{name}", inner) for name, inner in value.items())
        else:
            yield section, value
