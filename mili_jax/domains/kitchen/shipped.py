"""Where the kitchen's own files are: its objects and its tasks.

They lie in `data/` at the top of the repository, where people look for them, and a wheel has them
inside the package (`setup.py`).
"""

from __future__ import annotations

from importlib import resources
from pathlib import Path


def path(name: str) -> Path:
    """The file of that name: the package's own, or in a checkout the repository's."""
    package = Path(str(resources.files("mili_jax")))
    own = package / "data" / name
    return own if own.exists() else package.parent / "data" / name
