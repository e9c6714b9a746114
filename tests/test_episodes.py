"""Episodes on disk: what was written comes back, and nothing half-written is ever seen."""

import dataclasses
import fcntl
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from mili_jax.domains.kitchen.spec import spec
from mili_jax.storage.dataset import Dataset
from mili_jax.storage.files import append_lines, atomic_write, read_lines
from mili_jax.storage.labels import Label
from mili_jax.types import DataError, Episode, EpisodeMeta

SIDE = 16
SPEC = spec(SIDE)

# What the child processes of this file begin with: the same episodes as `episode` makes.
CHILD = """
import os, resource, signal, sys
sys.path.insert(0, {tests!r})
from test_episodes import SIDE, SPEC, episode, spec
from mili_jax.storage.dataset import Dataset
from mili_jax.storage.labels import Label
from mili_jax.types import DataError
root = sys.argv[1]
"""


def episode(name: str, seed: int = 0, length: int = 5, side: int = SIDE, **meta) -> Episode:
    rng = np.random.default_rng((seed, length))
    known = {
        "episode_id": name,
        "task": "place:mug_03:tray_01",
        "scene": '{"name": "été"}',
        "seed": 2**40 + seed,
        "round": 3,
        "policy": "checkpoint-7",
        "demonstration": "demo,1",
        "renderer": "tiny",
        "useful": True,
        "success": False,
        "achieved_tasks": (),
    }
    return Episode(
        image=rng.integers(0, 256, (length, side, side, 3), dtype=np.uint8),
        pose=rng.normal(size=(length, 7)).astype(np.float32),
        action=rng.normal(size=(length, 7)).astype(np.float32),
        meta=EpisodeMeta(**(known | meta)),
    )


def assert_same(read: Episode, written: Episode) -> None:
    for field in ("image", "pose", "action"):
        stored, wanted = getattr(read, field), getattr(written, field)
        assert stored.dtype == wanted.dtype
        np.testing.assert_array_equal(stored, wanted)
    assert read.meta == written.meta


