"""What the readers read is what was written by other means, and what TFDS itself reads."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow_datasets as tfds
from makers import (
    FPS,
    TASKS,
    episode,
    frame,
    masked,
    picture,
    rlds_features,
    rlds_record,
    write_description,
    write_lerobot_v21,
    write_lerobot_v30,
    write_records,
    write_rlds,
    write_robomimic,
)

from mili_jax.interchange import tfrecord
from mili_jax.interchange.lerobot import open_lerobot, ranges, read_lerobot
from mili_jax.interchange.rlds import open_rlds, read_rlds
from mili_jax.interchange.robomimic import open_robomimic, read_robomimic
from mili_jax.types import DataError

ROOT = Path(__file__).resolve().parents[2]


def pictures(recording, field, steps=None):
    steps = np.arange(recording.length) if steps is None else np.asarray(steps)
    return np.stack(list(recording.pictures[field].read(steps)))


def close(found, wanted, tolerance):
    """Pictures that differ by no more than a codec's loss."""
    return np.abs(found.astype(int) - wanted).mean() < tolerance


@pytest.mark.parametrize("size", [0, 1, 7, 8, 9, 1000])
def test_checksums_are_those_of_the_polynomial(size):
    data = bytes(k * 37 % 256 for k in range(size))
    assert tfrecord.checksum(data) == masked(data)


def test_the_checksum_of_the_standards_example():
    # RFC 3720, B.4: 32 bytes of zeros have the CRC-32C 8a9136aa.
    crc = 0x8A9136AA
    assert tfrecord.checksum(bytes(32)) == ((crc >> 15 | crc << 17) + 0xA282EAD8) % 2**32


def test_records_that_were_written_are_those_of_another_writer(tmp_path):
    records = [b"", b"a", bytes(range(256)) * 20]
    tfrecord.write(tmp_path / "file", records)
    assert (tmp_path / "file").read_bytes() == b"".join(map(frame, records))
    places = tfrecord.index(tmp_path / "file")
    with (tmp_path / "file").open("rb") as file:
        assert [tfrecord.read_record(file, place, "it") for place in places] == records


@pytest.mark.parametrize("file_format", ["tfrecord", "array_record"])
@pytest.mark.parametrize("form", ["png", "jpeg"])
def test_rlds_is_what_tfds_reads(tmp_path, file_format, form):
    folder = tmp_path / "robot" / "1.0.0"
    made = write_rlds(folder, {"train": 3, "val": 2}, form, file_format)
    source = open_rlds(tmp_path)  # found two folders down
    assert source.splits == {"train": 3, "val": 2} and source.notes == ()
    parser = tfds.builder_from_directory(str(folder)).info.features
    for split in ("train", "val"):
        for k, recording in enumerate(source.read(split, range(source.splits[split]))):
            wanted = made[split][k]
            record = rlds_record(rlds_features(form), wanted, k, form)
            theirs = parser.deserialize_example_np(record)
            steps = list(theirs["steps"])
            assert recording.length == len(steps) == len(wanted.state)
            for name in ("action", "reward", "is_last"):
                ours = recording.numbers[f"steps/{name}"]
                assert np.array_equal(ours, [step[name] for step in steps])
                assert ours.dtype == steps[0][name].dtype
            assert recording.numbers["steps/observation/state"].tobytes() == wanted.state.tobytes()
            front = pictures(recording, "steps/observation/image_0")
            assert np.array_equal(front, [s["observation"]["image_0"] for s in steps])
            assert np.array_equal(front, wanted.front) == (form == "png")
            assert recording.texts["steps/language_instruction"] == (wanted.task,) * len(steps)
            assert recording.facts["episode_metadata/file_path"] == f"/logs/{k}"
            assert recording.facts["episode_metadata/number"] == k


