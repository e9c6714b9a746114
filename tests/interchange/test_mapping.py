"""The mapping and its file: what is written is read again, what cannot be is refused by name."""

from __future__ import annotations

import dataclasses
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from plans import line, lines, plan

from mili_jax.interchange.mapping import (
    FACTS,
    UNITS,
    CameraLine,
    Mapping,
    NumberLine,
    SuccessLine,
    TaskLine,
)
from mili_jax.interchange.mapping_file import as_plain, parse, render, unknown_lines
from mili_jax.spec import Camera
from mili_jax.types import ConfigError

WHOLE = plan(
    "lerobot",
    cameras=("front", "wrist"),
    fps=30.0,
    to_fps=10.0,
    facts={"episode_id": "episode/episode_index", "seed": "episode/seed"},
)


def changed(text, old, new):
    assert old in text
    return text.replace(old, new, 1)


def test_a_file_says_what_the_mapping_says():
    for mapping in (WHOLE, plan("rlds", delta=True), plan("robomimic")):
        assert parse(render(as_plain(mapping)), "it") == mapping


names = st.text(st.characters(blacklist_categories=("Cs",)), min_size=1, max_size=30)
numbers = st.floats(-1e6, 1e6, allow_nan=False)


@settings(max_examples=100, deadline=None)
@given(
    field=names,
    task=names,
    low=numbers,
    span=st.floats(1e-6, 1e6),
    period=st.none() | st.floats(1e-6, 1e3),
    unit=st.sampled_from([*UNITS, "=furlong"]),
    matrix=st.none()
    | st.just(Camera.straight_down("top", 0.3, 1.7).matrix)
    | st.just(((1e-7, 0.0, 0.0, 3.0), (0.0, 2e5, 0.0, 0.25), (0.0, 0.5, 1.0, 1.5))),
)
def test_any_words_and_numbers_come_back(field, task, low, span, period, unit, matrix):
    number = NumberLine("n", field, 3, unit, low, low + span + 1e-3 * abs(low), period)
    try:
        mapping = dataclasses.replace(
            plan(),
            pose=(number,),
            cameras=(CameraLine("front", field, "png", matrix),),
            task=TaskLine(name=task),
        )
    except ConfigError:  # a camera that cannot be, or bounds that meet after conversion
        return
    if task.strip() == "?" or field.strip() == "?":
        return
    assert parse(render(as_plain(mapping)), "it") == mapping


@pytest.mark.parametrize(
    ("unit", "factor", "comes_out"),
    [("mm", 0.001, "m"), ("cm", 0.01, "m"), ("deg", math.pi / 180, "rad"), ("m", 1, "m")],
)
def test_units_of_bounds_and_periods_are_the_files_own(unit, factor, comes_out):
    field = NumberLine("a", "f", 0, unit, -90.0, 180.0, 360.0).described()
    assert field.unit == comes_out
    assert [field.low, field.high] == pytest.approx([-90 * factor, 180 * factor])
    assert field.period == pytest.approx(360 * factor)


def test_any_other_unit_is_taken_as_it_is_when_that_is_said():
    field = NumberLine("a", "f", 0, "=mm", -90.0, 180.0).described()
    assert (field.unit, field.low, field.high) == ("mm", -90, 180)


def test_the_spec_of_a_mapping():
    spec = plan("rlds", delta=True, cameras=("front", "wrist")).spec()
    assert spec.delta and spec.picture == (2, 24, 32, 3)
    assert spec.pose.names == ("x", "y", "z", "roll", "pitch", "yaw", "gripper")
    assert all(camera.matrix is None for camera in spec.cameras)
    # Made into targets, they have the bounds of the pose and what a change may add.
    targets = plan("rlds", delta=True, deltas="add_to_pose").spec()
    assert not targets.delta
    assert (targets.action.fields[0].low, targets.action.fields[0].high) == (-8, 8)
    assert targets.action.fields[6] == targets.pose.fields[6]  # the gripper was a target already


