"""What a checkpoint is made of."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from orbax.checkpoint import v1 as ocp

from mili_jax.types import DataError


def files_under(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def sync_file(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sweep_checkpoints(folder: Path) -> None:
    """Removes folders without a manifest: half-written, or no longer kept."""
    for entry in folder.iterdir():
        if entry.is_dir() and not (folder / f"{entry.name}.json").exists():
            shutil.rmtree(entry, ignore_errors=True)


@contextlib.contextmanager
def failing_once() -> Iterator[None]:
    """Of a save that fails nothing is seen but the exception that it raises.

    Each of Orbax's threads logs it as well, with a traceback, and their event loops, closed by
    then, print another one for everything that arrives late, even after the save has returned.
    """
    log, show = logging.getLogger("absl"), sys.unraisablehook
    level = log.level

    def show_others(args: Any) -> None:
        if not (args.exc_type is RuntimeError and str(args.exc_value) == "Event loop is closed"):
            show(args)

    log.setLevel(logging.CRITICAL)
    sys.unraisablehook = show_others
    try:
        yield
        sys.unraisablehook = show
    finally:
        log.setLevel(level)


def load_alone(path: Path, abstract: Any) -> Any:
    """Reads without a barrier, so that one process of a distributed run may do it by itself."""
    context = ocp.Context()
    if jax.process_count() > 1:
        context.multiprocessing.primary_host = jax.process_index()
        context.multiprocessing.active_processes = {jax.process_index()}
    with context:
        return ocp.load(path, abstract)


def dtype(leaf: Any) -> np.dtype:
    return np.dtype(leaf.dtype) if hasattr(leaf, "dtype") else np.asarray(leaf).dtype


def leaf_shapes(tree: Any) -> dict[str, list[Any]]:
    """[shape, dtype] of every leaf by its path in the tree."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {
        jax.tree_util.keystr(path): [list(np.shape(leaf)), str(dtype(leaf))]
        for path, leaf in leaves
    }


def content_digest(tree: Any) -> str:
    """SHA-256 of the leaves: equal for equal trainings, whatever the files around them hold."""
    digest = hashlib.sha256(json.dumps(leaf_shapes(tree)).encode())
    for leaf in jax.tree.leaves(tree):
        digest.update(np.ascontiguousarray(leaf).tobytes())
    return digest.hexdigest()


def check_leaves(stored: dict[str, Any], asked: dict[str, Any], path: Path) -> None:
    for leaf in sorted(stored.keys() | asked.keys()):
        if stored.get(leaf) != asked.get(leaf):
            raise DataError(
                f"checkpoint {path} does not fit at {leaf}: it holds {stored.get(leaf)}, wanted "
                f"is {asked.get(leaf)}; use the config it was trained with"
            )


def as_placed(abstract: Any, value: np.ndarray) -> Any:
    if isinstance(abstract, np.ndarray):
        return value
    if isinstance(abstract, (bool, int, float)):
        return type(abstract)(value.item())
    sharding = getattr(abstract, "sharding", None)
    return jnp.asarray(value) if sharding is None else jax.device_put(value, sharding)
