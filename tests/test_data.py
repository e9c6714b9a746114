"""Batches: deterministic, true pairs, balanced, blind to oracle information."""

import collections
import dataclasses
import hashlib
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from mili_jax.batches import sampling
from mili_jax.batches.pool import Pool, build_pool, concatenate, hold, read_pool
from mili_jax.batches.sampling import Groups, PairTable
from mili_jax.domains.kitchen import hindsight
from mili_jax.domains.kitchen.domain import KITCHEN
from mili_jax.domains.kitchen.families import FAMILIES
from mili_jax.domains.kitchen.hindsight import BEHIND, CANDIDATES, GOAL, PUSHED
from mili_jax.domains.kitchen.spec import spec
from mili_jax.storage.dataset import Dataset
from mili_jax.storage.frames import Frames
from mili_jax.types import Batch, ConfigError, DataError, Episode, EpisodeMeta

SIDE = 16
SIZES = {"policy_steps": 6, "frames": 2, "places": 5}


def episode(name: str, task: str, length: int, number: int, side: int = SIDE) -> Episode:
    """Every pixel, pose and action tells episode number and step, so that mix-ups show."""
    steps = np.arange(length)
    image = np.zeros((length, side, side, 3), np.uint8)
    image[:, ..., 0], image[:, ..., 1] = number % 256, number // 256
    image[:, ..., 2] = steps[:, None, None]
    pose = np.stack([np.full(length, number), steps, *[steps * 0] * 5], 1).astype(np.float32)
    achieved = ("press:button",) if number % 2 else ()
    meta = EpisodeMeta(
        name, task, "{}", number, 0, "expert", "", "tiny", True, bool(number % 2), achieved
    )
    return Episode(image, pose, -pose, meta)


def demonstrations(tasks_of_family=(3, 5, 8, 12), per_task=3) -> list[Episode]:
    episodes = []
    for family, tasks in zip(FAMILIES, tasks_of_family, strict=True):
        for task in range(tasks):
            objects = f"a{task}" if family in ("press", "grasp") else f"a{task}:b{task}"
            for _ in range(per_task):
                number = len(episodes)
                name = f"{family}:{objects}"
                episodes.append(episode(f"d{number}", name, 4 + number % 30, number))
    return episodes


def trials(count=20) -> list[Episode]:
    return [episode(f"t{i}", "press:a0", 3 + i, 500 + i) for i in range(count)]


@pytest.fixture(scope="module")
def pool() -> Pool:
    return concatenate(
        [build_pool(KITCHEN, demonstrations(), True), build_pool(KITCHEN, trials(), False)]
    )


@pytest.fixture(scope="module")
def groups(pool) -> Groups:
    return sampling.group_by_task(pool)


@pytest.fixture(scope="module")
def pairs(pool) -> PairTable:
    return sampling.pair_table(
        pool, ["t0", "t2", "t4"], ["t1", "t3", "t5"], np.array([1.0, 0.0, 3.0])
    )


def sources(batch: Batch, pool: Pool) -> tuple[np.ndarray, np.ndarray]:
    """Pool indices [B] of m and n, read off the poses."""
    numbers = pool.pose[pool.start, 0].astype(int).tolist()
    index = {number: position for position, number in enumerate(numbers)}
    return tuple(
        np.array([index[int(number)] for number in batch.demo_pose[:, side, 0, 0]])
        for side in (0, 1)
    )


@pytest.mark.parametrize(
    ("length", "count", "expected"),
    [
        (5, 2, [0, 4]),
        (5, 3, [0, 2, 4]),
        (6, 3, [0, 3, 5]),  # 2.5 rounds up
        (10, 4, [0, 3, 6, 9]),
        (11, 4, [0, 3, 7, 10]),  # 3.33, 6.67
        (1, 3, [0, 0, 0]),
        (2, 5, [0, 0, 1, 1, 1]),  # 0.25, 0.5, 0.75
        (3, 5, [0, 1, 1, 2, 2]),  # 0.5, 1, 1.5
        (100, 1, [99]),
    ],
)
def test_spread_by_hand(length, count, expected):
    assert sampling.spread(length, count).tolist() == expected


def test_spread_covers_the_whole_length_evenly():
    lengths = np.arange(1, 200)
    for count in (2, 3, 7, 40):
        steps = sampling.spread(lengths, count)
        assert steps.shape == (199, count)
        assert (steps[:, 0] == 0).all() and (steps[:, -1] == lengths - 1).all()
        ideal = np.linspace(0, lengths - 1, count, axis=1)
        assert np.abs(steps - ideal).max() <= 0.5
        gaps = np.diff(steps, axis=1)
        assert gaps.min() >= 0 and (gaps.max(1) - gaps.min(1) <= 1).all()
        longer = steps[lengths >= count]
        assert (np.diff(longer, axis=1) > 0).all()
    with pytest.raises(ConfigError, match="must be at least 1"):
        sampling.spread(5, 0)


