"""A guessed mapping: what the numbers show, what they cannot, and the reasons that it gives."""

from __future__ import annotations

import json

import h5py
import numpy as np
import pytest
from makers import (
    NAMES,
    write_lerobot_v21,
    write_lerobot_v30,
    write_rlds,
    write_robomimic,
)

from mili_jax.interchange import names
from mili_jax.interchange.evidence import Range, gripper_ends, is_delta, open_end, widened
from mili_jax.interchange.guess import guess
from mili_jax.interchange.sources import open_source
from mili_jax.types import ConfigError, DataError


def rewritten(path, change):
    """A file of JSON with something changed."""
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


@pytest.mark.parametrize("delta", [True, False])
def test_rlds_with_seven_numbers(tmp_path, delta):
    write_rlds(tmp_path / "d", {"train": 8, "val": 2}, delta=delta, steps=20)
    found = guess(open_source(tmp_path / "d", "rlds"))
    assert found.open == ()
    mapping = found.mapping()
    assert [n.name for n in mapping.pose] == list(NAMES) == [n.name for n in mapping.action]
    assert [n.unit for n in mapping.pose] == ["m"] * 3 + ["rad"] * 3 + ["1"]
    assert [n.delta for n in mapping.action] == [delta] * 6 + [False]
    assert mapping.pose[6].open == 1 and mapping.pose[6].closed == 0
    assert mapping.splits == {"train": "demos_train", "val": "demos_val"}
    assert [c.name for c in mapping.cameras] == ["image_0", "wrist"]
    assert (mapping.height, mapping.width) == (24, 32)
    assert mapping.task.field == "steps/language_instruction"
    assert mapping.success.field == "steps/reward"
    assert (mapping.pose[5].period is not None) and (mapping.action[5].period is None) == delta
    # Every number has its reason above it.
    lines = found.text.splitlines()
    for k, line in enumerate(lines):
        if line.strip().startswith("- {"):
            assert (
                lines[k - 1].strip().startswith("#")
                or "cameras" in lines[k - 1]
                or ("name: wrist" in line)
            ), line


def test_names_of_lerobot_but_no_units_of_joints(tmp_path):
    write_lerobot_v30(tmp_path / "d", 4)

    def joints(info):
        info["features"]["observation.state"]["names"] = [f"shoulder_{k}.pos" for k in range(7)]
        info["features"]["action"]["names"] = [f"shoulder_{k}.pos" for k in range(7)]

    rewritten(tmp_path / "d/meta/info.json", joints)
    found = guess(open_source(tmp_path / "d", "lerobot"))
    assert len(found.open) == 2 and all("unit" in line for line in found.open)
    with pytest.raises(ConfigError, match="fill in"):
        found.mapping()
    text = found.text.replace('unit: "?"', "unit: deg")
    from mili_jax.interchange.mapping_file import parse

    mapping = parse(text, "it")
    assert {n.unit for n in mapping.pose} == {"deg"} and mapping.fps == 10
    assert mapping.pose[2].name == "shoulder_2_pos"
    assert mapping.facts == {"episode_id": "episode/episode_index"}
    assert "radians look like this" in found.text


def test_names_of_a_tool_have_their_units(tmp_path):
    write_lerobot_v21(tmp_path / "d", 4)
    found = guess(open_source(tmp_path / "d", "lerobot"))
    assert found.open == () and found.mapping().action[0].delta is False
    assert [c.codec for c in found.mapping().cameras] == ["h264", "h264"]


def test_robomimic_and_its_masks(tmp_path):
    write_robomimic(tmp_path / "d.hdf5", 6)
    mapping = guess(open_source(tmp_path / "d.hdf5", "robomimic")).mapping()
    assert mapping.splits == {"train": "demos_train", "valid": "demos_valid"}
    assert mapping.task.field == "env_args/env_name" and mapping.success.field == "rewards"
    assert [c.name for c in mapping.cameras] == ["agentview", "robot0_eye_in_hand"]
    assert mapping.facts == {"episode_id": "demo"}


def test_a_pose_of_several_fields(tmp_path):
    write_robomimic(tmp_path / "d.hdf5", 6, masks=False)
    with h5py.File(tmp_path / "d.hdf5", "a") as file:
        for group in file["data"].values():
            state = group["obs/state"][()]
            group["obs/robot0_eef_pos"] = state[:, :3]
            group["obs/robot0_eef_quat"] = np.tile([0.5, 0.5, 0.5, 0.5], (len(state), 1))
            group["obs/robot0_gripper_qpos"] = np.outer(state[:, 6], [0.04, -0.04])
    found = guess(open_source(tmp_path / "d.hdf5", "robomimic"))
    pose = found.mapping().pose
    assert [n.name for n in pose[:7]] == ["x", "y", "z", "qx", "qy", "qz", "qw"]
    assert pose[7].unit == "m" and (pose[3].low, pose[3].high) == (-1, 1)


