"""From a hand to a tool and to a demonstration's labels: by hand-worked poses, other libraries and
properties."""

from __future__ import annotations

import json
import math

import numpy as np
import pybullet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from mili_jax.domains.kitchen import viewpoints
from mili_jax.domains.kitchen.domain import KITCHEN
from mili_jax.domains.kitchen.env import PICTURE
from mili_jax.domains.kitchen.spec import POSE
from mili_jax.people import poses, strokes
from mili_jax.people.clutch import JUMP, JUMP_TURN, Clutch
from mili_jax.people.gate import RefusedError
from mili_jax.people.poses import Pose, pose_of
from mili_jax.people.robot import Robot
from mili_jax.people.states import Hand, Wish
from mili_jax.people.teleoperation import read
from mili_jax.types import Task

S = math.sin(math.radians(45))
NO_TURN = (0.0, 0.0, 0.0, 1.0)
ANGLES = st.tuples(*[st.floats(-1.4, 1.4)] * 3)
SPOTS = st.tuples(*[st.floats(-0.5, 0.5)] * 3)


def hand(x=0.0, y=0.0, z=0.0, turn=NO_TURN):
    return pose_of((x, y, z), turn)


# Frames and turns


@pytest.mark.parametrize(
    ("place", "turn", "there", "turned"),
    [
        # Half a metre ahead and one up: ahead is -z there and +y here.
        ((0, 1, -0.5), NO_TURN, (0, 0.5, 1), NO_TURN),
        ((0.3, 0, 0), NO_TURN, (0.3, 0, 0), NO_TURN),
        # A quarter turn to the left, about up: y there, z here.
        ((0, 0, 0), (0, S, 0, S), (0, 0, 0), (0, 0, S, S)),
        # A quarter turn about the way ahead, clockwise as the person sees it: -z there, y here.
        ((0, 0, 0), (0, 0, -S, S), (0, 0, 0), (0, S, 0, S)),
        # The hand's front goes up, about right: x in both.
        ((0, 0, 0), (S, 0, 0, S), (0, 0, 0), (S, 0, 0, S)),
    ],
)
def test_a_controller_s_frame_in_the_table_s(place, turn, there, turned):
    found = poses.from_xr(pose_of(place, turn))
    np.testing.assert_allclose(found.place, there, atol=1e-12)
    np.testing.assert_allclose(found.turn, turned, atol=1e-12)


@given(SPOTS, ANGLES)
def test_the_change_of_frame_is_a_rotation_by_another_way(place, angles):
    turn = Rotation.from_euler("xyz", angles)
    to = np.array([[1, 0, 0], [0, 0, -1], [0, 1, 0]])  # rows: right, ahead, up, of WebXR's axes
    found = poses.from_xr(pose_of(place, turn.as_quat()))
    np.testing.assert_allclose(found.place, to @ place, atol=1e-12)
    matrix = Rotation.from_quat(found.turn).as_matrix()
    np.testing.assert_allclose(matrix, to @ turn.as_matrix() @ to.T, atol=1e-9)


@given(ANGLES, ANGLES)
def test_turns_are_those_of_two_other_libraries(a, b):
    one, other = poses.turned(*a), poses.turned(*b)
    np.testing.assert_allclose(one, pybullet.getQuaternionFromEuler(a), atol=1e-9)
    np.testing.assert_allclose(poses.angles(one), a, atol=1e-6)
    both = Rotation.from_quat(one) * Rotation.from_quat(other)
    assert abs(abs(poses.times(one, other) @ both.as_quat()) - 1) < 1e-9
    apart = (Rotation.from_quat(one) * Rotation.from_quat(other).inv()).magnitude()
    assert abs(poses.angle(one, other) - apart) < 1e-5
    np.testing.assert_allclose(poses.times(one, poses.back(one)), NO_TURN, atol=1e-12)


@pytest.mark.parametrize("sign", [1, -1])
def test_a_right_angle_of_pitch_has_a_yaw(sign):
    turn = poses.turned(0.0, sign * math.pi / 2, 0.4)
    roll, pitch, yaw = poses.angles(turn)
    assert roll == 0 and pitch == pytest.approx(sign * math.pi / 2)
    assert poses.angle(poses.turned(roll, pitch, yaw), turn) < 1e-4


def test_a_tool_makes_the_way_and_the_turn_of_the_hand():
    """The hand turns by 90 degrees to the left and goes 10 cm to the right."""
    tool = Pose(np.array([0.1, 0.2, 0.1]), poses.turned(0, 0, 0.3))
    first = Pose(np.array([5.0, 5.0, 5.0]), poses.turned(0.2, -0.1, 1.0))
    now = Pose(np.array([5.1, 5.0, 5.0]), poses.times(poses.turned(0, 0, math.pi / 2), first.turn))
    found = poses.carried(tool, first, now)
    np.testing.assert_allclose(found.place, (0.2, 0.2, 0.1))
    np.testing.assert_allclose(poses.angles(found.turn), (0, 0, 0.3 + math.pi / 2), atol=1e-12)


