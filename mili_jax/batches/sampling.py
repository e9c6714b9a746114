"""Episodes and pair table -> deterministic batches, without JAX.

Every element of a batch is a pair (m, n) of different episodes of one task: the policy's steps
come from episode m, what it is conditioned on from episode n (eq. 2 of Singh et al. 2020).
Demonstrations pair up by their task, trials by the pair table; nothing here reads which tasks an
episode achieved. A batch is a function of (seed, step) alone, so a training that resumes at a
step needs no other iterator state.

Pictures are held in memory (`hold`) or, when they are too many, read from the shards batch by batch
(`Frames`); everything else of an episode is a hundredth of that. The batches are the same.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Generator, Sequence

import numpy as np

from mili_jax.batches.pool import Pool, key_poses, see_afterwards
from mili_jax.given import number, whole
from mili_jax.spec import FINGER
from mili_jax.types import Batch, ConfigError, DataError


@dataclasses.dataclass(frozen=True)
class Groups:
    """Demonstrations by group and task: groups[i][j] holds the pool indices (two or more) of the
    episodes of one task."""

    groups: tuple[tuple[np.ndarray, ...], ...]


@dataclasses.dataclass(frozen=True)
class PairTable:
    """Pairs of pool indices, int64 [R,2], and their cumulative sampling weights, float64 [R]
    (increasing to 1)."""

    episodes: np.ndarray
    cumulative: np.ndarray

    def __len__(self) -> int:
        return len(self.episodes)


def group_by_task(pool: Pool) -> Groups:
    """The pool's demonstrations by group and task; tasks of one episode only are left out.

    Raises DataError if no task has two demonstrations.
    """
    groups = []
    for group in range(len(pool.domain.groups)):
        tasks = np.unique(pool.task[pool.group == group])
        members = (np.flatnonzero(pool.task == task) for task in tasks)
        groups.append(tuple(episodes for episodes in members if len(episodes) > 1))
    kept = tuple(group for group in groups if group)
    if not kept:
        raise DataError("no task has two demonstrations: one to imitate, one to be conditioned on")
    return Groups(kept)


def pair_table(
    pool: Pool, a: Sequence[str], b: Sequence[str], weights: np.ndarray | None = None
) -> PairTable:
    """Pairs of episode ids as indices into the pool.

    Args:
      a, b: episode ids [R].
      weights: sampling weights [R] >= 0, uniform by default.

    Raises DataError for an id that the pool lacks, or weights that cannot be normalised.
    """
    index = {name: position for position, name in enumerate(pool.ids)}
    lost = next((name for name in (*a, *b) if name not in index), None)
    if lost is not None:
        raise DataError(f"the pair table names episode {lost!r}, which is not in the pool")
    if len(a) != len(b) or len(a) == 0:
        raise DataError(f"the pair table has {len(a)} and {len(b)} ids; it needs rows of two")
    episodes = np.array([[index[m], index[n]] for m, n in zip(a, b, strict=True)], np.int64)
    weights = np.ones(len(a)) if weights is None else np.asarray(weights, np.float64)
    total = weights.sum() if weights.shape == (len(a),) else np.nan
    if not (np.isfinite(total) and total > 0 and (weights >= 0).all()):
        raise DataError(f"pair weights must be {len(a)} numbers >= 0 with a positive sum")
    return PairTable(episodes, np.cumsum(weights / total))


def spread(length: np.ndarray | int, count: int) -> np.ndarray:
    """`count` step indices evenly over the whole episode, first and last included.

    Indices are rounded half up; an episode shorter than `count` repeats steps. One index alone is
    the last step, which shows the outcome.

    Args:
      length: steps, an int or int [N].

    Returns int64 [count] or [N,count]. Raises ConfigError if count < 1.
    """
    whole(count, "frames of an episode", 1)
    last = np.asarray(length, np.int64)[..., None] - 1
    if count == 1:
        return last
    place = np.arange(count, dtype=np.int64)
    return (2 * place * last + (count - 1)) // (2 * (count - 1))


TRUNCATED = 0.3, 0.8  # shares of an episode between which one that is broken off ends


def demo_inputs(
    pool: Pool, episodes: np.ndarray, frames: int, places: int
) -> tuple[np.ndarray, np.ndarray]:
    """What the embedding is given of episodes, of each the steps that count (`Pool.counted`).

    Args:
      episodes: pool indices, int [N] (or any shape [...]).
      frames: M. places: K.

    Returns images uint8 [N,M,(V,)H,W,3] and poses float32 [N,K,D]: `Hindsight.key_pose`, then
    K - 2 evenly over these steps. Raises ConfigError for no frame, or less than 3 places.
    """
    pictures, poses = _shown(pool, episodes, frames, places)
    return pool.image[pictures], poses


def _shown(
    pool: Pool, episodes: np.ndarray, frames: int, places: int, length: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """`demo_inputs`, of the pictures where they lie in the pool: int [...,M], float32 [...,K,D].

    With a length [N] those of only so many steps of each episode [N].
    """
    start = pool.start[episodes]
    whole(places, "places of a demonstration", 3)
    if length is None:
        key, touched = pool.key[episodes], pool.key_pose[episodes]
    else:
        parts = [slice(at, at + steps) for at, steps in zip(start, length, strict=True)]
        seen = [see_afterwards(pool.domain, pool.pose[e], pool.action[e]) for e in parts]
        key = np.array([each.key for each in seen], np.int64)
        shown = [pool.pose[each] for each in parts]
        touched = np.stack([key_poses(*each) for each in zip(seen, shown, strict=True)])
    length = key[..., 1] + 1
    along = pool.pose[start[..., None] + spread(length, places - 2)]
    return start[..., None] + spread(length, frames), np.concatenate([touched, along], -2)


def steps_along(
    pool: Pool, episodes: np.ndarray, count: int, *, felt: bool = False
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """`count` steps evenly over what counts of each episode: image, pose, action, focus and
    focus_seen, each [N,count,...] as in `Batch`.

    Args:
      episodes: pool indices, int [N].
      felt: whether the poses say what the fingers feel (`with_felt`).
    """
    steps = pool.start[episodes][:, None] + spread(pool.counted[episodes], count)
    pose = with_felt(pool, steps, pool.start[episodes]) if felt else pool.pose[steps]
    return pool.image[steps], pose, pool.action[steps], pool.focus[steps], pool.focus_seen[steps]


def with_felt(pool: Pool, steps: np.ndarray, first: np.ndarray) -> np.ndarray:
    """Poses of a robot with a tool (`spec.TOOL_FIELDS`) and what its fingers feel: how much wider
    they are than they were last sent, and how far they opened in the last step, of the whole.

    Fingers that were sent closed, stay apart and do not move any more hold something. A picture
    from above does not say so.

    Args:
      steps: frames of the pool, int [N,P]. first: their episodes' first frames, int [N], where
        nothing was sent and nothing has moved yet.

    Returns float32 [N,P,7+2].
    """
    pose, before = pool.pose[steps], np.maximum(steps - 1, first[:, None])
    finger = pose[..., FINGER]
    wider = np.where(steps > first[:, None], finger - pool.action[before][..., FINGER], 0)
    opened = finger - pool.pose[before][..., FINGER]
    return np.concatenate([pose, wider[..., None], opened[..., None]], -1).astype(np.float32)


def sample_batch(
    pool: Pool,
    groups: Groups | None,
    pairs: PairTable | None,
    seed: int,
    step: int,
    *,
    size: int,
    pair_fraction: float,
    policy_steps: int,
    frames: int,
    places: int,
    truncated: bool = False,
    felt: bool = False,
    part: slice = slice(None),
) -> Batch:
    """The batch of a training step: a pure function of its arguments.

    The demonstration part draws groups evenly (each gets the same number of pairs; which get
    one more is drawn), then tasks of the group without replacement until all were drawn, then
    two different episodes. The pair part draws rows of the table by their weights. Which of the
    two is m is drawn. Policy steps are uniform over what counts of it, one from each of P equal
    stretches of it.

    Args:
      groups: the demonstrations, needed unless pair_fraction is 1.
      pairs: the pairs of trials, needed unless pair_fraction is 0.
      size: B. policy_steps: P. frames: M. places: K.
      pair_fraction: share of the batch that comes from `pairs`, rounded to whole pairs; they
        stand at the end of the batch.
      truncated: whether the batch has its episodes m broken off as well, each at a random step
        within the shares `TRUNCATED`: what they show then is not their task, which is not done.
      felt: whether the poses of policy steps say what the fingers feel (`with_felt`).
      part: the rows that are wanted, of several hosts that train together each its own.

    Raises ConfigError for sizes out of range or a part without its source.
    """
    _check_sizes(size, policy_steps, pair_fraction)
    rng = np.random.default_rng((whole(seed, "seed"), whole(step, "step")))
    chosen, task = _draw(rng, pool, groups, pairs, size, pair_fraction)
    sizes = policy_steps, frames, places
    return _batch(pool, chosen, task, rng, *sizes, truncated=truncated, felt=felt, part=part)


def _check_sizes(size: int, policy_steps: int, pair_fraction: float) -> None:
    whole(size, "size", 1)
    whole(policy_steps, "policy_steps", 1)
    if not 0 <= number(pair_fraction, "pair_fraction") <= 1:
        raise ConfigError(f"pair_fraction is {pair_fraction}; it must be from 0 to 1")


def _draw(
    rng: np.random.Generator,
    pool: Pool,
    groups: Groups | None,
    pairs: PairTable | None,
    size: int,
    pair_fraction: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of episodes as `sample_batch` says, int [size,2], and the task of each, int [size]: of
    the pairs of trials each has its own."""
    from_pairs = round(size * pair_fraction)
    if from_pairs < size and groups is None:
        raise ConfigError(f"pair_fraction {pair_fraction} asks for demonstrations; give groups")
    if from_pairs > 0 and pairs is None:
        raise ConfigError(f"pair_fraction {pair_fraction} asks for pairs; give a pair table")
    chosen = np.empty((size, 2), np.int64)
    if groups is not None:
        chosen[: size - from_pairs] = _draw_demonstrations(rng, groups, size - from_pairs)
    if pairs is not None:
        rows = np.searchsorted(pairs.cumulative, rng.random(from_pairs), side="right")
        # The last cumulative weight may be a rounding error below 1.
        chosen[size - from_pairs :] = pairs.episodes[np.minimum(rows, len(pairs) - 1)]
    chosen = rng.permuted(chosen, axis=1)
    rows = np.arange(size)
    return chosen, np.where(rows < size - from_pairs, pool.task[chosen[:, 0]], -1 - rows)