def test_a_camera_that_shows_nothing_is_left_out_and_named(tmp_path):
    write_robomimic(tmp_path / "d.hdf5", 3)
    with h5py.File(tmp_path / "d.hdf5", "a") as file:
        for group in file["data"].values():
            group["obs/agentview_image"][...] = 0
    found = guess(open_source(tmp_path / "d.hdf5", "robomimic"))
    assert [c.name for c in found.mapping().cameras] == ["robot0_eye_in_hand"]
    assert "obs/agentview_image: all its pictures are the same" in found.text


def test_flags_that_lie_are_named(tmp_path):
    from makers import episode, rlds_features, rlds_record, write_description, write_records

    folder = tmp_path / "d"
    folder.mkdir()
    features = rlds_features()
    records = []
    from tensorflow_datasets.proto import tf_example_pb2

    for k in range(3):
        example = tf_example_pb2.Example.FromString(rlds_record(features, episode(k), k))
        fields = example.features.feature
        fields["episode_metadata/has_image_0"].int64_list.value[0] = 0
        count = len(fields["steps/is_last"].int64_list.value)
        fields["steps/is_last"].int64_list.value[:] = [0] * count
        fields["steps/is_terminal"].int64_list.value[:] = [0] * count
        fields["steps/reward"].float_list.value[:] = [0] * count
        records.append(example.SerializeToString())
    write_records(folder / "robot-train.tfrecord-00000-of-00001", records)
    write_description(folder, features, [{"name": "train", "shardLengths": ["3"]}])
    found = guess(open_source(folder, "rlds"))
    assert "has_image_0 is 0 throughout, but steps/observation/image_0 has pictures" in found.text
    assert "steps/is_last is 0 throughout" in found.text
    mapping = found.mapping()
    assert mapping.cameras[0].name == "image_0" and mapping.success.assume is True
    assert "never says yes" in found.text


def test_episodes_without_instruction_are_a_question(tmp_path):
    write_rlds(tmp_path / "d", {"train": 3})
    path = tmp_path / "d/robot-train.tfrecord-00000-of-00001"
    from makers import frame
    from tensorflow_datasets.proto import tf_example_pb2

    from mili_jax.interchange import tfrecord

    records = []
    with path.open("rb") as file:
        for k, place in enumerate(tfrecord.index(path)):
            example = tf_example_pb2.Example.FromString(tfrecord.read_record(file, place, ""))
            if k == 1:
                field = example.features.feature["steps/language_instruction"].bytes_list
                field.value[:] = [b""] * len(field.value)
            records.append(example.SerializeToString())
    path.write_bytes(b"".join(map(frame, records)))
    found = guess(open_source(tmp_path / "d", "rlds"))
    assert len(found.open) == 1 and "empty" in found.open[0]
    assert "1 of 3 episodes have none" in found.text


def test_a_last_step_without_action_is_seen(tmp_path):
    write_rlds(tmp_path / "d", {"train": 4})
    path = tmp_path / "d/robot-train.tfrecord-00000-of-00001"
    from makers import frame
    from tensorflow_datasets.proto import tf_example_pb2

    from mili_jax.interchange import tfrecord

    records = []
    with path.open("rb") as file:
        for place in tfrecord.index(path):
            example = tf_example_pb2.Example.FromString(tfrecord.read_record(file, place, ""))
            field = example.features.feature["steps/action"].float_list
            field.value[-7:] = [0] * 7
            records.append(example.SerializeToString())
    path.write_bytes(b"".join(map(frame, records)))
    assert guess(open_source(tmp_path / "d", "rlds")).mapping().last_step == "drop"


def test_what_cannot_be_a_number_of_a_robot_is_refused(tmp_path):
    write_robomimic(tmp_path / "d.hdf5", 3)
    with h5py.File(tmp_path / "d.hdf5", "a") as file:
        file["data/demo_1/actions"][4, 2] = 1e30
    with pytest.raises(DataError, match=r"demo_1: actions\[2\] is 1e\+30 at step 4"):
        guess(open_source(tmp_path / "d.hdf5", "robomimic"))


