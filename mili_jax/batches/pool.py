"""All frames of many episodes, in flat arrays or left in their shards."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from mili_jax.domains.base import Domain, Hindsight, group_index
from mili_jax.storage.dataset import Dataset
from mili_jax.storage.frames import Frames
from mili_jax.types import DataError, Episode


@dataclasses.dataclass(frozen=True)
class Pool:
    """All frames of N episodes, one after another in flat arrays (F frames in all).

    domain: whose episodes they are.
    image uint8 [F,(V,)H,W,3], in memory or stored; pose float32 [F,D]; action float32 [F,A]; start,
    length int64 [N] (an episode's first frame and number of steps); key int64 [N,2], key_pose
    float32 [N,2,D], focus float32 [F,2,C,2] m and focus_seen bool [F,2]: see
    `domains.base.Hindsight`;
    ids: episode ids; task int64 [N]: index into `tasks` of the demonstrated task, -1 for trials;
    group int64 [N]: index into the domain's groups, -1 for trials.
    """

    domain: Domain
    image: np.ndarray | Frames
    pose: np.ndarray
    action: np.ndarray
    start: np.ndarray
    length: np.ndarray
    key: np.ndarray
    key_pose: np.ndarray
    focus: np.ndarray
    focus_seen: np.ndarray
    ids: tuple[str, ...]
    task: np.ndarray
    group: np.ndarray
    tasks: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def counted(self) -> np.ndarray:
        """Steps of each episode, int64 [N], up to where what it is about ends. What comes
        after is neither shown nor imitated."""
        return self.key[:, 1] + 1


def build_pool(domain: Domain, episodes: Iterable[Episode], demonstrations: bool) -> Pool:
    """Decoded episodes in flat arrays.

    Args:
      episodes: all of one image size.
      demonstrations: whether the commanded task of an episode is what it shows. For trials it is
        not, and their task and group are -1.

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

    pool = _without_pictures(domain, map(keep, episodes), demonstrations)
    return dataclasses.replace(pool, image=np.concatenate(images))


def read_pool(
    domain: Domain,
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

    pool = _without_pictures(domain, chosen(), demonstrations)
    frames = Frames(tuple(records), pool.length, dataset.picture)
    return dataclasses.replace(pool, image=frames)


def hold(pool: Pool, limit: int) -> Pool:
    """The pool with its pictures in memory, if they take at most `limit` bytes."""
    if isinstance(pool.image, np.ndarray) or pool.image.nbytes > limit:
        return pool
    return dataclasses.replace(pool, image=pool.image[np.arange(len(pool.pose))])


def _without_pictures(domain: Domain, episodes: Iterable[Episode], demonstrations: bool) -> Pool:
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
    group = {name: group_index(domain, name) for name in tasks}
    found = [see_afterwards(domain, *each) for each in zip(poses, actions, strict=True)]
    pool = Pool(
        domain=domain,
        focus=np.concatenate([each.focus for each in found]),
        focus_seen=np.concatenate([each.seen for each in found]),
        image=np.empty((0, 0, 0, 3), np.uint8),
        pose=np.concatenate(poses),
        action=np.concatenate(actions),
        key=np.array([each.key for each in found], np.int64),
        key_pose=np.stack([key_poses(*each) for each in zip(found, poses, strict=True)]),
        start=np.cumsum(length) - length,
        length=length,
        ids=tuple(ids),
        task=np.array([-1 if name is None else number[name] for name in names], np.int64),
        group=np.array([-1 if name is None else group[name] for name in names], np.int64),
        tasks=tasks,
    )
    _check_unique(pool)
    return pool


def see_afterwards(domain: Domain, pose: np.ndarray, action: np.ndarray) -> Hindsight:
    """What an episode is about, by the domain's prior. Without one the whole of it counts, and
    there is no place to look at."""
    if domain.hindsight is not None:
        return domain.hindsight(pose, action)
    steps = len(pose)
    nowhere = np.zeros((steps, 2, 1, 2), np.float32)
    return Hindsight((0, steps - 1), nowhere, np.zeros((steps, 2), bool))


def key_poses(seen: Hindsight, pose: np.ndarray) -> np.ndarray:
    """The poses float32 [2,D] at which an episode with these poses [T,D] touches and ends."""
    return pose[list(seen.key)] if seen.key_pose is None else seen.key_pose


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
        domain=pools[0].domain,
        focus=np.concatenate([pool.focus for pool in pools]),
        focus_seen=np.concatenate([pool.focus_seen for pool in pools]),
        image=_concatenate_images([pool.image for pool in pools]),
        pose=np.concatenate([pool.pose for pool in pools]),
        action=np.concatenate([pool.action for pool in pools]),
        key=np.concatenate([pool.key for pool in pools]),
        key_pose=np.concatenate([pool.key_pose for pool in pools]),
        start=np.cumsum(length) - length,
        length=length,
        ids=tuple(name for pool in pools for name in pool.ids),
        task=np.concatenate(task),
        group=np.concatenate([pool.group for pool in pools]),
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
    return Frames(records, np.concatenate([image.length for image in stored]), stored[0].picture)


def _check_unique(pool: Pool) -> None:
    if len(set(pool.ids)) == len(pool.ids):
        return
    twice = collections.Counter(pool.ids).most_common(1)[0][0]
    raise DataError(f"episode id {twice!r} comes twice; give every split ids of its own")
