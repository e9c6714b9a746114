"""Exports: round trips to the bit, labels and outcomes, and what other programs make of it."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import av
import h5py
import numpy as np
import pyarrow.parquet as pq
import pytest
import tensorflow_datasets as tfds
from makers import episode as make

from mili_jax.interchange import commands, statistics
from mili_jax.interchange.exporting import export_episodes
from mili_jax.interchange.importing import import_episodes
from mili_jax.interchange.sources import open_source
from mili_jax.spec import Camera, Field, Layout, Spec
from mili_jax.storage.dataset import Dataset
from mili_jax.storage.labels import Answer, Kind, Label
from mili_jax.types import ConfigError, DataError, Episode, EpisodeMeta

ROOT = Path(__file__).resolve().parents[2]
NAMES = ("x", "y", "z", "roll", "pitch", "yaw", "finger")


def layout(names=NAMES, unit="m"):
    return Layout(tuple(
        Field(n, unit, -1 / 3, 0.1 + k, 2 * np.pi if n == "yaw" else None)
        for k, n in enumerate(names)
    ))  # fmt: skip


def robot(views=1, height=24, width=32, depth=None, **changes):
    top = dataclasses.replace(Camera.straight_down("top", 0.3, 1.7), depth=depth)
    cameras = (top, Camera("wrist", mount="tool"))
    spec = Spec(layout(), layout(NAMES[:4], "deg"), height, width, cameras[:views])
    return dataclasses.replace(spec, **changes)


def trials(root, spec, count=5, steps=12, split="round_1", labels=True, seed=0):
    """A dataset of trials with awkward numbers and words."""
    rng = np.random.default_rng(seed)
    found = []
    for k in range(count):
        made = make(seed + k, steps=steps + k, height=spec.height, width=spec.width)
        views = np.stack([made.front, made.wrist][: spec.views], 1)
        if spec.channels == 4:
            heights = rng.integers(0, 30, (*views.shape[:4], 1), np.uint8).cumsum(3, np.uint8)
            sees = np.array([camera.depth is not None for camera in spec.cameras])
            views = np.concatenate([views, heights * sees[:, None, None, None]], -1)
        pose = rng.normal(size=(steps + k, len(spec.pose))).astype(np.float32)
        pose[0, :3] = [1e-42, -0.0, 3e38]  # a denormal, a negative zero, nearly the largest
        meta = EpisodeMeta(
            episode_id=f"trial/{k} ä",
            task="place:mug_03:tray_01" if k % 2 else "Open it, now.",
            scene='{"objects": [1, "ü"]}' * (4000 if k == 0 else 1),
            seed=2**62 + k,
            round=3,
            policy="mili_2",
            demonstration="demo 7" if k else "",
            renderer="tiny",
            useful=k % 2 == 0,
            success=k % 3 == 0,
            achieved_tasks=("a", "b:c") if k % 2 else (),
            terminated=k % 4 != 0,
            language="Öffne sie.  " if k % 2 else "",
        )
        action = rng.normal(size=(steps + k, len(spec.action))).astype(np.float32)
        image = views[:, 0] if spec.views == 1 else views
        found.append(Episode(np.ascontiguousarray(image), pose, action, meta))
    dataset = Dataset(root, spec)
    dataset.write_shard(split, 0, found[:2])
    dataset.write_shard(split, 1, found[2:])
    dataset.commit(split, 2)
    if labels:
        time = "2026-01-02T03:04:05"
        dataset.write_labels(split, [
            *(Label(f"trial/{k} ä", Answer.of(k == 1), "ann", time=time) for k in range(count - 1)),
            Label("trial/0 ä", Answer.NO, "filter", Kind.CLASSIFIER, time, 0.25),
            Label("trial/2 ä", Answer.UNSURE, "bob", seconds=3.5),
            Label("trial/2 ä", Answer.YES, "carla"),
        ])  # fmt: skip
    return found


FORMS = [("rlds", {}), ("robomimic", {}), ("lerobot", {}), ("lerobot", {"lossless": True})]


@pytest.mark.parametrize(("form", "how"), FORMS, ids=["rlds", "robomimic", "lerobot", "png"])
@pytest.mark.parametrize("views", [1, 2])
@pytest.mark.parametrize("depth", [None, 0.4])
def test_out_and_back_is_the_same(tmp_path, form, how, views, depth):
    spec = robot(views, depth=depth)
    wanted = trials(tmp_path / "ours", spec)
    done = export_episodes(tmp_path / "ours", form, tmp_path / "theirs", fps=10, **how)
    assert done.episodes == {"round_1": 5} and done.labels == 4
    assert (done.loss == 0) == ((form, how) != ("lerobot", {}))
    assert done.psnr > 25
    import_episodes(tmp_path / "theirs", form, None, tmp_path / "back")
    back = Dataset(tmp_path / "back")
    assert back.spec == spec
    worst = 0.0
    for ours, theirs in zip(wanted, back.read("round_1"), strict=True):
        assert theirs.meta == ours.meta
        assert theirs.pose.tobytes() == ours.pose.tobytes()
        assert theirs.action.tobytes() == ours.action.tobytes()
        difference = np.abs(ours.image.astype(float) - theirs.image)
        worst = max(worst, float((difference**2).mean()))
    # The loss that was stated is the loss.
    if done.loss == 0:
        assert worst == 0 and done.psnr == np.inf
    else:
        assert done.psnr == pytest.approx(10 * np.log10(255**2 / worst))
    # All answers, of each episode in the order in which they were given.
    given = Dataset(tmp_path / "ours").read_labels("round_1")
    assert back.read_labels("round_1") == sorted(given, key=lambda label: label.episode_id)


@pytest.mark.parametrize("form", ["rlds", "robomimic", "lerobot"])
def test_several_splits_or_some(tmp_path, form):
    spec = robot()
    trials(tmp_path / "ours", spec, 3, split="demos_train", labels=False)
    trials(tmp_path / "ours", spec, 4, split="round_1", seed=50)
    export_episodes(tmp_path / "ours", form, tmp_path / "both", fps=10)
    import_episodes(tmp_path / "both", form, None, tmp_path / "back")
    assert Dataset(tmp_path / "back").splits() == {"demos_train": 3, "round_1": 4}
    export_episodes(tmp_path / "ours", form, tmp_path / "one", ["round_1"], fps=10)
    import_episodes(tmp_path / "one", form, None, tmp_path / "back1")
    assert Dataset(tmp_path / "back1").splits() == {"round_1": 4}


def test_pictures_of_odd_sides_go_into_video_too(tmp_path):
    spec = robot(height=25, width=33)
    trials(tmp_path / "ours", spec, 3)
    done = export_episodes(tmp_path / "ours", "lerobot", tmp_path / "out", fps=10)
    assert done.psnr > 30
    info = json.loads((tmp_path / "out/meta/info.json").read_text())
    assert info["features"]["observation.images.top"]["info"]["video.pix_fmt"] == "yuv444p"


def test_changes_stay_changes(tmp_path):
    spec = robot(delta=True)
    trials(tmp_path / "ours", spec, 3)
    export_episodes(tmp_path / "ours", "rlds", tmp_path / "out")
    import_episodes(tmp_path / "out", "rlds", None, tmp_path / "back")
    assert Dataset(tmp_path / "back").spec == spec


def test_an_episode_of_one_step_goes_out_and_back(tmp_path):
    spec = robot()
    trials(tmp_path / "ours", spec, 3, steps=1)
    export_episodes(tmp_path / "ours", "robomimic", tmp_path / "out")
    import_episodes(tmp_path / "out", "robomimic", None, tmp_path / "back")
    assert [len(e) for e in Dataset(tmp_path / "back").read("round_1")] == [1, 2, 3]


def test_the_frame_rate_is_known_from_the_import_or_asked_for(tmp_path):
    trials(tmp_path / "ours", robot(), 3)
    with pytest.raises(ConfigError, match="--fps"):
        export_episodes(tmp_path / "ours", "lerobot", tmp_path / "out")
    with pytest.raises(ConfigError, match="whole number"):
        export_episodes(tmp_path / "ours", "lerobot", tmp_path / "out", fps=7.5)
    export_episodes(tmp_path / "ours", "lerobot", tmp_path / "out", fps=7)
    import_episodes(tmp_path / "out", "lerobot", None, tmp_path / "back")
    export_episodes(tmp_path / "back", "lerobot", tmp_path / "again")
    assert json.loads((tmp_path / "again/meta/info.json").read_text())["fps"] == 7


@pytest.mark.parametrize(
    ("form", "splits", "said"),
    [("zarr", None, "format is 'zarr'"), ("rlds", ["round_2"], "no split 'round_2'")],
)
def test_what_is_asked_wrongly(tmp_path, form, splits, said):
    trials(tmp_path / "ours", robot(), 3)
    with pytest.raises(ConfigError, match=said):
        export_episodes(tmp_path / "ours", form, tmp_path / "out", splits)
    with pytest.raises(DataError, match="holds no dataset"):
        export_episodes(tmp_path / "nothing", "rlds", tmp_path / "out")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["ours"]


def test_a_damaged_dataset_is_not_exported(tmp_path):
    trials(tmp_path / "ours", robot(), 3)
    shard = tmp_path / "ours/mili/1.0.0/mili-round_1.array_record-00001"
    content = bytearray(shard.read_bytes())
    content[40] ^= 1
    shard.write_bytes(content)
    for form in ("rlds", "lerobot", "robomimic"):
        with pytest.raises(DataError, match=shard.name):
            export_episodes(tmp_path / "ours", form, tmp_path / "out", fps=10)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["ours"]


@pytest.mark.parametrize(
    ("form", "how", "limit"),
    [
        *((form, how, 3_000) for form, how in FORMS),
        ("robomimic", {}, 100),
        ("robomimic", {}, 60_000),
    ],
)
def test_a_write_that_the_system_refuses_leaves_nothing(tmp_path, form, how, limit):
    trials(tmp_path / "ours", robot(), 3)
    code = (
        "import resource, signal, sys\n"
        "from mili_jax.interchange.exporting import export_episodes\n"
        "from mili_jax.types import DataError\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))\n"
        "try:\n"
        f"    export_episodes('ours', {form!r}, 'out', fps=10, **{how!r})\n"
        "except DataError as error:\n"
        "    print(error)\n"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=120,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0 and "out could not be written" in done.stdout, done.stderr
    assert sorted(p.name for p in tmp_path.iterdir()) == ["ours"]


def test_what_comes_back_changed_is_not_kept(tmp_path, monkeypatch):
    trials(tmp_path / "ours", robot(), 3)
    from mili_jax.interchange import to_rlds

    honest = to_rlds.png
    monkeypatch.setattr(to_rlds, "png", lambda picture: honest(picture // 2))
    with pytest.raises(DataError, match="comes back with other pictures"):
        export_episodes(tmp_path / "ours", "rlds", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_rlds_as_tfds_reads_it(tmp_path):
    wanted = trials(tmp_path / "ours", robot(2), 3)
    export_episodes(tmp_path / "ours", "rlds", tmp_path / "out")
    info = tfds.builder("mili_episodes", data_dir=str(tmp_path / "out")).info
    assert info.splits["round_1"].num_examples == 3
    folder = tmp_path / "out/mili_episodes/1.0.0"
    (path,) = folder.glob("*.tfrecord-00000-of-00001")
    from mili_jax.interchange import tfrecord

    with path.open("rb") as file:
        for place, ours in zip(tfrecord.index(path), wanted, strict=True):
            record = tfrecord.read_record(file, place, "")
            theirs = info.features.deserialize_example_np(record)
            steps = list(theirs["steps"])
            assert np.array_equal([s["action"] for s in steps], ours.action)
            assert np.array_equal([s["observation"]["state"] for s in steps], ours.pose)
            assert np.array_equal(
                [s["observation"]["image_wrist"] for s in steps], ours.image[:, 1]
            )
            assert [bool(s["is_first"]) for s in steps] == [True] + [False] * (len(ours) - 1)
            assert steps[-1]["is_last"] and steps[-1]["reward"] == ours.meta.success
            assert bool(steps[-1]["is_terminal"]) == ours.meta.terminated
            words = ours.meta.language or ours.meta.task
            assert steps[0]["language_instruction"].decode() == words
            assert theirs["episode_metadata"]["useful"] == ours.meta.useful


def test_robomimic_has_its_documented_layout(tmp_path):
    wanted = trials(tmp_path / "ours", robot(2), 4)
    export_episodes(tmp_path / "ours", "robomimic", tmp_path / "out")
    with h5py.File(tmp_path / "out/episodes.hdf5") as file:
        data = file["data"]
        assert data.attrs["total"] == sum(map(len, wanted))
        assert set(json.loads(data.attrs["env_args"])) == {"env_name", "env_type", "env_kwargs"}
        # As robomimic sorts and counts its demonstrations.
        names = sorted(data, key=lambda name: int(name[5:]))
        assert names == [f"demo_{k}" for k in range(4)]
        for name, ours in zip(names, wanted, strict=True):
            group, steps = data[name], len(ours)
            assert group.attrs["num_samples"] == steps
            assert set(group) == {"actions", "dones", "next_obs", "obs", "rewards", "states"}
            assert set(group["obs"]) == set(group["next_obs"]) == {
                "state", "top_image", "wrist_image",
            }  # fmt: skip
            assert group["actions"].shape == (steps, 4) and group["states"].shape[0] == steps
            assert group["obs/top_image"].dtype == np.uint8
            assert group["obs/top_image"].shape == (steps, 24, 32, 3)
            assert group["rewards"][-1] == ours.meta.success and not group["rewards"][:-1].any()
            assert group["dones"][()].tolist() == [0] * (steps - 1) + [1]
            assert np.array_equal(group["next_obs/state"][:-1], ours.pose[1:])
            assert np.array_equal(group["next_obs/wrist_image"][0], ours.image[1, 1])
        useful = [name.decode() for name in file["mask/useful"][()]]
        # Labels say 0 no, 1 yes, 2 nothing (a no and a yes); 3, of which there are none, says no.
        assert useful == ["demo_1"]
        assert [n.decode() for n in file["mask/round_1"][()]] == names


def test_robomimic_is_a_file_if_it_is_called_like_one(tmp_path):
    trials(tmp_path / "ours", robot(), 3)
    for name in ("a.hdf5", "b.h5"):
        export_episodes(tmp_path / "ours", "robomimic", tmp_path / name)
        assert (tmp_path / name).is_file()
        assert open_source(tmp_path / name, "robomimic").splits["round_1"] == 3
    with pytest.raises(ConfigError, match="is there already"):
        export_episodes(tmp_path / "ours", "robomimic", tmp_path / "a.hdf5")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.hdf5", "b.h5", "ours"]


def test_lerobot_tables_are_what_its_readers_expect(tmp_path):
    wanted = trials(tmp_path / "ours", robot(2), 4)
    export_episodes(tmp_path / "ours", "lerobot", tmp_path / "out", fps=10)
    out = tmp_path / "out"
    info = json.loads((out / "meta/info.json").read_text())
    assert info["codebase_version"] == "v3.0" and info["total_episodes"] == 4
    assert info["splits"] == {"round_1": "0:4"}
    file = pq.ParquetFile(out / "data/chunk-000/file-000.parquet")
    assert file.num_row_groups == 4  # an episode each
    kinds = {field.name: str(field.type) for field in file.schema_arrow}
    assert kinds["observation.state"] == "fixed_size_list<item: float>[7]" or kinds[
        "observation.state"
    ].startswith("fixed_size_list<")
    assert kinds["timestamp"] == "float" and kinds["task_index"] == "int64"
    assert set(kinds) == {n for n, f in info["features"].items() if f["dtype"] != "video"}
    table = file.read().to_pydict()
    assert table["index"] == list(range(info["total_frames"]))
    lengths = [len(episode) for episode in wanted]
    assert table["frame_index"] == [t for n in lengths for t in range(n)]
    assert table["timestamp"] == pytest.approx([t / 10 for n in lengths for t in range(n)])
    assert table["next.done"] == [t == n - 1 for n in lengths for t in range(n)]
    rows = pq.read_table(out / "meta/episodes/chunk-000/file-000.parquet").to_pylist()
    begin = 0
    for row, ours in zip(rows, wanted, strict=True):
        assert (row["dataset_from_index"], row["length"]) == (begin, len(ours))
        above = "videos/observation.images.wrist"
        assert row[f"{above}/from_timestamp"] == pytest.approx(begin / 10)
        assert row[f"{above}/to_timestamp"] == pytest.approx((begin + len(ours)) / 10)
        assert row["stats/action/mean"] == pytest.approx(ours.action.mean(0, np.float64).tolist())
        assert row["tasks"] == [ours.meta.language or ours.meta.task]
        begin += len(ours)
    # pandas reads the tasks with their text as the index.
    tasks = pq.read_table(out / "meta/tasks.parquet")
    meta = json.loads(tasks.schema.metadata[b"pandas"])
    assert meta["index_columns"] == ["task"] and tasks.column_names == ["task_index", "task"]
    stats = json.loads((out / "meta/stats.json").read_text())
    whole = np.concatenate([episode.action for episode in wanted]).astype(np.float64)
    assert stats["action"]["std"] == pytest.approx(whole.std(0).tolist())
    assert np.shape(stats["observation.images.top"]["mean"]) == (3, 1, 1)


def test_every_episode_of_a_video_begins_with_a_key_frame(tmp_path):
    wanted = trials(tmp_path / "ours", robot(), 4, steps=7)  # 7, 8, 9 and 10 steps
    export_episodes(tmp_path / "ours", "lerobot", tmp_path / "out", fps=10)
    path = tmp_path / "out/videos/observation.images.top/chunk-000/file-000.mp4"
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        frames = [(f.key_frame, round(float(f.pts * stream.time_base) * 10)) for f in
                  container.decode(stream)]  # fmt: skip
    assert [n for _, n in frames] == list(range(sum(map(len, wanted))))
    begins = np.cumsum([0, *map(len, wanted)])[:-1]
    assert all(frames[begin][0] for begin in begins)


def test_statistics_are_those_of_numpy():
    rng = np.random.default_rng(0)
    parts = [rng.normal(size=(n, 3)) for n in (2, 30, 7)]
    own = [statistics.of_numbers(part) for part in parts]
    assert own[1]["q10"] == pytest.approx(np.quantile(parts[1], 0.1, axis=0))
    whole = statistics.together(own)
    together = np.concatenate(parts)
    for name in ("min", "max", "mean", "std"):
        assert whole[name] == pytest.approx(getattr(together, name)(0))
    assert whole["count"].tolist() == [39]
    assert whole["q99"] == pytest.approx(np.max([s["q99"] for s in own], 0))
    pictures = rng.integers(0, 256, (5, 16, 20, 3), np.uint8)
    found = statistics.of_pictures(pictures)
    flat = pictures.reshape(-1, 3) / 255
    for name in ("min", "max", "mean", "std"):
        assert found[name].ravel() == pytest.approx(getattr(flat, name)(0))
    wanted = np.quantile(flat, 0.9, axis=0)
    assert found["q90"].ravel() == pytest.approx(wanted, abs=1 / 255)


def smooth(root, count=4, steps=120):
    """Demonstrations in which nothing is odd: long and moving all the time."""
    spec = Spec(layout(unit="m"), layout(unit="m"), 32, 32, (Camera("front"),))
    found = []
    for k in range(count):
        made = make(k, steps=steps, height=32, width=32)
        time = np.linspace(0, 9, steps)[:, None] + k * 0.7
        pose = np.sin(time * np.arange(1, 8) * 0.37).astype(np.float32)
        action = np.sin(time * np.arange(1, 8) * 0.37 + 0.05).astype(np.float32)
        meta = EpisodeMeta(
            f"d{k}", f"task {k % 2}", "", k, 0, "expert", "", "camera", True, True, ()
        )
        found.append(Episode(made.front, pose, action, meta))
    dataset = Dataset(root, spec)
    dataset.write_shard("demos_train", 0, found)
    dataset.commit("demos_train", 1)


@pytest.mark.parametrize("lossless", [False, True])
def test_lerobot_doctor_has_no_complaint(tmp_path, lossless):
    smooth(tmp_path / "ours")
    export_episodes(tmp_path / "ours", "lerobot", tmp_path / "out", fps=10, lossless=lossless)
    done = subprocess.run(
        [Path(sys.executable).with_name("lerobot-doctor"), "check", tmp_path / "out"],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout
    assert "FAIL" not in done.stdout and "WARN" not in done.stdout, done.stdout


TF_CODE = """
import sys, numpy as np, tensorflow_datasets as tfds
dataset = tfds.builder("mili_episodes", data_dir=sys.argv[1]).as_dataset(split="round_1")
for k, episode in enumerate(dataset):
    steps = list(episode["steps"])
    for name, value in (
        ("image", [s["observation"]["image"].numpy() for s in steps]),
        ("pose", [s["observation"]["state"].numpy() for s in steps]),
        ("action", [s["action"].numpy() for s in steps]),
    ):
        np.save(f"{sys.argv[2]}/{k}_{name}.npy", np.stack(value))
