"""The arrays of a checkpoint, apart from the files that they are in."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from mili_jax.types import DataError


def dtype(leaf: object) -> np.dtype:
    return np.dtype(leaf.dtype) if hasattr(leaf, "dtype") else np.asarray(leaf).dtype


def leaf_shapes(tree: object) -> dict[str, list[object]]:
    """[shape, dtype] of every leaf by its path in the tree."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {
        jax.tree_util.keystr(path): [list(np.shape(leaf)), str(dtype(leaf))]
        for path, leaf in leaves
    }


def content_digest(tree: object) -> str:
    """SHA-256 of the leaves: equal for equal trainings, whatever the files around them hold."""
    digest = hashlib.sha256(json.dumps(leaf_shapes(tree)).encode())
    for leaf in jax.tree.leaves(tree):
        digest.update(np.ascontiguousarray(leaf).tobytes())
    return digest.hexdigest()


def check_leaves(stored: Mapping[str, object], asked: Mapping[str, object], path: Path) -> None:
    for leaf in sorted(stored.keys() | asked.keys()):
        if stored.get(leaf) != asked.get(leaf):
            raise DataError(
                f"checkpoint {path} does not fit at {leaf}: it holds {stored.get(leaf)}, wanted "
                f"is {asked.get(leaf)}; use the config it was trained with"
            )


def as_placed(abstract: object, value: np.ndarray) -> object:
    if isinstance(abstract, np.ndarray):
        return value
    if isinstance(abstract, (bool, int, float)):
        return type(abstract)(value.item())
    sharding = getattr(abstract, "sharding", None)
    return jnp.asarray(value) if sharding is None else jax.device_put(value, sharding)