def test_the_pool_holds_every_frame_in_its_place(pool):
    episodes = demonstrations() + trials()
    assert pool.ids == tuple(e.meta.episode_id for e in episodes)
    for index, wanted in enumerate(episodes):
        frames = slice(pool.start[index], pool.start[index] + pool.length[index])
        np.testing.assert_array_equal(pool.image[frames], wanted.image)
        np.testing.assert_array_equal(pool.pose[frames], wanted.pose)
        np.testing.assert_array_equal(pool.action[frames], wanted.action)
        if wanted.meta.episode_id.startswith("d"):
            assert pool.tasks[pool.task[index]] == wanted.meta.task
            assert FAMILIES[pool.group[index]] == wanted.meta.task.split(":")[0]
        else:
            assert pool.task[index] == pool.group[index] == -1
    assert len(pool.image) == sum(len(e) for e in episodes)


def test_concatenate_gives_equal_tasks_one_number():
    first = build_pool(
        KITCHEN, [episode("a", "press:x", 2, 0), episode("b", "grasp:y", 2, 1)], True
    )
    second = build_pool(
        KITCHEN, [episode("c", "press:a", 2, 2), episode("d", "press:x", 2, 3)], True
    )
    both = concatenate([first, second])
    names = [both.tasks[task] for task in both.task]
    assert names == ["press:x", "grasp:y", "press:a", "press:x"]
    assert both.group.tolist() == [0, 1, 0, 0]
    assert both.start.tolist() == [0, 2, 4, 6]


def test_pools_that_do_not_fit_are_refused():
    one = build_pool(KITCHEN, [episode("a", "press:x", 2, 0)], True)
    with pytest.raises(DataError, match="no episodes"):
        build_pool(KITCHEN, [], True)
    with pytest.raises(DataError, match=r"'b' has images \(32, 32, 3\)"):
        build_pool(
            KITCHEN, [episode("a", "press:x", 2, 0), episode("b", "press:x", 2, 0, 32)], True
        )
    with pytest.raises(DataError, match="unlike image sizes"):
        concatenate([one, build_pool(KITCHEN, [episode("b", "press:x", 2, 0, 32)], True)])
    with pytest.raises(DataError, match="'a' comes twice"):
        concatenate([one, one])
    with pytest.raises(DataError, match="no pools"):
        concatenate([])
    with pytest.raises(DataError, match="no task has two demonstrations"):
        sampling.group_by_task(one)


def test_groups_hold_the_tasks_of_two_or_more(pool, groups):
    assert [len(family) for family in groups.groups] == [3, 5, 8, 12]
    for index, family in enumerate(groups.groups):
        for members in family:
            assert len(members) == 3 and len(set(pool.task[members])) == 1
            assert set(pool.group[members]) == {index}
    lonely = demonstrations(per_task=2)[:-1]
    counts = [
        len(family) for family in sampling.group_by_task(build_pool(KITCHEN, lonely, True)).groups
    ]
    assert counts == [3, 5, 8, 11]


def test_a_batch_is_what_its_documentation_says(pool, groups, pairs):
    for step in range(40):
        batch = sampling.sample_batch(
            pool, groups, pairs, 0, step, size=16, pair_fraction=0.25, truncated=True, **SIZES
        )
        assert batch.demo_image.shape == (16, 2, 2, SIDE, SIDE, 3)
        assert batch.demo_pose.shape == (16, 2, 5, 7)
        assert batch.image.shape == (16, 6, SIDE, SIDE, 3)
        assert batch.pose.shape == batch.action.shape == (16, 6, 7)
        types = [str(array.dtype) for array in batch]
        before, after = ["uint8", "float32"] * 2 + ["float32"], ["int32", "float32", "bool"]
        assert types == before + after + before[:2]
        assert batch.focus.shape == (16, 6, 2, CANDIDATES, 2)
        assert batch.focus_seen.shape == (16, 6, 2)
        m, n = sources(batch, pool)
        assert (m != n).all()
        # Demonstrations: one task, as the pool says; a task once only (12 of 28 are wanted).
        assert (pool.task[m[:12]] == pool.task[n[:12]]).all()
        assert (batch.task[:12] == pool.task[m[:12]]).all()
        assert len(set(batch.task.tolist())) == 16 and (batch.task[12:] < 0).all()
        # Pairs of trials come from the table's rows of positive weight, in either order.
        rows = {tuple(sorted((pool.ids[i], pool.ids[j]))) for i, j in zip(m[12:], n[12:])}  # noqa: B905
        assert rows <= {("t0", "t1"), ("t4", "t5")}
        # Whole-episode inputs of both, policy steps of m alone, all fields of the same frames.
        for side, who in ((0, m), (1, n)):
            last = pool.length[who] - 1
            np.testing.assert_array_equal(
                batch.demo_pose[:, side, :, 0].T, [pool.pose[pool.start[who], 0]] * 5
            )
            np.testing.assert_array_equal(batch.demo_pose[:, side, 2, 1], 0 * last)
            np.testing.assert_array_equal(batch.demo_pose[:, side, -1, 1], last)
            np.testing.assert_array_equal(batch.demo_image[:, side, 0, 0, 0, 2], 0 * last)
            np.testing.assert_array_equal(batch.demo_image[:, side, 1, 0, 0, 2], last)
        number, at = batch.pose[..., 0], batch.pose[..., 1]
        assert (number == batch.demo_pose[:, 0, :1, 0]).all()
        np.testing.assert_array_equal(batch.image[..., 0, 0, 2], at)
        np.testing.assert_array_equal(batch.image[..., 0, 0, 0], number % 256)
        np.testing.assert_array_equal(batch.action, -batch.pose)
        assert (at >= 0).all() and (at < pool.length[m][:, None]).all()