def sample_tasks(
    pool: Pool,
    groups: Groups,
    pairs: PairTable | None,
    seed: int,
    step: int,
    *,
    size: int,
    pair_fraction: float,
    policy_steps: int,
    felt: bool = False,
) -> Batch:
    """The batch of a meta-training step (`learning.maml`): a pure function of its arguments.

    Pairs are drawn as in `sample_batch`; then each stands in it twice, as row i with steps of one
    episode (query) and as row size + i with steps of the other (support).

    Args:
      pairs: of trials, needed unless pair_fraction is 0; none may be of a trial with itself.
      size: tasks. pair_fraction: share of them that is a pair of trials.
      policy_steps: P, of each of the two episodes.
      felt: whether their poses say what the fingers feel (`with_felt`).

    Raises ConfigError for sizes out of range, DataError for a support that is the query.
    """
    _check_sizes(size, policy_steps, pair_fraction)
    rng = np.random.default_rng((whole(seed, "seed"), whole(step, "step")))
    chosen, task = _draw(rng, pool, groups, pairs, size, pair_fraction)
    if (chosen[:, 0] == chosen[:, 1]).any():
        raise DataError("a pair of an episode with itself: support and query must be two episodes")
    chosen, task = np.concatenate([chosen, chosen[:, ::-1]]), np.concatenate([task, task])
    return _batch(pool, chosen, task, rng, policy_steps, frames=2, places=4, felt=felt)


