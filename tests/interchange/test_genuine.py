"""Files of other people's robots, where the folder with them lies beside the checkout."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds

from mili_jax.interchange import commands, tfrecord
from mili_jax.interchange.guess import guess
from mili_jax.interchange.importing import import_episodes
from mili_jax.interchange.look import look_at
from mili_jax.interchange.mapping_file import parse
from mili_jax.interchange.sources import open_source
from mili_jax.storage.dataset import Dataset
from mili_jax.types import ConfigError, DataError

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
BRIDGE, G1 = DATA / "bridge_rlds", DATA / "lerobot_v21_g1"
bridge = pytest.mark.skipif(not BRIDGE.is_dir(), reason="the BridgeData sample is not here")
g1 = pytest.mark.skipif(not G1.is_dir(), reason="the G1 sample is not here")


@pytest.fixture(scope="module")
def examples():
    """The 25 episodes of the BridgeData sample as TFDS itself decodes them."""
    path = BRIDGE / "1.0.0/bridge_dataset-train.tfrecord-00000-of-00001"
    features = tfds.builder_from_directory(str(path.parent)).info.features
    with path.open("rb") as file:
        records = [tfrecord.read_record(file, place, "") for place in tfrecord.index(path)]
    return [list(features.deserialize_example_np(record)["steps"]) for record in records]


@bridge
def test_bridge_is_imported_as_it_is(tmp_path, examples):
    said = []
    report = commands.import_(str(BRIDGE), "rlds", None, str(tmp_path / "out"), show=said.append)
    text = "\n".join(said)
    assert report.episodes == {"demos_train": 25} and len(report.tasks) == 4
    assert "'val'" in text and "bridge_dataset-val.tfrecord-00000-of-00001" in text
    assert "has_image_0 is 0 throughout, but steps/observation/image_0 has pictures" in text
    assert "steps/is_last is 0 throughout" in text
    assert "steps/observation/image_3: all its pictures are the same" in text
    dataset = Dataset(tmp_path / "out")
    assert dataset.spec.delta and [c.name for c in dataset.spec.cameras] == [
        "image_0", "image_1", "image_2",
    ]  # fmt: skip
    for episode, steps in zip(dataset.read("demos_train"), examples, strict=True):
        assert np.array_equal(episode.action, [step["action"] for step in steps])
        assert np.array_equal(episode.pose, [step["observation"]["state"] for step in steps])
        for v in range(3):
            pictures = [step["observation"][f"image_{v}"] for step in steps]
            assert np.array_equal(episode.image[:, v], pictures)
        words = steps[0]["language_instruction"].decode()
        assert episode.meta.language == words == episode.meta.task


@bridge
def test_bridge_with_its_changes_made_targets(tmp_path, examples):
    text = guess(open_source(BRIDGE, "rlds")).text.replace("deltas: keep", "deltas: add_to_pose")
    import_episodes(BRIDGE, "rlds", parse(text, "it"), tmp_path / "out")
    dataset = Dataset(tmp_path / "out")
    assert not dataset.spec.delta
    misses = []
    for episode, steps in zip(dataset.read("demos_train"), examples, strict=True):
        state = np.array([step["observation"]["state"] for step in steps])
        change = np.array([step["action"] for step in steps])
        assert episode.action[:, :3] == pytest.approx(state[:, :3] + change[:, :3], abs=1e-6)
        assert np.array_equal(episode.action[:, 6], change[:, 6])  # the gripper is a target
        # The arm goes where it should: the target is nearer to the next pose than this pose is.
        distance = np.linalg.norm(episode.action[:-1, :3] - state[1:, :3], axis=1)
        stays = np.linalg.norm(state[:-1, :3] - state[1:, :3], axis=1)
        misses.append((distance.mean(), stays.mean()))
    commanded, still = np.mean(misses, 0)
    assert commanded < 0.8 * still


@bridge
def test_bridge_is_looked_at(tmp_path):
    import_episodes(BRIDGE, "rlds", None, tmp_path / "out")
    look = look_at(tmp_path / "out")
    assert len(look.summaries) == 25 and look.splits() == {"demos_train": 25}
    assert {s.length for s in look.summaries} == {10}
    assert sorted(count for _, count in look.tasks()) == [5, 6, 6, 8]


@bridge
def test_the_split_that_is_not_there_cannot_be_asked_for(tmp_path):
    text = guess(open_source(BRIDGE, "rlds")).text
    text = text.replace("train: demos_train", "val: demos_train")
    with pytest.raises(ConfigError, match=r"'val'.*train \(25\).*bridge_dataset-val"):
        import_episodes(BRIDGE, "rlds", parse(text, "it"), tmp_path / "out")


@g1
def test_g1_is_refused_for_what_is_missing(tmp_path):
    with pytest.raises(DataError, match=r"promises 100 episodes, 1 .*Missing: 0-9, 11-99"):
        commands.import_(str(G1), "lerobot", None, str(tmp_path / "out"))
    assert list(tmp_path.iterdir()) == []


@g1
def test_g1_asks_for_units_and_imports_what_is_there(tmp_path):
    said = []
    with pytest.raises(ConfigError, match="nobody but you can know"):
        commands.import_(
            str(G1), "lerobot", None, str(tmp_path / "out"), partial=True, show=said.append
        )
    assert "Missing: 0-9, 11-99" in "\n".join(said)
    path = tmp_path / "out.mapping.yaml"
    path.write_text(path.read_text().replace('unit: "?"', "unit: rad"))
    report = import_episodes(G1, "lerobot", path, tmp_path / "out", partial=True)
    assert report.episodes == {"demos_train": 1} and report.steps == 290
    (episode,) = Dataset(tmp_path / "out").read("demos_train")
    assert episode.image.shape == (290, 64, 86, 3) and episode.meta.episode_id == "10"
    assert episode.meta.language == "Pick up the yellow bottle on the table."
    import pyarrow.parquet as pq

    table = pq.read_table(G1 / "data/chunk-000/episode_000010.parquet")
    assert np.array_equal(episode.action, np.stack(table["action"].to_numpy()))
    assert np.array_equal(episode.pose, np.stack(table["observation.state"].to_numpy()))
    # The AV1 frames, each new pixel the mean of its area: the mean of a picture stays.
    import av

    with av.open(str(next(G1.rglob("*.mp4")))) as container:
        frames = [f.to_ndarray(format="rgb24") for f in container.decode(video=0)]
    assert len(frames) == 290
    means = [frame.mean() for frame in frames]
    assert episode.image.mean((1, 2, 3)) == pytest.approx(means, abs=0.3)
    odd = look_at(tmp_path / "out").odd
    assert any("one task alone" in sentence for sentence in odd)