@pytest.mark.parametrize(
    ("place", "turn"),
    [
        ((math.nan, 0, 0), NO_TURN),
        ((0, math.inf, 0), NO_TURN),
        ((0, 0, 1e9), NO_TURN),
        ((0, 0), NO_TURN),
        ((0, 0, 0), (0, 0, 0, 0)),
        ((0, 0, 0), (0, 0, 0, math.nan)),
        ((0, 0, 0), (0, 0, 3, 3)),
        ((0, 0, 0), (0, 0, 1)),
    ],
)
def test_what_is_no_pose_is_refused(place, turn):
    with pytest.raises(ValueError, match=r"place|turn"):
        pose_of(place, turn)


# The clutch

START = np.array([0.05, -0.05, 0.15, 0.0, 0.0, 0.4, 1.0])


def held():
    clutch = Clutch(POSE)
    clutch.begin(START)
    return clutch


def test_a_press_moves_nothing_and_then_the_tool_goes_as_far_as_the_hand():
    clutch = held()
    np.testing.assert_allclose(clutch.follow(hand(3, 2, 1), 1.0), START, atol=1e-12)
    found = clutch.follow(hand(3.01, 2.02, 0.97), 1.0)
    np.testing.assert_allclose(found[:3] - START[:3], (0.01, 0.02, -0.03), atol=1e-12)
    turn = poses.turned(0, 0, math.radians(20))
    found = clutch.follow(hand(3.01, 2.02, 0.97, turn), 1.0)
    assert found[5] == pytest.approx(0.4 + math.radians(20))


@settings(max_examples=50)
@given(SPOTS, ANGLES, SPOTS, ANGLES)
def test_a_new_press_makes_no_jump_wherever_the_hand_has_gone(a, turn_a, b, turn_b):
    clutch = held()
    first = Pose(np.array(a), poses.turned(*turn_a))
    clutch.follow(first, 1.0)
    clutch.follow(Pose(first.place + np.array([0.02, 0.01, -0.01]), first.turn), 1.0)
    before = clutch.wanted.copy()
    clutch.release()
    assert not clutch.held
    found = clutch.follow(Pose(np.array(b), poses.turned(*turn_b)), 1.0)
    np.testing.assert_allclose(found, before, atol=1e-9)
    assert clutch.jumps == 0


@pytest.mark.parametrize(
    ("way", "degrees", "jumps"),
    [(0.059, 0, 0), (0.061, 0, 1), (0.0, 24.9, 0), (0.0, 25.1, 1), (0.5, 170, 1)],
)
def test_what_goes_too_far_at_once_is_left_out(way, degrees, jumps):
    assert pytest.approx((0.06, math.radians(25))) == (JUMP, JUMP_TURN)
    clutch = held()
    clutch.follow(hand(), 1.0)
    turn = poses.turned(0, 0, math.radians(degrees))
    found = clutch.follow(hand(way, turn=turn), 1.0)
    assert clutch.jumps == jumps
    assert np.allclose(found, START) is bool(jumps)
    after = clutch.follow(hand(way + 0.01, turn=turn), 1.0)  # it goes on from where it is now
    assert after[0] - found[0] == pytest.approx(0.01)


def test_the_fingers_follow_once_the_hand_s_grip_changes():
    """A person lets go while the tool holds something, and opens their own hand."""
    clutch = held()
    clutch.follow(hand(), 1.0)
    assert clutch.follow(hand(), 0.0)[6] == 0.0
    clutch.release()
    assert clutch.follow(hand(), 1.0)[6] == 0.0, "it would have dropped it"
    assert clutch.follow(hand(), 0.95)[6] == 0.0
    assert clutch.follow(hand(), 0.4)[6] == 0.4
    assert clutch.follow(hand(), 0.9)[6] == 0.9


def test_at_the_border_the_way_back_begins_at_once():
    clutch = held()
    clutch.follow(hand(), 1.0)
    for k in range(1, 20):
        found = clutch.follow(hand(0.05 * k), 1.0)
    assert found[0] == pytest.approx(0.25)
    assert clutch.follow(hand(0.05 * 19 - 0.02), 1.0)[0] == pytest.approx(0.23)
    low, high = POSE.low.astype(float), POSE.high.astype(float)
    for k in range(40):
        found = clutch.follow(hand(0.05 * 19 - 0.02, 0, -0.05 * k), 1.0)
        assert (found >= low - 1e-6).all() and (found <= high + 1e-6).all()


