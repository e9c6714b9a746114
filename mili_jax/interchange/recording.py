"""One episode of other people's files: pictures, numbers and texts under their own names."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from PIL import Image

from mili_jax.types import DataError

# A mapping may come with what this package exported: a file of this name, in HDF5 an attribute.
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

    codec: str

    def read(self, steps: np.ndarray) -> np.ndarray:
        """uint8 [n,H,W,3] of the steps int [n], which rise. Raises DataError, naming file and
        field, for what cannot be decoded or differs in size."""


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
    facts: Mapping[str, Any]


class Source(Protocol):
    """A folder or file of episodes that was looked through, but of which no episode was read.

    fps: steps a second, None where the files do not say.
    notes: what a person should know of it, whole sentences.
    mapping: the text of a mapping file that came with it, None if none did.
    """

    path: Path
    format: str
    fps: float | None
    notes: tuple[str, ...]
    mapping: str | None

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


@dataclasses.dataclass(frozen=True)
class EncodedPictures:
    """JPEG or PNG, one a step. shape: (H, W) that the files promise, None where they do not."""

    where: str
    field: str
    blobs: Sequence[bytes]
    codec: str
    shape: tuple[int | None, int | None] = (None, None)

    def read(self, steps: np.ndarray) -> np.ndarray:
        if self.codec and self.codec not in _MAGIC:
            raise DataError(
                f"{self.where}: {self.field} is a JPEG or PNG each step and cannot be "
                f"{self.codec!r}; correct the camera's codec in the mapping"
            )
        pictures = [self._decode(int(step)) for step in steps]
        sizes = {picture.shape for picture in pictures}
        if len(sizes) > 1:
            raise DataError(
                f"{self.where}: {self.field} has pictures of unlike sizes {sorted(sizes)}; an "
                "episode needs one size"
            )
        return np.stack(pictures)

    def _decode(self, step: int) -> np.ndarray:
        blob = self.blobs[step]
        if self.codec in _MAGIC and not blob.startswith(_MAGIC[self.codec]):
            found = [name for name, magic in _MAGIC.items() if blob.startswith(magic)]
            raise DataError(
                f"{self.where}: {self.field} of step {step} is {found[0] if found else 'neither'}"
                f"{'' if found else ' JPEG nor PNG'}, not {self.codec} as promised; if the files "
                "are right, set the camera's codec in the mapping"
            )
        try:
            with Image.open(io.BytesIO(blob)) as image:
                picture = np.asarray(image if image.mode == "RGB" else image.convert("RGB"))
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
    array: Any
    codec: str = "raw"

    def read(self, steps: np.ndarray) -> np.ndarray:
        if self.codec not in ("", "raw"):
            raise DataError(
                f"{self.where}: {self.field} is not compressed and cannot be {self.codec!r}; "
                "correct the camera's codec in the mapping"
            )
        try:
            return np.asarray(self.array[np.asarray(steps)], np.uint8)
        except (OSError, RuntimeError, ValueError, IndexError) as error:
            raise DataError(f"{self.where}: {self.field} cannot be read ({error})") from error
