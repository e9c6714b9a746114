"""What ran: versions of packages, the commit of the source, the platform."""

from __future__ import annotations

import importlib.metadata
import platform
import subprocess
from pathlib import Path

_PACKAGES = ("mili-jax", "jax", "jaxlib", "flax", "numpy", "pybullet")


def what_runs() -> dict[str, object]:
    """Versions, commit and platform, as a run's manifest says them."""
    versions = {"python": platform.python_version()}
    return {
        "versions": versions | {package: _version(package) for package in _PACKAGES},
        "commit": source_commit(),
        "platform": platform.platform(),
    }


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def source_commit() -> str | None:
    """The source's git commit, with "+changes" if files differ from it; None if not a checkout."""
    source = Path(__file__).resolve().parent

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(source), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        git(
            "ls-files", "--error-unmatch", Path(__file__).name
        )  # else it is someone else's checkout
        return git("rev-parse", "HEAD") + ("+changes" if git("status", "--porcelain") else "")
    except (OSError, subprocess.CalledProcessError):
        return None
