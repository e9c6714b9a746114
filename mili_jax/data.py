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

import collections
import dataclasses
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mili_jax.episodes import Dataset, Frames
from mili_jax.types import FAMILIES, ConfigError, DataError, Episode, Task


@dataclasses.dataclass(frozen=True)
class Pool:
    """All frames of N episodes, one after another in flat arrays (F frames in all).

    image uint8 [F,H,W,3], in memory or stored; pose, action float32 [F,7]; start, length int64 [N]
    (an episode's first frame and number of steps); key int64 [N,2] (see `find_key`); focus float32
    [F,2,CANDIDATES,2] m and focus_seen bool [F,2] (see `find_focus`);
    ids: episode ids; task int64 [N]: index into `tasks` of the demonstrated task, -1 for trials;
    family int64 [N]: index into FAMILIES, -1 for trials.
    """

    image: np.ndarray | Frames
    pose: np.ndarray
    action: np.ndarray
    start: np.ndarray
    length: np.ndarray
    key: np.ndarray
    focus: np.ndarray
    focus_seen: np.ndarray
    ids: tuple[str, ...]
    task: np.ndarray
    family: np.ndarray
    tasks: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def counted(self) -> np.ndarray:
        """Steps of each episode, int64 [N], up to where what it is about ends (`find_key`). What
        comes after is neither shown nor imitated."""
        return self.key[:, 1] + 1


@dataclasses.dataclass(frozen=True)
class Groups:
    """Demonstrations by family and task: families[i][j] holds the pool indices (two or more) of
    the episodes of one task."""

    families: tuple[tuple[np.ndarray, ...], ...]


@dataclasses.dataclass(frozen=True)
class PairTable:
    """Pairs of pool indices, int64 [R,2], and their cumulative sampling weights, float64 [R]
    (increasing to 1)."""

    episodes: np.ndarray
    cumulative: np.ndarray

    def __len__(self) -> int:
        return len(self.episodes)


class Batch(NamedTuple):
    """B pairs (m, n) = (index 0, index 1); P policy steps are drawn from episode m.

    The dimension letters are those of `mili_jax.types`.
    """

    demo_image: np.ndarray  # uint8 [B,2,M,H,W,3], M frames evenly over what counts
    demo_pose: np.ndarray  # float32 [B,2,K,7], see `demo_inputs`
    image: np.ndarray  # uint8 [B,P,H,W,3]
    pose: np.ndarray  # float32 [B,P,7]
    action: np.ndarray  # float32 [B,P,7]
    task: np.ndarray  # int32 [B], equal for equal tasks; a different negative for each trial pair
    focus: np.ndarray  # float32 [B,P,2,CANDIDATES,2] m, the two places that episode m is about
    focus_seen: np.ndarray  # bool [B,P,2], whether there is something to be seen there
    # Episode m broken off, if asked for: its frames but the first (of one frame that), its poses.
    truncated_image: np.ndarray | None = None  # uint8 [B,max(1,M-1),H,W,3]
    truncated_pose: np.ndarray | None = None  # float32 [B,K,7]


def build_pool(episodes: Iterable[Episode], demonstrations: bool) -> Pool:
    """Decoded episodes in flat arrays.

    Args:
      episodes: all of one image size.
      demonstrations: whether the commanded task of an episode is what it shows. For trials it is
        not, and their task and family are -1.

    Raises DataError for no episodes, unlike image sizes or an id that comes twice.
    """
    images: list[np.ndarray] = []

    def keep(episode: Episode) -> Episode:
        if images and episode.image.shape[1:] != images[0].shape[1:]:
            raise DataError(
                f"episode {episode.meta.episode_id!r} has images {episode.image.shape[1:]}, the "
                f"others {images[0].shape[1:]}; read one dataset"
            )
        images.append(episode.image)
        return episode

    pool = _without_pictures(map(keep, episodes), demonstrations)
    return dataclasses.replace(pool, image=np.concatenate(images))


def read_pool(
    dataset: Dataset,
    split: str,
    demonstrations: bool,
    wanted: Callable[[str], bool] = lambda episode_id: True,
) -> Pool:
    """The episodes of a stored split whose ids are wanted, their pictures left where they are.

    Raises as `build_pool` and `Dataset.read`.
    """
    records: list[tuple[Path, int]] = []

    def chosen() -> Iterator[Episode]:
        place = dataset.places(split)
        for episode in dataset.read(split):
            record = next(place)
            if wanted(episode.meta.episode_id):
                records.append(record)
                yield episode

    pool = _without_pictures(chosen(), demonstrations)
    frames = Frames(tuple(records), pool.length, dataset.image_size)
    return dataclasses.replace(pool, image=frames)


