"""Numbers, pictures and words of a recording by its mapping, against numbers worked by hand."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from plans import line, plan

from mili_jax.interchange.convert import convert, left_out, task_name
from mili_jax.interchange.mapping import CameraLine, NumberLine, SuccessLine, TaskLine
from mili_jax.interchange.recording import ArrayPictures, Recording
from mili_jax.interchange.resize import resize
from mili_jax.types import DataError

STEPS = 6


def recording(numbers=None, texts=None, facts=None, steps=STEPS, pictures=None):
    shape = (steps, 24, 32, 3)
    array = np.arange(np.prod(shape), dtype=np.uint32).reshape(shape).astype(np.uint8)
    return Recording(
        "file 3",
        "train",
        0,
        steps,
        {"front": ArrayPictures("file 3", "front", array if pictures is None else pictures)},
        {"p": np.zeros((steps, 1), np.float32), "a": np.zeros((steps, 1), np.float32)}
        | (numbers or {}),
        {"words": ("Lift it.",) * steps} | (texts or {}),
        facts or {},
    )


def mapping(pose=None, action=None, **changes):
    return dataclasses.replace(
        plan(),
        cameras=(CameraLine("front", "front"),),
        pose=pose or (line("x", "p", 0),),
        action=action or (line("x", "a", 0),),
        task=TaskLine(field="words"),
        success=SuccessLine(assume=True),
        **changes,
    )


def column(*values):
    return np.array(values, np.float32)[:, None]


def test_what_needs_no_change_keeps_its_bits():
    rng = np.random.default_rng(0)
    values = rng.uniform(-4, 4, (STEPS, 3)).astype(np.float32)
    values[0] = [1e-30, -0.0, np.float32(0.1)]
    found = convert(
        recording({"p": values}), mapping(pose=tuple(line(n, "p", k) for k, n in enumerate("xyz")))
    )
    assert found.pose.tobytes() == values.tobytes() and found.pose.dtype == np.float32


@pytest.mark.parametrize(
    ("unit", "value", "wanted"),
    [("mm", 250, 0.25), ("cm", 25, 0.25), ("deg", 180, math.pi), ("rad", 3, 3), ("1", 0.5, 0.5)],
)
def test_units(unit, value, wanted):
    pose = (NumberLine("a", "p", 0, unit, -1000, 1000),)
    found = convert(recording({"p": column(*[value] * STEPS)}), mapping(pose))
    assert found.pose == pytest.approx(wanted)


@pytest.mark.parametrize(
    ("closed", "opened", "values", "wanted"),
    [
        (0, 1, [0, 0.5, 1], [0, 0.5, 1]),
        (1, 0, [0, 0.25, 1], [1, 0.75, 0]),  # inverted
        (1, -1, [-1, 0, 1], [1, 0.5, 0]),  # robosuite
        (255, 0, [0, 51, 255], [1, 0.8, 0]),  # a Robotiq's
        (0, 0.04, [0, 0.01, 0.04], [0, 0.25, 1]),  # metres of a joint
    ],
)
def test_gripper_conventions(closed, opened, values, wanted):
    pose = (line("gripper", "p", 0, closed=float(closed), open=float(opened)),)
    found = convert(
        recording({"p": column(*values)}, steps=3),
        mapping(pose),
    )
    assert found.pose[:, 0] == pytest.approx(wanted)
    change = (dataclasses.replace(pose[0], field="a", delta=True),)
    moved = convert(recording({"a": column(*values)}, steps=3), mapping(action=change))
    # A change has no zero to begin from.
    assert moved.action[:, 0] == pytest.approx(np.array(values) / (opened - closed))


def test_numbers_are_taken_by_field_and_index():
    values = np.arange(STEPS * 4, dtype=np.float64).reshape(STEPS, 2, 2)
    pose = (NumberLine("b", "p", 3, "1", -9, 99), NumberLine("a", "p", 0, "1", -9, 99))
    found = convert(recording({"p": values}), mapping(pose))
    assert np.array_equal(found.pose, np.column_stack([values[:, 1, 1], values[:, 0, 0]]))


def test_deltas_kept_added_to_the_pose_or_added_up():
    pose, change = column(1, 2, 4, 4, 5, 5), column(0.5, 1, 0, 0, -1, 0)
    source = recording({"p": pose, "a": change})
    lines = {
        "pose": (line("x", "p", 0, high=9.0),),
        "action": (line("x", "a", 0, delta=True),),
    }
    kept = convert(source, mapping(**lines))
    assert kept.action[:, 0].tolist() == change[:, 0].tolist()
    added = convert(source, mapping(**lines, deltas="add_to_pose"))
    assert added.action[:, 0].tolist() == [1.5, 3, 4, 4, 4, 5]
    summed = convert(source, mapping(**lines, deltas="accumulate"))
    assert summed.action[:, 0].tolist() == [1.5, 2.5, 2.5, 2.5, 1.5, 1.5]


def test_what_is_no_delta_is_not_integrated():
    lines = {
        "pose": (line("x", "p", 0), line("gripper", "p", 1)),
        "action": (line("x", "a", 0, delta=True), line("gripper", "a", 1)),
    }
    both = np.column_stack([np.full(STEPS, 0.5), np.ones(STEPS)]).astype(np.float32)
    found = convert(recording({"p": both, "a": both}), mapping(**lines, deltas="add_to_pose"))
    assert found.action.tolist() == [[1.0, 1.0]] * STEPS


def test_targets_of_an_angle_stay_within_its_turn():
    angle = {"unit": "rad", "low": -math.pi, "high": math.pi}
    lines = {
        "pose": (NumberLine("yaw", "p", 0, **angle, period=2 * math.pi),),
        "action": (NumberLine("yaw", "a", 0, **angle, delta=True),),
    }
    source = recording({"p": column(*[3.0] * STEPS), "a": column(*[0.5] * STEPS)})
    found = convert(source, mapping(**lines, deltas="add_to_pose"))
    assert found.action[:, 0] == pytest.approx(3.5 - 2 * math.pi)


def test_an_angle_that_went_on_turning_is_within_its_bounds():
    pose = (NumberLine("yaw", "p", 0, "deg", -180, 180, period=360),)
    source = recording({"p": column(-170, 10, 170, 190, 350, 730)})
    wanted = np.radians([-170, 10, 170, -170, -10, 10])
    assert convert(source, mapping(pose)).pose[:, 0] == pytest.approx(wanted)
    # The kitchen's gripper means the same after half a turn.
    half = (NumberLine("yaw", "p", 0, "deg", -90, 90, period=180),)
    wanted = np.radians([10, 10, -10, 10, -10, 10])
    assert convert(source, mapping(half)).pose[:, 0] == pytest.approx(wanted)


def test_fewer_steps_a_second_keep_the_last_target_and_the_sum_of_changes():
    pose, action = column(*range(6)), column(1, 2, 3, 4, 5, 6)
    source = recording({"p": pose, "a": action})
    pair = {"fps": 30.0, "to_fps": 10.0}
    pose_line = (line("x", "p", 0, high=9.0),)
    targets = convert(source, mapping(pose_line, (line("x", "a", 0, high=9.0),), **pair))
    assert targets.pose[:, 0].tolist() == [0, 3]
    assert targets.action[:, 0].tolist() == [3, 6]
    change = (line("x", "a", 0, high=9.0, delta=True),)
    changes = convert(source, mapping(pose_line, change, **pair))
    assert changes.action[:, 0].tolist() == [6, 15]
    front = list(source.pictures["front"].read(np.array([0, 3])))
    assert np.array_equal(targets.image, front)


@pytest.mark.parametrize(("steps", "kept"), [(6, [0, 3]), (7, [0, 3, 6]), (8, [0, 3, 6])])
def test_every_third_step_up_to_the_last(steps, kept):
    source = recording({"p": column(*range(steps)), "a": column(*range(steps))}, steps=steps)
    lines = (line("x", "p", 0, high=99.0),), (line("x", "a", 0, high=99.0),)
    found = convert(source, mapping(*lines, fps=30.0, to_fps=10.0))
    assert found.pose[:, 0].tolist() == kept
    assert found.action[:, 0].tolist() == [*(k - 1 for k in kept[1:]), steps - 1]


def test_a_ratio_that_is_not_whole_takes_the_nearest_steps():
    source = recording({"p": column(*range(10)), "a": column(*range(10))}, steps=10)
    lines = (line("x", "p", 0, high=99.0),), (line("x", "a", 0, high=99.0),)
    found = convert(source, mapping(*lines, fps=25.0, to_fps=10.0))
    assert found.pose[:, 0].tolist() == [0, 2, 5, 8]  # 0, 2.5, 5, 7.5
    assert found.action[:, 0].tolist() == [1, 4, 7, 9]


@settings(max_examples=50, deadline=None)
@given(st.integers(2, 60), st.floats(1, 10))
def test_changes_over_any_steps_add_up_to_the_same(steps, ratio):
    rng = np.random.default_rng(steps)
    change = rng.normal(size=(steps, 1)).astype(np.float32)
    source = recording(
        {"p": np.zeros((steps, 1), np.float32), "a": change},
        steps=steps,
        pictures=np.zeros((steps, 24, 32, 3), np.uint8),
    )
    lines = {"action": (line("x", "a", 0, low=-99.0, high=99.0, delta=True),)}
    try:
        found = convert(source, mapping(**lines, fps=10.0 * ratio, to_fps=10.0))
    except DataError as error:
        assert "one is left" in str(error)
        return
    assert found.action.sum() == pytest.approx(change.sum(), abs=1e-3)
    assert len(found.pose) == len(found.image) == len(found.action)


def test_the_last_step_is_dropped_if_it_has_no_action():
    action = column(1, 2, 3, 1, 2, math.nan)
    with pytest.raises(DataError, match=r"a\[0\] \(action 'x'\) is nan at step 5"):
        convert(recording({"a": action}), mapping())
    found = convert(recording({"a": action}), mapping(last_step="drop"))
    assert found.action[:, 0].tolist() == [1, 2, 3, 1, 2] and len(found.image) == 5


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("group", ["p", "a"])
def test_no_number_is_refused_by_place(value, group):
    values = column(0, 0, value, 0, 0, 0)
    name = {"p": "pose", "a": "action"}[group]
    with pytest.raises(DataError, match=rf"file 3: {group}\[0\] \({name} 'x'\).* at step 2"):
        convert(recording({group: values}), mapping(outside="keep"))


def test_beyond_the_bounds():
    beyond = recording({"a": column(0, 0, 4.2, 0, -9, 0)})
    with pytest.raises(DataError, match=r"4\.2 at step 2, beyond its bounds -4 to 4"):
        convert(beyond, mapping())
    clipped = convert(beyond, mapping(outside="clip"))
    assert clipped.action[:, 0].tolist() == [0, 0, 4, 0, -4, 0] and clipped.clipped == 2
    kept = convert(beyond, mapping(outside="keep"))
    assert kept.action.min() == -9 and kept.outside == 2
    # A measured pose may overshoot by a twentieth of the span of eight, an action may not.
    assert convert(recording({"p": column(*[4.3] * STEPS)}), mapping()).outside == 0
    with pytest.raises(DataError, match="pose 'x'"):
        convert(recording({"p": column(*[4.5] * STEPS)}), mapping())


def test_a_number_that_is_not_there():
    with pytest.raises(DataError, match="no numbers 'q'"):
        convert(recording(), mapping((line("x", "q", 0),)))
    with pytest.raises(DataError, match=r"p\[1\] \(pose 'x'\) does not exist.* 1 numbers"):
        convert(recording(), mapping((line("x", "p", 1),)))


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Open the drawer.", "open the drawer"),
        ("  open  the\tDRAWER !", "open the drawer"),
        ("place:mug_03:tray_01", "place:mug_03:tray_01"),
        ("Öffne die Tür", "öffne die tür"),
        ("...", ""),
        ("Open/close the\u200b lid", "open-close the- lid"),
    ],
)
def test_an_instruction_becomes_a_name(text, name):
    assert task_name(text) == name == task_name(name)


def test_the_words_stay_beside_the_name():
    found = convert(recording(), mapping())
    assert (found.task, found.language) == ("lift it", "Lift it.")
    as_is = dataclasses.replace(mapping(), task=TaskLine(field="words", as_is=True))
    assert convert(recording(), as_is).task == "Lift it."
    one = dataclasses.replace(mapping(), task=TaskLine(name="lift", language="words"))
    found = convert(recording(), one)
    assert (found.task, found.language) == ("lift", "Lift it.")


def test_an_empty_instruction_is_refused_skipped_or_named():
    empty = recording(texts={"words": ("",) * STEPS})
    with pytest.raises(DataError, match="words is empty"):
        convert(empty, mapping())
    assert left_out(empty, mapping()) is None
    skip = dataclasses.replace(mapping(), task=TaskLine(field="words", empty="skip"))
    assert "no instruction" in left_out(empty, skip) and left_out(recording(), skip) is None
    named = dataclasses.replace(mapping(), task=TaskLine(field="words", empty="something"))
    assert convert(empty, named).task == "something"


def test_an_instruction_that_changes():
    changing = recording(texts={"words": ("a", "a", "b", "b", "b", "b")})
    with pytest.raises(DataError, match="changes at step 2 from 'a' to 'b'"):
        convert(changing, mapping())
    first = dataclasses.replace(mapping(), task=TaskLine(field="words", changes="first"))
    assert convert(changing, first).task == "a"


def test_an_episode_of_one_step():
    short = recording({"p": column(0), "a": column(0)}, steps=1)
    with pytest.raises(DataError, match="1 step; an episode needs two"):
        convert(short, mapping())
    assert "too few steps" in left_out(short, mapping(short="skip"))
    assert left_out(recording(), mapping(short="skip")) is None
    assert len(convert(short, mapping(short="keep")).pose) == 1


@pytest.mark.parametrize(
    ("values", "rule", "wanted"),
    [
        ([0, 0, 0, 0, 0, 1], "last", True),
        ([0, 1, 0, 0, 0, 0], "last", False),
        ([0, 1, 0, 0, 0, 0], "any", True),
        ([0, 0.4, 0, 0, 0, 0.4], "any", False),
        ([False] * 5 + [True], "last", True),
    ],
)
def test_success_by_a_field_of_steps(values, rule, wanted):
    success = SuccessLine(field="reward", rule=rule)
    found = convert(
        recording({"reward": np.array(values)}), dataclasses.replace(mapping(), success=success)
    )
    assert found.success is wanted


def test_success_by_a_fact_or_for_all():
    success = dataclasses.replace(mapping(), success=SuccessLine(field="won"))
    assert convert(recording(facts={"won": True}), success).success
    assert not convert(recording(facts={"won": 0}), success).success
    with pytest.raises(DataError, match="won is 'maybe', no yes or no"):
        convert(recording(facts={"won": "maybe"}), success)
    failed = dataclasses.replace(mapping(), success=SuccessLine(assume=False))
    assert not convert(recording(), failed).success


def test_facts_are_of_their_types():
    facts = {"episode_id": "id", "seed": "s", "useful": "u"}
    source = recording(facts={"id": 7, "s": 3, "u": 1})
    assert convert(source, mapping(facts=facts)).facts == {
        "episode_id": "7",
        "seed": 3,
        "useful": True,
    }
    with pytest.raises(DataError, match=r"s is 'three', which is no seed \(int\)"):
        convert(recording(facts={"id": 7, "s": "three", "u": 1}), mapping(facts=facts))


def mean_of_areas(picture, height, width):
    """By the definition, with every pixel divided into as many parts as the new side."""
    old_height, old_width = picture.shape[:2]
    fine = picture.repeat(height, 0).repeat(width, 1).astype(float)
    blocks = fine.reshape(height, old_height, width, old_width, 3)
    return np.rint(blocks.mean((1, 3)))


@pytest.mark.parametrize(
    ("size", "new"), [((24, 32), (12, 16)), ((48, 64), (20, 17)), ((17, 23), (16, 31))]
)
def test_a_new_pixel_is_the_mean_of_its_area(size, new):
    picture = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    found = resize(picture, *new)
    assert found.dtype == np.uint8 and np.abs(found - mean_of_areas(picture, *new)).max() <= 1
    assert (found != mean_of_areas(picture, *new)).mean() < 0.01  # halves that round either way


def test_resizing_keeps_one_colour_and_the_same_size():
    assert (resize(np.full((37, 41, 3), 255, np.uint8), 16, 16) == 255).all()
    picture = np.random.default_rng(1).integers(0, 256, (24, 32, 3), np.uint8)
    assert np.array_equal(resize(picture, 24, 32), picture)


def test_crop_takes_the_middle_in_the_new_proportions():
    picture = np.zeros((20, 40, 3), np.uint8)
    picture[:, 10:30] = 200
    assert (resize(picture, 16, 16, "crop") == 200).all()
    assert (resize(picture.transpose(1, 0, 2), 16, 16, "crop") == 200).all()
    assert resize(picture, 16, 16, "stretch").min() == 0


def test_several_cameras_are_an_axis_in_their_order():
    both = dataclasses.replace(
        mapping(), cameras=(CameraLine("b", "back"), CameraLine("f", "front")), height=16, width=16
    )
    source = recording()
    back = np.full((STEPS, 48, 20, 3), 9, np.uint8)
    source = dataclasses.replace(
        source, pictures={**source.pictures, "back": ArrayPictures("w", "back", back)}
    )
    found = convert(source, both)
    assert found.image.shape == (STEPS, 2, 16, 16, 3)
    assert (found.image[:, 0] == 9).all() and (found.image[:, 1] != 9).any()
    with pytest.raises(DataError, match="no pictures 'side'"):
        convert(source, dataclasses.replace(both, cameras=(CameraLine("s", "side"),)))
