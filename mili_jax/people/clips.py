"""Trials as what a page can play: one JPEG with the frames side by side.

A page draws them one after another, so it can play them at any speed and needs no video codec.
"""

from __future__ import annotations

import collections
import dataclasses
import math
import threading
from collections.abc import Callable

import numpy as np
import simplejpeg
from PIL import Image

FRAMES = 48  # of a clip at most; of a longer trial they are spread evenly
SIDE = 256  # pixels of a frame's longer side at most
QUALITY = 92
STEPS_A_SECOND = 10.0  # at which a trial is shown at speed 1
KEPT = 48 << 20  # bytes of clips in memory


@dataclasses.dataclass(frozen=True)
class Clip:
    """frames pictures of width x height pixels, `columns` in a row; `seconds` at speed 1."""

    jpeg: bytes
    frames: int
    columns: int
    width: int
    height: int
    seconds: float

    @property
    def header(self) -> str:
        """What the page has to know to play it."""
        numbers = (self.frames, self.columns, self.width, self.height)
        return " ".join([*map(str, numbers), f"{self.seconds:.3f}"])


def encode(image: np.ndarray) -> Clip:
    """A clip of an episode's pictures, uint8 [T,(V,)H,W,C]; of several cameras they stand beside
    each other, and of a camera's channels the first three count."""
    steps = len(image)
    chosen = np.unique(np.linspace(0, steps - 1, min(steps, FRAMES)).round().astype(int))
    frames = [beside(picture) for picture in image[chosen]]
    height, width = frames[0].shape[:2]
    shrink = min(1.0, SIDE / max(height, width))
    if shrink < 1:
        size = max(1, round(width * shrink)), max(1, round(height * shrink))
        frames = [np.asarray(Image.fromarray(f).resize(size, Image.Resampling.BOX)) for f in frames]
        width, height = size
    columns = math.ceil(math.sqrt(len(frames)))
    rows = math.ceil(len(frames) / columns)
    sheet = np.zeros((rows * height, columns * width, 3), np.uint8)
    for k, frame in enumerate(frames):
        y, x = divmod(k, columns)
        sheet[y * height : (y + 1) * height, x * width : (x + 1) * width] = frame
    jpeg = simplejpeg.encode_jpeg(sheet, quality=QUALITY, colorspace="RGB", colorsubsampling="444")
    return Clip(jpeg, len(frames), columns, width, height, steps / STEPS_A_SECOND)


def beside(picture: np.ndarray) -> np.ndarray:
    """uint8 [(V,)H,W,C] -> [H,V*W,3]."""
    if picture.ndim == 4:
        picture = np.concatenate(list(picture), axis=1)
    colours = picture[..., :3]
    return np.repeat(colours, 3, -1) if colours.shape[-1] == 1 else colours


class Clips:
    """Clips by number, those used last kept in memory. Any thread may ask.

    make: number -> clip; whatever it raises is the asker's.
    """

    def __init__(self, make: Callable[[int], Clip], kept: int = KEPT) -> None:
        self._make, self._most = make, kept
        self._kept: collections.OrderedDict[int, Clip] = collections.OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def get(self, number: int) -> Clip:
        with self._lock:
            if (found := self._kept.get(number)) is not None:
                self._kept.move_to_end(number)
                return found
        clip = self._make(number)
        with self._lock:
            if number not in self._kept:
                self._kept[number] = clip
                self._bytes += len(clip.jpeg)
            while self._bytes > self._most and len(self._kept) > 1:
                self._bytes -= len(self._kept.popitem(last=False)[1].jpeg)
        return clip

    def has(self, number: int) -> bool:
        with self._lock:
            return number in self._kept