def _batch(
    pool: Pool,
    chosen: np.ndarray,
    task: np.ndarray,
    rng: np.random.Generator,
    policy_steps: int,
    frames: int,
    places: int,
    *,
    truncated: bool = False,
    felt: bool = False,
    part: slice = slice(None),
) -> Batch:
    """The given rows of the batch of the given pairs of episodes, int [B,2]."""
    size = len(chosen)
    along = (np.arange(policy_steps) + rng.random((size, policy_steps))) / policy_steps
    share = rng.uniform(*TRUNCATED, size) if truncated else np.ones(size)
    chosen, along, share = chosen[part], along[part], share[part]
    imitated = chosen[:, 0]
    length = pool.counted[imitated]
    steps = np.minimum((along * length[:, None]).astype(np.int64), length[:, None] - 1)
    steps += pool.start[imitated][:, None]
    pictures, poses = _shown(pool, chosen, frames, places)
    wanted = [pictures.reshape(len(chosen), -1), steps]
    broken_pose = None
    if truncated:
        kept = np.maximum(1, (share * length).astype(np.int64))
        broken, broken_pose = _shown(pool, imitated, frames, places, kept)
        wanted.append(broken[:, min(1, frames - 1) :])
    # All at once: of stored pictures an episode is read once.
    image = pool.image[np.concatenate(wanted, 1)]
    demo, imitate, rest = np.split(image, [2 * frames, 2 * frames + policy_steps], axis=1)
    return Batch(
        demo_image=demo.reshape(*pictures.shape, *image.shape[2:]),
        demo_pose=poses,
        image=imitate,
        pose=with_felt(pool, steps, pool.start[imitated]) if felt else pool.pose[steps],
        action=pool.action[steps],
        focus=pool.focus[steps],
        focus_seen=pool.focus_seen[steps],
        task=task[part].astype(np.int32),
        truncated_image=rest if truncated else None,
        truncated_pose=broken_pose,
    )