def test_rlds_reads_every_type_of_number_and_names_what_it_cannot_read(tmp_path):
    rng = np.random.default_rng(0)
    steps = 4
    kinds = {
        "packed": (np.float64, (3,), "bytes"),
        "zipped": (np.int16, (2, 2), "zlib"),
        "bytes8": (np.uint8, (5,), "none"),
        "flag": (np.bool_, (), "none"),
        "long": (np.int64, (1,), "none"),
    }
    values = {
        name: (rng.normal(size=(steps, *shape)) * 100).astype(dtype)
        for name, (dtype, shape, _) in kinds.items()
    }
    tensors = {
        name: tfds.features.Tensor(
            shape=shape, dtype=dtype, encoding=tfds.features.Encoding(encoding)
        )
        for name, (dtype, shape, encoding) in kinds.items()
    }
    raw = rng.integers(0, 256, (steps, 24, 32, 3), np.uint8)
    tensors["raw"] = tfds.features.Tensor(
        shape=(24, 32, 3), dtype=np.uint8, encoding=tfds.features.Encoding.BYTES
    )
    tensors["depth"] = tfds.features.Image(shape=(24, 32, 1), encoding_format="png")
    features = rlds_features(**tensors)
    depth = [io.BytesIO(picture(raw[t, :, :, 0], "png")) for t in range(steps)]
    record = rlds_record(features, episode(0, steps=steps), 0, raw=raw, depth=depth, **values)
    write_records(tmp_path / "robot-train.tfrecord-00000-of-00001", [record])
    write_description(tmp_path, features, [{"name": "train", "shardLengths": ["1"]}])
    (recording,) = read_rlds(tmp_path)
    for name, wanted in values.items():
        found = recording.numbers[f"steps/{name}"]
        assert found.dtype == wanted.dtype and np.array_equal(found, wanted), name
    assert np.array_equal(pictures(recording, "steps/raw"), raw)
    column = open_rlds(tmp_path).columns["steps/depth"]
    assert column.kind == "other" and "(24, 32, 1)" in column.why
    assert "steps/depth" not in {*recording.numbers, *recording.pictures}


def test_rlds_leaves_out_texts_that_are_packed(tmp_path):
    features = rlds_features()
    record = rlds_record(features, episode(0), 0)
    write_records(tmp_path / "robot-train.tfrecord-00000-of-00001", [record])
    write_description(tmp_path, features, [{"name": "train", "shardLengths": ["1"]}])
    raw = json.loads((tmp_path / "features.json").read_text())
    steps = raw["featuresDict"]["features"]["steps"]["sequence"]["feature"]["featuresDict"]
    packed = {"shape": {}, "dtype": "string", "encoding": "zlib"}
    steps["features"]["language_instruction"] = {"tensor": packed}
    (tmp_path / "features.json").write_text(json.dumps(raw))
    column = open_rlds(tmp_path).columns["steps/language_instruction"]
    assert column.kind == "other" and "zlib" in column.why
    (recording,) = read_rlds(tmp_path)
    assert not recording.texts


def test_rlds_reads_only_what_is_asked_for(tmp_path):
    write_rlds(tmp_path / "d", {"train": 2})
    (recording,) = open_rlds(tmp_path / "d").read("train", [1], {"steps/action"})
    assert set(recording.numbers) == {"steps/action"} and not recording.pictures


def test_a_split_without_files_is_named_and_the_others_are_there(tmp_path):
    write_rlds(tmp_path / "d", {"train": 2, "val": 2})
    (tmp_path / "d/robot-val.tfrecord-00000-of-00001").unlink()
    source = open_rlds(tmp_path / "d")
    assert source.splits == {"train": 2}
    (note,) = source.notes
    assert "'val'" in note and "robot-val.tfrecord-00000-of-00001" in note


def test_a_split_that_lacks_a_file_is_refused_unless_what_is_there_is_asked_for(tmp_path):
    write_rlds(tmp_path / "d", {"train": 5}, shards=2)
    gone = tmp_path / "d/robot-train.tfrecord-00001-of-00002"
    gone.unlink()
    with pytest.raises(DataError, match=f"{gone}.*--partial"):
        open_rlds(tmp_path / "d")
    source = open_rlds(tmp_path / "d", partial=True)
    assert source.splits == {"train": 3} and gone.name in source.notes[0]


def test_files_that_nothing_lists_are_named(tmp_path):
    write_rlds(tmp_path / "d", {"train": 1})
    extra = tmp_path / "d/robot-test.tfrecord-00000-of-00001"
    extra.write_bytes(b"")
    assert extra.name in open_rlds(tmp_path / "d").notes[0]


