"""The loop on logged episodes of a robot without a simulator, and what is measured of it."""

from __future__ import annotations

import json

import numpy as np
import pytest

import mili_jax
from mili_jax.configs import get_config
from mili_jax.domains import rollout
from mili_jax.pipeline import algorithm, evaluate, train
from mili_jax.pipeline.run import open_run
from mili_jax.spec import Camera, Field, Layout, Spec
from mili_jax.storage.dataset import Dataset
from mili_jax.storage.labels import Label
from mili_jax.types import ConfigError, DataError, Episode, EpisodeMeta

JOINTS = Layout(
    (Field("shoulder", "rad", -2, 2), Field("wrist", "rad", -3.2, 3.2, period=2 * np.pi))
)
CHANGES = Layout((Field("shoulder", "rad", -0.5, 0.5), Field("wrist", "rad", -0.4, 0.4)))
SPEC = Spec(JOINTS, CHANGES, 24, 32, (Camera("front"),), delta=True)
TASKS = ("red", "green", "blue")


def episode(name, task, rng, steps=6):
    """The picture shows the task's colour on the side to which the shoulder turns."""
    side = rng.integers(2)
    image = rng.integers(0, 60, (steps, 24, 32, 3), np.uint8)
    image[:, 8:16, 16 * side : 16 * side + 12, TASKS.index(task)] = 220
    action = np.zeros((steps, 2), np.float32)
    action[:, 0] = (0.2 + 0.1 * TASKS.index(task)) * (1 if side else -1)
    action[:, 1] = rng.uniform(-0.3, 0.3, steps)
    pose = np.cumsum(action, 0, dtype=np.float32) / 2
    facts = EpisodeMeta(name, task, "", 0, 0, "me", "", "camera", True, True, (task,))
    return Episode(image, pose, action, facts)


def write(folder, splits):
    """A dataset with so many episodes of each task in each split."""
    dataset, rng = Dataset(folder / "dataset", SPEC), np.random.default_rng(0)
    for split, each in splits.items():
        found = [
            episode(f"{split}-{task}-{k}", task, rng, 4 + k) for task in TASKS for k in range(each)
        ]
        dataset.write_shard(split, 0, found)
        dataset.commit(split, 1)
    return dataset


def config(**changes):
    found = get_config("logs")
    small = {
        "policy.channels": 4,
        "policy.blocks": 1,
        "policy.embedding_size": 8,
        "policy.frames": 2,
        "train.steps": 6,
        "train.checkpoint_every": 6,
        "improve.steps": 3,
        "improve.alpha": -1.0,
        "improve.arms": ("mili",),
    }
    for name, value in {**small, **changes}.items():
        section, _, field = name.partition(".")
        found[section][field] = value
    return found


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """A run's folder after the whole loop."""
    folder = tmp_path_factory.mktemp("logs") / "run"
    dataset = write(folder, {"demos_train": 3, "round_1": 2, "demos_test": 2})
    ids = [m.episode_id for m in dataset.read_metadata("round_1")]
    dataset.write_labels("round_1", [Label(name, True, "ana") for name in ids])
    run = open_run(config(), folder)
    with run.workdir:
        page = algorithm.run_all(run)
    return folder, page


def rows_of(folder):
    rows = [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()]
    return [row for row in rows if "error_of" in row]


def test_the_whole_loop_runs_on_what_people_brought(ran):
    folder, page = ran
    rows = rows_of(folder)
    assert {(row["error_of"], row["round"], row["demo"]) for row in rows} == {
        *(("meta_imitation", 0, demo) for demo in ("right", "wrong", "none")),
        *(("mili", 1, demo) for demo in ("right", "wrong", "none")),
        ("mean_action", 0, "none"),
    }
    assert {row["trials"] for row in rows if row["error_of"] == "mili"} == {6}
    assert {row["domain"] for row in rows} == {"logs"}
    text = page.read_text()
    assert "On 6 held-out episodes actions are off by" in text and "Action error" in text
    assert "Success by group" not in text


def test_errors_are_those_of_a_policy_that_acts_along_the_episode(ran):
    """Held against the policy as a user loads it, one step of one robot at a time."""
    folder, _ = ran
    dataset = Dataset(folder / "dataset")
    stored = {e.meta.episode_id: e for s in ("demos_train", "demos_test") for e in dataset.read(s)}
    policy = mili_jax.load_policy(folder, policy="pretrain")
    rows = [row for row in rows_of(folder) if row["error_of"] == "meta_imitation"]
    checked = 0
    for row in rows:
        for name, error in zip(row["episodes"], row["errors"], strict=True):
            done = stored[name]
            assert done.meta.task == row["about"]
            if row["demo"] == "none":
                continue
            fits = []
            for lesson in stored.values():
                same = lesson.meta.task == row["about"]
                if lesson.meta.episode_id == name or same != (row["demo"] == "right"):
                    continue
                robot = policy.after(lesson)
                seen = zip(done.image, done.pose, strict=True)
                own = np.stack([robot.act({"image": i, "pose": p}) for i, p in seen])
                fits.append(np.mean(np.abs(own - done.action) / np.array([1.0, 0.8])))
            assert np.min(np.abs(np.array(fits) - error)) < 1e-5, (name, error, fits)
            checked += 1
    assert checked == 12


