"""Pictures of another size, each new pixel the mean of the area that it covers."""

from __future__ import annotations

import functools

import numpy as np


def resize(picture: np.ndarray, height: int, width: int, fit: str = "stretch") -> np.ndarray:
    """uint8 [H,W,3] to uint8 [height,width,3], rounded to nearest.

    fit: "stretch" takes the whole picture, "crop" the largest part in its middle that has the new
    picture's proportions.
    """
    if fit == "crop":
        picture = _middle(picture, height, width)
    old_height, old_width = picture.shape[:2]
    if (old_height, old_width) == (height, width):
        return picture
    # [height,H] x [H,W*3], then the columns of what has become small.
    narrow = _weights(old_height, height) @ picture.reshape(old_height, -1).astype(np.float32)
    mean = _weights(old_width, width) @ narrow.reshape(height, old_width, 3)
    return np.clip(np.rint(mean, out=mean), 0, 255, out=mean).astype(np.uint8)


def _middle(picture: np.ndarray, height: int, width: int) -> np.ndarray:
    old_height, old_width = picture.shape[:2]
    keep_height = min(old_height, max(1, round(old_width * height / width)))
    keep_width = min(old_width, max(1, round(old_height * width / height)))
    top, left = (old_height - keep_height) // 2, (old_width - keep_width) // 2
    return picture[top : top + keep_height, left : left + keep_width]


@functools.cache
def _weights(old: int, new: int) -> np.ndarray:
    """float32 [new,old]: the share of each old pixel in each new one; rows sum to 1."""
    edges = np.arange(new + 1) * (old / new)
    pixels = np.arange(old)
    low = np.maximum(edges[:-1, None], pixels)
    high = np.minimum(edges[1:, None], pixels + 1)
    return (np.clip(high - low, 0, None) * (new / old)).astype(np.float32)