def child(code: str, *arguments: object) -> subprocess.Popen:
    source = CHILD.format(tests=str(Path(__file__).parent)) + code
    command = [sys.executable, "-c", source, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


@pytest.fixture
def committed(tmp_path):
    """A dataset with one committed split of two shards, and its episodes."""
    dataset = Dataset(tmp_path, SPEC)
    episodes = [episode(f"d{i}", seed=i, length=i + 1) for i in range(5)]
    dataset.write_shard("demos_train", 0, episodes[:3])
    dataset.write_shard("demos_train", 1, episodes[3:])
    dataset.commit("demos_train", 2)
    return dataset, episodes


def ids(dataset: Dataset, split: str) -> list[str]:
    return [label.episode_id for label in dataset.read_labels(split)]


def temporaries(dataset: Dataset) -> list[Path]:
    return list(dataset.path.glob(".*.tmp"))


def test_round_trip_keeps_every_field_and_the_order(committed):
    dataset, episodes = committed
    read = list(Dataset(dataset.path.parents[1], SPEC).read("demos_train"))
    assert len(read) == 5
    for back, written in zip(read, episodes, strict=True):
        assert_same(back, written)
        assert not back.image.flags.writeable
    assert [meta for meta in dataset.read_metadata("demos_train")] == [e.meta for e in episodes]
    assert dataset.splits() == {"demos_train": 5}


def test_metadata_extremes_survive(tmp_path):
    dataset = Dataset(tmp_path, SPEC)
    written = [
        episode("-", scene="", policy="", demonstration="", achieved_tasks=("",), round=-1),
        episode("words", language='put the mug\non the "tray"'),
        episode(
            "x" * 500, achieved_tasks=("press:ü", "grasp:a\nb", "x"), round=2**62, useful=False
        ),
    ]
    dataset.write_shard("round_1", 0, written)
    dataset.commit("round_1", 1)
    for back, wanted in zip(dataset.read("round_1"), written, strict=True):
        assert_same(back, wanted)


def test_a_stranger_reads_it_with_tfds_alone(tmp_path):
    """RLDS semantics through the public TFDS interface, in a process without this package."""
    dataset = Dataset(tmp_path, SPEC)
    won = episode("won", seed=1, length=4, success=True, achieved_tasks=("press:b", "grasp:a"))
    lost = episode("lost", seed=2, length=1, terminated=False, language="lève la tasse")
    dataset.write_shard("round_1", 0, [won])
    dataset.write_shard("round_1", 1, [lost])
    dataset.commit("round_1", 2)
    dataset.write_shard("round_2", 0, [lost])
    dataset.commit("round_2", 1)
    script = """
import json, sys
import numpy as np
import tensorflow_datasets as tfds
builder = tfds.builder_from_directory(sys.argv[1])
lengths = {name: info.num_examples for name, info in builder.info.splits.items()}
source = builder.as_data_source("round_1")
out = []
for example in source:
    steps = list(example["steps"])
    out.append({
        "image": np.stack([s["observation"]["image"] for s in steps]).tolist(),
        "pose": np.stack([s["observation"]["pose"] for s in steps]).tolist(),
        "action": np.stack([s["action"] for s in steps]).tolist(),
        "types": [str(steps[0]["observation"]["image"].dtype), str(steps[0]["action"].dtype)],
        **{k: [float(s[k]) for s in steps]
           for k in ("is_first", "is_last", "is_terminal", "reward", "discount")},
        "meta": {k: (v.decode() if isinstance(v, bytes) else [x.decode() for x in v]
                     if k == "achieved_tasks" else int(v))
                 for k, v in example["episode_metadata"].items()},
    })
assert "mili_jax" not in sys.modules and "tensorflow" not in sys.modules
print(json.dumps([lengths, out]))
"""
    command = [sys.executable, "-c", script, str(dataset.path)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, cwd=tmp_path)
    lengths, read = json.loads(done.stdout)
    assert lengths == {"round_1": 2, "round_2": 1}
    for back, written in zip(read, (won, lost), strict=True):
        np.testing.assert_array_equal(np.array(back["image"]), written.image)
        np.testing.assert_array_equal(np.array(back["pose"], np.float32), written.pose)
        np.testing.assert_array_equal(np.array(back["action"], np.float32), written.action)
        assert back["types"] == ["uint8", "float32"]
        expected = dataclasses.asdict(written.meta)
        expected["achieved_tasks"] = list(expected["achieved_tasks"])
        del expected["terminated"]  # is_terminal says so
        sizes = "picture 16x16x3, pose 7, action 7, layout "
        assert back["meta"].pop("spec").startswith(sizes)
        assert back["meta"] == expected
    assert read[0]["is_first"] == [1, 0, 0, 0]
    assert read[0]["is_last"] == read[0]["is_terminal"] == [0, 0, 0, 1]
    assert read[0]["reward"] == [0, 0, 0, 1]
    assert read[0]["discount"] == [1, 1, 1, 1]
    assert read[1]["is_first"] == read[1]["is_last"] == [1]
    assert read[1]["is_terminal"] == [0], "its time was over"
    assert read[1]["reward"] == [0]


def test_a_split_is_invisible_until_committed(committed):
    dataset, _ = committed
    dataset.write_shard("round_1", 0, [episode("t0")])
    assert dataset.has_shard("round_1", 0) and not dataset.has_shard("round_1", 1)
    assert dataset.splits() == {"demos_train": 5}
    with pytest.raises(DataError, match=r"'round_1'.*written but not committed.*demos_train"):
        dataset.read("round_1")
    with pytest.raises(DataError, match=r"'round_2'.*missing"):
        dataset.read("round_2")
    dataset.commit("round_1", 1)
    assert dataset.splits() == {"demos_train": 5, "round_1": 1}
    assert len(list(dataset.read("demos_train"))) == 5


def test_another_image_size_is_refused_and_both_are_named(committed):
    dataset, _ = committed
    with pytest.raises(DataError, match=r"holds pictures 16x16x3, the spec has 32x32x3"):
        Dataset(dataset.path.parents[1], spec(32))
    with pytest.raises(DataError, match=r"'big'.*image.*32, 32"):
        dataset.write_shard("round_1", 0, [episode("big", side=32)])


def test_shards_of_another_image_size_are_not_committed(tmp_path):
    Dataset(tmp_path, spec(32)).write_shard("round_1", 0, [episode("t0", side=32)])
    with pytest.raises(
        DataError, match=r"record-00000 holds picture 32x32x3, .* the dataset picture 16x16x3"
    ):
        Dataset(tmp_path, SPEC).commit("round_1", 1)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("pose", np.full((5, 7), np.nan, np.float32), "pose holds NaN"),
        ("action", np.zeros((5, 7), np.float64), "action is float64"),
        ("action", np.zeros((4, 7), np.float32), "action is float32"),
        ("image", np.zeros((5, SIDE, SIDE), np.uint8), "image is uint8"),
        ("pose", np.zeros((0, 7), np.float32), "no steps"),
    ],
)
def test_episodes_that_do_not_fit_are_refused_before_anything_is_written(
    tmp_path, field, value, message
):
    dataset = Dataset(tmp_path, SPEC)
    bad = dataclasses.replace(episode("bad"), **{field: value})
    with pytest.raises(DataError, match=f"'bad'.*{message}"):
        dataset.write_shard("round_1", 0, [episode("good"), bad])
    assert not dataset.path.exists()