def prefetch(
    make: Callable[[int], Batch], start: int, stop: int, *, threads: int = 1, ahead: int = 2
) -> Generator[tuple[int, Batch], None, None]:
    """(step, make(step)) for step = start .. stop-1, in order, made `ahead` in other threads.

    What `make` raises is raised here in its place. Closing the generator ends the threads.
    """
    import grain  # it imports JAX, which those who make no batches can do without

    options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=max(threads, ahead))
    steps = grain.MapDataset.range(start, stop).map(lambda step: (step, make(step)))
    batches = iter(steps.to_iter_dataset(options))
    try:
        yield from batches
    finally:
        batches.close()


def _draw_demonstrations(rng: np.random.Generator, groups: Groups, count: int) -> np.ndarray:
    """Pool indices int64 [count,2] of two different episodes of one task each."""
    kinds = len(groups.groups)
    share = np.full(kinds, count // kinds)
    share[rng.permutation(kinds)[: count % kinds]] += 1
    drawn = np.empty((count, 2), np.int64)
    row = 0
    for tasks, wanted in zip(groups.groups, share, strict=True):
        rounds = [rng.permutation(len(tasks)) for _ in range(-(-wanted // len(tasks)))]
        for task in np.concatenate([np.empty(0, np.int64), *rounds])[:wanted]:
            episodes = tasks[task]
            first = rng.integers(len(episodes))
            second = (first + rng.integers(1, len(episodes))) % len(episodes)
            drawn[row] = episodes[first], episodes[second]
            row += 1
    return drawn
