"""A film of several attempts one after another, each beside its demonstration, with its verdict."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import av
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from mili_jax.report.films import FAILURE_COLOUR, SUCCESS_COLOUR, Film
from mili_jax.report.words import shorten
from mili_jax.types import ConfigError

FPS = 15
HOLD = 18  # frames that a verdict stays
END = 45  # frames that the list of all attempts stays
_GAP, _HEAD, _FOOT = 8, 64, 48  # pixels: around pictures, above and below them
_PAPER, _INK, _GREY = (250, 250, 248), (28, 28, 30), (105, 105, 110)
_LINE = 26  # pixels from one line of the list to the next
_LETTERS = 34  # of a title or a verdict


def write_reel(path: Path, films: Sequence[Film]) -> None:
    """Writes an H.264 film: every attempt at a frame per control step, then a list of all.

    The verdict stands below the attempt when it has ended, and above it how many of those so far
    were done. Raises ConfigError for no films or pictures of unlike sizes; OSError and PyAV's own
    errors if the file cannot be written.
    """
    sizes = {clip.shape[1:] for film in films for clip in (film.demo, film.attempt)}
    if len(sizes) != 1:
        raise ConfigError(f"a reel needs pictures of one size, these have {sorted(sizes)}")
    height, width, _ = sizes.pop()
    with av.open(str(path), "w", format="mp4", options={"movflags": "+faststart"}) as container:
        stream = container.add_stream("libx264", rate=FPS, options={"crf": "24", "preset": "fast"})
        stream.width = _even(2 * width + 3 * _GAP)
        stream.height = _even(height + _HEAD + _FOOT)
        stream.pix_fmt = "yuv420p"
        for frame in frames(films):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())


def frames(films: Sequence[Film]) -> Iterator[np.ndarray]:
    """The pictures of the reel, uint8 [H,W,3], both sides even."""
    for number, film in enumerate(films):
        done = sum(earlier.success for earlier in films[:number])
        length = max(len(film.demo), len(film.attempt))
        running = _card(film, number, len(films), done, ended=False)
        ended = _card(film, number, len(films), done + film.success, ended=True)
        for t in range(length + HOLD):
            frame = (running if t < len(film.attempt) else ended).copy()
            _paste(frame, film.demo[min(t, len(film.demo) - 1)], 0)
            _paste(frame, film.attempt[min(t, len(film.attempt) - 1)], 1)
            yield frame
    last = _list(films)
    for _ in range(END):
        yield last


def _card(film: Film, number: int, count: int, done: int, *, ended: bool) -> np.ndarray:
    """All of a frame but its two pictures."""
    height, width = film.demo.shape[1:3]
    image, draw = _canvas(height, width)
    right = 2 * _GAP + width
    at = _HEAD + height
    so_far = number + ended
    draw.text((_GAP, 8), shorten(film.title, _LETTERS), fill=_INK, font=_font(22))
    score = f"attempt {number + 1} of {count}"
    if so_far:
        score += f", {done} of {so_far} done"
    draw.text((right + width, 12), score, fill=_GREY, font=_font(16), anchor="ra")
    draw.text((_GAP, 40), "the demonstration", fill=_GREY, font=_font(15))
    draw.text((right, 40), "what the robot does after it", fill=_GREY, font=_font(15))
    if ended:
        colour = SUCCESS_COLOUR if film.success else FAILURE_COLOUR
        draw.rectangle((right, at, right + width - 1, at + _FOOT - _GAP), fill=colour)
        text = shorten(film.caption or ("done" if film.success else "not done"), _LETTERS)
        middle = (right + width / 2, at + (_FOOT - _GAP) / 2)
        draw.text(middle, text, fill=(255, 255, 255), font=_font(18), anchor="mm", stroke_width=0)
    return np.asarray(image).copy()


def _list(films: Sequence[Film]) -> np.ndarray:
    """What the film ends with: every attempt and its verdict."""
    height, width = films[0].demo.shape[1:3]
    image, draw = _canvas(height, width)
    done = sum(film.success for film in films)
    draw.text((_GAP, 8), f"{done} of {len(films)} done", fill=_INK, font=_font(22))
    room = (height + _FOOT) // _LINE
    for i, film in enumerate(films[:room]):
        if i == room - 1 and len(films) > room:
            draw.text((_GAP, 48 + _LINE * i), "...", fill=_GREY, font=_font(16))
            break
        colour = SUCCESS_COLOUR if film.success else FAILURE_COLOUR
        top = 48 + _LINE * i
        draw.rectangle((_GAP, top + 3, _GAP + 12, top + 15), fill=colour)
        draw.text((_GAP + 22, top), shorten(film.title, _LETTERS), fill=_INK, font=_font(16))
        said = shorten(film.caption or ("done" if film.success else "not done"), _LETTERS)
        draw.text((2 * _GAP + width, top), said, fill=_INK, font=_font(16))
    return np.asarray(image).copy()


def _canvas(height: int, width: int) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    size = _even(2 * width + 3 * _GAP), _even(height + _HEAD + _FOOT)
    image = Image.new("RGB", size, _PAPER)
    return image, ImageDraw.Draw(image)


def _paste(frame: np.ndarray, picture: np.ndarray, side: int) -> None:
    height, width = picture.shape[:2]
    left = _GAP + side * (_GAP + width)
    frame[_HEAD : _HEAD + height, left : left + width] = picture


def _font(size: int) -> ImageFont.ImageFont | ImageFont.FreeTypeFont:
    return ImageFont.load_default(size)


def _even(number: int) -> int:
    return number + number % 2
