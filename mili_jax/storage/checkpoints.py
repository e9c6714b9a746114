"""Checkpoints: Orbax folders that count once a manifest with their SHA-256 stands beside them.

Verified before they are loaded: Orbax restores silently wrong from most single flipped bits.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils
from orbax.checkpoint import v1 as ocp

from mili_jax.storage.files import (
    Manifest,
    atomic_write,
    fault,
    files_under,
    read_sealed,
    sealed,
    sha256,
)
from mili_jax.storage.trees import as_placed, check_leaves, content_digest, dtype, leaf_shapes
from mili_jax.storage.values import checked_name, plain
from mili_jax.types import DOCTOR, DataError

KEPT_CHECKPOINTS = 2

Tree = TypeVar("Tree")


class Checkpoints:
    """The checkpoints of a run, by the name of their training.

    Args:
      folder: where they lie. leads: whether this process writes manifests and removes what is old;
        of a distributed run one does.
    """

    def __init__(self, folder: Path, leads: bool) -> None:
        self._folder = folder
        self._leads = leads

    def save(self, name: str, tree: object, step: int, **facts: object) -> Path:
        """Keeps a pytree of arrays and numbers; of each name the latest two steps stay.

        In a distributed run all processes call this, with leaves that each holds in full.

        Returns the checkpoint's manifest, <step>.json, which keeps `facts` (plain values) and the
        SHA-256 of the leaves. Raises DataError, naming the folder, if it cannot be written; the
        earlier checkpoints stay.
        """
        folder = self._folder / checked_name(name)
        target = folder / str(int(step))
        manifest = folder / f"{int(step)}.json"
        host = jax.tree.map(np.asarray, tree)
        try:
            if self._leads:
                folder.mkdir(parents=True, exist_ok=True)
                # Without its manifest a folder does not count, so the manifest goes first.
                manifest.unlink(missing_ok=True)
                _sweep(folder)
            with _failing_once():
                ocp.save(target, host, overwrite=True)
            if self._leads:
                files = {}
                for file in files_under(target):
                    _sync(file)
                    files[file.relative_to(target).as_posix()] = sha256(file)
        except (OSError, ValueError, RuntimeError) as error:
            if self._leads:
                shutil.rmtree(target, ignore_errors=True)
            raise DataError(
                f"checkpoint {target} could not be written ({error}); free space or fix "
                "permissions and run again"
            ) from error
        if self._leads:
            content = {
                "step": int(step),
                "facts": plain(facts, "facts"),
                "content": content_digest(host),
                "leaves": leaf_shapes(host),
                "files": files,
            }
            atomic_write(manifest, sealed(content))
            for old in self._steps(name)[:-KEPT_CHECKPOINTS]:
                (folder / f"{old}.json").unlink()
            _sweep(folder)
        if jax.process_count() > 1:
            multihost_utils.sync_global_devices(f"checkpoint {name} {step}")
        return manifest

    def latest_step(self, name: str) -> int | None:
        """The step of the latest complete checkpoint of this name, None if there is none."""
        steps = self._steps(name)
        return steps[-1] if steps else None

    def facts(self, name: str, step: int) -> Manifest:
        """The `facts` that a checkpoint was saved with, and as "content" the SHA-256 of its leaves.

        Raises DataError if it is not there or its manifest is damaged.
        """
        manifest = read_sealed(
            self._folder / checked_name(name) / f"{step}.json", ("facts", "content")
        )
        return {**manifest["facts"], "content": manifest["content"]}

    def drop(self, name: str) -> None:
        """Removes all checkpoints of this name."""
        if self._leads:
            folder = self._folder / checked_name(name)
            for manifest in folder.glob("*.json"):
                manifest.unlink()
            _sweep(folder)

    def load(self, name: str, abstract_tree: Tree, step: int | None = None) -> Tree:
        """Brings a checkpoint back, by default the latest.

        Args:
          abstract_tree: a pytree like the saved one. A leaf that is a `jax.Array` or a
            `jax.ShapeDtypeStruct` comes back as a `jax.Array` (with its sharding, if it has one),
            an `np.ndarray` as such, a Python number as such.

        Raises DataError: no such checkpoint, a missing or damaged file (named), or leaves of
        other names, shapes or types than `abstract_tree` has (the first is named).
        """
        folder = self._folder / checked_name(name)
        if step is None:
            step = self.latest_step(name)
        if step is None or not (folder / f"{step}.json").exists():
            what = "no complete checkpoint" if step is None else f"no complete checkpoint {step}"
            raise DataError(f"{folder} holds {what}; run the stage that trains it")
        target = folder / str(step)
        manifest = read_sealed(folder / f"{step}.json", ("step", "leaves", "files"))
        for file, digest in manifest["files"].items():
            path = target / file
            if state := fault(path, digest):
                raise DataError(f"{path} is {state}; {DOCTOR}")
        check_leaves(manifest["leaves"], leaf_shapes(abstract_tree), target)
        host = jax.tree.map(lambda leaf: np.empty(np.shape(leaf), dtype(leaf)), abstract_tree)
        try:
            loaded = _load_alone(target, host)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(f"checkpoint {target} could not be read: {error}") from error
        return jax.tree.map(as_placed, abstract_tree, loaded)

    def _steps(self, name: str) -> list[int]:
        folder = self._folder / checked_name(name)
        return sorted(
            int(file.stem)
            for file in folder.glob("*.json")
            if file.stem.isdigit() and (folder / file.stem).is_dir()
        )


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _sweep(folder: Path) -> None:
    """Removes folders without a manifest: half-written, or no longer kept."""
    for entry in folder.iterdir():
        if entry.is_dir() and not (folder / f"{entry.name}.json").exists():
            shutil.rmtree(entry, ignore_errors=True)


@contextlib.contextmanager
def _failing_once() -> Iterator[None]:
    """Of a save that fails nothing is seen but the exception that it raises.

    Each of Orbax's threads logs it as well, with a traceback, and their event loops, closed by
    then, print another one for everything that arrives late, even after the save has returned.
    """
    log, show = logging.getLogger("absl"), sys.unraisablehook
    level = log.level

    def show_others(args: sys.UnraisableHookArgs) -> None:
        if not (args.exc_type is RuntimeError and str(args.exc_value) == "Event loop is closed"):
            show(args)

    log.setLevel(logging.CRITICAL)
    sys.unraisablehook = show_others
    try:
        yield
        sys.unraisablehook = show
    finally:
        log.setLevel(level)


def _load_alone(path: Path, abstract: Tree) -> Tree:
    """Reads without a barrier, so that one process of a distributed run may do it by itself."""
    context = ocp.Context()
    if jax.process_count() > 1:
        context.multiprocessing.primary_host = jax.process_index()
        context.multiprocessing.active_processes = {jax.process_index()}
    with context:
        return ocp.load(path, abstract)
