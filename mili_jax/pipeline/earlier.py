"""Folders of runs that an earlier version of this package made."""

from __future__ import annotations

import shlex
from pathlib import Path

from mili_jax.storage.workdir import Workdir
from mili_jax.types import ConfigError


def refuse_earlier(path: Path) -> None:
    """Raises ConfigError, with the command that takes its episodes along, for a run from before
    there were domains; DataError if its manifest is damaged."""
    if not (path / "manifest.json").exists() or "domain" in Workdir(path).config:
        return
    fresh = path.with_name(f"{path.name}_new")
    old, new = shlex.quote(str(path / "dataset")), shlex.quote(str(fresh))
    raise ConfigError(
        f"workdir {path} was made by an earlier version: its checkpoints and stages cannot go on, "
        f"its demonstrations can; `mkdir -p {new} && cp -r {old} {new}/`, then run with "
        f"--workdir={new}"
    )
