"""Datasets of any robot: its description is stored, another one is refused, old ones are read."""

import dataclasses
import json
import math
import os
import signal
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest

from mili_jax.domains.kitchen.spec import spec as kitchen
from mili_jax.spec import Camera, Field, Layout, Spec
from mili_jax.storage import doctor
from mili_jax.storage.dataset import Dataset, write_shard
from mili_jax.storage.frames import Frames
from mili_jax.types import DataError, Episode, EpisodeMeta

POSE = Layout(
    (
        Field("x", "m", -0.5, 0.5),
        Field("y", "m", -0.5, 0.5),
        Field("turn", "rad", -math.pi, math.pi, period=2 * math.pi),
    )
)
ACTION = Layout(
    (
        Field("dx", "m", -0.05, 0.05),
        Field("dy", "m", -0.05, 0.05),
        Field("dturn", "rad", -0.3, 0.3, period=2 * math.pi),
        Field("grip", "1", 0.0, 1.0),
    )
)
TOP = Camera.straight_down("top", 0.3, 1.0)
SIDE = Camera("side")
ONE = Spec(POSE, ACTION, 24, 40, (SIDE,), delta=True)
TWO = Spec(POSE, ACTION, 24, 40, (TOP, SIDE), delta=True)
DEEP = Spec(POSE, ACTION, 24, 40, (dataclasses.replace(TOP, depth=0.4), SIDE), delta=True)


def episode(spec: Spec, name: str, length: int = 3, **facts) -> Episode:
    rng = np.random.default_rng(list(name.encode()))
    known = dict(zip(("task", "scene", "seed", "round"), ("open drawer", "{}", 1, 0), strict=True))
    known |= dict.fromkeys(("policy", "demonstration", "renderer"), "")
    known |= {"useful": True, "success": True, "achieved_tasks": ()}
    return Episode(
        rng.integers(0, 256, (length, *spec.picture), np.uint8),
        rng.normal(size=(length, len(spec.pose))).astype(np.float32),
        rng.normal(size=(length, len(spec.action))).astype(np.float32),
        EpisodeMeta(name, **(known | facts)),
    )


def assert_same(read: Episode, written: Episode) -> None:
    for field in ("image", "pose", "action"):
        np.testing.assert_array_equal(getattr(read, field), getattr(written, field))
    assert read.meta == written.meta


def stored(root: Path, spec: Spec, split: str = "demos_train") -> list[Episode]:
    episodes = [episode(spec, f"{split}-{i}", 2 + i, language=f"word {i}") for i in range(3)]
    dataset = Dataset(root, spec)
    dataset.write_shard(split, 0, episodes[:2])
    dataset.write_shard(split, 1, episodes[2:])
    dataset.commit(split, 2)
    return episodes


@pytest.mark.parametrize("spec", [ONE, TWO, DEEP], ids=["one camera", "two", "depth"])
def test_pictures_that_are_not_square_and_unlike_numbers_come_back(spec, tmp_path):
    written = stored(tmp_path, spec)
    for dataset in (Dataset(tmp_path, spec), Dataset(tmp_path)):
        for back, wanted in zip(dataset.read("demos_train"), written, strict=True):
            assert_same(back, wanted)
        assert dataset.spec == spec and dataset.picture == spec.picture
        assert [m.language for m in dataset.read_metadata("demos_train")] == [
            f"word {i}" for i in range(3)
        ]
    assert Spec.from_json((dataset.path / "spec.json").read_text()) == spec
    listed = json.loads((dataset.path / "checksums.json").read_text())["files"]
    assert "spec.json" in listed


@pytest.mark.parametrize("spec", [ONE, TWO], ids=["one camera", "two cameras"])
def test_stored_pictures_of_any_shape_are_read_one_by_one(spec, tmp_path):
    written = stored(tmp_path, spec)
    dataset = Dataset(tmp_path)
    length = np.array([len(e) for e in written])
    frames = Frames(tuple(dataset.places("demos_train")), length, dataset.picture)
    flat = np.concatenate([e.image for e in written])
    assert frames.shape == flat.shape and frames.nbytes == flat.nbytes
    wanted = np.array([[8, 0], [3, 8]])
    np.testing.assert_array_equal(frames[wanted], flat[wanted])
    other = Frames(frames.records, length, (*spec.picture[:-3], 40, 24, 1))
    with pytest.raises(DataError, match="other pictures than before"):
        other[wanted]