def test_commit_names_what_is_wrong(tmp_path):
    dataset = Dataset(tmp_path, SPEC)
    with pytest.raises(DataError, match="record-00000 is missing"):
        dataset.commit("round_1", 1)
    dataset.write_shard("round_1", 0, [episode("a"), episode("b")])
    with pytest.raises(DataError, match="record-00001 is missing"):
        dataset.commit("round_1", 2)
    dataset.write_shard("round_1", 1, [episode("b")])
    with pytest.raises(DataError, match=r"record-00001: episode 'b' is also in .*record-00000"):
        dataset.commit("round_1", 2)
    with pytest.raises(DataError, match="record-00001 lies beyond the 1 shards"):
        dataset.commit("round_1", 1)
    with pytest.raises(DataError, match="nothing to commit"):
        dataset.commit("round_1", 0)
    assert dataset.splits() == {}


@pytest.mark.parametrize("name", ["all", "Round", "a-b", "../x", "", "1"])
def test_names_that_tfds_or_the_file_system_would_misread(tmp_path, name):
    with pytest.raises(DataError, match="cannot name a split"):
        Dataset(tmp_path, SPEC).write_shard(name, 0, [episode("a")])


def test_committed_shards_never_change(committed):
    dataset, episodes = committed
    before = {file.name: file.read_bytes() for file in dataset.path.glob("mili-*")}
    dataset.write_shard("demos_train", 0, episodes[:3])
    with pytest.raises(DataError, match="record-00000 belongs to the committed split"):
        dataset.write_shard("demos_train", 0, episodes[:2])
    dataset.commit("demos_train", 2)
    assert {file.name: file.read_bytes() for file in dataset.path.glob("mili-*")} == before
    dataset.write_shard("demos_train", 2, [episode("more")])
    dataset.commit("demos_train", 3)
    assert dataset.splits() == {"demos_train": 6}


def test_processes_write_different_shards_and_the_same_shard(tmp_path):
    code = """
dataset = Dataset(root, SPEC)
mine = int(sys.argv[2])
dataset.write_shard("round_1", mine, [episode(f"t{mine}", seed=mine)])
dataset.write_shard("round_1", 3, [episode("shared", seed=9)])
"""
    writers = [child(code, tmp_path, number) for number in range(3)]
    assert [writer.wait() for writer in writers] == [0, 0, 0]
    dataset = Dataset(tmp_path, SPEC)
    dataset.commit("round_1", 4)
    read = list(dataset.read("round_1"))
    for back, name, seed in zip(read, ("t0", "t1", "t2", "shared"), (0, 1, 2, 9), strict=True):
        assert_same(back, episode(name, seed=seed))


def test_a_killed_writer_leaves_no_shard(committed):
    dataset, _ = committed
    code = """
noise = [episode(str(i), seed=i, length=40, side=64) for i in range(60)]
dataset = Dataset(sys.argv[2], spec(64))
print("ready", flush=True)
dataset.write_shard("round_1", 0, noise)
"""
    other = Dataset(dataset.path.parents[1] / "other", spec(64))
    writer = child(code, dataset.path.parents[1], other.path.parents[1])
    writer.stdout.readline()
    while not any(file.stat().st_size for file in temporaries(other)):
        assert writer.poll() is None, "the writer ended before it could be killed"
        time.sleep(0.001)
    writer.send_signal(signal.SIGKILL)
    assert writer.wait() == -signal.SIGKILL
    assert len(temporaries(other)) == 1
    assert not other.has_shard("round_1", 0)
    with pytest.raises(DataError, match="is missing"):
        other.commit("round_1", 1)
    assert temporaries(other) == []
    other.write_shard("round_1", 0, [episode("again", side=64)])
    other.commit("round_1", 1)
    assert other.splits() == {"round_1": 1}


