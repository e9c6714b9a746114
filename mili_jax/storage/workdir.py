"""A run's folder: manifests, result rows, metrics, checkpoints, under one lock.

A run's folder:

  manifest.json                 the config, versions, commit, platform, and the stages done
  lock                          held while a run writes here
  stages/<stage>.json           written last by a stage: its config, inputs, outputs with SHA-256
  rows/<stage>.jsonl            a stage's result rows; results.jsonl is all of them together
  made/<split>.jsonl            SHA-256 of the shards that this run made, which it may drop
  metrics.jsonl, tensorboard/   training curves
  checkpoints/<name>/<step>/    Orbax; <step>.json beside it is written last and makes it count

Every file but the appended metrics is replaced atomically, so whatever is there is whole. Manifests
carry their own SHA-256 and those of what they declare, and are verified before anything is used: a
checkpoint, for one, restores silently wrong from most single flipped bits.
"""

from __future__ import annotations

import contextlib
import functools
import os
import platform
import sys
import types
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, SupportsFloat, TextIO

from mili_jax.storage.curves import Curves
from mili_jax.storage.files import (
    Manifest,
    as_path,
    atomic_write,
    exists,
    lock_file,
    read_sealed,
    remove_abandoned,
    sealed,
)
from mili_jax.storage.provenance import what_runs
from mili_jax.storage.stages import Stages
from mili_jax.storage.values import check_same, checked_name, plain
from mili_jax.types import ConfigError, DataError

if TYPE_CHECKING:
    from mili_jax.storage.checkpoints import Checkpoints, Tree


