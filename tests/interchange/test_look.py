"""A look at a dataset: what it counts, and each odd thing that it must see."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from makers import episode as make
from PIL import Image

from mili_jax.interchange import commands, sheet
from mili_jax.interchange.look import look_at, write
from mili_jax.interchange.oddities import oddities
from mili_jax.interchange.summaries import summarise
from mili_jax.spec import Camera, Field, Layout, Spec
from mili_jax.storage.dataset import Dataset
from mili_jax.types import ConfigError, DataError, Episode, EpisodeMeta

POSE = Layout((
    Field("x", "m", -1.0, 1.0),
    Field("yaw", "rad", -np.pi, np.pi, 2 * np.pi),
    Field("gripper", "1", 0.0, 1.0),
))  # fmt: skip
SPEC = Spec(POSE, POSE, 24, 32, (Camera("front"), Camera("wrist")))


def plain(k, steps=20):
    """An episode with nothing odd about it."""
    made = make(k, steps=steps)
    time = np.linspace(0, 2, steps) + 0.3 * k
    pose = np.column_stack([0.5 * np.sin(time), 0.8 * np.cos(time), np.arange(steps) < 9])
    meta = EpisodeMeta(
        f"e{k}", f"task {k % 2}", "", 0, 0, "expert", "", "camera", True, k % 3 > 0, ()
    )
    return Episode(
        np.stack([made.front, made.wrist], 1),
        pose.astype(np.float32),
        (pose + 0.01).astype(np.float32),
        meta,
    )


def seen(change=lambda episodes: None, spec=SPEC, count=8):
    """The oddities of eight plain episodes of which `change` changes some in place."""
    episodes = [plain(k) for k in range(count)]
    change(episodes)
    return oddities([summarise(e, "demos_train", spec) for e in episodes], spec)


def with_(episodes, k, **changes):
    meta = {n: v for n, v in changes.items() if n in EpisodeMeta.__dataclass_fields__}
    arrays = {n: v for n, v in changes.items() if n not in meta}
    episodes[k] = dataclasses.replace(
        episodes[k], **arrays, meta=dataclasses.replace(episodes[k].meta, **meta)
    )


def test_nothing_is_odd_about_plain_episodes():
    assert seen() == []


def constant(episodes):
    for e in episodes:
        e.action[:, 1] = 0.25


def millimetres(episodes):
    for e in episodes:
        e.pose[:, 0] *= 1000


def degrees(episodes):
    for e in episodes:
        e.pose[:, 1] *= 180 / np.pi


def byte_gripper(episodes):
    for e in episodes:
        e.action[:, 2] = e.pose[:, 2] * 255


def jump(episodes):
    episodes[3].pose[10:, 0] -= 1.1


def turn(episodes):
    episodes[2].pose[:, 1] = np.linspace(2.9, 3.5, 20)
    episodes[2].pose[:, 1] -= 2 * np.pi * (episodes[2].pose[:, 1] > np.pi)


def frozen(episodes):
    episodes[5].image[:, 1] = episodes[5].image[:1, 1]


def slow(episodes):
    episodes[5].image[:, 0] = episodes[5].image[np.arange(20) // 4 * 4, 0]


def blank(episodes):
    episodes[1].image[:, 0] = 7


def no_number(episodes):
    episodes[4].action[3, 0] = np.nan


def copy(episodes):
    with_(episodes, 6, pose=episodes[2].pose, action=episodes[2].action)


def same_film(episodes):
    with_(episodes, 6, image=episodes[2].image)


def single(episodes):
    e = episodes[7]
    with_(episodes, 7, image=e.image[:1], pose=e.pose[:1], action=e.action[:1])


def long(episodes):
    e = episodes[7]
    with_(
        episodes, 7, image=np.tile(e.image, (5, 1, 1, 1, 1)), pose=np.tile(e.pose, (5, 1)),
        action=np.tile(e.action, (5, 1)),
    )  # fmt: skip


def alike(episodes):
    episodes[0].image[:, 1] = episodes[0].image[:, 0]


def beyond(episodes):
    episodes[0].action[4, 0] = 1.4


def lone_task(episodes):
    with_(episodes, 0, task="never again")


def one_task(episodes):
    for k in range(len(episodes)):
        with_(episodes, k, task="it")


def no_success(episodes):
    for k in range(len(episodes)):
        with_(episodes, k, success=False)


def relabelled(episodes):
    for e in episodes:
        e.action[:-1] = e.pose[1:]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (constant, "action 'yaw' never changes; it is 0.25"),
        (millimetres, "pose 'x' reaches 500 m; it looks like mm"),
        (degrees, "rad; it looks like degrees"),
        (byte_gripper, "action 'gripper' reaches 255, and 1 is open; it looks like 0 to 255"),
        (jump, "pose 'x' jumps by up to 1."),
        (turn, "pose 'yaw' passes the end of its turn in 1 episode (e2); its period covers that"),
        (frozen, "Camera 'wrist' is frozen while the robot moves in 1 episode (e5)"),
        (slow, "Camera 'front' shows the picture before again in at least half the steps"),
        (blank, "Camera 'front' shows one colour alone in 1 episode (e1)"),
        (no_number, "action 'x' is not a number in 1 episode (e4)"),
        (copy, "1 episode has the poses and actions of another, for example e2 and e6"),
        (same_film, "1 episode has the pictures of another, for example e2 and e6"),
        (single, "One step alone: 1 episode (e7)"),
        (long, "Very long beside the median of 20 steps: 1 episode (e7)"),
        (alike, "All cameras show the same in 1 episode (e0)"),
        (beyond, "action 'x' goes from"),
        (lone_task, "1 of 3 tasks have a single episode ('never again')"),
        (one_task, "There is one task alone"),
        (no_success, "No episode is a success"),
        (relabelled, "Every action is exactly the next measured pose"),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
def test_each_odd_thing_is_said(change, said):
    found = seen(change)
    assert any(said in sentence for sentence in found), found
    assert all(sentence.endswith(".") for sentence in found)


def test_a_turn_without_period_is_a_jump_to_be_mended():
    layout = Layout(tuple(dataclasses.replace(f, period=None) for f in POSE.fields))
    found = seen(turn, dataclasses.replace(SPEC, pose=layout, action=layout))
    assert any("'yaw' jumps by a turn in 1 episode (e2) and has no period" in s for s in found)


def test_the_same_path_with_other_actions_is_no_copy():
    def change(episodes):
        with_(episodes, 6, pose=episodes[2].pose, action=episodes[2].action + 0.001)

    assert seen(change) == []


def test_changes_may_jump():
    found = seen(jump, dataclasses.replace(SPEC, delta=True))
    assert not any("action" in sentence and "jumps" in sentence for sentence in found)


def stored(root, count=8):
    episodes = [plain(k) for k in range(count)]
    dataset = Dataset(root, SPEC)
    dataset.write_shard("demos_train", 0, episodes[:5])
    dataset.commit("demos_train", 1)
    dataset.write_shard("demos_val", 0, episodes[5:])
    dataset.commit("demos_val", 1)
    return episodes


def test_what_the_page_and_the_text_say(tmp_path):
    episodes = stored(tmp_path / "d")
    said = []
    look = commands.look(str(tmp_path / "d"), show=said.append)
    assert look.splits() == {"demos_train": 5, "demos_val": 3}
    assert sorted(look.tasks()) == [("task 0", 4), ("task 1", 4)]
    text = "\n".join(said)
    assert "8 episodes (demos_train 5, demos_val 3), 160 steps" in text
    assert "Nothing odd was found" in text and "Actions are targets" in text
    low = min(float(e.pose[:, 0].min()) for e in episodes)
    assert f"{low:.4g}" in text
    page = (tmp_path / "d/look/index.html").read_text()
    assert "contact.png" in page and "task 1" in page and f"{low:.4g}" in page
    with Image.open(tmp_path / "d/look/contact.png") as picture:
        assert picture.height > 8 * 24 and picture.width > 8 * 2 * 32
    assert Dataset(tmp_path / "d").splits() == {"demos_train": 5, "demos_val": 3}


def test_some_splits_alone(tmp_path):
    stored(tmp_path / "d")
    assert look_at(tmp_path / "d", ["demos_val"]).splits() == {"demos_val": 3}
    with pytest.raises(ConfigError, match="no split 'round_1'"):
        look_at(tmp_path / "d", ["round_1"])
    with pytest.raises(DataError, match="holds no dataset"):
        look_at(tmp_path / "nothing")


def test_the_sheet_shows_the_pictures_at_their_steps(tmp_path):
    episodes = stored(tmp_path / "d")
    look = look_at(tmp_path / "d")
    assert len(look.rows) == 8
    row = look.rows[3]
    assert row.label.startswith("e3, 20 steps: task 1")
    steps = np.linspace(0, 19, 8).round().astype(int)
    assert np.array_equal(row.pictures, episodes[3].image[steps])
    drawn = np.asarray(sheet.draw([row]))
    scale = round(96 / 24 / 2**0.5)
    first = episodes[3].image[0, 0].repeat(scale, 0).repeat(scale, 1)
    assert np.array_equal(drawn[14 : 14 + 24 * scale, : 32 * scale], first)
    second = episodes[3].image[0, 1].repeat(scale, 0).repeat(scale, 1)
    assert np.array_equal(drawn[14 : 14 + 24 * scale, 32 * scale : 64 * scale], second)


def test_what_others_wrote_into_names_is_text_on_the_page(tmp_path):
    episodes = [plain(k) for k in range(2)]
    with_(episodes, 0, task="<script>alert(1)</script>", episode_id="<b>ö日本</b>")
    dataset = Dataset(tmp_path / "d", SPEC)
    dataset.write_shard("demos_train", 0, episodes)
    dataset.commit("demos_train", 1)
    page = write(look_at(tmp_path / "d"), tmp_path / "page").read_text()
    assert "<script>" not in page and "<b>" not in page and "&lt;script&gt;" in page