@pytest.mark.parametrize("frames", [1, 2, 5])
def test_what_is_broken_off_is_the_beginning_of_the_same_episode(pool, groups, frames):
    sizes = {**SIZES, "frames": frames, "size": 12, "pair_fraction": 0.0}
    shares = []
    for step in range(20):
        batch = sampling.sample_batch(pool, groups, None, 0, step, truncated=True, **sizes)
        whole = sampling.sample_batch(pool, groups, None, 0, step, **sizes)
        assert whole.truncated_image is None and whole.truncated_pose is None
        for one, other in zip(batch, whole[:8], strict=False):
            np.testing.assert_array_equal(one, other)
        m, _ = sources(batch, pool)
        for row, episode in enumerate(m):
            start, length = pool.start[episode], pool.length[episode]
            kept = int(batch.truncated_pose[row, -1, 1]) + 1  # of that episode's steps
            assert kept >= 1 and 0.3 * length - 1 < kept <= 0.8 * length
            shares.append(kept / length)
            # Nothing tells it from an episode that had so many steps.
            pose = pool.pose[start : start + kept]
            touched = hindsight.key_pose(pose, *hindsight.find_key(pose))
            along = pose[sampling.spread(kept, sizes["places"] - 2)]
            np.testing.assert_array_equal(batch.truncated_pose[row], [*touched, *along])
            pictures = pool.image[start + sampling.spread(kept, frames)]
            np.testing.assert_array_equal(batch.truncated_image[row], pictures[frames > 1 :])
    assert min(shares) < 0.4 and max(shares) > 0.7


def test_a_meta_batch_holds_two_episodes_of_every_task(pool, groups):
    sizes = {"size": 12, "pair_fraction": 0.0, "policy_steps": 3}
    for step in range(10):
        batch = sampling.sample_tasks(pool, groups, None, 0, step, **sizes)
        assert batch.image.shape[:2] == (24, 3)
        query, support = batch.pose[:12, :, 0], batch.pose[12:, :, 0]  # the number of the episode
        first = [pool.pose[s, 0] for s in pool.start].index
        for row in range(12):
            a, b = first(query[row, 0]), first(support[row, 0])
            assert (
                a != b and pool.task[a] == pool.task[b] == batch.task[row] == batch.task[12 + row]
            )
            assert len(set(query[row])) == len(set(support[row])) == 1
        np.testing.assert_array_equal(batch.action, -batch.pose)
    again = sampling.sample_tasks(pool, groups, None, 0, 9, **sizes)
    for a, b in zip(batch, again, strict=True):
        np.testing.assert_array_equal(a, b)
    with pytest.raises(ConfigError, match="size must be at least 1"):
        sampling.sample_tasks(pool, groups, None, 0, 0, **sizes | {"size": 0})


def test_a_meta_batch_with_pairs_of_trials(pool, groups, pairs):
    sizes = {"size": 12, "pair_fraction": 0.75, "policy_steps": 3}
    first = [pool.pose[s, 0] for s in pool.start].index
    wanted, seen = [{pool.ids.index(n) for n in pair} for pair in (("t0", "t1"), ("t4", "t5"))], []
    for step in range(10):
        batch = sampling.sample_tasks(pool, groups, pairs, 0, step, **sizes)
        both = [(first(q), first(s)) for q, s in batch.pose[:, 0, 0].reshape(2, 12).T]
        for row, (query, support) in enumerate(both):
            if row < 3:
                assert pool.task[query] == pool.task[support] == batch.task[row] >= 0
            else:
                assert {query, support} in wanted and batch.task[row] < 0
                seen.append(query)
        np.testing.assert_array_equal(batch.task[:12], batch.task[12:])
        assert len(set(batch.task[3:12])) == 9, "each pair is a task of its own"
    assert set(seen) == set.union(*wanted), "either of two trials may be the query"
    alone = sampling.pair_table(pool, ["t0"], ["t0"])
    with pytest.raises(DataError, match="support and query must be two episodes"):
        sampling.sample_tasks(pool, groups, alone, 0, 0, **sizes)
    with pytest.raises(ConfigError, match="give a pair table"):
        sampling.sample_tasks(pool, groups, None, 0, 0, **sizes)


def test_steps_along_an_episode_reach_from_end_to_end(pool):
    image, pose, action, focus, seen = sampling.steps_along(pool, np.array([3, 60]), 4)
    for row, index in enumerate((3, 60)):
        last = pool.length[index] - 1
        np.testing.assert_array_equal(pose[row, :, 1], np.floor(np.linspace(0, last, 4) + 0.5))
        np.testing.assert_array_equal(image[row, :, 0, 0, 2], pose[row, :, 1])
    np.testing.assert_array_equal(action, -pose)
    assert focus.shape == (2, 4, 2, CANDIDATES, 2) and seen.shape == (2, 4, 2)