def test_a_stranger_reads_several_cameras_with_tfds_alone(tmp_path):
    written = stored(tmp_path, TWO)
    script = """
import sys, numpy as np, tensorflow_datasets as tfds
for episode in tfds.builder_from_directory(sys.argv[1]).as_data_source("demos_train"):
    image = np.stack([step["observation"]["image"] for step in episode["steps"]])
    facts = episode["episode_metadata"]
    print(image.shape, int(image.astype(np.int64).sum()), facts["language"].decode())
"""
    path = tmp_path / "mili" / "1.0.0"
    said = subprocess.run(
        [sys.executable, "-c", script, path], stdout=subprocess.PIPE, text=True, check=True
    ).stdout.splitlines()
    assert said == [
        f"{e.image.shape} {e.image.astype(np.int64).sum()} {e.meta.language}" for e in written
    ]


def layout(which: Layout, at: int, **changes) -> Layout:
    fields = list(which.fields)
    fields[at] = dataclasses.replace(fields[at], **changes)
    return Layout(tuple(fields))


def moved(camera: Camera) -> Camera:
    assert camera.matrix is not None
    rows = [list(row) for row in camera.matrix]
    rows[0][3] += 0.01
    return Camera(camera.name, tuple(map(tuple, rows)), camera.mount)


OTHERS = [
    ({"height": 32}, "pictures 2x24x40x3, the spec has 2x32x40x3"),
    ({"height": 40, "width": 24}, "pictures 2x24x40x3, the spec has 2x40x24x3"),
    ({"cameras": (TOP,)}, "pictures 2x24x40x3, the spec has 24x40x3"),
    ({"cameras": (SIDE, TOP)}, r"cameras \['top', 'side'\], the spec has \['side', 'top'\]"),
    ({"cameras": (TOP, Camera("wrist"))}, r"cameras .*, the spec has \['top', 'wrist'\]"),
    ({"cameras": (Camera("top"), SIDE)}, "camera 'top' calibrated, the spec has uncalibrated"),
    ({"cameras": (moved(TOP), SIDE)}, "camera 'top', whose matrix is .*, the spec has .*0.01"),
    (
        {"cameras": (TOP, dataclasses.replace(SIDE, mount="tool"))},
        "camera 'side' on the world, the spec has tool",
    ),
    (
        {"cameras": (dataclasses.replace(TOP, depth=0.4), SIDE)},
        "pictures 2x24x40x3, the spec has 2x24x40x4",
    ),
    ({"pose": Layout(POSE.fields[:2])}, "a pose of 3 numbers, the spec has 2 numbers"),
    ({"action": POSE}, "an action of 4 numbers, the spec has 3 numbers"),
    ({"pose": layout(POSE, 1, name="z")}, r"pose fields \['x', 'y', 'turn'\], the spec has .*'z'"),
    ({"pose": layout(POSE, 0, unit="mm")}, "pose field 'x', whose unit is m, the spec has mm"),
    ({"action": layout(ACTION, 3, high=255.0)}, "action field 'grip', whose high is 1.0, .*255.0"),
    ({"pose": layout(POSE, 2, period=math.pi)}, "pose field 'turn', whose period is 6.28.*3.14"),
    ({"delta": False}, "delta = True, the spec has False"),
]


@pytest.mark.parametrize(("changes", "said"), OTHERS)
def test_another_robot_is_refused_and_the_first_difference_named(changes, said, tmp_path):
    stored(tmp_path, TWO)
    other = dataclasses.replace(TWO, **changes)
    with pytest.raises(DataError, match=rf"mili/1\.0\.0 holds .*{said}.*, as Dataset"):
        Dataset(tmp_path, other)
    assert Dataset(tmp_path, TWO).splits() == {"demos_train": 3}


@pytest.mark.parametrize(("changes", "said"), OTHERS)
def test_an_uncommitted_shard_of_another_robot_is_refused(changes, said, tmp_path):
    other = dataclasses.replace(TWO, **changes)
    path = Dataset(tmp_path, other).write_shard("round_1", 0, [episode(other, "t0")])
    shapes = other.picture != TWO.picture or len(other.pose) != 3 or len(other.action) != 4
    said = "holds picture .*, the dataset picture 2x24x40x3, pose 3, action 4" if shapes else (
        "is of another robot: as many numbers, other fields or cameras"
    )  # fmt: skip
    with pytest.raises(DataError, match=f"{path.name} {said}; take this shard away"):
        Dataset(tmp_path, TWO).commit("round_1", 1)
    assert Dataset(tmp_path).splits() == {} and not (path.parent / "spec.json").exists()
    Dataset(tmp_path, other).commit("round_1", 1)
    assert Dataset(tmp_path).spec == other


def test_another_depth_is_another_robot(tmp_path):
    stored(tmp_path, DEEP)
    cameras = (dataclasses.replace(TOP, depth=0.5), SIDE)
    with pytest.raises(DataError, match=r"'top', whose depth is 0\.4, the spec has 0\.5"):
        Dataset(tmp_path, dataclasses.replace(DEEP, cameras=cameras))