def hold(pool: Pool, limit: int) -> Pool:
    """The pool with its pictures in memory, if they take at most `limit` bytes."""
    if isinstance(pool.image, np.ndarray) or pool.image.nbytes > limit:
        return pool
    return dataclasses.replace(pool, image=pool.image[np.arange(len(pool.pose))])


def _without_pictures(episodes: Iterable[Episode], demonstrations: bool) -> Pool:
    poses: list[np.ndarray] = []
    actions: list[np.ndarray] = []
    ids: list[str] = []
    names: list[str | None] = []
    for episode in episodes:
        poses.append(episode.pose)
        actions.append(episode.action)
        ids.append(episode.meta.episode_id)
        names.append(episode.meta.task if demonstrations else None)
    if not poses:
        raise DataError("no episodes to train on: the split is empty, or none of it is useful")
    length = np.array([len(pose) for pose in poses], np.int64)
    tasks = tuple(sorted({name for name in names if name is not None}))
    number = {name: index for index, name in enumerate(tasks)}
    family = {name: FAMILIES.index(Task.parse(name).family) for name in tasks}
    found = [find_focus(pose) for pose in poses]
    pool = Pool(
        focus=np.concatenate([focus for focus, _ in found]),
        focus_seen=np.concatenate([seen for _, seen in found]),
        image=np.empty((0, 0, 0, 3), np.uint8),
        pose=np.concatenate(poses),
        action=np.concatenate(actions),
        key=np.array([find_key(pose) for pose in poses], np.int64),
        start=np.cumsum(length) - length,
        length=length,
        ids=tuple(ids),
        task=np.array([-1 if name is None else number[name] for name in names], np.int64),
        family=np.array([-1 if name is None else family[name] for name in names], np.int64),
        tasks=tasks,
    )
    _check_unique(pool)
    return pool


def concatenate(pools: Sequence[Pool]) -> Pool:
    """One pool of several, in order; equal task ids become one task.

    Raises DataError for unlike image sizes, pictures of which only some are in memory, or an
    episode id that comes twice.
    """
    if not pools:
        raise DataError("no pools to concatenate")
    shapes = {pool.image.shape[1:] for pool in pools}
    if len(shapes) > 1:
        raise DataError(f"pools of unlike image sizes {sorted(shapes)}; read them at one size")
    tasks = tuple(sorted(set().union(*(pool.tasks for pool in pools))))
    number = {name: index for index, name in enumerate(tasks)}
    task = []
    for pool in pools:
        # The extra last entry maps -1 to -1.
        renumbered = np.array([*(number[name] for name in pool.tasks), -1], np.int64)
        task.append(renumbered[pool.task])
    length = np.concatenate([pool.length for pool in pools])
    joined = Pool(
        focus=np.concatenate([pool.focus for pool in pools]),
        focus_seen=np.concatenate([pool.focus_seen for pool in pools]),
        image=_concatenate_images([pool.image for pool in pools]),
        pose=np.concatenate([pool.pose for pool in pools]),
        action=np.concatenate([pool.action for pool in pools]),
        key=np.concatenate([pool.key for pool in pools]),
        start=np.cumsum(length) - length,
        length=length,
        ids=tuple(name for pool in pools for name in pool.ids),
        task=np.concatenate(task),
        family=np.concatenate([pool.family for pool in pools]),
        tasks=tasks,
    )
    _check_unique(joined)
    return joined


def _concatenate_images(images: Sequence[np.ndarray | Frames]) -> np.ndarray | Frames:
    held = [image for image in images if isinstance(image, np.ndarray)]
    if len(held) == len(images):
        return np.concatenate(held)
    stored = [image for image in images if isinstance(image, Frames)]
    if held:
        raise DataError("pools in memory and stored ones; hold all of them or none")
    records = tuple(record for image in stored for record in image.records)
    return Frames(records, np.concatenate([image.length for image in stored]), stored[0].side)