GOOD = render(as_plain(WHOLE))


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("format: lerobot", "format: hdf", "format is 'hdf'"),
        ("format: lerobot\n", "", "format is missing"),
        ("format: lerobot", "formatt: lerobot", "formatt does not exist"),
        ("height: 24", "height: 24.5", "picture.height must be a whole number"),
        ("height: 24", "height: 8", "height must be 16..1024"),
        ("fit: stretch", "fit: bend", "picture.fit is 'bend'"),
        ("name: front", "name: Front", "camera 'Front'"),
        ("name: wrist", "name: front", "each needs a name of its own"),
        ("unit: m,", "unit: metre,", "pose[0] (x): unit is 'metre'"),
        ("unit: m,", "unit: 3,", "pose[0].unit must be text"),
        ("index: 1", "index: -1", "index is -1"),
        ("index: 1", "index: one", "pose[1].index must be a whole number"),
        ("low: -4.0", "low: 5.0", "low 5 must be below high 4"),
        ("low: -4.0", "low: .nan", "finite"),
        ("low: -4.0, ", "", "pose[0].low is missing"),
        ("closed: 0.0", "closed: 1.0", "closed and open are the same value"),
        ("closed: 0.0, ", "", "both are wanted"),
        ("deltas: keep", "deltas: add_to_pose", "no number of the action is a delta"),
        ("outside: refuse", "outside: maybe", "outside is 'maybe'"),
        ("field: task", "field: task\n  name: lift", "and not both"),
        ("field: next.success", "assume: yes\n  field: x", "and not both"),
        ("rule: any", "rule: first", "success.rule is 'first'"),
        ("train: demos_train", "train: Demos", "'Demos' cannot name a split"),
        ("train: demos_train", "train: demos_train\n  val: demos_train", "each its own"),
        ("fps: 30.0", "fps: 0", "fps is 0.0"),
        ("fps: 30.0", "fps: null", "say the files' own fps too"),
        ("to_fps: 10.0", "to_fps: 60", "steps can be left out, not made"),
        ("seed: episode/seed", "colour: episode/seed", "facts is 'colour'"),
        ("cameras:", "cameras: []\nother:", "other does not exist"),
        ("picture:", "picture: 3\nfoo:", "foo does not exist"),
        ("codec: h264", "codec: [h264]", "cameras[0].codec must be text"),
    ],
)
def test_a_file_with_something_wrong_is_refused_by_name(old, new, said):
    with pytest.raises(ConfigError) as error:
        parse(changed(GOOD, old, new), "some.yaml")
    assert str(error.value).startswith("some.yaml: ") and said in str(error.value)


@pytest.mark.parametrize(
    "text",
    ["", "- a", "3", "a: [", "\t", "a: &x 1\nb: *x", "!!python/object:os.system {}", "\x00"],
)
def test_what_is_no_mapping_file_is_refused(text):
    with pytest.raises(ConfigError, match=r"some\.yaml"):
        parse(text, "some.yaml")


def test_a_bomb_of_references_does_not_go_off():
    bomb = "a0: &a0 [x]\n" + "".join(
        f"a{k}: &a{k} [{', '.join([f'*a{k - 1}'] * 10)}]\n" for k in range(1, 12)
    )
    with pytest.raises(ConfigError, match="anchors and aliases"):
        parse(bomb, "some.yaml")


def test_open_values_are_named_by_their_lines():
    text = changed(changed(GOOD, "unit: m,", 'unit: "?",'), "fps: 30.0", 'fps: "?"')
    lines = [n for n, line in enumerate(text.splitlines(), start=1) if "?" in line]
    assert len(lines) == 2
    with pytest.raises(ConfigError, match=f"lines {lines[0]}, {lines[1]}"):
        parse(text, "some.yaml")
    assert [line.split(":")[0] for line in unknown_lines(text)] == [f"line {n}" for n in lines]


def test_a_question_mark_in_a_comment_is_not_open():
    assert parse("# what is this ?\n" + GOOD, "it") == WHOLE


def test_a_group_says_its_unit_once():
    text = render(
        {
            **as_plain(WHOLE),
            "pose": {
                "unit": "deg",
                "numbers": [
                    {"name": "a", "field": "f", "low": -90, "high": 90},
                    {"name": "b", "field": "f", "index": 1, "unit": "m", "low": 0, "high": 1},
                    {"name": "grip", "field": "f", "index": 2, "closed": 255, "open": 0},
                ],
            },
        }
    )
    pose = parse(text, "it").pose
    assert [number.unit for number in pose] == ["deg", "m", "deg"]
    assert pose[2].gripper and pose[2].described().unit == "1"


def test_deltas_need_a_pose_of_the_same_name_and_unit():
    mapping = plan("rlds", delta=True)
    other = tuple(dataclasses.replace(n, name=f"q{k}") for k, n in enumerate(mapping.pose))
    with pytest.raises(ConfigError, match="needs a number 'x' in the pose"):
        dataclasses.replace(mapping, pose=other, deltas="add_to_pose")
    other = (dataclasses.replace(mapping.pose[0], unit="deg"), *mapping.pose[1:])
    with pytest.raises(ConfigError, match="'x' is in rad in the pose and in m in the action"):
        dataclasses.replace(mapping, pose=other, deltas="accumulate")


def test_a_pose_has_no_deltas():
    with pytest.raises(ConfigError, match="only the numbers of an action"):
        dataclasses.replace(plan(), pose=lines("f", delta=True))


def test_the_fields_that_a_mapping_uses():
    assert WHOLE.used == {
        *("observation.images.front", "observation.images.wrist", "observation.state", "action"),
        *("task", "next.success", "episode/episode_index", "episode/seed"),
    }


def test_every_fact_can_be_mapped():
    facts = {fact: f"f/{fact}" for fact in FACTS}
    mapping = dataclasses.replace(plan(), facts=facts)
    assert parse(render(as_plain(mapping)), "it").facts == facts


def test_mappings_are_made_whole_or_not_at_all():
    with pytest.raises(ConfigError, match="success"):
        dataclasses.replace(plan(), success=SuccessLine())
    with pytest.raises(ConfigError, match="splits"):
        dataclasses.replace(plan(), splits={})
    with pytest.raises(ConfigError, match="a gripper has no period"):
        dataclasses.replace(plan(), pose=(line("gripper", "f", 0, period=1.0),))
    assert isinstance(plan(), Mapping)
