"""Pictures out of video files and into them."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import struct
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer
from av.video import VideoStream

from mili_jax.types import DataError

CRF = "18"  # of H.264: what is hardly seen


@dataclasses.dataclass(frozen=True)
class VideoPictures:
    """Frames of one video stream at the times float64 [T], in seconds of the file.

    shape: (H, W) promised. tolerance: seconds by which a frame's time may differ.
    frames: how many the file should hold, None where it holds other episodes too.
    """

    where: str
    field: str
    path: Path
    times: np.ndarray
    tolerance: float
    shape: tuple[int | None, int | None]
    frames: int | None = None

    def read(self, steps: np.ndarray, codec: str = "") -> Iterator[np.ndarray]:
        wanted = self.times[steps]
        with opened(self.path, self.field) as (container, stream):
            self._check(stream, codec)
            yield from self._frames(container, stream, wanted)

    def _frames(
        self, container: InputContainer, stream: VideoStream, wanted: np.ndarray
    ) -> Iterator[np.ndarray]:
        first = float(wanted[0]) - self.tolerance
        tick = stream.time_base
        assert tick is not None  # a stream of a file has one
        if first > 0:
            container.seek(int(first / tick), stream=stream, backward=True)
        k = 0
        last = None
        for frame in container.decode(stream):
            if frame.pts is None:
                raise DataError(f"{self.path}, {self.field}: a frame has no time")
            last = float(frame.pts * tick)
            while k < len(wanted) and abs(last - wanted[k]) <= self.tolerance:
                yield frame.to_ndarray(format="rgb24")
                k += 1
            if k == len(wanted):
                return
            if last > wanted[k] + self.tolerance:
                break
        end = "it has no frame" if last is None else f"the nearest one after it is at {last:.3f} s"
        raise DataError(
            f"{self.path}, {self.field}: no frame at {wanted[k]:.3f} s ({end}); {self.where} has "
            f"{len(self.times)} steps"
        )

    def _check(self, stream: VideoStream, codec: str) -> None:
        found = codec_of(stream)
        if codec and found != codec:
            raise DataError(
                f"{self.path}, {self.field}: the video is {found}, {codec} is promised; if the "
                "file is right, set the camera's codec in the mapping"
            )
        size = (stream.codec_context.height, stream.codec_context.width)
        if any(side is not None and side != n for side, n in zip(self.shape, size, strict=True)):
            raise DataError(
                f"{self.path}, {self.field}: the video is {size[0]} x {size[1]} pixels, "
                f"{self.shape[0]} x {self.shape[1]} are promised"
            )
        # Encoders may leave a frame more at the end, which nobody asks for.
        if self.frames is not None and stream.frames not in (0, self.frames, self.frames + 1):
            raise DataError(
                f"{self.path}, {self.field}: the video has {stream.frames} frames, {self.where} "
                f"{self.frames} steps"
            )


@contextlib.contextmanager
def opened(path: Path, field: str) -> Iterator[tuple[InputContainer, VideoStream]]:
    """(container, first video stream). What libav says of it becomes a DataError with the path."""
    logging.getLogger("libav").setLevel(logging.CRITICAL)
    if not path.is_file():
        raise DataError(f"{path} is missing; it should hold {field}")
    _check_whole(path, field)
    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise DataError(f"{path}, {field}: the file has no video stream")
            yield container, container.streams.video[0]
    except (av.FFmpegError, OSError, ValueError, EOFError) as error:
        raise DataError(f"{path}, {field}: the video cannot be decoded ({error})") from error


def _check_whole(path: Path, field: str) -> None:
    """That no part of an MP4 file lies beyond its end; libav forgives a cut off index."""
    try:
        end = path.stat().st_size
        with path.open("rb") as file:
            at = 0
            while at + 8 <= end:
                file.seek(at)
                size, kind = struct.unpack(">I4s", file.read(8))
                if at == 0 and kind != b"ftyp":
                    return
                if size == 1:
                    size = int.from_bytes(file.read(8), "big")
                elif size == 0:
                    return
                if size < 8:
                    break
                at += size
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror})") from error
    if at != end:
        raise DataError(
            f"{path}, {field}: the video has {end} bytes where its parts end at {at}; it was cut "
            "off or damaged: copy it again"
        )


def codec_of(stream: VideoStream) -> str:
    """The codec's own name, "av1" whichever library decodes it. Raises ValueError for none."""
    if stream.codec_context is None:
        raise ValueError("its codec is unknown")
    return str(stream.codec_context.codec.canonical_name)


class VideoWriter:
    """Episodes one after another in an MP4 file of H.264, a key frame at the start of each."""

    def __init__(self, path: Path, height: int, width: int, fps: int) -> None:
        self.path = path
        self.frames = 0
        container = av.open(str(path), "w")
        stream = container.add_stream("libx264", rate=fps)
        stream.width, stream.height = width, height
        stream.pix_fmt = self.pixels(height, width)
        # A key frame every other frame, so that any step is found at once.
        stream.options = {"crf": CRF, "g": "2", "bf": "0", "preset": "veryfast"}
        stream.codec_context.time_base = Fraction(1, fps)
        self._container, self._stream, self._tick = container, stream, Fraction(1, fps)

    @staticmethod
    def pixels(height: int, width: int) -> str:
        """The format of the pixels: half the colours where the sides are even, which every player
        shows, else all of them."""
        return "yuv420p" if height % 2 == 0 and width % 2 == 0 else "yuv444p"

    def add(self, pictures: np.ndarray) -> None:
        """An episode, uint8 [T,H,W,3]."""
        for k, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
            frame.pts = self.frames
            frame.time_base = self._tick
            if k == 0:
                frame.pict_type = av.video.frame.PictureType.I
            self._container.mux(self._stream.encode(frame))
            self.frames += 1

    def close(self) -> None:
        """Writes what is left; the file is whole then."""
        with contextlib.closing(self._container):
            if self.frames:
                self._container.mux(self._stream.encode(None))