def group_by_task(pool: Pool) -> Groups:
    """The pool's demonstrations by family and task; tasks of one episode only are left out.

    Raises DataError if no task has two demonstrations.
    """
    families = []
    for family in range(len(FAMILIES)):
        tasks = np.unique(pool.task[pool.family == family])
        members = (np.flatnonzero(pool.task == task) for task in tasks)
        families.append(tuple(group for group in members if len(group) > 1))
    kept = tuple(family for family in families if family)
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
    if count < 1:
        raise ConfigError(f"cannot take {count} frames of an episode; take at least 1")
    last = np.asarray(length, np.int64)[..., None] - 1
    if count == 1:
        return last
    place = np.arange(count, dtype=np.int64)
    return (2 * place * last + (count - 1)) // (2 * (count - 1))


TOUCH_Z = 0.09  # m: a tool that stops going down below this height touches something
LOW_Z, MOVED = 0.035, 0.04  # m: a tool that moves so far while it is so low pushes
APART = 0.06  # m: an episode that ends nearer than this to where it touched is about one place
HELD = 0.15  # of the opening: fingers that stop so far from closed, and from open, hold something
BEHIND = 0.03  # m between the tool and what it is going to push


def _fan(nearest: float, farthest: float, angle: float) -> np.ndarray:
    """Candidates [15,2] m, along and aside of the way: 5 distances in 3 directions (rad)."""
    distance, turn = np.meshgrid(np.linspace(nearest, farthest, 5), [-angle, 0, angle])
    return np.stack([distance * np.cos(turn), distance * np.sin(turn)], -1).reshape(-1, 2)


PUSHED = _fan(0.05, 0.12, 0.15)  # m from a tool behind an object to its middle
GOAL = _fan(0.08, 0.20, 0.3)  # m from a tool that has pushed to the middle of the goal
CANDIDATES = len(GOAL)  # points per place

TRUNCATED = 0.3, 0.8  # shares of an episode between which one that is broken off ends