def test_what_another_processor_rounds_differently_and_a_longer_tool_are_no_other_robot(tmp_path):
    spec = kitchen(16)
    stored(tmp_path, spec)
    assert spec.tool and spec.cameras[0].matrix
    rows = tuple(tuple(x * (1 + 1e-14) for x in row) for row in spec.cameras[0].matrix)
    longer = dataclasses.replace(
        spec,
        cameras=(dataclasses.replace(spec.cameras[0], matrix=rows),),
        tool=dataclasses.replace(spec.tool, hover=0.2),
    )
    dataset = Dataset(tmp_path, longer)
    assert dataset.spec == longer
    dataset.write_shard("round_1", 0, [episode(longer, "t0")])
    dataset.commit("round_1", 1)
    assert Dataset(tmp_path).spec == spec, "what is stored stays"


def test_without_a_robot_what_is_there_can_be_read_and_nothing_begun(tmp_path):
    empty = Dataset(tmp_path)
    assert empty.splits() == {} and empty.spec is None
    for attempt in (
        lambda: empty.picture,
        lambda: empty.write_shard("round_1", 0, [episode(ONE, "t0")]),
        lambda: write_shard(tmp_path, None, "round_1", 0, [episode(ONE, "t0")]),
    ):
        with pytest.raises(DataError, match=r"no spec\.json.*open it as Dataset\(root, spec\)"):
            attempt()
    assert list(tmp_path.iterdir()) == []
    Dataset(tmp_path, ONE).write_shard("round_1", 0, [episode(ONE, "t0")])
    with pytest.raises(DataError, match=r"open it as Dataset\(root, spec\)"):
        empty.commit("round_1", 1)
    Dataset(tmp_path, ONE).commit("round_1", 1)
    empty.write_shard("round_2", 0, [episode(ONE, "u0")])
    empty.commit("round_2", 1)
    assert empty.splits() == {"round_1": 1, "round_2": 1} and empty.spec == ONE


@pytest.mark.parametrize("damage", ["flip", "delete", "other"])
def test_a_damaged_description_of_the_robot_is_found_and_made_again(damage, tmp_path):
    written = stored(tmp_path / "dataset", ONE)
    path = tmp_path / "dataset" / "mili" / "1.0.0" / "spec.json"
    whole = path.read_text()
    if damage == "delete":
        path.unlink()
    else:
        path.write_text(whole.replace("24", "25") if damage == "flip" else "[]")
    with pytest.raises(DataError, match=r"spec\.json is (damaged|missing).*mili doctor"):
        Dataset(tmp_path / "dataset", ONE)
    (tmp_path / "lock").touch()
    assert {d.path for d in doctor.examine(tmp_path)} == {path}
    doctor.repair(tmp_path)
    assert doctor.examine(tmp_path) == []
    Dataset(tmp_path / "dataset", ONE).commit("demos_train", 2)
    assert path.read_text() == whole
    for back, wanted in zip(
        Dataset(tmp_path / "dataset").read("demos_train"), written, strict=True
    ):
        assert_same(back, wanted)


def test_lost_checksums_cost_no_robot(tmp_path):
    stored(tmp_path / "dataset", ONE)
    path = tmp_path / "dataset" / "mili" / "1.0.0"
    (path / "checksums.json").unlink()
    (tmp_path / "lock").touch()
    doctor.repair(tmp_path)
    assert doctor.examine(tmp_path) == []
    dataset = Dataset(tmp_path / "dataset")
    assert dataset.spec == ONE and dataset.splits() == {}
    dataset.commit("demos_train", 2)
    assert dataset.splits() == {"demos_train": 3}


def test_killed_before_the_robot_is_stored_nothing_is_committed(tmp_path):
    """The kill is real; its moment, just before the rename, is chosen."""
    code = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from test_robots import ONE, Dataset, stored
rename = os.replace
def replace(source, target):
    if os.path.basename(target) == "spec.json":
        os.kill(os.getpid(), signal.SIGKILL)
    rename(source, target)
