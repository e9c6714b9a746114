"""Imports: what was logged is what the dataset holds, all of it or nothing."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from makers import (
    write_lerobot_v21,
    write_lerobot_v30,
    write_rlds,
    write_robomimic,
)
from plans import plan

from mili_jax.interchange import commands, importing
from mili_jax.interchange.importing import import_episodes
from mili_jax.interchange.mapping import TaskLine
from mili_jax.interchange.mapping_file import as_plain, parse, render
from mili_jax.storage.dataset import Dataset
from mili_jax.types import ConfigError, DataError

ROOT = Path(__file__).resolve().parents[2]


def stored(out, split="demos_train"):
    return list(Dataset(out).read(split))


def test_what_was_logged_is_in_the_dataset(tmp_path):
    made = write_rlds(tmp_path / "d", {"train": 5, "val": 2}, shards=2)
    mapping = plan(
        "rlds",
        delta=True,
        cameras=("front", "wrist"),
        splits={"train": "demos_train", "val": "demos_validation"},
        facts={"seed": "episode_metadata/number"},
    )
    report = import_episodes(tmp_path / "d", "rlds", mapping, tmp_path / "out")
    assert report.episodes == {"demos_train": 5, "demos_validation": 2}
    assert report.steps == 7 * 12 and report.tasks.total() == 7
    dataset = Dataset(tmp_path / "out")
    assert dataset.spec == mapping.spec()
    for split, ours in mapping.splits.items():
        for k, (episode, wanted) in enumerate(zip(dataset.read(ours), made[split], strict=True)):
            assert np.array_equal(episode.image, np.stack([wanted.front, wanted.wrist], 1))
            assert episode.pose.tobytes() == wanted.state.tobytes()
            assert episode.action.tobytes() == wanted.action.tobytes()
            meta = episode.meta
            assert meta.task == wanted.task.lower().rstrip(".") and meta.language == wanted.task
            assert meta.success == meta.useful == wanted.success
            assert meta.achieved_tasks == ((meta.task,) if wanted.success else ())
            assert (meta.policy, meta.renderer, meta.round) == ("expert", "camera", 0)
            assert meta.episode_id == f"{split}-{k:06d}"
    # How it was made lies beside it, and can be used again.
    text = (tmp_path / "out/mapping.yaml").read_text()
    assert parse(text, "it") == mapping and str(tmp_path / "d") in text


@pytest.mark.parametrize("form", ["lerobot", "robomimic", "v21"])
def test_the_other_formats(tmp_path, form):
    name = "lerobot" if form == "v21" else form
    made = {
        "v21": lambda: write_lerobot_v21(tmp_path / "d", 4),
        "lerobot": lambda: write_lerobot_v30(tmp_path / "d", 4),
        "robomimic": lambda: write_robomimic(tmp_path / "d", 4),
    }[form]()
    import_episodes(tmp_path / "d", name, plan(name), tmp_path / "out")
    for episode, wanted in zip(stored(tmp_path / "out"), made, strict=True):
        assert episode.action.tobytes() == wanted.action.tobytes()
        difference = np.abs(episode.image.astype(int) - wanted.front).mean()
        assert difference == 0 if form == "robomimic" else difference < 8


@contextlib.contextmanager
def small_shards(episodes):
    """Shards of a few episodes, and a process for each that is asked for."""
    before = importing._SHARD_EPISODES, importing._SHARDS_EACH
    importing._SHARD_EPISODES, importing._SHARDS_EACH = episodes, 1
    try:
        yield
    finally:
        importing._SHARD_EPISODES, importing._SHARDS_EACH = before


def test_several_processes_write_the_same_dataset(tmp_path):
    write_rlds(tmp_path / "d", {"train": 9, "val": 3}, steps=4)
    mapping = plan("rlds", delta=True, splits={"train": "demos_train", "val": "demos_val"})
    with small_shards(2):
        seen = []
        reports = [
            import_episodes(
                tmp_path / "d",
                "rlds",
                mapping,
                tmp_path / f"out{n}",
                processes=n,
                progress=lambda done, total: seen.append((done, total)),
            )
            for n in (1, 2)
        ]
    assert reports[0] == reports[1] and seen[-1] == (12, 12)
    for path in (tmp_path / "out1/mili/1.0.0").iterdir():
        other = tmp_path / "out2/mili/1.0.0" / path.name
        assert other.read_bytes() == path.read_bytes(), path.name


def test_an_error_in_another_process_is_the_same_error(tmp_path):
    write_rlds(tmp_path / "d", {"train": 6}, steps=4)
    mapping = plan("rlds", delta=True)
    tight = tuple(
        dataclasses.replace(n, low=-1e-6, high=1e-6) if n.name == "x" else n for n in mapping.action
    )
    mapping = dataclasses.replace(mapping, action=tight)
    said = []
    with small_shards(1):
        for n in (1, 2):
            with pytest.raises(DataError, match="beyond its bounds") as error:
                import_episodes(tmp_path / "d", "rlds", mapping, tmp_path / "out", processes=n)
            said.append(str(error.value))
            assert left_behind(tmp_path) == ["d"]
    assert said[0] == said[1]


def left_behind(folder):
    return sorted(path.name for path in folder.iterdir())


def test_what_is_left_out_is_reported(tmp_path):
    write_rlds(tmp_path / "d", {"train": 4})
    mapping = plan("rlds", delta=True, task=TaskLine(field="episode_metadata/file_path"))
    report = import_episodes(tmp_path / "d", "rlds", mapping, tmp_path / "a")
    assert report.left_out == [] and len(report.tasks) == 4
    from makers import frame
    from tensorflow_datasets.proto import tf_example_pb2

    from mili_jax.interchange import tfrecord

    path = tmp_path / "d/robot-train.tfrecord-00000-of-00001"
    records = []
    with path.open("rb") as file:
        for k, place in enumerate(tfrecord.index(path)):
            example = tf_example_pb2.Example.FromString(tfrecord.read_record(file, place, ""))
            if k in (0, 2):
                field = example.features.feature["steps/language_instruction"].bytes_list
                field.value[:] = [b" "] * len(field.value)
            records.append(example.SerializeToString())
    path.write_bytes(b"".join(map(frame, records)))
    skip = TaskLine(field="steps/language_instruction", empty="skip")
    report = import_episodes(
        tmp_path / "d", "rlds", plan("rlds", delta=True, task=skip), tmp_path / "b"
    )
    assert len(report.left_out) == 2 and "record 2 has no instruction" in report.left_out[1]
    ids = [episode.meta.episode_id for episode in stored(tmp_path / "b")]
    assert ids == ["train-000001", "train-000003"]


def test_episodes_of_one_step_can_be_skipped(tmp_path):
    write_robomimic(tmp_path / "d.hdf5", 3)
    import h5py

    with h5py.File(tmp_path / "d.hdf5", "a") as file:
        group = file["data/demo_1"]
        for name in ("actions", "rewards", "dones", "states", "obs/state", "next_obs/state",
                     "obs/agentview_image", "obs/robot0_eye_in_hand_image"):  # fmt: skip
            values = group[name][:1]
            del group[name]
            group[name] = values
        group.attrs["num_samples"] = 1
        del file["data"].attrs["total"]
    with pytest.raises(DataError, match="demo_1 has 1 step"):
        import_episodes(tmp_path / "d.hdf5", "robomimic", plan("robomimic"), tmp_path / "out")
    mapping = plan("robomimic", short="skip")
    report = import_episodes(tmp_path / "d.hdf5", "robomimic", mapping, tmp_path / "out")
    assert report.episodes == {"demos_train": 2} and len(report.left_out) == 1


def test_clipped_numbers_are_counted(tmp_path):
    write_robomimic(tmp_path / "d.hdf5", 2)
    mapping = plan("robomimic", outside="clip")
    high = max(float(e.action[:, 0].max()) for e in write_robomimic(tmp_path / "e.hdf5", 2))
    narrow = tuple(
        dataclasses.replace(n, high=high - 0.01) if n.name == "x" else n for n in mapping.action
    )
    mapping = dataclasses.replace(mapping, action=narrow)
    report = import_episodes(tmp_path / "d.hdf5", "robomimic", mapping, tmp_path / "out")
    found = np.concatenate([episode.action[:, 0] for episode in stored(tmp_path / "out")])
    assert report.clipped == (found == np.float32(high - 0.01)).sum() > 0
    assert found.max() == np.float32(high - 0.01)


def test_a_folder_with_something_in_it_is_left_alone(tmp_path):
    write_robomimic(tmp_path / "d.hdf5", 2)
    (tmp_path / "out").mkdir()
    (tmp_path / "out/mine").write_text("keep")
    with pytest.raises(ConfigError, match="is there already"):
        import_episodes(tmp_path / "d.hdf5", "robomimic", plan("robomimic"), tmp_path / "out")
    assert left_behind(tmp_path / "out") == ["mine"]
    (tmp_path / "out/mine").unlink()  # an empty folder may be filled
    import_episodes(tmp_path / "d.hdf5", "robomimic", plan("robomimic"), tmp_path / "out")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"format": "lerobot"}, "the mapping is for lerobot"),
        ({"splits": {"gone": "demos_train"}}, "takes the split 'gone'"),
        ({"task": TaskLine(field="obs/words")}, "task.field is 'obs/words'"),
        ({"task": TaskLine(field="obs/state")}, "of the kind number"),
        ({"facts": {"seed": "attrs/seed"}}, "facts.seed is 'attrs/seed'"),
    ],
)
def test_a_mapping_that_does_not_fit_is_refused_before_reading(tmp_path, change, said):
    write_robomimic(tmp_path / "d.hdf5", 2)
    with pytest.raises(ConfigError) as error:
        import_episodes(
            tmp_path / "d.hdf5", "robomimic", plan("robomimic", **change), tmp_path / "out"
        )
    assert said in str(error.value) and left_behind(tmp_path) == ["d.hdf5"]


def test_equal_ids_are_refused(tmp_path):
    write_robomimic(tmp_path / "d.hdf5", 3)
    mapping = plan("robomimic", facts={"episode_id": "attrs/num_samples"})
    with pytest.raises(DataError, match="episode '12' is also in"):
        import_episodes(tmp_path / "d.hdf5", "robomimic", mapping, tmp_path / "out")
    assert left_behind(tmp_path) == ["d.hdf5"]


def test_a_full_disk_leaves_nothing(tmp_path, monkeypatch):
    write_robomimic(tmp_path / "d.hdf5", 3)

    def refuse(*arguments):
        raise DataError("mili-demos_train could not be written (No space left on device)")

    monkeypatch.setattr(importing, "write_shard", refuse)
    with pytest.raises(DataError, match="No space"):
        import_episodes(tmp_path / "d.hdf5", "robomimic", plan("robomimic"), tmp_path / "out")
    assert left_behind(tmp_path) == ["d.hdf5"]


def test_a_killed_import_leaves_no_dataset_and_the_next_one_cleans_up(tmp_path):
    write_rlds(tmp_path / "d", {"train": 60}, steps=30)
    (tmp_path / "map.yaml").write_text(render(as_plain(plan("rlds", delta=True))))
    code = (
        "import time; from mili_jax.interchange import importing as m; m._SHARD_EPISODES = 20; "
        "i = m.import_episodes; "
        f"i({str(tmp_path / 'd')!r}, 'rlds', {str(tmp_path / 'map.yaml')!r}, "
        # It stays in the middle until it is killed.
        f"{str(tmp_path / 'out')!r}, progress=lambda *a: time.sleep(600 * (0 < a[0] < a[1])))"
    )
    child = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT)
    try:
        deadline = time.monotonic() + 60
        while child.poll() is None and time.monotonic() < deadline:
            if list(tmp_path.glob(".out.importing-*/mili/1.0.0/*-00000*")):
                break
            time.sleep(0.005)
        child.send_signal(signal.SIGKILL)
    finally:
        child.wait(60)
    assert child.returncode == -signal.SIGKILL
    assert not (tmp_path / "out").exists() and list(tmp_path.glob(".out.importing-*"))
    import_episodes(tmp_path / "d", "rlds", plan("rlds", delta=True), tmp_path / "out")
    assert left_behind(tmp_path) == ["d", "map.yaml", "out"]
    assert Dataset(tmp_path / "out").splits() == {"demos_train": 60}


def test_an_import_that_runs_is_not_swept_away(tmp_path):
    write_robomimic(tmp_path / "d.hdf5", 2)
    from mili_jax.interchange.importing import staging

    with staging(tmp_path / "out") as folder:
        (folder / "part").write_text("of a running import")
        with contextlib.suppress(ConfigError, DataError), staging(tmp_path / "out"):
            assert (folder / "part").exists()
            raise DataError("the second one fails")
        assert (folder / "part").exists()
    assert (tmp_path / "out/part").exists()


def test_the_command_guesses_shows_and_imports(tmp_path):
    write_rlds(tmp_path / "d", {"train": 4})
    lines = []
    commands.import_(
        str(tmp_path / "d"), "rlds", None, str(tmp_path / "out"), processes=1, show=lines.append
    )
    said = "\n".join(lines)
    assert "This mapping was guessed" in said and "unit: rad" in said
    assert f"Imported to {tmp_path / 'out'}: demos_train 4; 48 steps, 2 tasks" in said
    assert left_behind(tmp_path) == ["d", "out"]


def test_the_command_asks_for_what_it_cannot_know(tmp_path):
    write_lerobot_v21(tmp_path / "d", 3)
    path = tmp_path / "d/meta/info.json"
    path.write_text(path.read_text().replace('"yaw"', '"elbow"'))
    lines = []
    with pytest.raises(ConfigError, match="nobody but you can know") as error:
        commands.import_(
            str(tmp_path / "d"), "lerobot", None, str(tmp_path / "out"), show=lines.append
        )
    written = tmp_path / "out.mapping.yaml"
    assert str(written) in str(error.value) and 'unit: "?"' in str(error.value)
    assert not (tmp_path / "out").exists()
    with pytest.raises(ConfigError, match="fill in"):
        commands.import_(str(tmp_path / "d"), "lerobot", str(written), str(tmp_path / "out"))
    written.write_text(written.read_text().replace('"?"', "rad"))
    commands.import_(
        str(tmp_path / "d"), "lerobot", str(written), str(tmp_path / "out"), processes=1,
        show=lines.append,
    )  # fmt: skip
    assert Dataset(tmp_path / "out").splits() == {"demos_train": 3}
    assert os.path.exists(written)  # it is the person's now


def test_parts_of_one_split_become_splits_of_ours(tmp_path):
    made = write_rlds(tmp_path / "d", {"train": 9})["train"]
    splits = {"train[:4]": "demos_train", "train[4:-2]": "round_2", "train[-2:]": "demos_test"}
    report = import_episodes(tmp_path / "d", "rlds", plan("rlds", splits=splits), tmp_path / "out")
    assert report.episodes == {"demos_train": 4, "round_2": 3, "demos_test": 2}
    first = 0
    for ours, count in report.episodes.items():
        found = stored(tmp_path / "out", ours)
        for episode, wanted in zip(found, made[first : first + count], strict=True):
            assert episode.pose.tobytes() == wanted.state.tobytes()
            assert episode.meta.round == (2 if ours == "round_2" else 0)
        first += count
    names = [e.meta.episode_id for ours in report.episodes for e in stored(tmp_path / "out", ours)]
    assert names == [f"train-{k:06d}" for k in range(9)]
    again = parse((tmp_path / "out" / importing.MAPPING_FILE).read_text(), "it")
    assert again.splits == splits


@pytest.mark.parametrize(
    ("splits", "said"),
    [
        ({"train[:5]": "demos_train", "train[4:]": "round_1"}, "episode 4 is in 'train[:5]' and"),
        ({"train[:2]": "demos_train", "train": "round_1"}, "episode 0 is in"),
        ({"train[9:]": "demos_train"}, "'train[9:]' has no episode; there are 9"),
        ({"train[::0]": "demos_train"}, "has a step of 0"),
        ({"test[:2]": "demos_train"}, "takes the split 'test'"),
        ({"train[2]": "demos_train"}, "takes the split 'train[2]'"),
        ({"train[::-1]": "demos_train"}, "takes the split 'train[::-1]'"),
    ],
)
def test_parts_that_cannot_be_are_refused(tmp_path, splits, said):
    write_rlds(tmp_path / "d", {"train": 9})
    with pytest.raises(ConfigError) as caught:
        import_episodes(tmp_path / "d", "rlds", plan("rlds", splits=splits), tmp_path / "out")
    assert said in str(caught.value) and not (tmp_path / "out").exists()
