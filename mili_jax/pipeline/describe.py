"""Features of a round's trials, for the learned filter."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from mili_jax.improve import arms
from mili_jax.improve import features as kept
from mili_jax.learning.describing import make_describe
from mili_jax.pipeline.run import Run
from mili_jax.pipeline.train import load_params
from mili_jax.types import DataError, Episode

FRAMES = 6  # of a trial, evenly
_TOGETHER = 32  # trials in a call


Tell = Callable[[int, int], None]


def features(run: Run, number: int, tell: Tell = lambda done, of: None) -> np.ndarray:
    """Features of the N trials of a round by the policy that made them, float16 [N,F]; rows of nan
    for those that cannot be read. They are kept beside the run.

    tell: called about once a second with how many are done, and of how many.
    Raises DataError if there is no such policy or split, or nothing in it can be read.
    """
    split = f"round_{number}"
    path, digests = kept.path_of(run.workdir.path, split), run.dataset.digests(split)
    found = kept.load(path, digests.get(split, ""))
    if found is None:
        kept.save(path, digests.get(split, ""), _made(run, number, tell))
        found = kept.load(path, digests.get(split, ""))
    assert found is not None
    return found


def _made(run: Run, number: int, tell: Tell) -> np.ndarray:
    describe = make_describe(run.policy)
    params = load_params(run, arms.actor_of(run.config, number))
    reader = run.dataset.reader(f"round_{number}")
    made: np.ndarray | None = None
    said = time.monotonic()
    for start in range(0, len(reader), _TOGETHER):
        rows, pictures = [], []
        for k in range(start, min(start + _TOGETHER, len(reader))):
            try:
                pictures.append(_frames(reader.episode(k)))
                rows.append(k)
            except DataError as error:
                wrong = error
        if rows:
            missing = _TOGETHER - len(rows)
            image = np.stack([*pictures, *[pictures[-1]] * missing])
            found = np.asarray(describe(params, image))[: len(rows)]
            if made is None:
                made = np.full((len(reader), found.shape[1]), np.nan, np.float32)
            made[rows] = found
        if time.monotonic() - said > 1:
            tell(start + len(rows), len(reader))
            said = time.monotonic()
    if made is None:
        raise wrong
    return made


def _frames(episode: Episode) -> np.ndarray:
    """uint8 [FRAMES,(V,)H,W,C]."""
    return episode.image[np.linspace(0, len(episode) - 1, FRAMES).round().astype(int)]
