"""Export to robomimic: one HDF5 file in its documented layout."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import h5py
import numpy as np

from mili_jax.interchange.mapping import Mapping as Plan
from mili_jax.interchange.own_mapping import own_mapping, own_text
from mili_jax.interchange.recording import MAPPING
from mili_jax.interchange.store import Exported, facts_of, pictures_of, streams
from mili_jax.spec import Spec
from mili_jax.types import ConfigError

FILE = "episodes.hdf5"
USEFUL = "useful"
_GYM = 2  # of robomimic's kinds of environments, the one that asks for nothing


def plan(spec: Spec, splits: Sequence[str], fps: float | None) -> Plan:
    """The mapping that brings the export back."""
    if USEFUL in splits:
        raise ConfigError(f"a split called {USEFUL!r} cannot go to robomimic: its mask is taken")
    return own_mapping(
        spec,
        "robomimic",
        "obs/state",
        "actions",
        lambda name: f"obs/{name}_image",
        "raw",
        lambda fact: f"attrs/{fact}",
        splits,
        fps,
    )


def write(
    folder: Path,
    spec: Spec,
    episodes: Mapping[str, tuple[int, Iterator[Exported]]],
    mapping: Plan,
) -> None:
    """Writes splits, each as (how many episodes, the episodes): a mask for each, and `useful`."""
    # The newest layout, since an older one has no attributes above 64 kB, such as a long scene.
    with _opened(folder / FILE) as kept, h5py.File(kept, "w", libver="latest") as file:
        data = file.create_group("data")
        masks: dict[str, list[str]] = {USEFUL: []}
        total = number = 0
        for split, (_, found) in episodes.items():
            masks[split] = []
            for exported in found:
                name = f"demo_{number}"
                _write_episode(data.create_group(name), spec, exported)
                masks[split].append(name)
                if exported.useful:
                    masks[USEFUL].append(name)
                total += len(exported.episode)
                number += 1
        data.attrs["total"] = total
        environment = {"env_name": "mili", "env_type": _GYM, "env_kwargs": {}}
        data.attrs["env_args"] = json.dumps(environment)
        file.create_dataset(MAPPING, data=own_text(mapping))
        for mask, names in masks.items():
            file.create_dataset(f"mask/{mask}", data=np.array(names, "S"))


class _Kept:
    """A file that HDF5 writes to, which remembers the first write that the system refused.

    HDF5 itself cannot close a file then: it tries again and again and brings the process down.
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("w+b", buffering=0)
        self.refused: OSError | None = None

    def write(self, data: bytes | bytearray | memoryview) -> int:
        if self.refused is None:
            try:
                rest = memoryview(data).cast("B")
                while rest:
                    rest = rest[self._file.write(rest) :]
            except OSError as error:
                self.refused = error
        return len(data)

    def read(self, size: int = -1) -> bytes:
        return self._file.read(size) or b""

    def readinto(self, into: bytearray | memoryview) -> int:
        count = self._file.readinto(into)
        memoryview(into).cast("B")[count:] = bytes(len(into) - count)
        return len(into)

    def seek(self, place: int, whence: int = 0) -> int:
        return self._file.seek(place, whence)

    def tell(self) -> int:
        return self._file.tell()

    def truncate(self, size: int | None = None) -> int:
        try:
            return self._file.truncate(size)
        except OSError as error:
            self.refused = self.refused or error
            return size or 0

    def flush(self) -> None:
        pass

    def close(self) -> None:
        self._file.close()


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[_Kept]:
    """Raises the OSError of the first refused write in the end, whatever came after it."""
    kept = _Kept(path)
    try:
        yield kept
    finally:
        kept.close()
        if kept.refused is not None:
            raise kept.refused


def _write_episode(group: h5py.Group, spec: Spec, exported: Exported) -> None:
    episode = exported.episode
    length = len(episode)
    group.attrs["num_samples"] = length
    for name, value in facts_of(exported).items():
        group.attrs[name] = value
    words = episode.meta.language or episode.meta.task
    group.attrs["ep_meta"] = json.dumps({"lang": words})
    last = np.zeros(length)
    last[-1] = 1
    group.create_dataset("actions", data=episode.action)
    group.create_dataset("rewards", data=last * episode.meta.success)
    group.create_dataset("dones", data=last.astype(np.int64))
    # robomimic wants the simulator's state; there is none to give.
    group.create_dataset("states", data=np.zeros((length, 0)))
    steps = {"obs": np.arange(length), "next_obs": np.minimum(np.arange(length) + 1, length - 1)}
    for when, chosen in steps.items():
        group.create_dataset(f"{when}/state", data=episode.pose[chosen])
        for stream in streams(spec):
            pictures = pictures_of(spec, episode, stream)
            group.create_dataset(
                f"{when}/{stream.name}_image",
                data=pictures[chosen],
                chunks=(1, *pictures.shape[1:]),
                compression="gzip",
                compression_opts=1,
            )