def test_half_a_turn_is_the_same_for_a_gripper():
    clutch = held()
    for degrees in range(0, 181, 10):
        found = clutch.follow(hand(turn=poses.turned(0, 0, math.radians(degrees))), 1.0)
        assert -math.pi / 2 <= found[5] <= math.pi / 2
    assert found[5] == pytest.approx(0.4)


# What was meant


def walk(*corners, pace=0.02, tremor=0.0, rest=0):
    """Poses along straight ways between corners (x, y, z, finger), [T,7], and what was commanded:
    the next one."""
    rng, rows = np.random.default_rng(0), [np.array([*corners[0][:3], 0, 0, 0, corners[0][3]])]
    for corner in corners[1:]:
        goal = np.array([*corner[:3], 0, 0, 0, corner[3]])
        steps = max(1, math.ceil(np.linalg.norm((goal - rows[-1])[:3]) / pace))
        start = rows[-1]
        rows += [start + (goal - start) * k / steps for k in range(1, steps + 1)]
        rows += [goal] * rest
    path = np.stack(rows)
    path[:, :3] += rng.normal(0, tremor, path[:, :3].shape)
    path[:, 6] = np.round(path[:, 6])
    return path[:-1].astype(np.float32), path[1:].astype(np.float32)


@pytest.mark.parametrize("tremor", [0.0, 0.003])
def test_the_label_of_a_step_is_where_the_stroke_ends(tremor):
    corners = [(0, 0, 0.17, 1), (0.1, 0.1, 0.17, 1), (0.1, 0.1, 0.03, 1)]
    pose, command = walk(*corners, tremor=tremor)
    label = strokes.heading(pose, command)
    off = 3 * tremor + 1e-6
    turn = int(np.argmax(label[:, 2] < 0.1))
    assert abs(turn - 8) <= 1
    np.testing.assert_allclose(label[: turn - 1, :3] - corners[1][:3], 0, atol=off + 0.003)
    np.testing.assert_allclose(label[turn:, :3] - corners[2][:3], 0, atol=off)


def rows(*parts):
    """Poses [T,7] of parts (steps, x, y, z, finger)."""
    return np.array(
        [[x, y, z, 0, 0, 0, f] for n, x, y, z, f in parts for _ in range(n)], np.float32
    )


def test_a_tool_stays_as_long_as_its_fingers_move_and_no_longer():
    """Down on it, hesitate, close, hesitate, lift. Only while the fingers move is the label the
    place where the tool is; before it they close already, after it the tool goes up already."""
    command = rows((4, 0, 0, 0.03, 1), (9, 0, 0, 0.03, 0))
    command = np.concatenate([command, *(rows((1, 0, 0, 0.03 + 0.03 * k, 0)) for k in range(1, 6))])
    pose = np.concatenate([command[:1], command[:-1]])
    pose[:, 6] = 1
    pose[5:, 6] = 0.6  # an object keeps them apart
    pose[5:8, 6] = 0.9, 0.8, 0.7
    label = strokes.heading(pose, command)
    np.testing.assert_array_equal(label[:, 6], 0)
    np.testing.assert_allclose(label[:8, 2], 0.03, atol=1e-6)
    np.testing.assert_allclose(label[9:, 2], 0.18, atol=1e-6)


def test_who_hesitates_above_something_is_heading_down():
    down = [rows((1, 0.1, 0, 0.15 - 0.03 * k, 1)) for k in range(1, 5)]
    command = np.concatenate([rows((3, 0, 0, 0.15, 1), (8, 0.1, 0, 0.15, 1)), *down])
    command[1:3, 0] = 0.03, 0.06
    pose = np.concatenate([command[:1], command[:-1]])
    label = strokes.heading(pose, command)
    np.testing.assert_allclose(label[:3, :3], [[0.1, 0, 0.15]] * 3, atol=0.012)
    np.testing.assert_allclose(label[5:, 2], 0.03, atol=1e-6)


def test_the_turn_of_a_label_is_the_one_at_which_the_fingers_close():
    command = rows((10, 0, 0, 0.03, 1), (4, 0, 0, 0.03, 0), (6, 0, 0, 0.17, 0))
    command[:10, 5] = np.linspace(0, 0.9, 10)
    command[10:14, 5] = 0.9
    command[14:, 5] = np.linspace(0.9, 0.3, 6)
    command[14:, 2] = np.linspace(0.05, 0.17, 6)
    label = strokes.heading(np.concatenate([command[:1], command[:-1]]), command)
    np.testing.assert_allclose(label[:11, 5], 0.9, atol=1e-6)
    np.testing.assert_allclose(label[11:, 5], 0.3, atol=1e-6)