def find_focus(pose: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The two places an episode is about, at every step, told in hindsight: what it acts on, and
    what it moves that to.

    All that is read is the tool's own path, so nobody has to label it and it serves trials as well
    as demonstrations. The first place is where the tool first took something, or where it went down
    last if it took nothing; from then on the object is with the tool. The second is where the
    episode ends. A tool whose last way was low has pushed: then both lie ahead of it. How far ahead
    is not known, nor exactly in which direction, so a place is a fan of candidates, one of which is
    right.

    Args:
      pose: float32 [T,7].

    Returns the candidates, float32 [T,2,CANDIDATES,2] m on the table (all equal where the place is
    known), and whether there is something to be seen there, bool [T,2].
    """
    xy = pose[:, :2]
    steps = np.arange(len(pose))
    focus = np.zeros((len(pose), 2, CANDIDATES, 2), np.float32)
    seen = np.ones((len(pose), 2), bool)
    runs = _descents(pose[:, 2])
    push = _find_push(pose, runs)
    if push is not None:
        runs = runs[: push + 1]
        start, stop = runs[-1]
        final = _unit(xy[stop] - xy[start])
        before = 0
        for touch, stop in runs:
            # Of several descents each has its own way; one that moved nothing meant the last one's.
            way = xy[stop] - xy[touch]
            way = _unit(way) if np.hypot(*way) > MOVED else final
            rest = steps[before:]  # of which the next descent takes its own
            gone = (xy[np.minimum(rest, stop)] - xy[touch]) @ way - BEHIND
            gone = np.maximum(gone, 0) * (rest > touch)
            focus[rest, 0] = xy[touch] + gone[:, None, None] * way + PUSHED @ _frame(way)
            before = stop + 1
        focus[:, 1] = xy[stop] + GOAL @ _frame(final)
        return focus, seen
    touch, end = find_key(pose)
    near = np.hypot(*(xy[end] - xy[touch])) < APART
    focus[:, 0], focus[:, 1] = xy[touch], xy[touch if near else end]
    seen[touch + 1 :, : 1 + near] = False
    return focus, seen


def find_key(pose: np.ndarray) -> tuple[int, int]:
    """The steps at which an episode float32 [T,7] touches what it is about and at which that ends:
    of a push its own beginning and end; where something was taken the touch and the last step; else
    the last touch and the step before the tool goes up again."""
    z, runs = pose[:, 2], _descents(pose[:, 2])
    push = _find_push(pose, runs)
    if push is not None:
        return runs[push]
    taken = _find_taken(pose, runs)
    if taken is not None or not runs:
        return len(pose) - 1 if taken is None else taken, len(pose) - 1
    touch = runs[-1][0]
    up = np.flatnonzero(z[touch:] >= TOUCH_Z)
    return touch, touch + int(up[0]) - 1 if len(up) else len(pose) - 1


def _find_push(pose: np.ndarray, runs: list[tuple[int, int]]) -> int | None:
    """Which of the descents is the push that an episode is about, if it is about one: the last that
    moved far, unless the fingers did something afterwards. A policy that has pushed may well go
    back behind the object and come to rest there."""
    for i, (start, stop) in reversed(list(enumerate(runs))):
        if np.hypot(*(pose[stop, :2] - pose[start, :2])) > MOVED:
            done = i + 1 == len(runs) or abs(pose[-1, 6] - pose[stop, 6]) < HELD
            return i if done else None
    return None


def _find_taken(pose: np.ndarray, runs: list[tuple[int, int]]) -> int | None:
    """The step of the first touch after which the tool goes up with its fingers held apart by
    something, if it ever does."""
    z, finger = pose[:, 2], pose[:, 6]
    for i, (touch, stop) in enumerate(runs):
        after = runs[i + 1][0] if i + 1 < len(runs) else len(pose)
        up = finger[stop:after][z[stop:after] > TOUCH_Z]
        opened = finger[max(0, touch - 3) : touch + 1].max()
        if ((up > HELD) & (up < opened - HELD)).any():
            return touch
    return None


def _descents(z: np.ndarray) -> list[tuple[int, int]]:
    """Stretches near the table, each as (the first step that stops going down, the last step that
    is as low as a push, or the first again)."""
    low = np.flatnonzero(z < TOUCH_Z)
    slows = np.append(z[1:] > z[:-1] - 0.004, True)
    runs = []
    for run in np.split(low, np.flatnonzero(np.diff(low) > 1) + 1):
        stops = run[slows[run]]
        if len(stops) and run[0] > 0:  # else it only began there
            pushing = run[(run >= stops[0]) & (z[run] < LOW_Z)]
            runs.append((int(stops[0]), int(pushing[-1]) if len(pushing) else int(stops[0])))
    return runs


def _unit(vector: np.ndarray) -> np.ndarray:
    return vector / np.hypot(*vector)


def _frame(way: np.ndarray) -> np.ndarray:
    """The way and what lies across it, as rows: [2,2]."""
    return np.stack([way, [-way[1], way[0]]])


def demo_inputs(
    pool: Pool, episodes: np.ndarray, frames: int, places: int
) -> tuple[np.ndarray, np.ndarray]:
    """What the embedding is given of episodes, of each the steps that count (`Pool.counted`).

    Args:
      episodes: pool indices, int [N] (or any shape [...]).
      frames: M. places: K.

    Returns images uint8 [N,M,H,W,3] and poses float32 [N,K,7]: those of `find_key`, then K - 2
    evenly over these steps.
    """
    pictures, poses = _demo_frames(pool, episodes, frames, places)
    return pool.image[pictures], pool.pose[poses]


def _demo_frames(
    pool: Pool, episodes: np.ndarray, frames: int, places: int, length: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Where `demo_inputs` lie in the pool: of the pictures int [...,M], of the poses [...,K].

    With a length [N] those of only so many steps of each episode [N].
    """
    start = pool.start[episodes]
    if length is None:
        key = pool.key[episodes]
    else:
        parts = zip(start, length, strict=True)
        key = np.array([find_key(pool.pose[at : at + steps]) for at, steps in parts], np.int64)
    length = key[..., 1] + 1
    steps = np.concatenate([key, spread(length, places - 2)], -1)
    return start[..., None] + spread(length, frames), start[..., None] + steps


def steps_along(
    pool: Pool, episodes: np.ndarray, count: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """`count` steps evenly over what counts of each episode: image, pose, action, focus and
    focus_seen, each [N,count,...] as in `Batch`.

    Args:
      episodes: pool indices, int [N].
    """
    steps = pool.start[episodes][:, None] + spread(pool.counted[episodes], count)
    image, pose, action = pool.image[steps], pool.pose[steps], pool.action[steps]
    return image, pose, action, pool.focus[steps], pool.focus_seen[steps]


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
    part: slice = slice(None),
) -> Batch:
    """The batch of a training step: a pure function of its arguments.

    The demonstration part draws families evenly (each gets the same number of pairs; which get
    one more is drawn), then tasks of the family without replacement until all were drawn, then
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
      part: the rows that are wanted, of several hosts that train together each its own.

    Raises ConfigError for sizes out of range or a part without its source.
    """
    _check_sizes(size, policy_steps, pair_fraction)
    rng = np.random.default_rng((seed, step))
    chosen, task = _draw(rng, pool, groups, pairs, size, pair_fraction)
    return _batch(pool, chosen, task, rng, policy_steps, frames, places, truncated, part)


def _check_sizes(size: int, policy_steps: int, pair_fraction: float) -> None:
    if size < 1 or policy_steps < 1 or not 0 <= pair_fraction <= 1:
        raise ConfigError(
            f"size {size} and policy_steps {policy_steps} must be at least 1, pair_fraction "
            f"{pair_fraction} from 0 to 1"
        )


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
) -> Batch:
    """The batch of a meta-training step (`mili_jax.maml`): a pure function of its arguments.

    Pairs are drawn as in `sample_batch`; then each stands in it twice, as row i with steps of one
    episode (query) and as row size + i with steps of the other (support).

    Args:
      pairs: of trials, needed unless pair_fraction is 0; none may be of a trial with itself.
      size: tasks. pair_fraction: share of them that is a pair of trials.
      policy_steps: P, of each of the two episodes.

    Raises ConfigError for sizes out of range, DataError for a support that is the query.
    """
    _check_sizes(size, policy_steps, pair_fraction)
    rng = np.random.default_rng((seed, step))
    chosen, task = _draw(rng, pool, groups, pairs, size, pair_fraction)
    if (chosen[:, 0] == chosen[:, 1]).any():
        raise DataError("a pair of an episode with itself: support and query must be two episodes")
    chosen, task = np.concatenate([chosen, chosen[:, ::-1]]), np.concatenate([task, task])
    return _batch(pool, chosen, task, rng, policy_steps, frames=2, places=4)


