"""The only module that knows run folders: manifests, result rows, metrics, checkpoints.

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
import importlib.metadata
import json
import math
import os
import platform
import re
import shutil
import subprocess
import types
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
import tensorboardX
from jax.experimental import multihost_utils
from orbax.checkpoint import v1 as ocp

from mili_jax.storage.checkpoints import (
    as_placed,
    check_leaves,
    content_digest,
    dtype,
    failing_once,
    files_under,
    leaf_shapes,
    load_alone,
    sweep_checkpoints,
    sync_file,
)
from mili_jax.storage.files import (
    append_lines,
    atomic_write,
    exists,
    fault,
    lock_file,
    make_directory,
    read_lines,
    read_sealed,
    remove_abandoned,
    sealed,
    sha256,
)
from mili_jax.types import DOCTOR, ConfigError, DataError

KEPT_CHECKPOINTS = 2
_NAME_RULE = re.compile(r"[a-z][a-z0-9_]*")


class Workdir:
    """One run's folder.

    Args:
      path: the folder.
      config: a (nested) mapping of plain values. With it the folder is made, or resumed if it was
        made with the same config, and locked against a second run until `close`. Without it the
        folder must exist, is not locked, and is only to be read.
      free: sections of the config that may change from call to call. Stages that depend on them
        are then made again (`is_done`).

    Use it as a context manager, or call `close`. In a distributed run every process opens the
    folder, on a file system that all share, and makes the same calls; process 0 alone locks and
    writes, except that saving a checkpoint takes all of them.

    Raises ConfigError if the folder belongs to another config or is in use, DataError if it is
    missing or its manifest is damaged.
    """

    def __init__(
        self,
        path: Path | str,
        config: Mapping[str, Any] | None = None,
        free: Collection[str] = (),
    ) -> None:
        self.path = Path(path).absolute()
        self._lock: Any = None
        self._tensorboard: tensorboardX.SummaryWriter | None = None
        # Asking for the process index of a run that is not distributed would start the device.
        self._leads = not jax.distributed.is_initialized() or jax.process_index() == 0
        manifest = self.path / "manifest.json"
        if config is None:
            if not exists(manifest):
                raise DataError(f"{manifest} is missing: {self.path} is no workdir of a run")
            self.config = self._read_manifest()["config"]
            return
        self.config = plain(config)
        if not self._leads:
            return
        self._lock = lock(self.path)
        try:
            remove_abandoned(self.path)
            if manifest.exists():
                stored = self._read_manifest()["config"]
                _check_same({**stored, **{k: self.config[k] for k in free}}, self.config, self.path)
            elif not self._fits_stages(free) and self._is_foreign():
                raise ConfigError(
                    f"{self.path} is not empty and has no manifest.json; choose another workdir"
                )
            self._write_manifest()
        except BaseException:
            self.close()
            raise

    def _is_foreign(self) -> bool:
        """Whether the folder, which has no manifest, holds what no run has left there: neither one
        that has just begun nor one whose manifest the doctor took away."""
        if any((self.path / "damaged").glob("manifest.json*")):
            return False
        names = set(os.listdir(self.path)) - {"lock", "dataset", "damaged"}
        return any(not _lies_around(self.path / name) for name in names)

    def __enter__(self) -> Workdir:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: types.TracebackType | None,
    ) -> None:
        self.close()

    def made(self, split: str) -> Path:
        """The file in which a stage declares the shards of a split that it makes (`made`)."""
        return self.path / "made" / f"{_checked(split)}.jsonl"

    def close(self) -> None:
        """Flushes TensorBoard and lets the next run in."""
        if self._tensorboard is not None:
            self._tensorboard.close()
            self._tensorboard = None
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    # Stages

    def is_done(
        self, stage: str, config: Mapping[str, Any], inputs: Mapping[str, str] | None = None
    ) -> bool:
        """Whether the stage finished with this config, from these inputs.

        Raises DataError, naming the file, if the manifest or an output of a stage that is done is
        missing or damaged: skipping it would hand the damage on.
        """
        path = self._manifest(stage)
        if not path.exists():
            return False
        manifest = self.read_manifest(stage)
        if manifest["config"] != plain(config) or manifest["inputs"] != dict(inputs or {}):
            return False
        for name, digest in manifest["outputs"].items():
            output = self.path / name
            if state := fault(output, digest):
                raise DataError(f"{output}, made by the stage {stage!r}, is {state}; {DOCTOR}")
        return True

    def begins(
        self, stage: str, config: Mapping[str, Any], inputs: Mapping[str, str] | None = None
    ) -> bool:
        """Whether the stage has to be made, now that nobody but this run writes here.

        What another config or other inputs made of it no longer counts from here on: its manifest
        goes before the first of its outputs is replaced. (Not with several hosts: another may be
        looking at it.) Raises as `is_done`.
        """
        if self.is_done(stage, config, inputs):
            return False
        if not jax.distributed.is_initialized():
            self._manifest(stage).unlink(missing_ok=True)
        return True

    def finish(
        self,
        stage: str,
        config: Mapping[str, Any],
        *,
        inputs: Mapping[str, str] | None = None,
        outputs: Sequence[Path] = (),
        **facts: Any,
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
        if not self._leads:
            return
        rows = self.path / "rows" / f"{_checked(stage)}.jsonl"
        outputs = [*outputs, *([rows] if rows.exists() else [])]
        manifest = {
            "stage": stage,
            "config": plain(config),
            "commit": source_commit(),
            "inputs": dict(inputs or {}),
            "outputs": self._digests(outputs),
            **plain(facts, "facts"),
        }
        path = self._manifest(stage)
        make_directory(path.parent)
        atomic_write(path, sealed(manifest))
        self._write_manifest()

    def manifest(self) -> dict[str, Any]:
        """The run's own manifest, with the facts that every finished stage recorded."""
        folder = self.path / "stages"
        facts = {file.stem: self.read_manifest(file.stem) for file in folder.glob("*.json")}
        return {**self._read_manifest(), "stages": facts}

    def provenance(self) -> dict[str, Any]:
        """What of the manifests people want to know on a page that has the configuration."""
        long = ("stage", "config", "inputs", "outputs", "resembles")
        whole = self.manifest()
        del whole["config"]
        stages = whole["stages"].items()
        facts = {name: {k: v for k, v in f.items() if k not in long} for name, f in stages}
        return {**whole, "stages": facts}

    def read_manifest(self, stage: str) -> dict[str, Any]:
        """What `finish` recorded. Raises DataError if the stage is not done or it is damaged."""
        return read_sealed(self._manifest(stage), ("stage", "config", "inputs", "outputs"))

    # Result rows and metrics

    def write_rows(self, stage: str, rows: Iterable[Mapping[str, Any]]) -> None:
        """Replaces this stage's result rows, and `results.jsonl` by the rows of all stages."""
        if not self._leads:
            return
        path = self.path / "rows" / f"{_checked(stage)}.jsonl"
        make_directory(path.parent)
        lines = [json.dumps(plain(row, f"row {i} of {stage}")) for i, row in enumerate(rows)]
        atomic_write(path, "".join(line + "\n" for line in lines))
        atomic_write(self.path / "results.jsonl", all_rows(self.path))

    def read_rows(self) -> list[dict[str, Any]]:
        """The result rows of all stages.

        Raises DataError naming the file, and the line, if one is damaged or lost.
        """
        folder = self.path / "rows"
        names = {file.stem for file in folder.glob("*.jsonl")}
        for stage in (self.path / "stages").glob("*.json"):
            name = f"rows/{stage.name}l"
            digest = self.read_manifest(stage.stem)["outputs"].get(name)
            if digest is not None and (state := fault(self.path / name, digest)):
                raise DataError(f"{self.path / name} is {state}; {DOCTOR}")
        return [row for name in sorted(names) for _, row in read_lines(folder / f"{name}.jsonl")]

    def write_metrics(self, stage: str, step: int, metrics: Mapping[str, Any]) -> None:
        """Appends scalars of one step to `metrics.jsonl` and to TensorBoard as <stage>/<name>.

        Not-a-number and infinity are kept, as text: a diverged run should show it.
        """
        if not self._leads:
            return
        values = {name: float(value) for name, value in metrics.items()}
        shown = {
            name: value if math.isfinite(value) else str(value) for name, value in values.items()
        }
        row = {"stage": _checked(stage), "step": int(step), **shown}
        append_lines(self.path / "metrics.jsonl", [row])
        if self._tensorboard is None:
            self._tensorboard = tensorboardX.SummaryWriter(str(self.path / "tensorboard"))
        for name, value in values.items():
            self._tensorboard.add_scalar(f"{stage}/{name}", value, int(step))

    def read_metrics(self, stage: str) -> dict[int, dict[str, Any]]:
        """The metrics of a stage by step; a step done again after a restart counts once. They are
        not verified: a row that does not say of what it is, is left out."""
        metrics: dict[int, dict[str, Any]] = {}
        for _, row in read_lines(self.path / "metrics.jsonl", appended=True):
            if row.pop("stage", None) == stage and "step" in row:
                metrics[row.pop("step")] = row
        return dict(sorted(metrics.items()))

    # Checkpoints

    def save_checkpoint(self, name: str, tree: Any, step: int, **facts: Any) -> Path:
        """Keeps a pytree of arrays and numbers; of each name the latest two steps stay.

        In a distributed run all processes call this, with leaves that each holds in full.

        Returns the checkpoint's manifest, <step>.json, which keeps `facts` (plain values) and the
        SHA-256 of the leaves. Raises DataError, naming the folder, if it cannot be written; the
        earlier checkpoints stay.
        """
        folder = self.path / "checkpoints" / _checked(name)
        target = folder / str(int(step))
        manifest = folder / f"{int(step)}.json"
        host = jax.tree.map(np.asarray, tree)
        try:
            if self._leads:
                folder.mkdir(parents=True, exist_ok=True)
                # Without its manifest a folder does not count, so the manifest goes first.
                manifest.unlink(missing_ok=True)
                sweep_checkpoints(folder)
            with failing_once():
                ocp.save(target, host, overwrite=True)
            if self._leads:
                files = {}
                for file in files_under(target):
                    sync_file(file)
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
            sweep_checkpoints(folder)
        if jax.process_count() > 1:
            multihost_utils.sync_global_devices(f"checkpoint {name} {step}")
        return manifest

    def latest_step(self, name: str) -> int | None:
        """The step of the latest complete checkpoint of this name, None if there is none."""
        steps = self._steps(name)
        return steps[-1] if steps else None

    def checkpoint_facts(self, name: str, step: int) -> dict[str, Any]:
        """The `facts` that a checkpoint was saved with, and as "content" the SHA-256 of its leaves.

        Raises DataError if it is not there or its manifest is damaged.
        """
        manifest = read_sealed(
            self.path / "checkpoints" / _checked(name) / f"{step}.json", ("facts", "content")
        )
        return {**manifest["facts"], "content": manifest["content"]}

    def drop_checkpoints(self, name: str) -> None:
        """Removes all checkpoints of this name."""
        if self._leads:
            folder = self.path / "checkpoints" / _checked(name)
            for manifest in folder.glob("*.json"):
                manifest.unlink()
            sweep_checkpoints(folder)

    def load_checkpoint(self, name: str, abstract_tree: Any, step: int | None = None) -> Any:
        """Brings a checkpoint back, by default the latest.

        Args:
          abstract_tree: a pytree like the saved one. A leaf that is a `jax.Array` or a
            `jax.ShapeDtypeStruct` comes back as a `jax.Array` (with its sharding, if it has one),
            an `np.ndarray` as such, a Python number as such.

        Raises DataError: no such checkpoint, a missing or damaged file (named), or leaves of
        other names, shapes or types than `abstract_tree` has (the first is named).
        """
        folder = self.path / "checkpoints" / _checked(name)
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
            loaded = load_alone(target, host)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(f"checkpoint {target} could not be read: {error}") from error
        return jax.tree.map(as_placed, abstract_tree, loaded)

    def _steps(self, name: str) -> list[int]:
        folder = self.path / "checkpoints" / _checked(name)
        return sorted(
            int(file.stem)
            for file in folder.glob("*.json")
            if file.stem.isdigit() and (folder / file.stem).is_dir()
        )

    def _fits_stages(self, free: Collection[str]) -> bool:
        """Whether stages are done here, all with this config: a manifest can be made again."""
        done = [read_sealed(file, ("config",)) for file in (self.path / "stages").glob("*.json")]
        for manifest in done:
            for field in sorted(manifest["config"].keys() & self.config.keys() - set(free)):
                value = manifest["config"][field]
                _check_same(value, self.config.get(field), self.path, f"config.{field}")
        return bool(done)

    def _manifest(self, stage: str) -> Path:
        return self.path / "stages" / f"{_checked(stage)}.json"

    def _read_manifest(self) -> dict[str, Any]:
        return read_sealed(self.path / "manifest.json", ("config",))

    def _write_manifest(self) -> None:
        packages = ("mili-jax", "jax", "jaxlib", "flax", "numpy", "pybullet")
        stages = sorted(file.stem for file in (self.path / "stages").glob("*.json"))
        content = {
            "config": self.config,
            "versions": {"python": platform.python_version()}
            | {package: _version(package) for package in packages},
            "commit": source_commit(),
            "platform": platform.platform(),
            "stages": stages,
        }
        atomic_write(self.path / "manifest.json", sealed(content))

    def _digests(self, paths: Sequence[Path]) -> dict[str, str]:
        digests = {}
        for path in paths:
            path = Path(path).absolute()
            files = files_under(path) if path.is_dir() else [path]
            for file in files:
                # Relative inside the workdir, so that the folder may be moved.
                inside = file.is_relative_to(self.path)
                digests[str(file.relative_to(self.path) if inside else file)] = sha256(file)
        return digests