def test_pauses_go_and_slow_ways_stay():
    pose, command = walk((0, 0, 0.1, 1), (0.1, 0, 0.1, 1), (0.1, 0, 0.1, 1), pace=0.001, rest=50)
    kept = strokes.kept_steps(pose, command)
    assert kept[0] == 0 and kept[-1] == len(pose) - 1 and (np.diff(kept) > 0).all()
    assert 20 <= len(kept) <= 27, "a step for every 4 mm, none for the pauses"
    assert strokes.kept_steps(pose[:1], command[:1]).tolist() == [0]
    closes = pose.copy()
    closes[60:, 6] = 0.0
    assert 60 in strokes.kept_steps(closes, command)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 60), st.integers(0, 1000))
def test_labels_are_finite_and_near_the_way_whatever_the_way(steps, seed):
    rng = np.random.default_rng(seed)
    pose = np.cumsum(rng.normal(0, 0.02, (steps, 7)), 0).astype(np.float32)
    command = pose + rng.normal(0, 0.05, pose.shape).astype(np.float32)
    label = strokes.heading(pose, command)
    assert label.shape == pose.shape and label.dtype == np.float32 and np.isfinite(label).all()
    sent = strokes.sent(pose, command)
    assert np.linalg.norm(sent[:, :3] - pose[:, :3], axis=1).max() <= strokes.LEAD + 1e-6
    ends = strokes.stroke_ends(sent[:, :3], strokes.changes(command[:, 6]))
    assert ends[-1] == steps - 1 and (np.diff(ends) > 0).all()


# What is marked in the picture


def test_marks_lie_on_what_the_task_is_about():
    """By the renderer's own segmentation of the picture."""
    robot = Robot(KITCHEN, KITCHEN.spec(16, ()))
    lesson = robot.scene("train", Task("press:button_22", "press"), 3)
    ((name, u, v),) = robot.begin(lesson).marks
    world, (width, height) = robot.env.world, PICTURE
    view, projection = viewpoints.for_people(width / height)
    seen = pybullet.getCameraImage(
        width, height, view, projection, renderer=pybullet.ER_TINY_RENDERER,
        physicsClientId=world.client,
    )[4]  # fmt: skip
    bodies = np.asarray(seen).reshape(height, width) & 0xFFFFFF
    row, column = round(v * height), round(u * width)
    near = bodies[row - 3 : row + 4, column - 3 : column + 4]
    assert name == "button_22" and world.bodies[name] in near
    assert robot.begin(robot.scene("train", None, 3)).marks == ()
    robot.close()


# The wire

SAID = {
    "do": "hand",
    "n": 3,
    "held": True,
    "place": [0.0, 1.0, -0.5],
    "turn": [0.0, 0.0, 0.0, 1.0],
    "opening": 0.5,
    "frame": "table",
}


def test_messages_are_read():
    found = read(json.dumps(SAID))
    assert isinstance(found, Hand) and found.held and found.opening == 0.5
    np.testing.assert_array_equal(found.pose.place, (0, 1, -0.5))
    found = read(json.dumps({**SAID, "frame": "xr"}))
    np.testing.assert_array_equal(found.pose.place, (0, 0.5, 1))
    assert read('{"do": "finish"}') == Wish("finish")
    assert read('{"do": "task", "value": 4}') == Wish("task", 4)


ODD = [
    "",
    "[]",
    "{",
    "null",
    "{}",
    '{"do": "hand"}',
    '{"do": "release"}',
    '{"do": "__init__"}',
    '{"do": ["finish"]}',
    '{"do": "finish", "path": "../../etc/passwd"}',
    '{"do": "task", "value": "place:../../x"}',
    '{"do": "task", "value": -1}',
    '{"do": "task", "value": 1e99}',
    '{"do": "task", "value": true}',
    "[" * 100_000,
    *(
        json.dumps({**SAID, **change})
        for change in (
            {"place": [math.nan, 0, 0]},
            {"place": [math.inf, 0, 0]},
            {"place": [1e300, 0, 0]},
            {"place": [0, 0]},
            {"place": ["0", 0, 0]},
            {"place": [True, 0, 0]},
            {"turn": [0, 0, 0, 0]},
            {"turn": [0, 0, 0, math.nan]},
            {"turn": [9, 0, 0, 1]},
            {"opening": 1.5},
            {"opening": None},
            {"held": 1},
            {"n": -1},
            {"n": 1.5},
            {"n": 10**30},
            {"frame": "../xr"},
            {"frame": 3},
            {"more": 1},
        )
    ),
]


@pytest.mark.parametrize("text", ODD, ids=lambda text: text[:40])
def test_what_no_page_would_send_is_refused_in_words(text):
    with pytest.raises(RefusedError) as refused:
        read(text)
    assert refused.value.status == 400 and len(str(refused.value)) < 300
