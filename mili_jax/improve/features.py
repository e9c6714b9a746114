"""Features of a split's trials, kept in a file beside the run: making them takes a while."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np

from mili_jax.storage.files import make_directory, replacing

FOLDER = "features"  # in the run's


def path_of(workdir: Path, split: str) -> Path:
    """Where those of a split are kept."""
    return workdir / FOLDER / f"{split}.npz"


def load(path: Path, digest: str) -> np.ndarray | None:
    """Features float16 [N,F] of the split with this digest; None if the file has none of it."""
    try:
        with np.load(path, allow_pickle=False) as found:
            if str(found["split"]) == digest:
                return np.asarray(found["features"])
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        pass  # they are made again
    return None


def save(path: Path, digest: str, features: np.ndarray) -> None:
    """Keeps features [N,F] as float16. Raises DataError if the file system refuses."""
    make_directory(path.parent)
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez(file, split=digest, features=features.astype(np.float16))