def all_rows(path: Path, *, finished: bool = False) -> bytes:
    """What `results.jsonl` of a workdir holds: the result rows of all its (finished) stages."""
    files = sorted((path / "rows").glob("*.jsonl"))
    if finished:
        files = [file for file in files if (path / "stages" / f"{file.stem}.json").exists()]
    rows = (file.read_bytes() for file in files)
    return b"".join(row if row.endswith(b"\n") or not row else row + b"\n" for row in rows)


def lock(path: Path) -> Any:
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


def plain(value: Any, field: str = "config") -> Any:
    """The value as JSON would bring it back: mappings, lists, text, numbers, booleans, None.

    Anything with `items` counts as a mapping, so an `ml_collections.ConfigDict` does.
    Raises ConfigError naming the field that is none of these, or is not finite.
    """
    if hasattr(value, "items"):
        return {str(key): plain(item, f"{field}.{key}") for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item, f"{field}[{index}]") for index, item in enumerate(value)]
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, (np.generic, np.ndarray, jax.Array)) and np.ndim(value) == 0:
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        raise ConfigError(f"{field} is {value}; it must be finite to be kept in a file")
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise ConfigError(
        f"{field} is of type {type(value).__name__}; use text, numbers, lists or mappings"
    )


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


def _check_same(stored: Any, asked: Any, path: Path, field: str = "config") -> None:
    if isinstance(stored, dict) and isinstance(asked, dict):
        for key in sorted(stored.keys() | asked.keys()):
            missing = "(absent)"
            _check_same(stored.get(key, missing), asked.get(key, missing), path, f"{field}.{key}")
    elif stored != asked:
        raise ConfigError(
            f"workdir {path} was made with {field} = {stored!r}, now it is {asked!r}; choose "
            "another workdir or go back to that value"
        )


def _checked(name: str) -> str:
    if not _NAME_RULE.fullmatch(name):
        raise ConfigError(f"{name!r} cannot name a stage or checkpoint: use a-z, 0-9 and _")
    return name


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
