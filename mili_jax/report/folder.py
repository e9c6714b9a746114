"""The folder of a report: taken whole, replaced whole."""

from __future__ import annotations

import shutil
from pathlib import Path

from mili_jax.types import ConfigError

_OWN_NAMES = {"index.html", "figures", "videos"}


def require_replaceable(out: Path) -> None:
    if not out.exists():
        return
    names = {entry.name for entry in out.iterdir()} if out.is_dir() else {out.name}
    foreign = sorted(names - _OWN_NAMES if "index.html" in names else names)
    if foreign:
        raise ConfigError(
            f"{out} holds {foreign[0]!r}, which no report wrote, and would be replaced: "
            "name an empty folder for the report"
        )


def take_place(staging: Path, out: Path) -> None:
    old = staging.with_name(f".{out.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if out.exists():
        out.rename(old)
    staging.rename(out)
    shutil.rmtree(old, ignore_errors=True)
