"""Whose episodes are in a split: a stage makes room for its own, and loses nobody's."""

from __future__ import annotations

import dataclasses
import logging
import shutil

import numpy as np
import pytest
from runs import config

from mili_jax.domains.rollout import Request, Trial
from mili_jax.pipeline import demonstrate
from mili_jax.pipeline.rolling import roll_out
from mili_jax.pipeline.run import Run, open_run
from mili_jax.storage.dataset import Dataset
from mili_jax.storage.labels import Kind, Label
from mili_jax.types import DataError, Episode, EpisodeMeta, Task

TASK = Task("press:button_01", "press")
NEW, OLD = "pretrain@" + "0" * 12, "pretrain@" + "1" * 12
ANSWERS = [Label("round1-000001", True, "ana"), Label("round1-000002", "unsure", "bo")]


def trials(policy: str, count: int = 10) -> list[Trial]:
    return [
        Trial(f"round1-{i:06d}", "press:button_01", "{}", i, 1, policy, "d0") for i in range(count)
    ]


def requests(count: int = 10) -> list[Request]:
    return [Request(f"train-{i:03d}-0", TASK, "train", 90 * i) for i in range(count)]


def episode(item: Trial | Request, **facts) -> Episode:
    """What an item becomes here, where nothing is simulated; the seed is in the picture."""
    known = {f.name: getattr(item, f.name, "") for f in dataclasses.fields(EpisodeMeta)}
    known |= {
        "task": TASK.name,
        "scene": "{}",
        "round": getattr(item, "round", 0),
        "renderer": "none",
    }
    known |= {"useful": True, "success": True, "achieved_tasks": (), "terminated": True}
    image = np.full((3, 32, 32, 3), item.seed % 256, np.uint8)
    pose = np.full((3, 7), len(item.policy), np.float32)
    return Episode(image, pose, pose, EpisodeMeta(**(known | facts)))


def make_runner():
    return lambda items, skip: [episode(item) for item in items]


@pytest.fixture
def run(tmp_path):
    opened = open_run(config(**{"machine.processes": 0}), tmp_path / "run")
    with opened.workdir:
        yield opened


def roll(run: Run, items, split: str = "round_1"):
    return roll_out(run, split, items, make_runner, "episodes")


def policies(dataset: Dataset, split: str = "round_1") -> set[str]:
    return {m.policy for m in dataset.read_metadata(split)}


def content(run: Run) -> dict:
    files = (p for p in run.workdir.path.rglob("*") if p.is_file() and p.name != ".commit.lock")
    return {p: p.read_bytes() for p in files}


def give(run: Run, split: str, episodes: list[Episode], *labels: Label) -> None:
    """As somebody writes recordings of their own."""
    run.dataset.write_shard(split, 0, episodes)
    run.dataset.commit(split, 1)
    if labels:
        run.dataset.write_labels(split, labels)


@pytest.mark.parametrize("ids", ["mine-{}", "train-{:03d}-0"])
@pytest.mark.parametrize("labels", [(), ANSWERS])
def test_demonstrations_of_ones_own_by_an_expert_are_left_alone(ids, labels, run):
    mine = [episode(r, episode_id=ids.format(i), seed=7) for i, r in enumerate(requests(3))]
    give(run, "demos_train", mine, *labels)
    before = content(run)
    with pytest.raises(DataError, match="policy 'expert', which this stage of this run did not ma"):
        roll(run, requests(), "demos_train")
    with pytest.raises(DataError, match="go on with the next one, or move them away"):
        demonstrate.demonstrate(run)
    assert content(run) == before


def test_trials_of_ones_own_with_the_name_of_a_policy_of_ours_are_left_alone(run):
    mine = [episode(t, policy="pretrain") for t in trials(NEW)[:6]]
    give(run, "round_1", mine, *ANSWERS)
    before = content(run)
    with pytest.raises(DataError, match="holds 'round1-000000' of the policy 'pretrain', which"):
        roll(run, trials(NEW))
    assert content(run) == before
    assert run.dataset.read_labels("round_1") == ANSWERS


def test_the_command_says_so_in_one_line(call, run):
    give(run, "demos_train", [episode(r, episode_id=f"m{r.seed}") for r in requests(2)])
    before = content(run)
    run.workdir.close()
    code, _, err = call("demos", run.workdir.path)
    (said,) = [line for line in err.splitlines() if "DataError" in line]
    assert code == 1 and "which this stage of this run did not make" in said
    assert "Traceback" not in err
    assert {p: c for p, c in content(run).items() if p in before and p.name != "lock"} == {
        p: c for p, c in before.items() if p.name != "lock"
    }


