"""Somebody's package as pip would leave it, without pip: its folder and its entry points."""

from __future__ import annotations

import os
import shutil
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def install(source: Path, target: Path) -> None:
    """Copies the packages and modules of a project in `source` to `target`, and registers what its
    pyproject.toml registers."""
    project = tomllib.loads((source / "pyproject.toml").read_text())
    for name in project["tool"]["setuptools"].get("packages", []):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(source / name, target / name, ignore=ignored)
    for name in project["tool"]["setuptools"].get("py-modules", []):
        shutil.copy(source / f"{name}.py", target)
    facts = project["project"]
    info = target / f"{facts['name'].replace('-', '_')}-{facts['version']}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {facts['name']}\nVersion: {facts['version']}\n"
    )
    lines = []
    for group, points in facts.get("entry-points", {}).items():
        lines += [f"[{group}]", *(f"{name} = {where}" for name, where in points.items())]
    (info / "entry_points.txt").write_text("\n".join(lines) + "\n")


def environment(*folders: Path) -> dict[str, str]:
    """That of a process that finds what was installed there, and this package."""
    path = [*map(str, folders), str(ROOT), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, path))}
