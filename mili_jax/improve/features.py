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


def load(path: Path, made_of: str | None = None) -> np.ndarray | None:
    """Features float16 [N,F], if they are made of this; None if the file has none. made_of: as they
    were saved; None for whatever is there."""
    try:
        with np.load(path, allow_pickle=False) as found:
            if made_of is None or str(found["made_of"]) == made_of:
                return np.asarray(found["features"])
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        pass  # they are made again
    return None


def save(path: Path, made_of: str, features: np.ndarray) -> None:
    """Keeps features [N,F] as float16. made_of: what identifies their trials and their policy.
    Raises DataError if the file system refuses."""
    make_directory(path.parent)
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez(file, made_of=made_of, features=features.astype(np.float16))
