"""Training curves: `metrics.jsonl`, and the same for TensorBoard."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import SupportsFloat

from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto import event_pb2
from tensorboardX.summary import scalar

from mili_jax.storage.files import append_lines, make_directory, one_line, read_lines
from mili_jax.storage.values import checked_name
from mili_jax.types import DataError


class Curves:
    """The metrics of a run in its folder. `close` it."""

    def __init__(self, path: Path) -> None:
        self._file = path / "metrics.jsonl"
        self._folder = path / "tensorboard"
        # Written in this thread: one of TensorBoard's own would print its errors and wait for ever.
        self._events: EventsWriter | None = None

    def write(self, stage: str, step: int, metrics: Mapping[str, SupportsFloat]) -> None:
        """Appends scalars of one step, for TensorBoard as <stage>/<name>.

        Not-a-number and infinity are kept, as text: a diverged run should show it.
        Raises DataError if the file system refuses.
        """
        values = {name: float(value) for name, value in metrics.items()}
        shown = {
            name: value if math.isfinite(value) else str(value) for name, value in values.items()
        }
        append_lines(self._file, [{"stage": checked_name(stage), "step": int(step), **shown}])
        try:
            if self._events is None:
                make_directory(self._folder)
                self._events = EventsWriter(str(self._folder / "events"))
            for name, value in values.items():
                summary = scalar(f"{stage}/{name}", value)
                self._events.write_event(
                    event_pb2.Event(summary=summary, step=int(step), wall_time=time.time())
                )
            self._events.flush()
        except OSError as error:
            self._events = None
            raise DataError(
                f"{self._folder} could not be written ({one_line(error)}); free space or fix "
                "permissions and run again"
            ) from error

    def read(self, stage: str) -> dict[int, dict[str, object]]:
        """The metrics of a stage by step; a step done again after a restart counts once. They are
        not verified: a row that does not say of what it is, is left out."""
        metrics: dict[int, dict[str, object]] = {}
        for _, row in read_lines(self._file, appended=True):
            of, step = row.pop("stage", None), row.pop("step", None)
            if of == stage and isinstance(step, int):
                metrics[step] = row
        return dict(sorted(metrics.items()))

    def close(self) -> None:
        """What was written is on disk already."""
        if self._events is not None:
            self._events.close()
            self._events = None
