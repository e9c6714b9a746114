"""Films of an attempt beside the demonstration that it follows."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from pathlib import Path

import av
import numpy as np
from PIL import Image

from mili_jax.report.words import shorten
from mili_jax.types import DataError

SUCCESS_COLOUR = (0, 158, 115)
FAILURE_COLOUR = (213, 94, 0)
_FPS = 7
_BORDER = 4  # pixels of colour around a film


@dataclasses.dataclass(frozen=True)
class Film:
    """An attempt at a task of a group after one demonstration of it: demo uint8 [T,H,W,3], attempt
    uint8 [T',H,W,3]. Title and caption are shown as they are."""

    title: str
    group: str
    success: bool
    demo: np.ndarray
    attempt: np.ndarray
    caption: str = ""

    @staticmethod
    def parse(raw: Mapping[str, object], number: int) -> Film:
        """Of "title", "family", "success", "demo", "attempt" and perhaps "caption".

        Raises DataError that names film `number` and what does not fit.
        """
        absent = {"title", "family", "success", "demo", "attempt"} - raw.keys()
        if absent:
            raise DataError(f"film {number} lacks {min(absent)!r}")
        title, demo, attempt = str(raw["title"]), raw["demo"], raw["attempt"]
        _check_clips(f"film {number} ({shorten(title, 60)})", demo, attempt)
        assert isinstance(demo, np.ndarray) and isinstance(attempt, np.ndarray)
        caption = str(raw.get("caption") or "")
        return Film(title, str(raw["family"]), bool(raw["success"]), demo, attempt, caption)


def write_video(
    path: Path, demo: np.ndarray, attempt: np.ndarray, *, success: bool, fps: int = _FPS
) -> tuple[int, int]:
    """Writes an H.264 film, demonstration left and attempt right, and its poster (.png) beside it.

    demo uint8 [T,H,W,3], attempt uint8 [T',H,W,3]; both start together, the shorter one waits on
    its last frame, and both hold theirs for a second. Pixels are repeated, not blended, until there
    are at least 256 of them. Returns the film's (width, height), both even as yuv420p needs.
    Raises DataError when an array is not of this form.
    """
    _check_clips(f"film {path.stem}", demo, attempt)
    count = max(len(demo), len(attempt)) + fps
    first = _side_by_side(demo[0], attempt[0], success=success)
    height, width = first.shape[:2]
    with av.open(str(path), "w", options={"movflags": "+faststart"}) as container:
        stream = container.add_stream(
            "libx264", rate=fps, options={"crf": "20", "preset": "veryfast"}
        )
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for t in range(count):
            image = _side_by_side(
                demo[min(t, len(demo) - 1)], attempt[min(t, len(attempt) - 1)], success=success
            )
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
    poster = _side_by_side(demo[-1], attempt[-1], success=success)
    Image.fromarray(poster).save(path.with_suffix(".png"), optimize=True)
    return width, height


def _check_clips(where: str, demo: object, attempt: object) -> None:
    for name, clip in (("demo", demo), ("attempt", attempt)):
        if not (
            isinstance(clip, np.ndarray)
            and clip.dtype == np.uint8
            and clip.ndim == 4
            and clip.shape[-1] == 3
            and clip.size
        ):
            what = f"{clip.dtype} {clip.shape}" if isinstance(clip, np.ndarray) else repr(clip)[:80]
            raise DataError(f"{where}: {name} must be uint8 [T,H,W,3] with T > 0, got {what}")
    assert isinstance(demo, np.ndarray) and isinstance(attempt, np.ndarray)
    if demo.shape[1:] != attempt.shape[1:]:
        raise DataError(
            f"{where}: demo frames are {demo.shape[1:]}, attempt frames {attempt.shape[1:]}; they "
            "must be alike"
        )


def _side_by_side(left: np.ndarray, right: np.ndarray, *, success: bool) -> np.ndarray:
    """Two frames [H,W,3], enlarged, on one canvas with even sides and a border."""
    factor = math.ceil(256 / min(left.shape[:2]))
    left, right = (frame.repeat(factor, 0).repeat(factor, 1) for frame in (left, right))
    height, width = left.shape[:2]
    canvas_height = height + 2 * _BORDER
    canvas_width = 2 * width + 3 * _BORDER
    canvas = np.empty((canvas_height + canvas_height % 2, canvas_width + canvas_width % 2, 3), "u1")
    canvas[:] = SUCCESS_COLOUR if success else FAILURE_COLOUR
    canvas[_BORDER : _BORDER + height, _BORDER : _BORDER + width] = left
    canvas[_BORDER : _BORDER + height, 2 * _BORDER + width : 2 * _BORDER + 2 * width] = right
    return canvas