def _batch(
    pool: Pool,
    chosen: np.ndarray,
    task: np.ndarray,
    rng: np.random.Generator,
    policy_steps: int,
    frames: int,
    places: int,
    truncated: bool = False,
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
    pictures, poses = _demo_frames(pool, chosen, frames, places)
    wanted = [pictures.reshape(len(chosen), -1), steps]
    broken_pose = None
    if truncated:
        kept = np.maximum(1, (share * length).astype(np.int64))
        broken, broken_pose = _demo_frames(pool, imitated, frames, places, kept)
        wanted.append(broken[:, min(1, frames - 1) :])
    # All at once: of stored pictures an episode is read once.
    image = pool.image[np.concatenate(wanted, 1)]
    demo, imitate, rest = np.split(image, [2 * frames, 2 * frames + policy_steps], axis=1)
    return Batch(
        demo_image=demo.reshape(*pictures.shape, *image.shape[2:]),
        demo_pose=pool.pose[poses],
        image=imitate,
        pose=pool.pose[steps],
        action=pool.action[steps],
        focus=pool.focus[steps],
        focus_seen=pool.focus_seen[steps],
        task=task[part].astype(np.int32),
        truncated_image=rest if truncated else None,
        truncated_pose=None if broken_pose is None else pool.pose[broken_pose],
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
    families = len(groups.families)
    share = np.full(families, count // families)
    share[rng.permutation(families)[: count % families]] += 1
    drawn = np.empty((count, 2), np.int64)
    row = 0
    for tasks, wanted in zip(groups.families, share, strict=True):
        rounds = [rng.permutation(len(tasks)) for _ in range(-(-wanted // len(tasks)))]
        for task in np.concatenate([np.empty(0, np.int64), *rounds])[:wanted]:
            episodes = tasks[task]
            first = rng.integers(len(episodes))
            second = (first + rng.integers(1, len(episodes))) % len(episodes)
            drawn[row] = episodes[first], episodes[second]
            row += 1
    return drawn


def _check_unique(pool: Pool) -> None:
    if len(set(pool.ids)) == len(pool.ids):
        return
    twice = collections.Counter(pool.ids).most_common(1)[0][0]
    raise DataError(f"episode id {twice!r} comes twice; give every split ids of its own")
