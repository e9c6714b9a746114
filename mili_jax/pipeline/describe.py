"""Features of a round's trials, for the learned filter: what a policy and a robot see of them."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator

import numpy as np

from mili_jax.batches import sampling
from mili_jax.batches.pool import build_pool
from mili_jax.improve import arms
from mili_jax.improve import features as kept
from mili_jax.learning import acting
from mili_jax.learning.describing import make_describe
from mili_jax.pipeline.demonstrations import PEOPLE, demo_splits
from mili_jax.pipeline.run import Run, parameters
from mili_jax.pipeline.train import embed, load_params
from mili_jax.storage.reading import Reader
from mili_jax.types import DataError, Episode

FRAMES = 6  # of a trial, evenly, that the encoder sees
NEAREST = (0, 4, 20)  # of the demonstrations, by the cosine to a trial
_TOGETHER = 32  # trials in a call

Tell = Callable[[int, int], None]


def features(run: Run, number: int, tell: Tell = lambda done, of: None) -> np.ndarray:
    """Features of the N trials of a round by the policy that made them, float16 [N,F]; rows of nan
    for those that cannot be read. They are kept beside the run.

    They are four blocks, each standardised over the round and with the same share in a distance:
    the trial's z, its cosine to demonstrations, pooled features of its frames, and statistics of
    its poses and actions. What was commanded is not among them.

    tell: called about once a second with how many are done, and of how many.
    Raises DataError if there is no such policy or split, or nothing in it can be read.
    """
    split = f"round_{number}"
    path = kept.path_of(run.workdir.path, split)
    read = run.dataset.digests(split, PEOPLE)
    inputs = parameters(run, arms.actor_of(run.config, number)) | read
    made_of = json.dumps(inputs, sort_keys=True)
    found = kept.load(path, made_of)
    if found is None:
        kept.save(path, made_of, _made(run, number, tell))
        found = kept.load(path, made_of)
    assert found is not None
    return found


def _made(run: Run, number: int, tell: Tell) -> np.ndarray:
    params = load_params(run, arms.actor_of(run.config, number))
    describe, function = make_describe(run.policy), acting.make_embed(run.policy)
    shown, _ = embed(run, params, demo_splits(run.dataset))
    reader = run.dataset.reader(f"round_{number}")
    places, c = np.minimum(NEAREST, len(shown) - 1), run.config.policy
    blocks: list[np.ndarray] | None = None
    said = time.monotonic()
    for rows, episodes in _readable(reader):
        pool = build_pool(run.domain, episodes, demonstrations=False)
        inputs = sampling.demo_inputs(pool, np.arange(len(pool)), c.frames, c.places)
        z = acting.embed_all(function, params, *inputs, chunk=_TOGETHER)
        pictures = np.stack([_frames(e) for e in episodes])
        missing = _TOGETHER - len(rows)  # one shape, compiled once
        pictures = np.concatenate([pictures, np.repeat(pictures[-1:], missing, 0)])
        parts = [
            z,
            -np.sort(-(z @ shown.T), axis=1)[:, places],
            np.asarray(describe(params, pictures))[: len(rows)],
            np.stack([_numbers(e) for e in episodes]),
        ]
        if blocks is None:
            blocks = [np.full((len(reader), part.shape[1]), np.nan, np.float32) for part in parts]
        for block, part in zip(blocks, parts, strict=True):
            block[rows] = part
        if time.monotonic() - said > 1:
            tell(rows[-1] + 1, len(reader))
            said = time.monotonic()
    if blocks is None:
        raise DataError(f"{run.dataset.path}: not one trial of round {number} can be read")
    return np.concatenate([_standardised(block) for block in blocks], 1)


def _readable(reader: Reader) -> Iterator[tuple[list[int], list[Episode]]]:
    """The episodes that can be read, a few at a time, with their numbers."""
    for start in range(0, len(reader), _TOGETHER):
        rows, episodes = [], []
        for k in range(start, min(start + _TOGETHER, len(reader))):
            try:
                episodes.append(reader.episode(k))
                rows.append(k)
            except DataError:
                continue  # whoever asks for it is answered so
        if rows:
            yield rows, episodes


def _frames(episode: Episode) -> np.ndarray:
    """uint8 [FRAMES,(V,)H,W,C]."""
    return episode.image[np.linspace(0, len(episode) - 1, FRAMES).round().astype(int)]


def _numbers(episode: Episode) -> np.ndarray:
    """Of every number of pose and action, and of how far they differ where they are alike: its
    least, largest and last value and how far the last is from the first; the length; whether it
    came to its end by itself."""
    tracks = [episode.pose, episode.action]
    if episode.pose.shape == episode.action.shape:
        tracks.append(episode.action - episode.pose)
    parts = [f(t) for t in tracks for f in (_least, _largest, _last, _way)]
    return np.concatenate([*parts, [len(episode), episode.meta.terminated]]).astype(np.float32)


def _least(track: np.ndarray) -> np.ndarray:
    return track.min(0)


def _largest(track: np.ndarray) -> np.ndarray:
    return track.max(0)


def _last(track: np.ndarray) -> np.ndarray:
    return track[-1]


def _way(track: np.ndarray) -> np.ndarray:
    return track[-1] - track[0]


def _standardised(block: np.ndarray) -> np.ndarray:
    """[N,F] with mean 0, and variances that sum up to one."""
    mean, scale = np.nanmean(block, 0), np.nanstd(block, 0)
    changes = scale > 1e-6 * (1 + np.abs(mean))
    return np.where(changes, (block - mean) / np.where(changes, scale, 1), block * 0) / np.sqrt(
        max(changes.sum(), 1)
    )