@pytest.mark.parametrize("what", ["pictures", "action", "pose"])
def test_without_pictures_actions_or_poses_there_is_no_mapping(tmp_path, what):
    write_robomimic(tmp_path / "d.hdf5", 2)
    with h5py.File(tmp_path / "d.hdf5", "a") as file:
        for group in file["data"].values():
            if what == "pictures":
                del group["obs/agentview_image"], group["obs/robot0_eye_in_hand_image"]
                group["obs/depth"] = np.zeros((12, 24, 32, 1), np.uint8)
            elif what == "pose":
                del group["obs/state"]
                group["obs/one"] = np.zeros((12, 3))
                group["obs/two"] = np.zeros((12, 3))
            else:
                data = group["actions"][()]
                del group["actions"]
                group["actions"] = np.full((12,), b"left")
                group["actions_raw"] = data
    said = {"pictures": "no pictures.*obs/depth", "pose": "obs/one, obs/two", "action": "action"}
    with pytest.raises(ConfigError, match=said[what]):
        guess(open_source(tmp_path / "d.hdf5", "robomimic"))


def walk(steps=200, seed=0):
    rng = np.random.default_rng(seed)
    return np.cumsum(rng.normal(size=(steps, 1)), 0)


def test_targets_changes_and_what_is_neither():
    pose = [walk(seed=k) for k in range(3)]
    target = [np.append(p[1:], p[-1:], 0) for p in pose]
    change = [np.diff(p, axis=0, append=p[-1:]) for p in pose]
    noise = [np.random.default_rng(k).normal(size=p.shape) for k, p in enumerate(pose)]
    assert is_delta(target, 0, pose, 0)[0] is False
    assert is_delta(change, 0, pose, 0)[0] is True
    assert is_delta(noise, 0, pose, 0)[0] is None
    assert is_delta([np.ones_like(p) for p in pose], 0, pose, 0)[0] is None
    scaled, why = is_delta([c * 400 for c in change], 0, pose, 0)
    assert scaled is True and "400 times as large" in why


@pytest.mark.parametrize(
    ("low", "high", "ends"),
    [
        (0, 1, (0, 1)),
        (0.1, 1.007, (0, 1)),
        (-1, 1, (-1, 1)),
        (0, 255, (0, 255)),
        (3, 200, (0, 255)),
        (0, 0.04, (0, 0.04)),
        (0, 7, None),
        (-90, 90, None),
    ],
)
def test_the_ends_of_a_gripper(low, high, ends):
    assert gripper_ends(Range(low, high)) == ends


def test_which_end_is_open_is_said_only_where_episodes_agree():
    opened = [np.array([[1.0], [0.0]])] * 9
    closed = [np.array([[0.0], [1.0]])]
    assert open_end(opened + closed, 0, (0, 1))[0] == 1
    assert open_end(opened + closed * 3, 0, (0, 1))[0] is None
    assert open_end(closed * 5, 0, (0, 1))[0] == 0


@pytest.mark.parametrize(("low", "high"), [(0, 1), (-3.3, 12), (5, 5), (0, 0), (-1e-4, 1e-4)])
def test_bounds_hold_what_was_seen_and_more(low, high):
    below, above = widened(Range(low, high))
    assert below < low and above > high and above - below <= 1.4 * (high - low) + 1.2


@pytest.mark.parametrize(
    ("theirs", "our_name"),
    [
        ("kLeftShoulderPitch", "k_left_shoulder_pitch"),
        ("shoulder_pan.pos", "shoulder_pan_pos"),
        ("X", "x"),
        ("3rd joint", "n_3rd_joint"),
        ("ärm", "rm"),
        ("!!", "n"),
        ("a" * 60, "a" * 40),
    ],
)
def test_names_become_ours(theirs, our_name):
    from mili_jax.spec import Field, Layout

    assert names.ours(theirs) == our_name
    Layout((Field(our_name, "1", 0, 1),))  # may be a name


def test_equal_names_get_numbers():
    assert names.unlike(["a", "a", "b", "a"]) == ["a", "a_2", "b", "a_3"]


def test_the_pitch_of_a_shoulder_is_a_joint_and_that_of_a_tool_is_not():
    assert names.quantity("pitch") == "angle" == names.quantity("tcp_roll")
    assert names.quantity("k_left_shoulder_pitch") == ""
    assert names.quantity("left_x") == "length"


def test_a_text_that_tells_episodes_apart_is_the_task(tmp_path):
    """And not one that is the same in all of them, as the name of robomimic's environment is."""
    path = tmp_path / "log.hdf5"
    write_robomimic(path, 6)
    assert guess(open_source(path, "robomimic")).mapping().task.field == "env_args/env_name"
    with h5py.File(path, "r+") as file:
        for k, name in enumerate(sorted(file["data"])):
            file["data"][name].attrs["task"] = ("open", "close", "lift")[k % 3]
    made = guess(open_source(path, "robomimic"))
    assert made.mapping().task.field == "attrs/task"
    assert "3 instructions in all 6 episodes" in made.text
