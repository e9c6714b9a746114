"""Films of an attempt beside the demonstration that it follows."""

from __future__ import annotations

import math
from pathlib import Path

import av
import numpy as np
from PIL import Image

from mili_jax.types import DataError

SUCCESS_COLOUR = (0, 158, 115)
FAILURE_COLOUR = (213, 94, 0)
_FPS = 7
_BORDER = 4  # pixels of colour around a film


def write_video(
    path: Path, demo: np.ndarray, attempt: np.ndarray, *, success: bool, fps: int = _FPS
) -> tuple[int, int]:
    """Writes an H.264 film, demonstration left and attempt right, and its poster (.png) beside it.

    demo uint8 [T,H,W,3], attempt uint8 [T',H,W,3]; both start together, the shorter one waits on
    its last frame, and both hold theirs for a second. Pixels are repeated, not blended, until there
    are at least 256 of them. Returns the film's (width, height), both even as yuv420p needs.
    Raises DataError when an array is not of this form.
    """
    for name, clip in (("demo", demo), ("attempt", attempt)):
        if clip.dtype != np.uint8 or clip.ndim != 4 or clip.shape[-1] != 3 or not clip.size:
            raise DataError(
                f"video {path.stem}: {name} must be uint8 [T,H,W,3] with T > 0, got "
                f"{clip.dtype} {clip.shape}"
            )
    if demo.shape[1:] != attempt.shape[1:]:
        raise DataError(
            f"video {path.stem}: demo frames are {demo.shape[1:]}, attempt frames "
            f"{attempt.shape[1:]}; they must be alike"
        )
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