class Workdir:
    """One run's folder.

    Args:
      path: the folder.
      config: a (nested) mapping of plain values. With it the folder is made, or resumed if it was
        made with the same config, and locked against a second run until `close`. Without it the
        folder must exist, is not locked, and is only to be read.
      free: sections of the config that may change from call to call. Stages that depend on them
        are then made again (`is_done`).
      grows: fields of the config, such as "improve.rounds", whose number may be higher than the
        one that the folder was made with. No stage depends on them.

    Use it as a context manager, or call `close`. In a distributed run every process opens the
    folder, on a file system that all share, and makes the same calls; process 0 alone locks and
    writes, except that saving a checkpoint takes all of them.

    Raises ConfigError if the folder belongs to another config or is in use, DataError if it is
    missing or its manifest is damaged.
    """

    def __init__(
        self,
        path: Path | str,
        config: Mapping[str, object] | None = None,
        free: Collection[str] = (),
        grows: Collection[str] = (),
    ) -> None:
        self.path = as_path(path, "the folder of a run").absolute()
        if config is not None and not hasattr(config, "items"):
            raise ConfigError(f"config is of type {type(config).__name__}; it must be a mapping")
        self._lock: TextIO | None = None
        # Asking for the process index of a run that is not distributed would start the device.
        self._leads = not _distributed() or sys.modules["jax"].process_index() == 0
        self._stages = Stages(self.path, grows)
        self._curves = Curves(self.path)
        manifest = self.path / "manifest.json"
        if config is None:
            if not exists(manifest):
                raise DataError(f"{manifest} is missing: {self.path} is no workdir of a run")
            self.config: dict[str, object] = self._read_manifest()["config"]
            return
        self.config = plain(config)
        if not self._leads:
            return
        self._lock = lock(self.path)
        try:
            remove_abandoned(self.path)
            if manifest.exists():
                stored = {**self._read_manifest()["config"], **{k: self.config[k] for k in free}}
                if not self._is_untouched():
                    check_same(stored, self.config, self.path, grows)
            elif not self._fits_stages(free, grows) and self._is_foreign():
                raise ConfigError(
                    f"{self.path} is not empty and has no manifest.json; choose another workdir"
                )
            self._write_manifest()
        except BaseException:
            self.close()
            raise

    def _is_untouched(self) -> bool:
        """Whether nothing was made here yet: a command that was refused, since its config did not
        fit the episodes for instance, may be given again with another."""
        begun = [self.path / name for name in ("made", "checkpoints", "rows")]
        return not self._stages.names() and not any(p.is_dir() and any(p.iterdir()) for p in begun)

    def _is_foreign(self) -> bool:
        """Whether the folder, which has no manifest, holds what no run has left there: neither one
        that has just begun nor one whose manifest the doctor took away."""
        if any((self.path / "damaged").glob("manifest.json*")):
            return False
        names = set(os.listdir(self.path)) - {"lock", "dataset", "damaged"}
        return any(not _lies_around(self.path / name) for name in names)

    def _fits_stages(self, free: Collection[str], grows: Collection[str]) -> bool:
        """Whether stages are done here, all with this config: a manifest can be made again."""
        names = self._stages.names()
        for name in names:
            stored = read_sealed(self.path / "stages" / f"{name}.json", ("config",))["config"]
            for field in sorted(stored.keys() & self.config.keys() - set(free)):
                one, other = {field: stored[field]}, {field: self.config[field]}
                check_same(one, other, self.path, grows)
        return bool(names)

    def _read_manifest(self) -> Manifest:
        return read_sealed(self.path / "manifest.json", ("config",))

    def _write_manifest(self) -> None:
        content = {"config": self.config, **what_runs(), "stages": self._stages.names()}
        atomic_write(self.path / "manifest.json", sealed(content))

    def __enter__(self) -> Workdir:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: types.TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Lets the next run in."""
        self._curves.close()
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def made(self, split: str) -> Path:
        """The file in which a stage declares the shards of a split that it makes (`made`)."""
        return self.path / "made" / f"{checked_name(split)}.jsonl"

    # Stages

    def agrees(self, stored: Mapping[str, object], asked: Mapping[str, object]) -> bool:
        """Whether what was made with one config is what the other asks for: they differ in nothing
        but what `grows`."""
        return self._stages.agrees(stored, asked)

    def is_done(
        self, stage: str, config: Mapping[str, object], inputs: Mapping[str, str] | None = None
    ) -> bool:
        """Whether the stage finished with this config, from these inputs.

        Raises DataError, naming the file, if the manifest or an output of a stage that is done is
        missing or damaged: skipping it would hand the damage on.
        """
        return self._stages.is_done(stage, config, inputs)

    def begins(
        self, stage: str, config: Mapping[str, object], inputs: Mapping[str, str] | None = None
    ) -> bool:
        """Whether the stage has to be made, now that nobody but this run writes here.

        What another config or other inputs made of it no longer counts from here on: its manifest
        goes before the first of its outputs is replaced. (Not with several hosts: another may be
        looking at it.) Raises as `is_done`.
        """
        if self.is_done(stage, config, inputs):
            return False
        if not _distributed():
            self._stages.undo(stage)
        return True

    def finish(
        self,
        stage: str,
        config: Mapping[str, object],
        *,
        inputs: Mapping[str, str] | None = None,
        outputs: Sequence[Path] = (),
        **facts: object,
    ) -> None:
        """Declares a stage done. Its manifest is the last thing written for it.

        Args:
          stage: its name.
          config: the subset of the config that it depends on.
          inputs: what it was made from, by name, each with what identifies its content: with
            others `is_done` says no.
          outputs: files or folders it wrote and nothing changes or appends to any more: `is_done`
            verifies them. The stage's result rows count without being named; of episodes,
            reading verifies the shards.
          **facts: counts, seconds, whatever else is worth keeping.
        """
        if self._leads:
            self._stages.finish(stage, config, inputs, outputs, facts)
            self._write_manifest()

    def read_manifest(self, stage: str) -> Manifest:
        """What `finish` recorded. Raises DataError if the stage is not done or it is damaged."""
        return self._stages.read(stage)

    def manifest(self) -> Manifest:
        """The run's own manifest, with the facts that every finished stage recorded."""
        facts = {name: self.read_manifest(name) for name in self._stages.names()}
        return {**self._read_manifest(), "stages": facts}

    def provenance(self) -> Manifest:
        """What of the manifests people want to know on a page that has the configuration."""
        long = ("stage", "config", "inputs", "outputs", "resembles")
        whole = self.manifest()
        del whole["config"]
        stages = whole["stages"].items()
        facts = {name: {k: v for k, v in f.items() if k not in long} for name, f in stages}
        return {**whole, "stages": facts}

    # Result rows and metrics

    def write_rows(self, stage: str, rows: Iterable[Mapping[str, object]]) -> None:
        """Replaces this stage's result rows, and `results.jsonl` by the rows of all stages."""
        if self._leads:
            self._stages.write_rows(stage, rows)

    def read_rows(self) -> list[dict[str, object]]:
        """The result rows of all stages.

        Raises DataError naming the file, and the line, if one is damaged or lost.
        """
        return self._stages.read_rows()

    def write_metrics(self, stage: str, step: int, metrics: Mapping[str, SupportsFloat]) -> None:
        """Appends scalars of one step to `metrics.jsonl` and to TensorBoard (`Curves.write`)."""
        if self._leads:
            self._curves.write(stage, step, metrics)

    def read_metrics(self, stage: str) -> dict[int, dict[str, object]]:
        """The metrics of a stage by step (`Curves.read`)."""
        return self._curves.read(stage)

    # Checkpoints

    @functools.cached_property
    def _checkpoints(self) -> Checkpoints:
        """They bring JAX and Orbax, which nothing else of a workdir needs."""
        from mili_jax.storage.checkpoints import Checkpoints

        return Checkpoints(self.path / "checkpoints", self._leads)

    def save_checkpoint(self, name: str, tree: object, step: int, **facts: object) -> Path:
        """Keeps a pytree of arrays and numbers (`Checkpoints.save`); returns its manifest."""
        return self._checkpoints.save(name, tree, step, **facts)

    def latest_step(self, name: str) -> int | None:
        """The step of the latest complete checkpoint of this name, None if there is none."""
        return self._checkpoints.latest_step(name)

    def checkpoint_facts(self, name: str, step: int) -> Manifest:
        """What a checkpoint was saved with, and its "content" (`Checkpoints.facts`)."""
        return self._checkpoints.facts(name, step)

    def drop_checkpoints(self, name: str) -> None:
        """Removes all checkpoints of this name."""
        self._checkpoints.drop(name)

    def load_checkpoint(self, name: str, abstract_tree: Tree, step: int | None = None) -> Tree:
        """Brings a checkpoint back, by default the latest (`Checkpoints.load`)."""
        return self._checkpoints.load(name, abstract_tree, step)