@pytest.mark.parametrize(
    "moment",
    ["mili-round_1.array_record-00001", "features.json", "checksums.json", "dataset_info.json"],
)
def test_killed_just_before_a_rename_the_old_splits_stay(committed, moment):
    dataset, episodes = committed
    # The kill is real; only its moment is chosen.
    code = """
rename = os.replace
def replace(source, target):
    if os.path.basename(target) == sys.argv[2]:
        os.kill(os.getpid(), signal.SIGKILL)
    rename(source, target)
os.replace = replace
dataset = Dataset(root, SPEC)
dataset.write_shard("round_1", 0, [episode("t0")])
dataset.write_shard("round_1", 1, [episode("t1")])
dataset.commit("round_1", 2)
"""
    root = dataset.path.parents[1]
    assert child(code, root, moment).wait() == -signal.SIGKILL
    reopened = Dataset(root, SPEC)
    assert reopened.splits() == {"demos_train": 5}
    for back, written in zip(reopened.read("demos_train"), episodes, strict=True):
        assert_same(back, written)
    reopened.write_shard("round_1", 0, [episode("t0")])
    reopened.write_shard("round_1", 1, [episode("t1")])
    reopened.commit("round_1", 2)
    assert reopened.splits() == {"demos_train": 5, "round_1": 2}
    assert temporaries(reopened) == []


def test_only_temporary_files_of_dead_writers_are_removed(committed):
    dataset, _ = committed
    live = dataset.path / ".mili-round_1.array_record-00000.aa.tmp"
    dead = dataset.path / ".mili-round_1.array_record-00000.bb.tmp"
    dead.write_bytes(b"half")
    with live.open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        dataset.commit("demos_train", 2)
        assert live.exists() and not dead.exists()


def test_a_flipped_bit_is_found_and_the_file_named(committed):
    dataset, _ = committed
    path = dataset.path / "mili-demos_train.array_record-00001"
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    for offset in [0, len(whole) - 1, *rng.integers(0, len(whole), 6)]:
        damaged = bytearray(whole)
        damaged[offset] ^= 1 << int(rng.integers(8))
        path.write_bytes(damaged)
        episodes = dataset.read("demos_train")
        for _ in range(3):
            next(episodes)
        with pytest.raises(DataError, match="record-00001 is damaged"):
            next(episodes)
        with pytest.raises(DataError, match="record-00001 is damaged"):
            dataset.commit("demos_train", 2)
    path.unlink()
    with pytest.raises(DataError, match="record-00001"):
        list(dataset.read("demos_train"))


def test_a_shard_damaged_before_its_commit_is_found(tmp_path):
    dataset = Dataset(tmp_path, SPEC)
    path = dataset.write_shard("round_1", 0, [episode("t0", length=20)])
    whole = path.read_bytes()
    damaged = bytearray(whole)
    damaged[2000] ^= 1
    for content in (bytes(damaged), whole[:1000], b""):
        path.write_bytes(content)
        with pytest.raises(DataError, match="record-00000"):
            dataset.commit("round_1", 1)
    assert dataset.splits() == {}


@pytest.mark.parametrize("name", ["dataset_info.json", "features.json", "checksums.json"])
@pytest.mark.parametrize("damage", [b"", b'{"splits": 3', None])
def test_a_damaged_description_is_a_typed_error(committed, name, damage):
    dataset, _ = committed
    path = dataset.path / name
    if damage is None:
        path.unlink()
    else:
        path.write_bytes(damage)
    # Without dataset_info.json nothing is committed, which is a legal state to open.
    with pytest.raises(DataError, match=r"mili/1\.0\.0"):
        list(Dataset(dataset.path.parents[1], SPEC).read("demos_train"))


def test_a_refused_write_leaves_nothing_half_written(committed):
    """A file size limit is the disk-full error that a test can really provoke."""
    dataset, episodes = committed
    dataset.write_labels("demos_train", [Label("d0", True, "simulator")])
    code = """
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
dataset = Dataset(root, SPEC)
dataset.write_shard("round_2", 0, [episode("u0")])
resource.setrlimit(resource.RLIMIT_FSIZE, (150_000, 150_000))
for attempt in (
    lambda: dataset.write_shard("round_1", 0, [episode("t0", length=400)]),
    lambda: dataset.write_labels("demos_train", [Label("x" * 1000, True, "h")] * 1000),
):
    try:
        attempt()
    except DataError as error:
        print(error)
resource.setrlimit(resource.RLIMIT_FSIZE, (300, 150_000))
try:
    dataset.commit("round_2", 1)
except DataError as error:
    print(error)
"""
    root = dataset.path.parents[1]
    writer = child(code, root)
    shard, labels, commit = writer.communicate()[0].splitlines()
    assert writer.returncode == 0
    assert str(dataset.path / "mili-round_1.array_record-00000") in shard
    assert str(dataset.path / "labels_demos_train.jsonl") in labels
    assert str(dataset.path / "checksums.json") in commit
    assert not dataset.has_shard("round_1", 0)
    assert temporaries(dataset) == []
    reopened = Dataset(root, SPEC)
    assert reopened.splits() == {"demos_train": 5}
    for back, written in zip(reopened.read("demos_train"), episodes, strict=True):
        assert_same(back, written)
    assert ids(reopened, "demos_train") == ["d0"]


