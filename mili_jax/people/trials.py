"""The trials of a split as a page asks for them: by number, each with its name and its clip."""

from __future__ import annotations

import json
import threading
from pathlib import Path

from mili_jax.people.clips import Clip, Clips, encode
from mili_jax.storage.dataset import Dataset
from mili_jax.storage.files import atomic_write
from mili_jax.types import ConfigError, DataError


class Trials:
    """N trials of a committed split.

    Names are read when they are asked for, and all of them once in the background (`read_names`):
    the first page need not wait for tens of thousands of records. `kept` is a file beside the run
    that saves doing it again.

    Raises ConfigError where the split is not there or holds no trial.
    """

    def __init__(self, dataset: Dataset, split: str, kept: Path) -> None:
        there = dataset.splits()
        if not there.get(split):
            rounds = sorted(name for name in there if name.startswith("round_"))
            has = f"there are {', '.join(rounds)}" if rounds else "there are none yet"
            raise ConfigError(
                f"{dataset.path} has no trials of the split {split!r}; {has}: `mili collect` makes "
                "them, `mili import` brings those of your own robot"
            )
        self.dataset, self.split = dataset, split
        self.digest = dataset.digests(split)[split][:16]  # in addresses
        self.reader = dataset.reader(split)
        self.names: list[str | None] | None = None  # None where the record is damaged
        self._kept = kept
        self._some: dict[int, str] = {}
        self._clips = Clips(self._encode)
        self._stop = threading.Event()

    def __len__(self) -> int:
        return len(self.reader)

    def name(self, number: int) -> str:
        """The episode id. Raises DataError if the record is damaged."""
        if self.names is not None and (known := self.names[number]) is not None:
            return known
        if number not in self._some:
            self._some[number] = self.reader.meta(number).episode_id
        return self._some[number]

    def clip(self, number: int) -> Clip:
        """Raises DataError if the record is damaged."""
        return self._clips.get(number)

    def has_clip(self, number: int) -> bool:
        return self._clips.has(number)

    def _encode(self, number: int) -> Clip:
        episode = self.reader.episode(number)
        self._some[number] = episode.meta.episode_id
        return encode(episode.image)

    def read_names(self, rest: float = 0.0) -> None:
        """Reads the names of all trials, minutes for tens of thousands, unless they are kept.

        rest: seconds of pause after each, for what is more urgent.
        """
        names = self._names_kept()
        if names is None:
            names = []
            for number in range(len(self)):
                if self._stop.wait(rest) if rest else self._stop.is_set():
                    return
                try:
                    names.append(self.reader.meta(number).episode_id)
                except DataError:
                    names.append(None)  # whoever asks for it is answered so
            if None not in names:
                atomic_write(self._kept, json.dumps({"split": self.digest, "names": names}))
        self.names = names
        self._some.clear()

    def _names_kept(self) -> list[str | None] | None:
        try:
            content = json.loads(self._kept.read_bytes())
            names = content["names"]
            if content["split"] == self.digest and len(names) == len(self):
                return [str(name) for name in names]
        except (OSError, ValueError, TypeError, KeyError):
            pass  # it is made again
        return None

    def close(self) -> None:
        """Ends `read_names`."""
        self._stop.set()