def _distributed() -> bool:
    """Whether this process is one of several hosts; one that has not imported JAX is not."""
    return "jax" in sys.modules and sys.modules["jax"].distributed.is_initialized()


def lock(path: Path) -> TextIO:
    """Locks a workdir, making the folder if need be, until what it returns is closed.

    Raises ConfigError if another process holds it, DataError if it cannot be opened.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        file = (path / "lock").open("a+")
    except OSError as error:
        raise DataError(
            f"workdir {path} could not be opened ({error.strerror}); give yourself permission to "
            "write there, free space or choose another"
        ) from error
    try:
        lock_file(file, path, wait=False)
        file.truncate(0)
        file.write(f"process {os.getpid()} on {platform.node()}")
        file.flush()
        return file
    except BlockingIOError:
        file.seek(0)
        holder = file.read().strip() or "another process"
        file.close()
        raise ConfigError(
            f"workdir {path} is in use by {holder}; wait for it or choose another workdir"
        ) from None
    except DataError:
        file.close()
        raise
    except OSError as error:
        file.close()
        raise DataError(f"{path / 'lock'} could not be written ({error.strerror})") from error


def _lies_around(path: Path) -> bool:
    """Whether a file is none of anyone's work: the log of a command, or what an operating system
    leaves in folders that people look at."""
    if path.is_symlink() or not path.is_file():
        return False
    if path.name.startswith(".") or path.name.lower() in ("thumbs.db", "desktop.ini", "log"):
        return True
    if path.suffix in (".log", ".out", ".err"):
        return True
    found = path.stat()
    mine = []
    for descriptor in (1, 2):  # this command's own output, whatever its name
        with contextlib.suppress(OSError):
            mine.append(os.fstat(descriptor))
    return any((found.st_dev, found.st_ino) == (m.st_dev, m.st_ino) for m in mine)