def test_a_directory_that_cannot_be_made_is_a_typed_error(tmp_path):
    (tmp_path / "mili").write_text("a file in the way")
    with pytest.raises(DataError, match=r"mili/1\.0\.0 could not be made"):
        Dataset(tmp_path, SPEC).write_shard("round_1", 0, [episode("t0")])


@pytest.mark.parametrize("damage", ["flip", "cut a line", "cut", "empty", "add", "delete"])
def test_labels_that_nobody_acknowledged_or_that_are_lost_are_found(tmp_path, damage):
    dataset = Dataset(tmp_path, SPEC)
    dataset.write_labels("round_1", [Label("a", True, "s"), Label("b", True, "s")])
    path = dataset.path / "labels_round_1.jsonl"
    whole = path.read_bytes()
    first = whole.index(b"\n") + 1
    if damage == "delete":
        path.unlink()
    else:
        path.write_bytes(
            {
                "flip": whole.replace(b'"b"', b'"c"'),
                "cut a line": whole[:first],
                "cut": whole[: first + 9],
                "empty": b"",
                "add": whole + whole[:first],
            }[damage]
        )
    with pytest.raises(DataError, match=r"labels_round_1\.jsonl is .*mili doctor"):
        dataset.read_labels("round_1")
    with pytest.raises(DataError, match=r"labels_round_1\.jsonl is "):
        dataset.write_labels("round_1", [Label("d", True, "s")])


@pytest.mark.parametrize("moment", ["checksums.json", "labels_round_1.jsonl"])
@pytest.mark.parametrize("count", [1, 2])
def test_killed_while_writing_labels_all_or_none_are_there(tmp_path, moment, count):
    Dataset(tmp_path, SPEC).write_labels("round_1", [Label("a", True, "s")])
    # The kill is real; only its moment is chosen: before the first or second rename of that name.
    code = """
rename, left = os.replace, int(sys.argv[3])
def replace(source, target):
    global left
    if os.path.basename(target) == sys.argv[2]:
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
    rename(source, target)
os.replace = replace
Dataset(root, SPEC).write_labels("round_1", [Label("b", False, "s"), Label("c", False, "s")])
"""
    ended = child(code, tmp_path, moment, count).wait()
    killed = (moment, count) != ("labels_round_1.jsonl", 2)  # that name is written once
    assert ended == (-signal.SIGKILL if killed else 0)
    dataset = Dataset(tmp_path, SPEC)
    kept = ["a"] if count == 1 else ["a", "b", "c"]
    assert ids(dataset, "round_1") == kept
    # Whatever is written next, of what was being replaced only the content that is there counts.
    dataset.write_pairs("mili_1", ["a"], ["a"], np.ones(1), 0.9)
    listed = json.loads((dataset.path / "checksums.json").read_text())["files"]
    assert all(list(entry) == ["sha256"] for entry in listed.values())
    assert ids(dataset, "round_1") == kept
    dataset.write_labels("round_1", [Label("d", True, "s")])
    assert ids(dataset, "round_1") == [*kept, "d"]