def test_demo_inputs_of_any_count_of_frames(pool):
    chosen = np.array([3, 0, 60])
    images, poses = sampling.demo_inputs(pool, chosen, frames=3, places=6)
    assert images.shape == (3, 3, SIDE, SIDE, 3) and poses.shape == (3, 6, 7)
    for row, index in enumerate(chosen):
        last = pool.length[index] - 1
        np.testing.assert_array_equal(
            images[row, :, 0, 0, 2], np.floor(np.linspace(0, last, 3) + 0.5)
        )
        np.testing.assert_array_equal(poses[row, :, 0], [pool.pose[pool.start[index], 0]] * 6)
        np.testing.assert_array_equal(poses[row, 2:, 1], np.floor(np.linspace(0, last, 4) + 0.5))


def test_families_tasks_and_order_are_drawn_evenly(pool, groups):
    """Bounds at about five standard deviations of the fair draw."""
    families, tasks, forward = collections.Counter(), collections.Counter(), 0
    steps, size = 400, 10
    for step in range(steps):
        batch = sampling.sample_batch(
            pool, groups, None, 1, step, size=size, pair_fraction=0.0, **SIZES
        )
        m, n = sources(batch, pool)
        families.update(pool.group[m].tolist())
        tasks.update(pool.task[m].tolist())
        forward += int((m < n).sum())
        drawn = collections.Counter(pool.group[m].tolist())
        assert set(drawn) == {0, 1, 2, 3} and max(drawn.values()) - min(drawn.values()) <= 1
    total = steps * size
    for family, count in enumerate((3, 5, 8, 12)):
        # Each batch gives a family 2 or 3 of the 10, which is a coin's variance of 1/4.
        assert abs(families[family] - total / 4) < 5 * np.sqrt(steps / 4)
        expected = total / 4 / count
        for task in np.unique(pool.task[pool.group == family]):
            assert abs(tasks[int(task)] - expected) < 5 * np.sqrt(expected)
    assert abs(forward - total / 2) < 5 * np.sqrt(total / 4)


def test_every_episode_of_a_task_serves_in_both_roles_evenly(pool, groups):
    imitated, shown = collections.Counter(), collections.Counter()
    task = groups.groups[0][0]
    for step in range(600):
        batch = sampling.sample_batch(
            pool, groups, None, 2, step, size=12, pair_fraction=0, **SIZES
        )
        m, n = sources(batch, pool)
        # 12 pairs over four families draw all three press tasks, each once.
        imitated.update(m[np.isin(m, task)].tolist())
        shown.update(n[np.isin(n, task)].tolist())
    for counter in (imitated, shown):
        assert sum(counter.values()) == 600
        assert all(abs(counter[int(member)] - 200) < 5 * np.sqrt(200 * 2 / 3) for member in task)


def test_policy_steps_are_uniform_over_the_episode():
    pool = build_pool(KITCHEN, [episode(f"e{i}", "press:x", 7, i) for i in range(2)], True)
    groups = sampling.group_by_task(pool)
    counts = np.zeros(7)
    for step in range(500):
        batch = sampling.sample_batch(
            pool, groups, None, 3, step, size=1, pair_fraction=0, policy_steps=5, frames=2, places=4
        )
        counts += np.bincount(batch.pose[0, :, 1].astype(int), minlength=7)
    assert np.abs(counts - 2500 / 7).max() < 5 * np.sqrt(2500 / 7)


def test_pair_rows_are_drawn_by_weight(pool, pairs):
    counts, forward = collections.Counter(), 0
    for step in range(100):
        batch = sampling.sample_batch(
            pool, None, pairs, 0, step, size=20, pair_fraction=1.0, **SIZES
        )
        m, n = sources(batch, pool)
        forward += int((m < n).sum())
        counts.update(
            "".join(sorted((pool.ids[i], pool.ids[j]))) for i, j in zip(m, n, strict=True)
        )
    assert set(counts) == {"t0t1", "t4t5"}
    assert abs(counts["t0t1"] - 500) < 5 * np.sqrt(2000 * 0.25 * 0.75)
    assert abs(forward - 1000) < 5 * np.sqrt(2000 / 4)


def test_a_batch_wider_than_its_tasks_repeats_them_as_one_task():
    pool = build_pool(KITCHEN, [episode(f"e{i}", "press:x", 7, i) for i in range(2)], True)
    batch = sampling.sample_batch(
        pool, sampling.group_by_task(pool), None, 0, 0, size=5, pair_fraction=0, **SIZES
    )
    assert batch.task.tolist() == [0] * 5
    m, n = sources(batch, pool)
    assert (m != n).all()


DIGEST = """
import hashlib, sys
sys.path.insert(0, {tests!r})
from test_data import digest, everything
assert "jax" not in sys.modules
print(*(digest(everything(), seed, step) for seed, step in ((0, 0), (0, 1), (1, 0), (7, 10**6))))
"""


def everything(oracle: bool = True) -> tuple[Pool, Groups, PairTable]:
    episodes = [demonstrations(), trials()]
    if not oracle:
        episodes = [
            [
                dataclasses.replace(
                    e, meta=dataclasses.replace(e.meta, success=False, achieved_tasks=())
                )
                for e in some
            ]
            for some in episodes
        ]
    pool = concatenate([build_pool(KITCHEN, some, i == 0) for i, some in enumerate(episodes)])
    ids = [f"t{i}" for i in range(20)]
    return pool, sampling.group_by_task(pool), sampling.pair_table(pool, ids[:-1], ids[1:])


