"""What the stages of a run left: a manifest each, written last, and result rows."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

from mili_jax.storage.files import (
    Manifest,
    atomic_write,
    fault,
    files_under,
    make_directory,
    read_lines,
    read_sealed,
    sealed,
    sha256,
)
from mili_jax.storage.provenance import source_commit
from mili_jax.storage.values import checked_name, plain, without
from mili_jax.types import DOCTOR, DataError


class Stages:
    """The stages of the run in a folder.

    grows: fields of the configuration that say how far a run goes and not what a stage is, such as
    "improve.rounds": a stage is the same whatever they are.
    """

    def __init__(self, path: Path, grows: Collection[str] = ()) -> None:
        self._path = path
        self._grows = grows

    def names(self) -> list[str]:
        """Of the stages that are done."""
        return sorted(file.stem for file in (self._path / "stages").glob("*.json"))

    def agrees(self, stored: Mapping[str, object], asked: Mapping[str, object]) -> bool:
        """Whether what was made with one configuration is what the other asks for."""
        return without(stored, self._grows) == without(plain(asked), self._grows)

    def is_done(
        self, stage: str, config: Mapping[str, object], inputs: Mapping[str, str] | None = None
    ) -> bool:
        """See `Workdir.is_done`."""
        if not self._manifest(stage).exists():
            return False
        manifest = self.read(stage)
        same = self.agrees(manifest["config"], config)
        if not same or manifest["inputs"] != dict(inputs or {}):
            return False
        for name, digest in manifest["outputs"].items():
            output = self._path / name
            if state := fault(output, digest):
                raise DataError(f"{output}, made by the stage {stage!r}, is {state}; {DOCTOR}")
        return True

    def undo(self, stage: str) -> None:
        """Removes a stage's manifest: from here on it is not done."""
        self._manifest(stage).unlink(missing_ok=True)

    def finish(
        self,
        stage: str,
        config: Mapping[str, object],
        inputs: Mapping[str, str] | None,
        outputs: Sequence[Path],
        facts: Mapping[str, object],
    ) -> None:
        """See `Workdir.finish`."""
        rows = self._rows(stage)
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

    def read(self, stage: str) -> Manifest:
        """What `finish` recorded. Raises DataError if the stage is not done or it is damaged."""
        return read_sealed(self._manifest(stage), ("stage", "config", "inputs", "outputs"))

    def write_rows(self, stage: str, rows: Iterable[Mapping[str, object]]) -> None:
        """Replaces this stage's result rows, and `results.jsonl` by the rows of all stages."""
        path = self._rows(stage)
        make_directory(path.parent)
        lines = [json.dumps(plain(row, f"row {i} of {stage}")) for i, row in enumerate(rows)]
        atomic_write(path, "".join(line + "\n" for line in lines))
        atomic_write(self._path / "results.jsonl", all_rows(self._path))

    def read_rows(self) -> list[dict[str, object]]:
        """The result rows of all stages.

        Raises DataError naming the file, and the line, if one is damaged or lost.
        """
        names = {file.stem for file in (self._path / "rows").glob("*.jsonl")}
        for stage in self.names():
            name = f"rows/{stage}.jsonl"
            digest = self.read(stage)["outputs"].get(name)
            if digest is not None and (state := fault(self._path / name, digest)):
                raise DataError(f"{self._path / name} is {state}; {DOCTOR}")
        return [row for name in sorted(names) for _, row in read_lines(self._rows(name))]

    def _manifest(self, stage: str) -> Path:
        return self._path / "stages" / f"{checked_name(stage)}.json"

    def _rows(self, stage: str) -> Path:
        return self._path / "rows" / f"{checked_name(stage)}.jsonl"

    def _digests(self, paths: Sequence[Path]) -> dict[str, str]:
        digests = {}
        for path in paths:
            path = Path(path).absolute()
            for file in files_under(path) if path.is_dir() else [path]:
                # Relative inside the workdir, so that the folder may be moved.
                inside = file.is_relative_to(self._path)
                digests[str(file.relative_to(self._path) if inside else file)] = sha256(file)
        return digests


def all_rows(path: Path, *, finished: bool = False) -> bytes:
    """What `results.jsonl` of a workdir holds: the result rows of all its (finished) stages."""
    files = sorted((path / "rows").glob("*.jsonl"))
    if finished:
        files = [file for file in files if (path / "stages" / f"{file.stem}.json").exists()]
    rows = (file.read_bytes() for file in files)
    return b"".join(row if row.endswith(b"\n") or not row else row + b"\n" for row in rows)
