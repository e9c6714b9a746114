"""One episode of other people's files: pictures, numbers and texts under their own names."""

from __future__ import annotations

import contextlib
import dataclasses
import io
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
import simplejpeg
from PIL import Image

from mili_jax.types import DataError

if TYPE_CHECKING:
    import h5py

# A mapping comes with what this package exported: a file of this name, in HDF5 a text.
MAPPING = "mili_mapping.yaml"

PICTURE, NUMBER, TEXT, OTHER = "picture", "number", "text", "other"

# How an encoded picture begins.
_MAGIC = {"jpeg": b"\xff\xd8\xff", "png": b"\x89PNG\r\n\x1a\n"}


@dataclasses.dataclass(frozen=True)
class Column:
    """What files say of one of their fields.

    kind: PICTURE, NUMBER, TEXT, or OTHER for what cannot be read; `why` then says the reason.
    shape: of one step, None where it varies. per_step: one value a step, or one an episode.
    codec: of pictures: "jpeg", "png", "raw", or that of the video.
    names: of the numbers, where the files name them.
    """

    name: str
    kind: str
    shape: tuple[int | None, ...] = ()
    dtype: str = ""
    per_step: bool = True
    codec: str = ""
    names: tuple[str, ...] = ()
    why: str = ""

    @property
    def size(self) -> int:
        """How many numbers a step has."""
        return int(np.prod([side or 0 for side in self.shape], dtype=np.int64))


class Pictures(Protocol):
    """The pictures of one camera of an episode, decoded when they are asked for."""

    def read(self, steps: np.ndarray, codec: str = "") -> Iterator[np.ndarray]:
        """uint8 [H,W,3] of each of the steps int [n], which rise.

        codec: that they must have, "" for whichever they have. Raises DataError, naming file and
        field, for what has another, cannot be decoded or differs in size.
        """


@dataclasses.dataclass(frozen=True)
class Recording:
    """An episode of T steps as its files have it.

    where: file and place in it, for messages. number: its place in the split, from 0.
    pictures: by field. numbers: [T,...] by field, in the files' own type.
    texts: one a step, or a single one. facts: what is said of the episode as a whole.

    Pictures of some formats are read from files that the reader keeps open, so they can be read
    until the next recording is taken.
    """

    where: str
    split: str
    number: int
    length: int
    pictures: Mapping[str, Pictures]
    numbers: Mapping[str, np.ndarray]
    texts: Mapping[str, tuple[str, ...]]
    facts: Mapping[str, object]


class Source(Protocol):
    """A folder or file of episodes that was looked through, but of which no episode was read.

    fps: steps a second, None where the files do not say.
    notes: what a person should know of it, whole sentences.
    mapping: the text of a mapping file that came with it, None if none did.
    """

    @property
    def path(self) -> Path: ...

    @property
    def format(self) -> str: ...

    @property
    def fps(self) -> float | None: ...

    @property
    def notes(self) -> tuple[str, ...]: ...

    @property
    def mapping(self) -> str | None: ...

    @property
    def columns(self) -> Mapping[str, Column]:
        """By name."""

    @property
    def splits(self) -> Mapping[str, int]:
        """How many episodes of each split are there."""

    def read(
        self, split: str, numbers: Sequence[int], names: Collection[str] | None = None
    ) -> Iterator[Recording]:
        """The episodes of those places in the split, one after another, with the columns `names`
        (None: all that can be read). Raises DataError, naming file and field, for the first that
        cannot be read."""


def decode_picture(blob: bytes) -> np.ndarray:
    """uint8 [H,W,3] of a JPEG or PNG. Raises OSError or ValueError for what is damaged."""
    if blob.startswith(_MAGIC["jpeg"]):
        # The same pixels as PIL's in half the time; what it does not know is left to PIL.
        with contextlib.suppress(ValueError):
            return np.asarray(simplejpeg.decode_jpeg(blob, "RGB"))
    with Image.open(io.BytesIO(blob)) as image:
        return np.asarray(image if image.mode == "RGB" else image.convert("RGB"))


@dataclasses.dataclass(frozen=True)
class EncodedPictures:
    """JPEG or PNG, one a step. shape: (H, W) that the files promise, None where they do not."""

    where: str
    field: str
    blobs: Sequence[bytes]
    shape: tuple[int | None, int | None] = (None, None)

    def read(self, steps: np.ndarray, codec: str = "") -> Iterator[np.ndarray]:
        if codec and codec not in _MAGIC:
            raise DataError(
                f"{self.where}: {self.field} is a JPEG or PNG each step and cannot be {codec!r}; "
                "correct the camera's codec in the mapping"
            )
        size = None
        for step in steps:
            picture = self._decode(int(step), codec)
            size = size or picture.shape
            if picture.shape != size:
                raise DataError(
                    f"{self.where}: {self.field} of step {step} is {picture.shape[0]} x "
                    f"{picture.shape[1]} pixels, of the steps before {size[0]} x {size[1]}; an "
                    "episode needs one size"
                )
            yield picture

    def _decode(self, step: int, codec: str) -> np.ndarray:
        blob = self.blobs[step]
        if codec and not blob.startswith(_MAGIC[codec]):
            found = [name for name, magic in _MAGIC.items() if blob.startswith(magic)]
            raise DataError(
                f"{self.where}: {self.field} of step {step} is {found[0] if found else 'neither'}"
                f"{'' if found else ' JPEG nor PNG'}, not {codec} as promised; if the files "
                "are right, set the camera's codec in the mapping"
            )
        try:
            picture = decode_picture(blob)
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            raise DataError(
                f"{self.where}: {self.field} of step {step} cannot be decoded ({error})"
            ) from error
        wanted = [
            n if side is None else side
            for side, n in zip(self.shape, picture.shape[:2], strict=True)
        ]
        if list(picture.shape[:2]) != wanted:
            raise DataError(
                f"{self.where}: {self.field} of step {step} is {picture.shape[0]} x "
                f"{picture.shape[1]} pixels, {wanted[0]} x {wanted[1]} are promised"
            )
        return picture


@dataclasses.dataclass(frozen=True)
class ArrayPictures:
    """Uncompressed: uint8 [T,H,W,3], in memory or in an HDF5 file that is open."""

    where: str
    field: str
    array: np.ndarray | h5py.Dataset

    def read(self, steps: np.ndarray, codec: str = "") -> Iterator[np.ndarray]:
        if codec not in ("", "raw"):
            raise DataError(
                f"{self.where}: {self.field} is not compressed and cannot be {codec!r}; "
                "correct the camera's codec in the mapping"
            )
        try:
            for begin in range(0, len(steps), 64):
                yield from np.asarray(self.array[np.asarray(steps[begin : begin + 64])], np.uint8)
        except (OSError, RuntimeError, ValueError, IndexError) as error:
            raise DataError(f"{self.where}: {self.field} cannot be read ({error})") from error