def digest(parts: tuple, seed: int, step: int) -> str:
    sizes = {"size": 12, "pair_fraction": 0.5, "truncated": True, **SIZES}
    batch = sampling.sample_batch(*parts, seed, step, **sizes)
    return hashlib.sha256(b"".join(array.tobytes() for array in batch)).hexdigest()


def test_batches_are_bit_identical_across_processes_and_differ_by_seed_and_step():
    script = DIGEST.format(tests=str(Path(__file__).parent))
    runs = [
        subprocess.run(
            [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, check=True
        )
        for _ in range(2)
    ]
    here = [digest(everything(), *at) for at in ((0, 0), (0, 1), (1, 0), (7, 10**6))]
    assert runs[0].stdout.split() == runs[1].stdout.split() == here
    assert len(set(here)) == 4


def test_blanking_the_oracle_changes_no_batch():
    with_oracle, blind = everything(True), everything(False)
    for step in range(5):
        assert digest(with_oracle, 0, step) == digest(blind, 0, step)


def test_batches_from_a_stored_dataset_equal_those_from_memory(tmp_path):
    dataset = Dataset(tmp_path, spec(SIDE))
    dataset.write_shard("demos_train", 0, demonstrations())
    dataset.commit("demos_train", 1)
    stored = build_pool(KITCHEN, dataset.read("demos_train"), True)
    memory = build_pool(KITCHEN, demonstrations(), True)
    for pool in (stored, memory):
        assert pool.image.flags.writeable
    for name in ("image", "pose", "action", "start", "length", "task", "group"):
        np.testing.assert_array_equal(getattr(stored, name), getattr(memory, name))
    assert (stored.ids, stored.tasks) == (memory.ids, memory.tasks)


@pytest.fixture
def stored(tmp_path) -> Dataset:
    """The episodes of `everything`, in shards of seven."""
    dataset = Dataset(tmp_path, spec(SIDE))
    for split, episodes in (("demos_train", demonstrations()), ("round_1", trials())):
        shards = [episodes[at : at + 7] for at in range(0, len(episodes), 7)]
        for shard, some in enumerate(shards):
            dataset.write_shard(split, shard, some)
        dataset.commit(split, len(shards))
    return dataset


def test_batches_that_stream_from_the_shards_equal_those_from_memory(stored):
    held, groups, pairs = everything()
    pool = concatenate(
        [
            read_pool(KITCHEN, stored, "demos_train", True),
            read_pool(KITCHEN, stored, "round_1", False),
        ]
    )
    assert isinstance(pool.image, Frames) and pool.image.shape == held.image.shape
    assert hold(pool, held.image.nbytes - 1) is pool
    np.testing.assert_array_equal(hold(pool, held.image.nbytes).image, held.image)
    sizes = {"size": 12, "pair_fraction": 0.5, "truncated": True, **SIZES}

    def stream(step: int) -> Batch:
        return sampling.sample_batch(pool, groups, pairs, 3, step, **sizes)

    # In several threads, and going on in the middle.
    for first in (0, 4):
        for step, batch in sampling.prefetch(stream, first, 8, threads=3, ahead=4):
            wanted = sampling.sample_batch(held, groups, pairs, 3, step, **sizes)
            for one, other in zip(batch, wanted, strict=True):
                np.testing.assert_array_equal(one, other)


def test_only_wanted_episodes_are_in_a_stored_pool(stored):
    few = read_pool(KITCHEN, stored, "round_1", False, wanted={"t3", "t9", "t19"}.__contains__)
    assert few.ids == ("t3", "t9", "t19")
    expected = build_pool(KITCHEN, [e for e in trials() if e.meta.episode_id in few.ids], False)
    np.testing.assert_array_equal(hold(few, 10**9).image, expected.image)
    images, _ = sampling.demo_inputs(few, np.array([[2, 0], [1, 1]]), frames=3, places=5)
    np.testing.assert_array_equal(
        images, sampling.demo_inputs(expected, np.array([[2, 0], [1, 1]]), 3, 5)[0]
    )
    with pytest.raises(DataError, match="hold all of them or none"):
        concatenate([few, build_pool(KITCHEN, demonstrations(), True)])


def test_a_shard_that_changes_during_training_is_named(stored):
    pool = read_pool(KITCHEN, stored, "round_1", False)
    shard = stored.path / "mili-round_1.array_record-00001"
    content = bytearray(shard.read_bytes())
    within = int(np.median(np.flatnonzero(content)))  # the file is padded with zeros
    cut = content[:within]
    content[within] ^= 4
    for damage in (bytes(content), bytes(cut), b""):
        shard.write_bytes(damage)
        with pytest.raises(DataError, match=r"mili-round_1\.array_record-00001.*cannot be read"):
            pool.image[pool.start[7:14]]
    shard.unlink()
    with pytest.raises(DataError, match=r"mili-round_1\.array_record-00001.*cannot be read"):
        pool.image[pool.start[7:14]]
    assert len(pool.image[pool.start[:7]]) == 7


def test_hosts_that_share_a_batch_make_its_parts(pool, groups, pairs):
    sizes = {"size": 12, "pair_fraction": 0.5, "truncated": True, **SIZES}
    whole = sampling.sample_batch(pool, groups, pairs, 0, 5, **sizes)
    parts = [
        sampling.sample_batch(pool, groups, pairs, 0, 5, part=slice(at, at + 4), **sizes)
        for at in (0, 4, 8)
    ]
    for one, others in zip(whole, zip(*parts, strict=True), strict=True):
        np.testing.assert_array_equal(one, np.concatenate(others))


def test_sizes_and_sources_are_checked(pool, groups, pairs):
    def sample(groups, pairs, **changes):
        sizes = {"size": 4, "pair_fraction": 0.5, **SIZES} | changes
        return sampling.sample_batch(pool, groups, pairs, 0, 0, **sizes)

    for changes in ({"size": 0}, {"pair_fraction": 1.5}, {"policy_steps": 0}):
        with pytest.raises(ConfigError, match=r"must be (at least 1|from 0 to 1)"):
            sample(groups, pairs, **changes)
    for name in ("frames", "places"):
        with pytest.raises(ConfigError, match=r"at least [13]"):
            sample(groups, pairs, **{name: 0})
    with pytest.raises(ConfigError, match="give groups"):
        sample(None, pairs)
    with pytest.raises(ConfigError, match="give a pair table"):
        sample(groups, None)
    assert (sample(groups, None, pair_fraction=0).task >= 0).all()
    assert (sample(None, pairs, pair_fraction=1).task < 0).all()


def test_pair_tables_that_do_not_fit_the_pool(pool):
    with pytest.raises(DataError, match="'nobody', which is not in the pool"):
        sampling.pair_table(pool, ["t0"], ["nobody"])
    with pytest.raises(DataError, match="rows of two"):
        sampling.pair_table(pool, [], [])
    for weights in ([0.0], [-1.0], [1.0, 1.0], [np.nan]):
        with pytest.raises(DataError, match="pair weights"):
            sampling.pair_table(pool, ["t0"], ["t1"], np.array(weights))


def test_prefetch_keeps_the_order_raises_in_place_and_ends_its_thread(pool, groups):
    def make(step):
        if step == 8:
            raise DataError("the eighth")
        return sampling.sample_batch(pool, groups, None, 0, step, size=4, pair_fraction=0, **SIZES)

    alive = threading.active_count()
    seen = []
    with pytest.raises(DataError, match="the eighth"):
        for step, batch in sampling.prefetch(make, 3, 10):
            np.testing.assert_array_equal(batch.image, make(step).image)
            seen.append(step)
    assert seen == [3, 4, 5, 6, 7]
    early = sampling.prefetch(make, 0, 8)
    next(early)
    early.close()
    deadline = time.monotonic() + 20
    while threading.active_count() > alive and time.monotonic() < deadline:
        time.sleep(0.01)
    assert threading.active_count() == alive
    assert list(sampling.prefetch(make, 5, 5)) == []


def path(*points: tuple[float, float, float]) -> np.ndarray:
    """A tool's path through x, y, z points (m), one step each."""
    pose = np.zeros((len(points), 7), np.float32)
    pose[:, :3] = points
    return pose


DOWN, UP = (0.1, 0.05, 0.03), (0.1, 0.05, 0.17)


def test_focus_of_a_carried_object_is_where_the_tool_went_down_and_where_it_ended():
    pose = path((0, 0, 0.2), (0.1, 0.05, 0.13), DOWN, DOWN, UP, (-0.1, 0.0, 0.17))
    pose[:, 6] = [1, 1, 1, 0.4, 0.4, 0.4]
    focus, seen = hindsight.find_focus(pose)
    assert focus.shape == (6, 2, CANDIDATES, 2)
    np.testing.assert_allclose(focus[:, 0] - [0.1, 0.05], 0, atol=1e-6)
    np.testing.assert_allclose(focus[:, 1] - [-0.1, 0.0], 0, atol=1e-6)
    # Once touched the first place is empty: the object is with the tool.
    assert seen.tolist() == [[True, True]] * 3 + [[False, True]] * 3
    assert hindsight.find_key(pose) == (2, 5)


def test_focus_of_what_is_only_lifted_is_one_place():
    pose = path((0, 0, 0.2), (0.1, 0.05, 0.13), DOWN, UP, UP)
    pose[:, 6] = [1, 1, 1, 0.4, 0.4]
    focus, seen = hindsight.find_focus(pose)
    assert hindsight.find_key(pose) == (2, 4)
    np.testing.assert_allclose(focus, np.broadcast_to([0.1, 0.05], focus.shape), atol=1e-6)
    assert seen.tolist() == [[True, True]] * 3 + [[False, False]] * 2


def test_what_is_only_touched_ends_before_the_tool_goes_up():
    pose = path((0, 0, 0.2), (0.1, 0.05, 0.13), DOWN, DOWN, UP, (-0.2, 0.0, 0.17))
    focus, _ = hindsight.find_focus(pose)
    np.testing.assert_allclose(focus, np.broadcast_to([0.1, 0.05], focus.shape), atol=1e-6)
    assert hindsight.find_key(pose) == hindsight.find_key(pose[:4]) == (2, 3)
    again = np.concatenate([pose, path((0.1, 0, 0.13), (0.1, 0.0, 0.03), (0.1, 0.0, 0.03))])
    assert hindsight.find_key(again) == (7, 8)  # of several touches the last


def test_focus_of_a_push_is_a_fan_of_candidates_ahead_of_the_tool():
    low = [(0.0, y, 0.018) for y in (-0.1, -0.1, -0.05, 0.02, 0.1)]
    pose = path((0, -0.1, 0.13), *low)
    focus, seen = hindsight.find_focus(pose)
    assert seen.all() and hindsight.find_key(pose) == (1, 5)
    for place, start, near, far, angle in ((0, -0.1, 0.05, 0.12, 0.15), (1, 0.1, 0.08, 0.2, 0.3)):
        ahead = focus[0, place] - [0, start]
        distance, turn = np.hypot(*ahead.T), np.arctan2(ahead[:, 0], ahead[:, 1])
        assert distance.min() == pytest.approx(near) and distance.max() == pytest.approx(far)
        assert sorted(set(turn.round(5))) == pytest.approx([-angle, 0, angle], abs=1e-5)
    # What is pushed moves with the tool once the gap to it is closed.
    np.testing.assert_allclose(focus[5, 0], focus[0, 0] + [0, 0.2 - BEHIND], atol=1e-6)


def test_focus_of_a_second_push_does_not_explain_the_first():
    across = [(x, -0.1, 0.018) for x in (-0.1, -0.1, 0.0)]
    on = [(0.1, y, 0.018) for y in (-0.1, -0.1, 0.1)]
    pose = path((-0.1, -0.1, 0.13), *across, (0.05, -0.1, 0.13), *on)
    focus, _ = hindsight.find_focus(pose)
    # Straight along the first way, straight along the second, and the goal ahead of the second.
    middle = PUSHED[:, 1] == 0
    np.testing.assert_allclose(focus[0, 0, :, 0], -0.1 + PUSHED[:, 0], atol=1e-6)
    np.testing.assert_allclose(focus[0, 0, middle, 1], -0.1, atol=1e-6)
    np.testing.assert_allclose(focus[5, 0, :, 1], -0.1 + PUSHED[:, 0], atol=1e-6)
    np.testing.assert_allclose(focus[:, 1, :, 1], np.tile(0.1 + GOAL[:, 0], (8, 1)), atol=1e-6)
    np.testing.assert_allclose(focus[:, 1, middle, 0], 0.1, atol=1e-6)
    assert hindsight.find_key(pose) == (5, 7)


def test_a_push_ends_before_the_tool_goes_back_behind_what_it_has_pushed():
    low = [(0.0, y, 0.018) for y in (-0.1, -0.1, 0.0, 0.1)]
    again = [(0.0, 0.06, 0.018)] * 3
    pose = path((0, -0.1, 0.13), *low, (0, 0.08, 0.1), (0, 0.06, 0.13), *again)
    pose[:, 6] = 0.5
    assert hindsight.find_key(pose) == hindsight.find_key(pose[:5]) == (1, 4)
    focus, seen = hindsight.find_focus(pose)
    np.testing.assert_array_equal(focus[:5], hindsight.find_focus(pose[:5])[0])
    assert seen.all()
    pose[8:, 6] = 0.0  # fingers that close are about something else
    assert hindsight.find_key(pose) == (7, 9)


def test_what_comes_after_the_end_of_a_push_is_neither_shown_nor_imitated():
    low = [(0.0, y, 0.018) for y in (-0.1, -0.1, 0.0, 0.1)]
    again = [(0.0, 0.06, 0.018)] * 3
    pose = path((0, -0.1, 0.13), *low, (0, 0.08, 0.1), (0, 0.06, 0.13), *again)
    image = np.arange(len(pose), dtype=np.uint8)[:, None, None, None] * np.ones(
        (1, 16, 16, 3), np.uint8
    )
    pool = build_pool(
        KITCHEN, [Episode(image, pose, pose, episode("a", "press:x", 2, 0).meta)], False
    )
    assert pool.counted.tolist() == [5] and pool.length.tolist() == [10]
    images, poses = sampling.demo_inputs(pool, np.arange(1), 3, 5)
    assert images[0, :, 0, 0, 0].tolist() == [0, 2, 4]
    np.testing.assert_array_equal(poses[0], pose[[1, 4, 0, 2, 4]])
    assert sampling.steps_along(pool, np.arange(1), 5)[0][0, :, 0, 0, 0].tolist() == [0, 1, 2, 3, 4]
    table, imitated = sampling.pair_table(pool, ["a"], ["a"]), set()
    for step in range(20):
        batch = sampling.sample_batch(
            pool, None, table, 0, step, size=4, **{**SIZES, "pair_fraction": 1.0}
        )
        imitated |= set(batch.image[..., 0, 0, 0].ravel().tolist())
    assert imitated == {0, 1, 2, 3, 4}


def test_focus_after_a_failed_grasp_is_where_it_was_taken_in_the_end():
    miss, over = (-0.1, 0.1, 0.03), (0.0, 0.0, 0.06)
    pose = path((0, 0, 0.2), miss, miss, (0, 0, 0.2), DOWN, DOWN, UP, over, over, over)
    pose[:, 6] = [1, 1, 0, 1, 1, 0.6, 0.6, 0.6, 0.9, 0.9]  # closes on nothing, then on something
    focus, seen = hindsight.find_focus(pose)
    np.testing.assert_allclose(focus[:, 0] - [0.1, 0.05], 0, atol=1e-6)
    np.testing.assert_allclose(focus[:, 1], 0, atol=1e-6)
    assert seen[:, 0].tolist() == [True] * 5 + [False] * 5 and seen[:, 1].all()
    assert hindsight.find_key(pose) == (4, 9)


def test_a_path_that_begins_low_has_not_touched_there():
    focus, _ = hindsight.find_focus(
        path((0, 0, 0.03), (0, 0, 0.12), (0.1, 0.05, 0.13), DOWN, DOWN, UP)
    )
    np.testing.assert_allclose(focus, np.broadcast_to([0.1, 0.05], focus.shape), atol=1e-6)


def test_focus_of_a_path_that_never_touches_is_its_end():
    pose = path((0, 0, 0.2), (0.1, 0, 0.2), (0.2, 0.1, 0.2))
    focus, seen = hindsight.find_focus(pose)
    np.testing.assert_allclose(focus, np.broadcast_to([0.2, 0.1], focus.shape), atol=1e-6)
    assert seen.all() and hindsight.find_key(pose) == (2, 2)


def test_key_poses_are_free_of_what_disturbs_a_single_step():
    carried, left = [(0, 0, 0.17)] * 4, [(-0.1, 0, 0.13)] * 3
    pose = path((0, 0, 0.2), DOWN, DOWN, DOWN, UP, *carried, *left)
    pose[:, 6] = [1, 1, *[0.4] * 7, *[0.9] * 3]
    key = hindsight.find_key(pose)
    clean = hindsight.key_pose(pose, *key)
    np.testing.assert_allclose(clean[:, 2], [0.03, 0.13])
    np.testing.assert_allclose(clean[:, 6], [0.4, 0.9])
    shaken = pose.copy()
    shaken[1:3, 2] = 0.05, 0.048  # lifted, so that it seems to have stopped going down
    shaken[4, 6] = 0.05  # closed for a step
    shaken[-1, :3] += [0.03, 0.02, 0.015]
    assert hindsight.find_key(shaken) == key
    np.testing.assert_allclose(hindsight.key_pose(shaken, *key)[:, [2, 6]], clean[:, [2, 6]])
    np.testing.assert_allclose(hindsight.key_pose(shaken, *key)[1, :2], clean[1, :2])
    pressed = path((0, 0, 0.2), (0.1, 0, 0.13), (0.1, 0, 0.025), (0.1, 0, 0.04))
    touched = hindsight.key_pose(pressed, *hindsight.find_key(pressed))
    np.testing.assert_allclose(touched[:, 2], 0.025)


def test_the_end_of_a_push_lies_in_the_direction_of_most_of_it():
    low = [(0.0, y, 0.018) for y in (-0.1, -0.06, -0.02, 0.02, 0.06)]
    pose = path((0, -0.1, 0.13), (0, -0.1, 0.018), *low, (0.03, 0.08, 0.02))
    touch, end = hindsight.key_pose(pose, *hindsight.find_key(pose))
    np.testing.assert_allclose(touch[:3], [0, -0.1, 0.018])
    np.testing.assert_allclose(end[:3], [0, 0.08, 0.018], atol=1e-6)


def test_what_the_fingers_feel_is_how_far_they_are_from_where_they_were_sent():
    pose, action = np.zeros((4, 7), np.float32), np.zeros((4, 7), np.float32)
    pose[:, 6], action[:, 6] = (1.0, 1.0, 0.6, 0.6), (1.0, 0.0, 0.0, 0.0)
    image = np.zeros((4, 16, 16, 3), np.uint8)
    both = [Episode(image, pose, action, episode(n, "press:x", 4, 0).meta) for n in ("a", "b")]
    pool = build_pool(KITCHEN, both, False)
    felt = sampling.with_felt(pool, np.arange(8).reshape(2, 4), np.array([0, 4]))
    assert felt.dtype == np.float32
    np.testing.assert_array_equal(felt[..., :7], pool.pose.reshape(2, 4, 7))
    # Open, sent closed, on the way, held apart; the second episode starts from the beginning.
    np.testing.assert_allclose(felt[:, :, 7], [[0, 0, 0.6, 0.6]] * 2, atol=1e-6)
    np.testing.assert_allclose(felt[:, :, 8], [[0, 0, -0.4, 0]] * 2, atol=1e-6)
    along = sampling.steps_along(pool, np.arange(2), 4, felt=True)[1]
    steps = sampling.spread(pool.counted, 4)
    np.testing.assert_array_equal(along, felt[np.arange(2)[:, None], steps])
    sizes = {"size": 4, "pair_fraction": 1.0, "policy_steps": 3}
    pairs = sampling.pair_table(pool, ["a"], ["b"])
    given = [
        sampling.sample_batch(pool, None, pairs, 0, 1, felt=f, frames=2, places=4, **sizes).pose
        for f in (False, True)
    ]
    assert given[1].shape == (4, 3, 9)
    np.testing.assert_array_equal(given[1][..., :7], given[0])
    known = {tuple(row) for row in felt.reshape(-1, 9).tolist()}
    assert {tuple(row) for row in given[1].reshape(-1, 9).tolist()} <= known