"""


def python_with_tensorflow():
    """The Python that has TensorFlow: this one with the extra [tf], or that of MILI_TF_PYTHON."""
    import importlib.util

    if named := os.environ.get("MILI_TF_PYTHON"):
        return named
    return sys.executable if importlib.util.find_spec("tensorflow") else None


# TensorFlow is larger than all other packages together, and nothing else here needs it. What TFDS
# itself reads of an export is tested everywhere (`test_rlds_as_tfds_reads_it`).
@pytest.mark.skipif(not python_with_tensorflow(), reason="TensorFlow is not installed")
def test_tf_data_opens_the_export(tmp_path):
    wanted = trials(tmp_path / "ours", robot(), 3)
    export_episodes(tmp_path / "ours", "rlds", tmp_path / "out")
    (tmp_path / "read").mkdir()
    command = [python_with_tensorflow(), "-c", TF_CODE, tmp_path / "out", tmp_path / "read"]
    done = subprocess.run(
        list(map(str, command)), capture_output=True, text=True, timeout=600, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    for k, ours in enumerate(wanted):
        for name in ("image", "pose", "action"):
            theirs = np.load(tmp_path / f"read/{k}_{name}.npy")
            assert theirs.tobytes() == getattr(ours, name).tobytes()


def test_the_command_says_what_was_lost(tmp_path):
    trials(tmp_path / "ours", robot(), 3)
    said, ours = [], str(tmp_path / "ours")
    commands.export(ours, "lerobot", str(tmp_path / "out"), fps=10, show=said.append)
    assert "H.264 at crf 18" in said[1] and "--lossless" in said[1]
    commands.export(str(tmp_path / "ours"), "robomimic", str(tmp_path / "r"), show=said.append)
    assert "the same to the bit" in said[3] and "between -1 and 1" in said[4]
    assert Path(tmp_path / "r/episodes.hdf5").exists()
    assert open_source(tmp_path / "r", "robomimic").splits["useful"] == 2