os.replace = replace
stored(Path(sys.argv[1]), ONE)
"""
    command = [sys.executable, "-c", code, tmp_path, Path(__file__).parent]
    assert subprocess.run(command).returncode == -signal.SIGKILL
    dataset = Dataset(tmp_path, ONE)
    assert dataset.splits() == {} and not (dataset.path / "spec.json").exists()
    dataset.commit("demos_train", 2)
    assert dataset.splits() == {"demos_train": 3} and Dataset(tmp_path).spec == ONE


# From before there were robots of other kinds


@pytest.fixture
def old(tmp_path) -> Path:
    """The root of a dataset that commit 67f23ab wrote: five demonstrations in two shards, three
    trials, and one trial of a round that was not committed."""
    with tarfile.open(Path(__file__).with_name("old_dataset.tar.gz")) as archive:
        archive.extractall(tmp_path / "dataset", filter="data")
    return tmp_path / "dataset"


def old_episode(name: str, number: int, length: int) -> tuple[np.ndarray, np.ndarray]:
    """The pictures and poses that it was made with, by the same formula."""
    image = [np.full((16, 16, 3), 10 * number + t, np.uint8) for t in range(length)]
    pose = [[number + t / 4 + k / 64 for k in range(7)] for t in range(length)]
    return np.stack(image), np.array(pose, np.float32)


@pytest.mark.parametrize("spec", [None, kitchen(16)], ids=["as it is", "as the kitchen"])
def test_an_old_dataset_is_read_as_what_it_is(spec, old):
    dataset = Dataset(old, spec)
    assert dataset.splits() == {"demos_train": 5, "round_1": 3}
    assert dataset.picture == (16, 16, 3) and dataset.spec == spec
    for i, back in enumerate(dataset.read("demos_train")):
        image, pose = old_episode(f"d{i}", i, i + 1)
        np.testing.assert_array_equal(back.image, image)
        np.testing.assert_array_equal(back.pose, pose)
        np.testing.assert_array_equal(back.action, -pose)
        assert back.meta == EpisodeMeta(
            f"d{i}", "place:mug_03:tray_01", '{"name": "été"}', 2**40 + i, 0, "expert", "", "tiny",
            True, True, ("place:mug_03:tray_01",), True, language="",
        )  # fmt: skip
    assert [m.terminated for m in dataset.read_metadata("round_1")] == [True, False, True]
    assert dataset.read_pairs("mili_1").a == ("t0",)
    frames = Frames(tuple(dataset.places("demos_train")), np.arange(1, 6), dataset.picture)
    assert frames[np.array([14, 0])][:, 0, 0, 0].tolist() == [44, 0]


def test_an_old_dataset_goes_on_in_its_own_format(old):
    before = {p.name: p.read_bytes() for p in (old / "mili/1.0.0").iterdir()}
    dataset = Dataset(old, kitchen(16))
    dataset.commit("round_2", 1)  # its shard was written by the old version
    dataset.write_shard("round_3", 0, [episode(kitchen(16), "v0")])
    dataset.commit("round_3", 1)
    assert dataset.splits() == {"demos_train": 5, "round_1": 3, "round_2": 1, "round_3": 1}
    (back,) = Dataset(old).read("round_3")
    assert_same(back, episode(kitchen(16), "v0"))
    after = {p.name: p.read_bytes() for p in (old / "mili/1.0.0").iterdir()}
    changed = {name for name in after if after[name] != before.get(name)}
    shard = "mili-round_3.array_record-00000"
    assert changed == {".commit.lock", "checksums.json", "dataset_info.json", shard}
    with pytest.raises(DataError, match=r"'w0': the dataset is from before .* 'pull it'"):
        dataset.write_shard("round_4", 0, [episode(kitchen(16), "w0", language="pull it")])


def test_an_old_dataset_of_other_shapes_is_refused(old):
    with pytest.raises(DataError, match="holds pictures 16x16x3, the spec has 32x32x3"):
        Dataset(old, kitchen(32))
    with pytest.raises(DataError, match="holds a pose of 7 numbers, the spec has 3 numbers"):
        Dataset(old, Spec(POSE, ACTION, 16, 16, (SIDE,)))


def test_an_old_dataset_that_was_damaged_is_committed_again_from_its_shards(old):
    (old.parent / "lock").touch()
    (old / "mili/1.0.0/checksums.json").unlink()
    doctor.repair(old.parent)
    assert doctor.examine(old.parent) == []
    dataset = Dataset(old, kitchen(16))
    assert dataset.splits() == {}
    for split, shards in (("demos_train", 2), ("round_1", 1)):
        dataset.commit(split, shards)
    assert dataset.splits() == {"demos_train": 5, "round_1": 3}
    assert not (dataset.path / "spec.json").exists()
    assert [len(e) for e in dataset.read("demos_train")] == [1, 2, 3, 4, 5]


def test_shards_of_an_old_and_a_new_version_do_not_mix(old, tmp_path):
    new = Dataset(tmp_path / "new", kitchen(16))
    path = new.write_shard("round_3", 0, [episode(kitchen(16), "v0")])
    there = Dataset(old, kitchen(16))
    os.link(path, there.path / path.name)
    with pytest.raises(DataError, match=f"{path.name} is of a newer version"):
        there.commit("round_3", 1)
    new.commit("round_3", 1)
    os.link(
        there.path / "mili-round_2.array_record-00000", new.path / "mili-round_2.array_record-00000"
    )
    with pytest.raises(DataError, match="record-00000 is of an older version"):
        new.commit("round_2", 1)