@pytest.mark.parametrize("encoder", ["libx264", "libsvtav1"])
def test_lerobot_v21_is_what_was_written(tmp_path, encoder):
    codec = {"libx264": "h264", "libsvtav1": "av1"}[encoder]
    size = {"height": 64, "width": 80}
    made = write_lerobot_v21(tmp_path / "d", 3, codec, encoder, **size)
    source = open_lerobot(tmp_path / "d")
    assert source.splits == {"train": 3} and source.fps == FPS
    assert source.columns["action"].names[-1] == "gripper"
    assert source.columns["observation.images.front"].codec == codec
    for recording, wanted in zip(read_lerobot(tmp_path / "d"), made, strict=True):
        assert recording.numbers["action"].tobytes() == wanted.action.tobytes()
        assert recording.numbers["observation.state"].tobytes() == wanted.state.tobytes()
        assert recording.texts["task"] == (wanted.task,) * recording.length
        assert recording.numbers["next.success"][-1] == wanted.success
        for key in ("front", "wrist"):
            field = f"observation.images.{key}"
            whole = pictures(recording, field)
            assert close(whole, getattr(wanted, key), 12)
            # Any steps are those steps, and nearer to their own picture than to the others.
            chosen = [1, 5, 6, 11]
            assert np.array_equal(pictures(recording, field, chosen), whole[chosen])


@pytest.mark.parametrize("groups", [True, False])
def test_lerobot_v30_finds_each_episode_in_shared_files(tmp_path, groups):
    made = write_lerobot_v30(tmp_path / "d", 5, per_file=3, per_video=2, groups=groups)
    source = open_lerobot(tmp_path / "d")
    order = [4, 0, 3, 1, 2]  # in any order
    for k, recording in zip(order, source.read("train", order), strict=True):
        wanted = made[k]
        assert recording.number == k
        assert recording.numbers["action"].tobytes() == wanted.action.tobytes()
        front = pictures(recording, "observation.images.front")
        errors = [np.abs(front.astype(int) - other.front[: len(front)]).mean() for other in made]
        assert int(np.argmin(errors)) == k and errors[k] < 5
        # Frame by frame: no other frame of the episode is nearer.
        for t in range(0, recording.length, 4):
            distance = np.abs(front[t].astype(int) - wanted.front).mean((1, 2, 3))
            assert distance[t] == distance.min()


@pytest.mark.parametrize("write", [write_lerobot_v21, write_lerobot_v30])
def test_lerobot_pictures_inside_the_tables(tmp_path, write):
    made = write(tmp_path / "d", 3, kind="image")
    for recording, wanted in zip(read_lerobot(tmp_path / "d"), made, strict=True):
        assert np.array_equal(pictures(recording, "observation.images.front"), wanted.front)
        assert np.array_equal(
            pictures(recording, "observation.images.wrist", [3]), wanted.wrist[3:4]
        )


@pytest.mark.parametrize("details", [None, "h264", 5, [], {}])
def test_lerobot_reads_a_video_without_details_of_it(tmp_path, details):
    write_lerobot_v21(tmp_path, 1)
    file = tmp_path / "meta" / "info.json"
    info = json.loads(file.read_text())
    camera = next(f for f in info["features"].values() if f["dtype"] == "video")
    camera["info"] = details
    file.write_text(json.dumps(info))
    (recording,) = read_lerobot(tmp_path)
    assert all(
        len(pictures(recording, name)) == len(recording.numbers["action"])
        for name in recording.pictures
    )


def test_lerobot_pictures_that_the_table_names_are_read_from_their_files(tmp_path):
    made = write_lerobot_v21(tmp_path / "d", 1, kind="image")
    path = tmp_path / "d/data/chunk-000/episode_000000.parquet"
    table = pq.read_table(path)
    names = []
    for k, array in enumerate(made[0].front):
        name = f"images/front/frame-{k:06d}.png"
        (tmp_path / "d" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "d" / name).write_bytes(picture(array, "png"))
        names.append({"bytes": None, "path": name})
    column = table.schema.get_field_index("observation.images.front")
    kind = table.schema.field(column).type
    table = table.set_column(column, "observation.images.front", pa.array(names, kind))
    pq.write_table(table, path)
    (recording,) = read_lerobot(tmp_path / "d")
    assert np.array_equal(pictures(recording, "observation.images.front"), made[0].front)


