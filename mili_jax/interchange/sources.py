"""A folder or file of episodes, opened by its format's name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from mili_jax import plugins
from mili_jax.interchange.lerobot import open_lerobot
from mili_jax.interchange.recording import Source
from mili_jax.interchange.rlds import open_rlds
from mili_jax.interchange.robomimic import open_robomimic
from mili_jax.types import ConfigError

_OPEN: Mapping[str, Callable[..., Source]] = {
    "rlds": open_rlds,
    "lerobot": open_lerobot,
    "robomimic": open_robomimic,
}


def open_source(path: Path | str, form: str, partial: bool = False) -> Source:
    """Looks through a source of the format "rlds", "lerobot", "robomimic" or somebody else's, which
    is found by an entry point of the group `mili_jax.formats`.

    partial: take what is there of a source that promises more.

    Raises ConfigError for another format, and DataError as the format's own function.
    """
    found: Source = plugins.find("formats", form, _OPEN)(Path(path), partial)
    if found.format != form:
        raise ConfigError(f"the format {form!r} calls itself {found.format!r}; give it one name")
    return found