def test_a_split_has_a_digest_that_its_episodes_alone_decide(tmp_path):
    def stored(folder, *shards, labels=()):
        dataset = Dataset(tmp_path / folder, SPEC)
        for shard, episodes in enumerate(shards):
            dataset.write_shard("demos_train", shard, episodes)
        dataset.commit("demos_train", len(shards))
        return dataset

    a, b, c = (episode(name, seed=i) for i, name in enumerate("abc"))
    one = stored("one", [a, b], [c])
    (digest,) = one.digests("demos_train").values()
    hashes = [hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(one.path.glob("mili-*"))]
    assert digest == hashlib.sha256("".join(f"{h}\n" for h in hashes).encode()).hexdigest()
    assert stored("same", [a, b], [c]).digests("demos_train") == {"demos_train": digest}
    others = [([a, b],), ([a], [b, c]), ([b, a], [c]), ([c], [a, b]), ([a, b], [c], [episode("d")])]
    for i, shards in enumerate(others):
        assert stored(f"other{i}", *shards).digests("demos_train") != {"demos_train": digest}
    # What else there is does not matter, and of what is not committed nothing is said.
    one.write_shard("round_1", 0, [episode("t")])
    one.write_labels("demos_train", [Label("a", True, "ana")])
    one.write_pairs("mili_1", ["a"], ["b"], np.ones(1), 0.9)
    found = one.digests("demos_train", "round_1", "round_2", "pairs_mili_1.csv", "pairs_x_1.csv")
    assert set(found) == {"demos_train", "pairs_mili_1.csv"} and found["demos_train"] == digest
    one.commit("round_1", 1)
    assert set(one.digests("demos_train", "round_1")) == {"demos_train", "round_1"}
    one.write_shard("demos_train", 2, [episode("d")])
    assert one.digests("demos_train") == {"demos_train": digest}
    one.commit("demos_train", 3)
    assert one.digests("demos_train") != {"demos_train": digest}


def test_a_torn_line_longer_than_the_search_window_is_cut_off(tmp_path):
    path = tmp_path / "lines.jsonl"
    append_lines(path, [{"n": 1}])
    with path.open("ab") as file:
        file.write(b"x" * 200_000)
    append_lines(path, [{"n": 2}])
    assert list(read_lines(path)) == [(1, {"n": 1}), (2, {"n": 2})]
    path.write_bytes(b"y" * 200_000)
    append_lines(path, [{"n": 3}])
    assert list(read_lines(path)) == [(1, {"n": 3})]


def test_pairs_come_back_exactly(tmp_path):
    dataset = Dataset(tmp_path, SPEC)
    similarity = np.array([np.float32(0.9) + np.float32(2**-24), 1 / 3, 1.0], np.float32)
    ids = (["r1,a", 'r1"b', "c"], ["d", "é", "f"])
    dataset.write_pairs("round_2", *ids, similarity, alpha=0.9)
    pairs = dataset.read_pairs("round_2")
    assert (pairs.a, pairs.b) == (tuple(ids[0]), tuple(ids[1]))
    assert pairs.similarity.dtype == np.float32
    np.testing.assert_array_equal(pairs.similarity, similarity)
    np.testing.assert_array_equal(pairs.alpha, [0.9, 0.9, 0.9])
    dataset.write_pairs("round_2", [], [], np.empty(0, np.float32), alpha=0.9)
    assert len(dataset.read_pairs("round_2")) == 0


def test_bad_pair_tables_are_named(tmp_path):
    dataset = Dataset(tmp_path, SPEC)
    with pytest.raises(DataError, match=r"pairs_round_1.csv is missing"):
        dataset.read_pairs("round_1")
    with pytest.raises(DataError, match=r"pairs_round_1.csv.*rows do not match"):
        dataset.write_pairs("round_1", ["a"], [], np.zeros(1), 0.9)
    path = dataset.write_pairs("round_1", ["a", "b"], ["c", "d"], np.ones(2), 0.9)
    whole = path.read_text()
    for content in (whole.replace("b,d,1", "b,d,0"), whole[:-10], ""):
        path.write_text(content)
        with pytest.raises(DataError, match=r"pairs_round_1\.csv is damaged.*mili doctor"):
            dataset.read_pairs("round_1")


@pytest.mark.parametrize("name", ["checksums.json", "features.json", "dataset_info.json"])
def test_every_single_bit_of_a_description_counts(committed, name):
    dataset, _ = committed
    path = dataset.path / name
    whole = path.read_bytes()
    rng = np.random.default_rng(1)
    for offset in rng.integers(0, len(whole), 60):
        damaged = bytearray(whole)
        damaged[offset] ^= 1 << int(rng.integers(8))
        path.write_bytes(damaged)
        with pytest.raises(DataError, match=name):
            Dataset(dataset.path.parents[1], SPEC)


def test_atomic_write_replaces_and_keeps_the_old_file_on_failure(tmp_path):
    path = tmp_path / "note"
    atomic_write(path, "one")
    atomic_write(path, b"two")
    assert path.read_text() == "two"
    assert path.stat().st_mode & 0o777 == 0o666 & ~_umask()
    with pytest.raises(DataError, match="elsewhere/note"):
        atomic_write(tmp_path / "elsewhere" / "note", "x")
    assert os.listdir(tmp_path) == ["note"]


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