def test_episodes_that_info_json_promises_are_named(tmp_path):
    write_lerobot_v21(tmp_path / "d", 6)
    for k in (0, 1, 4):
        (tmp_path / f"d/data/chunk-000/episode_{k:06d}.parquet").unlink()
    (tmp_path / "d/videos/chunk-000/observation.images.wrist/episode_000005.mp4").unlink()
    with pytest.raises(DataError, match=r"promises 6 episodes, 2 are there. Missing: 0-1, 4-5"):
        open_lerobot(tmp_path / "d")
    source = open_lerobot(tmp_path / "d", partial=True)
    assert source.splits == {"train": 2} and "Missing: 0-1, 4-5" in source.notes[0]
    found = [r.facts["episode/episode_index"] for r in source.read("train", [0, 1])]
    assert found == [2, 3]


def test_splits_of_info_json(tmp_path):
    write_lerobot_v21(tmp_path / "d", 4)
    path = tmp_path / "d/meta/info.json"
    info = json.loads(path.read_text())
    path.write_text(json.dumps({**info, "splits": {"train": "0:2", "test": "2:3"}}))
    source = open_lerobot(tmp_path / "d")
    assert source.splits == {"train": 2, "test": 1} and "left out: 3" in source.notes[0]


def test_ranges():
    assert ranges([0, 1, 2, 5, 7, 8]) == "0-2, 5, 7-8" and ranges([]) == ""


@pytest.mark.parametrize("big_endian", [False, True])
def test_robomimic_is_what_was_written(tmp_path, big_endian):
    made = write_robomimic(tmp_path / "d.hdf5", 4, big_endian=big_endian)
    source = open_robomimic(tmp_path)  # the one file in the folder
    assert source.splits == {"all": 4, "train": 3, "valid": 1}
    for recording, wanted in zip(read_robomimic(tmp_path / "d.hdf5"), made, strict=True):
        assert np.array_equal(recording.numbers["actions"], wanted.action)
        assert recording.numbers["obs/state"].dtype == np.float32
        assert np.array_equal(pictures(recording, "obs/agentview_image"), wanted.front)
        assert np.array_equal(
            pictures(recording, "obs/robot0_eye_in_hand_image", [2, 3]), wanted.wrist[2:4]
        )
        assert recording.facts["env_args/env_name"] == "Lift"
    (last,) = source.read("valid", [0])
    assert last.facts["demo"] == "demo_3" and last.facts["mask/valid"]


def test_robomimic_counts_demonstrations_by_number(tmp_path):
    made = write_robomimic(tmp_path / "d.hdf5", 12, masks=False)
    found = [r.facts["demo"] for r in read_robomimic(tmp_path / "d.hdf5")]
    assert found == [f"demo_{k}" for k in range(12)]  # and not 0, 1, 10, 11, 2
    with h5py.File(tmp_path / "d.hdf5") as file:
        assert np.array_equal(file["data/demo_10/actions"], made[10].action)


def test_the_language_of_an_episode_in_robomimic(tmp_path):
    write_robomimic(tmp_path / "d.hdf5", 2)
    with h5py.File(tmp_path / "d.hdf5", "a") as file:
        for k in range(2):
            file[f"data/demo_{k}"].attrs["ep_meta"] = json.dumps({"lang": TASKS[k]})
    found = [r.facts["ep_meta/lang"] for r in read_robomimic(tmp_path / "d.hdf5")]
    assert found == list(TASKS)


def test_a_generator_holds_one_episode_at_a_time(tmp_path):
    """What was read before may go: nothing keeps it."""
    import gc
    import weakref

    write_rlds(tmp_path / "d", {"train": 3})
    seen = []
    for recording in read_rlds(tmp_path / "d"):
        seen.append(weakref.ref(recording))
        del recording
        gc.collect()
        assert sum(ref() is not None for ref in seen) <= 1


def test_nothing_of_this_room_imports_jax_or_tensorflow():
    code = (
        "import sys, mili_jax.interchange.commands; "
        "print([m for m in ('jax', 'flax', 'orbax', 'tensorflow', 'torch', 'pybullet') "
        "if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout.strip() == "[]"