def test_what_this_run_made_of_an_older_policy_is_dropped(run, caplog):
    roll(run, trials(OLD))
    machine = [Label(t.episode_id, True, "simulator", Kind.SIMULATOR) for t in trials(OLD)]
    run.dataset.write_labels("round_1", machine)
    assert roll(run, trials(NEW)) == {"episodes": 10, "set_aside": []}
    assert policies(run.dataset) == {NEW} and run.dataset.read_labels("round_1") == []
    assert "of an older policy" in caplog.text and "what was there is dropped" in caplog.text
    assert not (run.workdir.path / "dataset" / "kept").exists()
    caplog.clear()
    roll(run, trials(NEW))
    assert caplog.text == ""


def test_of_a_stage_that_was_stopped_too(run):
    """Shards with a gap, not committed, as several workers leave them."""
    roll(run, trials(OLD))
    run.dataset.drop("round_1", set(run.dataset.shard_digests("round_1").values()))
    for shard in (0, 2):
        some = [episode(t) for t in trials(OLD)[4 * shard : 4 * shard + 4]]
        run.dataset.write_shard("round_1", shard, some)
    roll(run, trials(NEW))
    assert policies(run.dataset) == {NEW} and run.dataset.splits() == {"round_1": 10}
    assert not (run.workdir.path / "dataset" / "kept").exists()


def test_answers_of_people_survive_with_the_trials_that_they_are_about(run, caplog):
    roll(run, trials(OLD))
    run.dataset.write_labels("round_1", ANSWERS)
    roll(run, trials(NEW))
    assert policies(run.dataset) == {NEW} and run.dataset.read_labels("round_1") == []
    kept = Dataset(run.workdir.path / "dataset" / "kept" / "round_1_1")
    assert policies(kept) == {OLD} and kept.read_labels("round_1") == ANSWERS
    assert kept.splits() == {"round_1": 10} and str(kept.path.parents[1]) in caplog.text


@pytest.mark.parametrize("labels", [(), ANSWERS])
def test_a_run_from_before_there_were_declarations_goes_on_and_loses_nothing(labels, run):
    roll(run, trials(OLD))
    if labels:
        run.dataset.write_labels("round_1", labels)
    shutil.rmtree(run.workdir.path / "made")
    roll(run, trials(NEW))
    assert policies(run.dataset) == {NEW}
    kept = Dataset(run.workdir.path / "dataset" / "kept" / "round_1_1")
    assert policies(kept) == {OLD} and kept.read_labels("round_1") == list(labels)


def test_the_dataset_of_another_run_is_not_this_runs_to_drop(run, tmp_path):
    with open_run(config(**{"machine.processes": 0}), tmp_path / "other").workdir as workdir:
        other = Run(run.config, workdir, Dataset(workdir.path / "dataset", run.dataset.spec))
        roll(other, trials(OLD))
        shutil.copytree(workdir.path / "dataset", run.workdir.path / "dataset")
    roll(run, trials(NEW))
    assert policies(Dataset(run.workdir.path / "dataset" / "kept" / "round_1_1")) == {OLD}
    assert policies(run.dataset) == {NEW}


def test_fewer_demonstrations_than_are_asked_for_now(run):
    """As when more tasks are evaluated: declared ones make room, others are kept."""
    roll(run, requests(6), "demos_test")
    roll(run, requests(10), "demos_test")
    assert run.dataset.splits() == {"demos_test": 10}
    assert not (run.workdir.path / "dataset" / "kept").exists()
    shutil.rmtree(run.workdir.path / "made")
    roll(run, requests(11), "demos_test")
    kept = Dataset(run.workdir.path / "dataset" / "kept" / "demos_test_1")
    assert kept.splits() == {"demos_test": 10} and run.dataset.splits() == {"demos_test": 11}


def test_a_shard_of_ones_own_behind_those_of_the_run_is_left_alone(run):
    roll(run, trials(NEW))
    run.dataset.write_shard("round_1", 3, [episode(trials(NEW)[0], episode_id="x", policy="me")])
    run.dataset.commit("round_1", 4)
    before = content(run)
    with pytest.raises(DataError, match=r"shard 3 .* holds 'x' of the policy 'me', which"):
        roll(run, trials(OLD))
    assert content(run) == before


def test_a_split_that_is_as_asked_for_is_used_whoever_made_it(run, caplog):
    caplog.set_level(logging.WARNING)
    run.dataset.write_shard("round_1", 0, [episode(t) for t in trials(NEW)[:4]])
    roll(run, trials(NEW))
    assert run.dataset.splits() == {"round_1": 10} and caplog.text == ""
    assert len(run.dataset.shard_digests("round_1")) == 3