def test_the_mean_action_is_what_it_is_held_against(ran):
    folder, _ = ran
    dataset = Dataset(folder / "dataset")
    mean = np.concatenate([e.action for e in dataset.read("demos_train")]).mean(0)
    wanted = {
        e.meta.episode_id: np.mean(np.abs(e.action - mean) / np.array([1.0, 0.8]))
        for e in dataset.read("demos_test")
    }
    found = {}
    for row in rows_of(folder):
        if row["error_of"] == "mean_action":
            found.update(zip(row["episodes"], row["errors"], strict=True))
    assert found.keys() == wanted.keys()
    assert all(found[name] == pytest.approx(wanted[name], abs=1e-5) for name in wanted)


def test_a_stage_that_is_done_is_not_done_again_and_new_episodes_are_measured(ran, monkeypatch):
    folder, _ = ran
    run = open_run(config(), folder)
    with run.workdir:
        before = run.workdir.read_manifest("evaluate_mili_1")
        evaluate.evaluate(run, 1)
        assert run.workdir.read_manifest("evaluate_mili_1") == before
    digests = run.dataset.digests("demos_train", "demos_test")
    assert digests.items() <= before["inputs"].items()


@pytest.mark.parametrize("lost", ["demos_train", "round_1", "demos_test"])
def test_what_nobody_brought_is_named_before_anything_trains(tmp_path, lost):
    splits = {"demos_train": 2, "round_1": 1, "demos_test": 1}
    del splits[lost]
    write(tmp_path, splits)
    run = open_run(config(), tmp_path)
    with run.workdir, pytest.raises(ConfigError, match=f"no episodes of the split '{lost}'"):
        algorithm.run_all(run)
    assert not (tmp_path / "checkpoints").exists()


def test_without_held_out_episodes_an_evaluation_says_so(ran):
    folder, _ = ran
    run = open_run(config(**{"evaluate.split": "validation"}), folder)
    with run.workdir, pytest.raises(ConfigError, match="no split 'demos_validation' of held-out"):
        evaluate.evaluate(run, 0)


def test_nobody_can_try_without_a_simulator(ran):
    folder, _ = ran
    policy = mili_jax.load_policy(folder)
    assert policy.domain.simulator is None
    with pytest.raises(ConfigError, match="a trial needs a simulator"):
        rollout.Player(lambda: None, "logs", SPEC)
    with pytest.raises(DataError):
        policy.after(episode("x", "red", np.random.default_rng(0))).act({"image": 0, "pose": 0})


COLOURS = ((220, 40, 40), (40, 180, 60), (50, 70, 220))


def to_a_square(name, which, rng):
    """A black point goes to one of three coloured squares, which lie anywhere."""
    places = rng.uniform(-0.8, 0.8, (3, 2))
    while min(np.abs(places[i] - places[j]).max() for i, j in ((0, 1), (0, 2), (1, 2))) < 0.4:
        places = rng.uniform(-0.8, 0.8, (3, 2))
    start, end = rng.uniform(-0.8, 0.8, 2), places[which]
    path = start + (end - start) * np.linspace(0, 1, 8)[:, None]

    def draw(image, at, half, colour):
        low, high = ((np.array([at[0], -at[1]]) + [[-half], [half]] + 1) * 16).astype(int)
        image[max(0, low[1]) : high[1], max(0, low[0]) : high[0]] = colour

    image = np.full((8, 32, 32, 3), 200, np.uint8)
    for picture, point in zip(image, path, strict=True):
        for place, colour in zip(places, COLOURS, strict=True):
            draw(picture, place, 0.15, colour)
        draw(picture, point, 0.06, (0, 0, 0))
    facts = EpisodeMeta(name, f"go to {which}", "", 0, 0, "me", "", "camera", True, True, ())
    action = np.tile(end, (8, 1)).astype(np.float32)
    return Episode(image, path.astype(np.float32), action, facts)


@pytest.mark.long
def test_tasks_that_pictures_alone_tell_apart_do_not_become_one(tmp_path):
    """The gradient of the policy makes them one within 40 steps: mean cosine 1.0000 at this weight
    of the contrastive loss. It does not reach them by this configuration."""
    xy = Layout((Field("x", "1", -1, 1), Field("y", "1", -1, 1)))
    dataset = Dataset(tmp_path / "dataset", Spec(xy, xy, 32, 32, (Camera("above"),)))
    rng = np.random.default_rng(0)
    found = [to_a_square(f"{which}-{k}", which, rng) for which in range(3) for k in range(8)]
    dataset.write_shard("demos_train", 0, found)
    dataset.commit("demos_train", 1)
    small = {"policy.channels": 8, "train.contrastive_weight": 0.1}
    small |= {"train.steps": 300, "train.checkpoint_every": 300}
    run = open_run(config(**small), tmp_path)
    with run.workdir:
        train.pretrain(run)
        facts = run.workdir.read_manifest("pretrain")
    assert facts["last_other_cosine"] < min(0.99, facts["last_same_cosine"])
