"""A contact sheet: a row for each of some episodes, pictures from its first step to its last."""

from __future__ import annotations

import dataclasses

import numpy as np
from PIL import Image, ImageDraw

from mili_jax.types import Episode

_LABEL, _GAP = 14, 3  # pixels
_CELL = 96  # the height of a picture, at least


@dataclasses.dataclass(frozen=True)
class Row:
    """label: of the row. pictures: uint8 [frames,V,H,W,3]."""

    label: str
    pictures: np.ndarray

    @staticmethod
    def of(episode: Episode, frames: int) -> Row:
        """Evenly over the episode."""
        steps = np.linspace(0, len(episode) - 1, frames).round().astype(int)
        pictures = episode.image[steps][..., :3]
        if pictures.ndim == 4:
            pictures = pictures[:, None]
        meta = episode.meta
        return Row(f"{meta.episode_id}, {len(episode)} steps: {meta.task}", pictures)


def draw(rows: list[Row]) -> Image.Image:
    """Rows below one another; the cameras of a step are side by side."""
    lines = []
    for row in rows:
        frames, views, height, width = row.pictures.shape[:4]
        scale = max(1, round(_CELL / height / max(1, views**0.5)))
        pictures = row.pictures.repeat(scale, axis=2).repeat(scale, axis=3)
        cell_width, cell_height = width * scale, height * scale
        line = Image.new("RGB", (frames * (views * cell_width + _GAP), cell_height + _LABEL))
        ImageDraw.Draw(line).text((2, 1), _plain(row.label), fill=(255, 255, 255))
        for k in range(frames):
            for v in range(views):
                at = (k * (views * cell_width + _GAP) + v * cell_width, _LABEL)
                line.paste(Image.fromarray(pictures[k, v]), at)
        lines.append(line)
    width = max(line.width for line in lines)
    sheet = Image.new("RGB", (width, sum(line.height + _GAP for line in lines)), (32, 32, 32))
    top = 0
    for line in lines:
        sheet.paste(line, (0, top))
        top += line.height + _GAP
    return sheet


def _plain(text: str) -> str:
    """What the built-in font can draw."""
    return text.encode("latin-1", "replace").decode("latin-1").replace("\n", " ")[:160]
