"""Pictures of another size, each new pixel the mean of the area that it covers."""

from __future__ import annotations

import functools

import numpy as np


def resize(pictures: np.ndarray, height: int, width: int, fit: str = "stretch") -> np.ndarray:
    """uint8 [T,H,W,3] to uint8 [T,height,width,3], rounded to nearest.

    fit: "stretch" takes the whole picture, "crop" the largest part in its middle that has the new
    picture's proportions.
    """
    if fit == "crop":
        pictures = _middle(pictures, height, width)
    old_height, old_width = pictures.shape[1:3]
    if (old_height, old_width) == (height, width):
        return pictures
    rows, columns = _weights(old_height, height), _weights(old_width, width)
    out = np.empty((len(pictures), height, width, 3), np.uint8)
    for picture, new in zip(pictures, out, strict=True):
        # [height,H] x [H,W*3], then the columns of what has become small.
        narrow = rows @ picture.reshape(old_height, -1).astype(np.float32)
        narrow = narrow.reshape(height, old_width, 3)
        mean = np.einsum("vw,hwc->hvc", columns, narrow, optimize=True)
        np.clip(np.rint(mean, out=mean), 0, 255, out=mean)
        new[...] = mean
    return out


def _middle(pictures: np.ndarray, height: int, width: int) -> np.ndarray:
    old_height, old_width = pictures.shape[1:3]
    keep_height = min(old_height, max(1, round(old_width * height / width)))
    keep_width = min(old_width, max(1, round(old_height * width / height)))
    top, left = (old_height - keep_height) // 2, (old_width - keep_width) // 2
    return pictures[:, top : top + keep_height, left : left + keep_width]


@functools.cache
def _weights(old: int, new: int) -> np.ndarray:
    """float32 [new,old]: the share of each old pixel in each new one; rows sum to 1."""
    edges = np.arange(new + 1) * (old / new)
    pixels = np.arange(old)
    low = np.maximum(edges[:-1, None], pixels)
    high = np.minimum(edges[1:, None], pixels + 1)
    return (np.clip(high - low, 0, None) * (new / old)).astype(np.float32)
