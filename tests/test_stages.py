"""Algorithm 1 as a user runs it: to the end, again, killed and resumed, without the oracle, and
with everything wrong that a user, a disk or another run can make wrong.

The runs are the configuration `test`, made smaller still.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter

import jax
import numpy as np
import pytest
import tensorflow_datasets as tfds
from ml_collections import ConfigDict
from orbax.checkpoint import v1 as ocp
from runs import ROOT, SMALL, command, config, data_of, shards_of

from mili_jax.domains import rollout
from mili_jax.domains.base import SPLITS
from mili_jax.domains.kitchen import tasks
from mili_jax.domains.kitchen.disturbance import LOW_SHARE, LOW_Z
from mili_jax.domains.kitchen.domain import KITCHEN
from mili_jax.domains.kitchen.env import KitchenEnv, object_pool
from mili_jax.domains.kitchen.families import FAMILIES
from mili_jax.domains.kitchen.scenes import sample
from mili_jax.domains.kitchen.world import Scene
from mili_jax.improve import arms, exploration
from mili_jax.improve.arms import ARMS, adapts, lineage, policies, start_of
from mili_jax.pipeline import collect, demonstrate, pair, retrain, rolling, schema, train
from mili_jax.pipeline.evaluate import evaluate
from mili_jax.pipeline.run import open_run
from mili_jax.pipeline.schema import SEED_STRIDE
from mili_jax.pipeline.trials import answered_trials
from mili_jax.report.results import write_comparison, write_figures
from mili_jax.storage import verify
from mili_jax.storage.dataset import Dataset
from mili_jax.storage.labels import Label, resolve
from mili_jax.storage.workdir import lock
from mili_jax.types import ConfigError, DataError, EpisodeMeta, PolicyId, SimulationError

TRAINED = ("pretrain", "mili_1", "control_1")
STAGES = {
    *(f"demos_{split}" for split in SPLITS),
    *("round_1", "filter_1", "pair_1"),
    *TRAINED,
    *(f"evaluate_{name}" for name in TRAINED),
}


@pytest.fixture
def copy(finished, tmp_path):
    return shutil.copytree(finished, tmp_path / "copy")


def rows_of(workdir):
    lines = (workdir / "results.jsonl").read_text().splitlines()
    return [{k: v for k, v in json.loads(line).items() if k != "commit"} for line in lines]


def assert_same_checkpoints(one, other, names=TRAINED):
    for name in names:
        steps = sorted(int(p.stem) for p in (one / "checkpoints" / name).glob("*.json"))
        a, b = (jax.tree.leaves_with_path(_arrays(w, name, steps[-1])) for w in (one, other))
        assert len(a) == len(b) > 10
        for (path, left), (path_too, right) in zip(a, b, strict=True):
            assert path == path_too
            np.testing.assert_array_equal(left, right, err_msg=f"{name} {path}")


def assert_same_episodes(one, other):
    a, b = (Dataset(workdir / "dataset") for workdir in (one, other))
    assert a.splits() == b.splits() and len(a.splits()) == 7
    for split in a.splits():
        for left, right in zip(a.read(split), b.read(split), strict=True):
            assert left.meta == right.meta
            for field in ("image", "pose", "action"):
                np.testing.assert_array_equal(getattr(left, field), getattr(right, field))


def _arrays(workdir, name, step):
    return jax.tree.map(np.asarray, ocp.load(workdir / "checkpoints" / name / str(step)))


def run_again(workdir, *names):
    """Makes these stages undone, as if they had not run yet."""
    for name in names:
        (workdir / "stages" / f"{name}.json").unlink()
        shutil.rmtree(workdir / "checkpoints" / name, ignore_errors=True)


# To the end


@pytest.mark.slow
def test_one_command_leaves_everything(finished):
    assert {p.stem for p in (finished / "stages").glob("*.json")} == STAGES
    for path in (finished / "stages").glob("*.json"):
        facts = json.loads(path.read_text())
        assert facts["stage"] == path.stem and facts["seconds"] >= 0
    manifest = json.loads((finished / "manifest.json").read_text())
    assert manifest["config"]["data"]["image_size"] == 32
    page = (finished / "report" / "index.html").read_text()
    assert page.lstrip().lower().startswith("<!doctype html>") and len(page) > 5000
    assert (finished.parent / "stdout").read_text().strip() == str(finished / "report/index.html")
    assert not list(finished.rglob(".*.tmp"))


@pytest.mark.slow
def test_the_console_shows_progress_and_nothing_else(finished):
    shown = (finished.parent / "stderr").read_text()
    assert "pretrain: 100%" in shown and "trials, round 1: 100%" in shown
    assert "build time" not in shown and "dataset info" not in shown


@pytest.mark.slow
def test_result_rows_have_the_declared_fields(finished):
    rows = [json.loads(line) for line in (finished / "results.jsonl").read_text().splitlines()]
    success = [row for row in rows if "task" in row]
    listed = tasks.load_tasks()["test"][:4]
    fields = {"config", "commit", "method", "round", "seed", "split", "family", "task", "demo"}
    assert all(fields | {"n", "successes", "any_task"} <= set(row) for row in success)
    arms = {("meta_imitation", 0): 3, ("mili", 1): 3, ("meta_imitation", 1): 1}
    wanted = {
        (*arm, task.id, demo)
        for arm, count in arms.items()
        for task in listed
        for demo in CONDITIONS[:count]
    }
    got = [(row["method"], row["round"], row["task"], row["demo"]) for row in success]
    assert set(got) == wanted and len(got) == len(wanted)
    for row in success:
        assert row["family"] == row["task"].split(":")[0] and row["family"] in FAMILIES
        assert row["split"] == "test" and row["config"] == "test" and row["seed"] == 0
        assert 0 <= row["successes"] <= row["any_task"] <= row["n"] == 1
    pairing = [row for row in rows if "task" not in row]
    fields = {"config", "round", "seed", "alpha", "chosen", "pairs"}
    fields |= {"precision", "recall", "family_precision"}
    assert pairing and all(fields <= set(row) for row in pairing)
    assert [row["alpha"] for row in pairing if row["chosen"]] == [-1.0]


CONDITIONS = ("right", "wrong", "none")


@pytest.mark.slow
def test_a_stranger_reads_the_episodes(finished):
    """With TFDS alone, and what comes is what was asked for."""
    builder = tfds.builder_from_directory(str(data_of(finished)))
    sizes = {"demos_train": 10, "demos_validation": 8, "demos_test": 8, "round_1": 20}
    sizes |= {f"evaluation_{name}": 4 if "control" in name else 12 for name in TRAINED}
    assert {name: split.num_examples for name, split in builder.info.splits.items()} == sizes
    demos = {e["episode_metadata"]["episode_id"] for e in builder.as_data_source("demos_train")}
    seen = []
    for episode in builder.as_data_source("round_1"):
        meta, steps = episode["episode_metadata"], list(episode["steps"])
        assert steps[0]["observation"]["image"].shape == (32, 32, 3) and steps[-1]["is_last"]
        assert meta["demonstration"] in demos and meta["round"] == 1
        assert re.fullmatch(rb"pretrain@[0-9a-f]{12}", meta["policy"])
        seen.append(meta["scene"])
    assert len(set(seen)) == 20  # every trial has its own arrangement


@pytest.mark.slow
def test_the_conditions_share_their_arrangements(finished):
    """Each condition and each policy meets the same scenes; only the demonstration differs."""
    dataset = Dataset(finished / "dataset")
    demos = {m.episode_id: m.task for m in dataset.read_metadata("demos_test")}
    scenes = set()
    for name in TRAINED:
        metas = list(dataset.read_metadata(f"evaluation_{name}"))
        parts = [metas[i : i + 4] for i in range(0, len(metas), 4)]
        scenes |= {tuple((m.task, m.scene, m.seed) for m in part) for part in parts}
        assert all(demos[m.demonstration] == m.task for m in parts[0])
        if "control" in name:  # it is given the right demonstration alone
            assert len(parts) == 1
            continue
        _, wrong, none = parts
        assert all(m.demonstration == "" for m in none)
        for m in wrong:
            shown = demos[m.demonstration]
            assert shown != m.task  # of another task, which this scene affords
            assert all(name in m.scene for name in shown.split(":")[1:])
    assert len(scenes) == 1


@pytest.mark.slow
def test_the_same_command_again_does_nothing_again(call, finished):
    def times():
        kept = [*finished.glob("stages/*"), *finished.glob("checkpoints/**/*")]
        kept += [*finished.glob("dataset/**/*.*"), *finished.glob("rows/*"), finished]
        kept += [finished / "results.jsonl", finished / "metrics.jsonl"]
        return {p: p.stat().st_mtime_ns for p in kept if p.is_file()}

    before = times()
    page = finished / "report" / "index.html"
    made = page.stat().st_mtime_ns
    code, _, err = call("mili", finished)
    assert code == 0, err
    assert times() == before and len(before) > 60
    assert page.stat().st_mtime_ns > made
    assert "pretrain" not in err  # no progress bar of a stage


# Killed


def kill_when(appears, absent, workdir):
    """Starts the whole run; kills it and all its processes as soon as a file appears."""
    run = subprocess.Popen(
        command("mili", workdir),
        cwd=ROOT,
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        limit = time.monotonic() + 300
        while not (workdir / appears).exists():
            assert run.poll() is None, f"ended with {run.returncode} before {appears} was there"
            assert time.monotonic() < limit, f"{appears} never came"
            time.sleep(0.005)
    finally:
        os.killpg(run.pid, signal.SIGKILL)
        run.wait()
    assert not (workdir / absent).exists(), f"was killed too late: {absent} is there"


@pytest.mark.slow
def test_killed_runs_continue_and_end_the_same(call, finished, tmp_path):
    """Killed four times, and then left to its end."""
    workdir = tmp_path / "run"
    shards = "dataset/mili/1.0.0/mili-"
    for appears, absent in (
        (shards + "demos_train.array_record-00000", "stages/demos_train.json"),
        ("checkpoints/pretrain/5.json", "stages/pretrain.json"),
        (shards + "round_1.array_record-00000", "stages/round_1.json"),
        ("checkpoints/mili_1/5.json", "stages/mili_1.json"),
    ):
        kill_when(appears, absent, workdir)
    metrics = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    assert [m["step"] for m in metrics if m["stage"] == "pretrain"] == [20, 40]

    code, _, err = call("mili", workdir)
    assert code == 0, err
    assert {p.stem for p in (workdir / "stages").glob("*.json")} == STAGES
    assert_same_episodes(finished, workdir)
    assert_same_checkpoints(finished, workdir)
    assert rows_of(workdir) == rows_of(finished)
    assert (workdir / "report" / "index.html").exists()
    assert not list(workdir.rglob(".*.tmp"))


@pytest.mark.long
def test_stage_by_stage_is_what_one_command_does(call, finished, tmp_path):
    for module, *flags in (
        ("demos",),
        ("pretrain",),
        ("evaluate", "--round=0"),
        ("collect", "--round=1"),
        ("label", "--round=1"),
        ("pair", "--round=1"),
        ("retrain", "--round=1"),
        ("evaluate", "--round=1"),
        ("report",),
    ):
        code, _, err = call(module, tmp_path, *flags)
        assert code == 0, err
    assert {p.stem for p in (tmp_path / "stages").glob("*.json")} == STAGES
    assert_same_episodes(finished, tmp_path)
    assert_same_checkpoints(finished, tmp_path)
    assert rows_of(tmp_path) == rows_of(finished)


# Made again when what it was made from has changed


def policies_of(dataset, split):
    return {m.policy for m in dataset.read_metadata(split)}


@pytest.mark.slow
def test_what_people_answer_later_is_followed_and_nothing_else_is_made_again(call, copy):
    dataset = Dataset(copy / "dataset")
    answers = resolve(dataset.read_labels("round_1"))
    changed = [Label(name, not old, "people") for name, old in answers.items()][:3]
    dataset.write_labels("round_1", changed)
    stages_, rows = copy / "stages", {}
    before = {path.stem: path.read_bytes() for path in stages_.iterdir()}
    acted = policies_of(dataset, "evaluation_mili_1")
    code, _, err = call("mili", copy)
    assert code == 0 and "mili_1 was trained from other data" in err, err
    assert "evaluation_mili_1 is of an older policy" in err
    after = {path.stem: path.read_bytes() for path in stages_.iterdir()}
    redone = {"pair_1", "mili_1", "evaluate_mili_1"}
    assert {name for name in after if after[name] != before[name]} == redone
    assert policies_of(dataset, "evaluation_mili_1").isdisjoint(acted)
    answers = resolve(dataset.read_labels("round_1"))
    assert all(answers[m.episode_id] == (m.answer == "yes") for m in changed)
    for row in rows_of(copy):
        if row.get("method") == "mili":
            rows[row["task"], row["demo"]] = row["successes"]
    for m in dataset.read_metadata("evaluation_mili_1"):
        assert rows[m.task, m.episode_id.split("-")[1]] == m.success
    code, _, err = call("mili", copy)
    assert code == 0 and not re.search(r"\bagain\b", err), err
    assert {path.stem: path.read_bytes() for path in stages_.iterdir()} == after


@pytest.mark.slow
def test_the_filter_answers_only_what_nobody_has_answered(copy):
    dataset = Dataset(copy / "dataset")
    path = data_of(copy) / "labels_round_1.jsonl"
    path.unlink()
    verify.forget(path.parent, [path.name])
    run = open_run(config(), copy)
    with run.workdir:
        run_again(copy, "pair_1")
        with pytest.raises(DataError, match="none of the 20 trials of 'round_1' has an answer"):
            pair.pair(run, 1)
        mine = [Label(f"round1-{i:06d}", i % 2 == 0, "people") for i in (3, 8)]
        dataset.write_labels("round_1", mine)
        pair.pair(run, 1)  # of what is answered
        assert run.workdir.read_manifest("pair_1")["candidates"] == 1
        run_again(copy, "filter_1")
        collect.label(run, 1)
        labels = dataset.read_labels("round_1")
        assert labels[:2] == mine
        assert Counter(label.annotator for label in labels) == {"simulator": 18, "people": 2}
        assert len(path.read_text().splitlines()) == 20
        assert run.workdir.read_manifest("filter_1")["answered_before"] == 2
        pair.pair(run, 1)


@pytest.mark.slow
def test_one_run_is_evaluated_on_validation_and_then_on_test(copy):
    tested = rows_of(copy)
    checkpoints = sorted(copy.glob("checkpoints/*/*.json"))
    made = [path.read_bytes() for path in checkpoints]
    for split in ("validation", "test"):
        changes = {"evaluate.split": split, "machine.processes": 0}
        run = open_run(config(**changes), copy)
        with run.workdir:
            evaluate(run, 0)
            evaluate(run, 1)
        rows = [row for row in rows_of(copy) if "task" in row]
        assert {row["split"] for row in rows} == {split}
        listed = {task.id for task in tasks.load_tasks()[split][:4]}
        assert {row["task"] for row in rows} == listed
    assert rows_of(copy) == tested
    assert [path.read_bytes() for path in checkpoints] == made
    with pytest.raises(ConfigError, match=r"config\.train\.steps = 40, now it is 41"):
        open_run(config(**{"train.steps": 41}), copy)


@pytest.mark.slow
def test_a_run_gets_more_rounds_than_it_began_with(copy):
    """Nothing of the first round is made again, and the second one can begin."""
    stages_ = sorted((copy / "stages").glob("*.json"))
    made = [path.read_bytes() for path in stages_]
    shards = {path: path.stat().st_mtime_ns for path in data_of(copy).glob("mili-*")}
    more = {"improve.rounds": 2}
    run = open_run(config(**more), copy)
    with run.workdir:
        train.pretrain(run)
        for stage in (collect.collect, collect.label, pair.pair, retrain.retrain, evaluate):
            stage(run, 1)
        assert [path.read_bytes() for path in stages_] == made
        assert {path: path.stat().st_mtime_ns for path in shards} == shards
        collect.collect(run, 2)
        assert run.workdir.read_manifest("round_2")["episodes"] == 20
    with pytest.raises(ConfigError, match=r"rounds = 2, now it is 1; it may only grow"):
        open_run(config(), copy)


@pytest.mark.slow
def test_demonstrations_that_are_added_are_learned_from(copy, caplog):
    """And what was learned without them no longer counts, nor what came of that."""
    run = open_run(config(), copy)
    with run.workdir:
        before = run.workdir.read_manifest("pretrain")
        train.pretrain(run)
        assert run.workdir.read_manifest("pretrain") == before, "nothing is new yet"
        shown = itertools.islice(run.dataset.read("demos_train"), 3)
        more = [
            dataclasses.replace(e, meta=dataclasses.replace(e.meta, episode_id=f"more-{i}"))
            for i, e in enumerate(shown)
        ]
        shards = len(run.dataset.shard_digests("demos_train"))
        run.dataset.write_shard("demos_train", shards, more)
        run.dataset.commit("demos_train", shards + 1)
        train.pretrain(run)
        after = run.workdir.read_manifest("pretrain")
        assert after["demonstrations"] == before["demonstrations"] + 3
        assert after["inputs"].keys() == {"demos_train"} and after["inputs"] != before["inputs"]
        assert "pretrain was trained from other data" in caplog.text
        asked = {
            "mili_1": run.dataset.digests("demos_train", "round_1"),
            "pair_1": run.dataset.digests("demos_train", "round_1"),
            "filter_1": run.dataset.digests("round_1"),
            "evaluate_pretrain": run.dataset.digests("demos_test"),
        }
        for stage, digests in asked.items():
            declared = run.workdir.read_manifest(stage)["inputs"]
            assert digests.keys() <= declared.keys(), stage


def test_of_trials_that_nobody_is_sure_of_no_arm_learns(copy):
    run = open_run(config(), copy)
    with run.workdir:
        ids = [m.episode_id for m in run.dataset.read_metadata("round_1")]
        said = zip(ids, ("unsure", "no", "yes"), strict=False)
        run.dataset.write_labels("round_1", [Label(i, answer, "ana") for i, answer in said])
        _, useful, clear = answered_trials(run, 1)
    assert clear[:3].tolist() == [False, True, True] and useful[:3].tolist() == [0, 0, 1]
    chosen = {
        name: set(arms.candidates(arms.parse(name), useful, clear, 0)) & {0, 1, 2}
        for name in ("mili", "useless_only", "unfiltered", "noise_100")
    }
    assert chosen == {"mili": {2}, "useless_only": {1}, "unfiltered": {1, 2}, "noise_100": {1}}


@pytest.mark.slow
def test_trials_that_the_run_did_not_make_are_left_alone(copy):
    run = open_run(config(), copy)
    with run.workdir:
        own = [
            dataclasses.replace(e, meta=dataclasses.replace(e.meta, policy="my-robot"))
            for e in run.dataset.read("round_1")
        ][:4]
        run.dataset.set_aside("round_1")
        assert "round_1" not in run.dataset.splits() and not run.dataset.read_labels("round_1")
        run.dataset.write_shard("round_1", 0, own)
        run.dataset.commit("round_1", 1)
        run_again(copy, "round_1")
        with pytest.raises(DataError, match="of the policy 'my-robot', which this stage of this"):
            collect.collect(run, 1)
        assert [m.policy for m in run.dataset.read_metadata("round_1")] == ["my-robot"] * 4
        # It answers for them, pairs them and learns from them all the same.
        run_again(copy, "filter_1", "pair_1")
        collect.label(run, 1)
        pair.pair(run, 1)


@pytest.mark.slow
def test_episodes_of_ones_own_robot_are_learned_from(call, finished, tmp_path):
    """Demonstrations, trials and labels from elsewhere, and no stage that simulates."""
    theirs = Dataset(finished / "dataset")
    mine = Dataset(tmp_path / "dataset", theirs.spec)
    for split in ("demos_train", "round_1"):
        logs = [
            dataclasses.replace(e, meta=dataclasses.replace(e.meta, policy="mine", scene="{}"))
            for e in theirs.read(split)
        ]
        mine.write_shard(split, 0, logs)
        mine.commit(split, 1)
    mine.write_labels(
        "round_1", [Label(f"round1-{i:06d}", i % 2 == 0, "people") for i in range(20)]
    )
    for module, *flags in ("pretrain",), ("pair", "--round=1"), ("retrain", "--round=1"):
        code, _, err = call(module, tmp_path, *flags)
        assert code == 0, err
    pairs = mine.read_pairs("mili_1")
    assert len(pairs) == 45 and {int(name[-6:]) % 2 for name in pairs.a} == {0}
    facts = json.loads((tmp_path / "stages" / "mili_1.json").read_text())
    assert (facts["trials"], facts["demonstrations"]) == (10, 10)


def test_no_round_draws_what_another_drew():
    seeds = [config(**{"seed": seed}) for seed in range(20)]
    streams = [retrain._stream(c, number) for c in seeds for number in range(1, 5)]
    assert len({*streams, *(c.seed for c in seeds)}) == len(streams) + len(seeds)
    assert all(0 <= stream < 2**31 for stream in streams)


# Without the oracle


def retell(workdir, change):
    """Writes the dataset of a finished run again with other metadata; the steps stay."""
    old = Dataset(workdir / "dataset")
    stored = {split: list(old.read(split)) for split in ("demos_train", "round_1")}
    shutil.rmtree(workdir / "dataset")
    new = Dataset(workdir / "dataset", old.spec)
    for split, listed in stored.items():
        for i in range(0, len(listed), 4):
            changed = [
                dataclasses.replace(e, meta=change(split, n, e.meta))
                for n, e in enumerate(listed[i : i + 4], start=i)
            ]
            new.write_shard(split, i // 4, changed)
        new.commit(split, -(-len(listed) // 4))


def known(split, n, meta):
    """Trials of which every second is useful and says what it achieved."""
    if split != "round_1":
        return meta
    useful = n % 2 == 0
    achieved = ("press:button_01", f"grasp:mug_0{1 + n % 3}") if useful else ()
    return dataclasses.replace(meta, useful=useful, success=useful, achieved_tasks=achieved)


def blank(split, n, meta):
    """The same answers of F, but no word of what was achieved, in demonstrations neither."""
    return dataclasses.replace(known(split, n, meta), success=False, achieved_tasks=())


@pytest.mark.slow
def test_nothing_that_trains_or_pairs_reads_the_oracle(finished, tmp_path):
    results = []
    for change in (known, blank):
        workdir = shutil.copytree(finished, tmp_path / change.__name__)
        retell(workdir, change)
        run_again(workdir, "filter_1", "pair_1", "mili_1", "control_1")
        run = open_run(config(), workdir)
        with run.workdir:
            collect.label(run, 1)
            pair.pair(run, 1)
            retrain.retrain(run, 1)
            facts = {name: run.workdir.read_manifest(name) for name in ("pair_1", "mili_1")}
        results.append((workdir, run, facts))
    (one, run, facts), (other, run_too, facts_too) = results
    labels = run.dataset.read_labels("round_1")
    assert labels == run_too.dataset.read_labels("round_1")
    assert sum(label.answer == "yes" for label in labels) == 10
    tables = [(data_of(w) / "pairs_mili_1.csv").read_bytes() for w in (one, other)]
    assert tables[0] == tables[1] and facts["mili_1"]["trials"] == 10
    assert facts["mili_1"]["pairs"] == facts["pair_1"]["pairs"]["mili"] >= 40
    assert facts["pair_1"]["resembles"] == facts_too["pair_1"]["resembles"]
    losses = [facts["mili_1"], facts_too["mili_1"]]
    assert losses[0]["last_loss"] == losses[1]["last_loss"]
    assert_same_checkpoints(one, other)
    # The pairs made a difference, and so did the blanking, where the oracle may be read.
    control = json.loads((one / "stages" / "control_1.json").read_text())
    assert control["last_loss"] != losses[0]["last_loss"]
    chosen = [next(r for r in rows_of(w) if r.get("chosen")) for w in (one, other)]
    assert chosen[0]["precision"] == 1 and chosen[1]["precision"] != 1


@pytest.mark.slow
def test_mil_learns_from_the_same_pairs(finished, tmp_path):
    source = shutil.copytree(finished, tmp_path / "source")
    retell(source, known)
    shutil.copytree(source / "dataset", tmp_path / "run" / "dataset")
    chosen = ("mili", "mil_pairs", "mil_more")
    sizes = {"mil_steps": 3, "mil_tasks": 4, "mil_policy_steps": 2, "methods": ("mil",)}
    fields = {f"baselines.{name}": value for name, value in sizes.items()}
    run = open_run(config(**fields, **{"improve.arms": chosen}), tmp_path / "run")
    metas = list(run.dataset.read_metadata("round_1"))
    with run.workdir:
        answers = [Label(m.episode_id, m.useful, "people") for m in metas]
        run.dataset.write_labels("round_1", answers)
        train.pretrain(run)
        train.train_baselines(run)
        pair.pair(run, 1)
        retrain.retrain(run, 1)
        facts = {arm: run.workdir.read_manifest(f"{arm}_1") for arm in chosen}
        params = {a: train.load_params(run, PolicyId(a, 1)) for a in ("mil_pairs", "mil_more")}
    assert facts["mil_pairs"]["pairs"] == facts["mili"]["pairs"] >= 40
    assert [facts[arm]["trials"] for arm in chosen] == [10, 10, 0]
    starts = [
        {*facts[arm]["inputs"]} & {"checkpoints/pretrain", "checkpoints/mil"} for arm in chosen
    ]
    assert starts == [{"checkpoints/pretrain"}, {"checkpoints/mil"}, {"checkpoints/mil"}]
    assert facts["mil_pairs"]["last_loss"] != facts["mil_more"]["last_loss"]
    assert not np.array_equal(params["mil_pairs"]["bias"], params["mil_more"]["bias"])


# Wrong


@pytest.mark.slow
@pytest.mark.parametrize(
    "flags, message",
    [
        (["--config.improve.nonsense=1"], "ConfigError: .*'nonsense'"),
        (["--config.improve.alpha=2"], r"ConfigError: config\.improve\.alpha = 2\.0 .*-1\.\.1"),
        (["--config=experiments/configs/none.py"], "ConfigError: .*configs/none.py"),
        (["--config.seed=7"], r"ConfigError: workdir .*config\.seed = 0, now it is 7"),
        (["again"], "ConfigError: what is 'again'"),
    ],
)
def test_a_mistaken_command_ends_with_one_line(call, finished, flags, message):
    code, out, err = call("mili", finished, *flags)
    assert code == 1 and not out
    assert re.fullmatch(message + ".*\n", err), err


@pytest.mark.slow
def test_a_stage_out_of_order_says_what_is_missing(call, tmp_path):
    code, _, err = call("collect", tmp_path / "run", "--round=1")
    assert code == 1
    assert re.fullmatch("DataError: .*stages/pretrain.json is missing: the stage .*\n", err)


@pytest.mark.slow
def test_a_full_disk_names_the_shard_and_leaves_nothing_half_written(call, tmp_path):
    # No file of more than 20 KiB; a limit set between fork and exec would warn of JAX's threads.
    limited = ["bash", "-c", 'ulimit -f 20; exec "$@"', "bash"]
    code, _, err = call("demos", tmp_path / "run", before=limited)
    assert code == 1
    last = err.strip().splitlines()[-1]
    assert re.match(r"DataError: .*mili-demos_train\.array_record-0000\d could not be", last), err
    assert not shards_of(tmp_path / "run", "demos_train")
    assert not list((tmp_path / "run").rglob("*.tmp"))


@pytest.mark.parametrize(
    "field, value, message",
    [
        ("data.image_size", 50, r"config\.data\.image_size = 50 .*multiple of 4"),
        ("data.tasks", 0, r"config\.data\.tasks = 0 .*positive"),
        ("data.tasks", 521, r"config\.data\.tasks = 521.*has 520 tasks"),
        ("evaluate.tasks", 41, r"config\.evaluate\.tasks = 41.*has 40 tasks"),
        ("domain.name", "garage", r"config\.domain\.name = 'garage' .*kitchen"),
        ("data.cameras", ("attic",), "no camera 'attic'.*oblique"),
        ("data.cameras", ("wrist", "top"), "'wrist' moves with the tool"),
        ("seed", -1, r"config\.seed = -1"),
        ("data.demonstrations", 21, r"config\.data\.demonstrations = 21 .*2\.\.20"),
        ("evaluate.episodes", 1001, r"config\.evaluate\.episodes = 1001 .*1\.\.1000"),
        ("evaluate.conditions", ("right", "none", "none"), r"config\.evaluate\.conditions"),
        ("improve.arms", ("mili", "trials_21"), r"'trials_21' is more than .*trials = 20"),
        ("improve.alpha", -1.5, r"config\.improve\.alpha = -1\.5"),
        ("policy.head", "none", r"config\.policy\.head = 'none' .*anchored_mixture"),
        ("train.contrastive", "x", r"config\.train\.contrastive = 'x' .*hinge"),
        ("evaluate.conditions", ("wrong",), r"config\.evaluate\.conditions.*right first"),
        ("improve.arms", ("mili", "milli"), "no arm 'milli'.*unfiltered"),
        ("improve.arms", ("mili", "mil_pairs"), "'mil_pairs' goes on from MIL; add 'mil'"),
        ("improve.arms", ("control",), r"config\.improve\.arms.*mili first"),
        ("improve.trials", 10**6, r"config\.improve\.trials.*999999"),
        ("baselines.methods", ("mal",), r"config\.baselines\.methods.*mil_video"),
    ],
)
def test_a_configuration_is_checked_before_anything_is_written(field, value, message, tmp_path):
    with pytest.raises(ConfigError, match=message):
        open_run(config(**{field: value}), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_head_that_cannot_adapt_is_refused_before_anything_runs(tmp_path):
    changes = {"policy.head": "mse", "baselines.methods": ("bc", "mil")}
    schema.check(config(**changes))
    with pytest.raises(ConfigError, match="'mse' cannot adapt to 'video'"):
        open_run(config(**changes | {"baselines.methods": ("mil_video",)}), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_no_two_splits_rounds_or_evaluations_share_a_seed():
    most = config(**{"data.tasks": 520, "data.demonstrations": 20, "evaluate.tasks": 40})
    attempts = []
    for split in SPLITS:
        for request in demonstrate.demonstration_requests(most, split):
            attempts += range(request.seed, request.seed + request.attempts)
    assert len(set(attempts)) == len(attempts) == 10 * 20 * (520 + 40 + 40)
    assert max(attempts) < 10 * SEED_STRIDE, "where those of trials begin"


def test_unknown_missing_and_mistyped_fields_are_named(tmp_path):
    for change, message in (
        (lambda c: c["improve"].update(alfa=0.9), r"config\.improve\.alfa is unknown.*alpha"),
        (lambda c: c["train"].pop("steps"), r"config\.train\.steps is missing"),
        (lambda c: c.pop("machine"), r"missing \['machine'\]"),
        (lambda c: c["train"].update(steps=True), r"config\.train\.steps = True must be int"),
    ):
        given = config().to_dict()
        change(given)
        with pytest.raises(ConfigError, match=message):
            open_run(ConfigDict(given), tmp_path / "run")


def test_rounds_that_the_configuration_has_not(tmp_path):
    run = open_run(config(), tmp_path / "run")
    with run.workdir:
        for stage in (collect.collect, collect.label, pair.pair, retrain.retrain):
            for number in (0, 2):
                with pytest.raises(ConfigError, match=f"no round {number}.*rounds = 1"):
                    stage(run, number)
        with pytest.raises(ConfigError, match="no round 2"):
            evaluate(run, 2)
    chosen = {"improve.arms": tuple(ARMS), "baselines.methods": ("bc", "mil", "mil_pose")}
    all_arms = config(**{"improve.rounds": 3, **chosen})
    assert start_of(all_arms, PolicyId("mili", 3)) == PolicyId("mili", 2)
    assert start_of(all_arms, PolicyId("control", 3)) == PolicyId("control", 2)
    starts = {arm: start_of(all_arms, PolicyId(arm, 1)).arm for arm in ARMS}
    mil = {arm for arm, start in starts.items() if start == "mil"}
    assert mil == {"mil_pairs", "mil_more"} and {*starts.values()} == {"mil", "pretrain"}
    names = ("mil", "mil_pose", "mil_pairs_1", "mil_more_1", "mili_1", "bc", "pretrain")
    adapting = [adapts(all_arms, PolicyId.parse(name)) for name in names]
    assert adapting == [True] * 4 + [False] * 3
    assert lineage(all_arms, PolicyId("mil_pairs", 1)) == [
        PolicyId("mil_pairs", 1),
        PolicyId("mil"),
    ]
    assert list(policies(all_arms, 1)) == [PolicyId(arm, 1) for arm in ARMS]
    assert list(policies(all_arms, 3)) == [PolicyId("mili", 3), PolicyId("control", 3)]
    one, without = config(), config(**{"improve.arms": ("mili",)})
    methods = {str(policy): method for policy, method in policies(one, 1).items()}
    assert methods == {"mili_1": "mili", "control_1": "meta_imitation"}
    assert list(policies(without, 1)) == [PolicyId("mili", 1)]


def test_folders_that_are_no_workdir(tmp_path):
    foreign = tmp_path / "thesis"
    foreign.mkdir()
    (foreign / "chapter.tex").write_text("x")
    with pytest.raises(ConfigError, match=r"thesis is not empty and has no manifest\.json"):
        open_run(config(), foreign)
    with pytest.raises(DataError, match=r"chapter\.tex could not be opened"):
        open_run(config(), foreign / "chapter.tex")
    assert (foreign / "chapter.tex").read_text() == "x"


COMPARED = {
    *((method, 0) for method in ("meta_imitation", "bc", "mil", "mil_video")),
    *((method, number) for method in ("mili", "meta_imitation") for number in (1, 2)),
    *((method, 1) for method in ("more_demonstrations", "oracle", "random_pairs_only")),
    *((method, 1) for method in ("nearest_demonstration", "mili_self_only")),
    *((method, 1) for method in ("mili_trials_24", "mil_pairs", "mil")),
}


def compare(folder, *seeds):
    """The rows of `compare`, with every method, small."""
    small = {**SMALL, "improve.trials": 30, "baselines.bc_steps": 5, "baselines.mil_steps": 2}
    listed = ",".join(map(str, seeds))
    # One after the other: the second finds compiled what the first has compiled.
    call = [sys.executable, "-m", "experiments.compare", f"--seeds={listed}", "--jobs=1"]
    call.append(f"--workdir={folder}")
    call += ["--config=experiments/configs/mili.py:compare_test"]
    call += [f"--config.{field}={value}" for field, value in small.items()]
    done = subprocess.run(call, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr + (folder / "seed_0.log").read_text()[-2000:]
    assert done.stdout.split("\n")[-2] == str(folder / "report" / "index.html")
    return [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()]


@pytest.mark.slow
def test_every_method_in_one_command(tmp_path):
    rows = compare(tmp_path, 0)
    measured = [row for row in rows if "task" in row]
    assert {(row["method"], row["round"]) for row in measured} == COMPARED
    met = {(row["task"], row["arrangements"]) for row in measured}
    assert len(met) == len({row["task"] for row in measured}), "every method the same ones"
    for name in COMPARED:
        mine = [row for row in measured if (row["method"], row["round"]) == name]
        assert sorted(row["task"] for row in mine) == sorted({row["task"] for row in measured})
        mil = {"mil": 2 + 2 * name[1], "mil_video": 2, "mil_pairs": 4}
        steps = {"bc": 5, **mil}.get(name[0], 40 + 10 * name[1])
        assert {row["steps"] for row in mine} == {steps}
        alone = {"meta_imitation": 0, "more_demonstrations": 0, "mil": 0}
        seen = {"mili_trials_24": 24, **alone}.get(name[0], 30) * name[1]
        assert {row["trials"] for row in mine} == {seen}
    facts = json.loads((tmp_path / "seed_0/stages/evaluate_mil.json").read_text())
    assert facts["adaptation"]["tasks"] == 8 and 0 <= facts["adaptation"]["improved"] <= 1
    costs = [row for row in rows if "cost_of" in row]
    assert {(row["cost_of"], row["round"]) for row in costs} == COMPARED
    mili = [row for row in costs if row["cost_of"] == "mili"]
    assert {row["steps"] for row in mili} == {50, 60} and all(row["seconds"] > 0 for row in mili)
    adapting = {"mil", "mil_video", "mil_pairs"}
    assert {row["cost_of"] for row in costs if "adaptation" in row} == adapting
    spaceless = {row["cost_of"] for row in costs if "neighbours" not in row}
    assert spaceless == {"bc", *adapting}
    # The second round begins where the first one ended, and tries after its trials as well.
    dataset = Dataset(tmp_path / "seed_0" / "dataset")
    second = list(dataset.read_metadata("round_2"))
    assert {m.policy.partition("@")[0] for m in second} == {"mili_1"} and len(second) == 30
    drawn = [json.loads((tmp_path / f"seed_0/stages/mili_{n}.json").read_text()) for n in (1, 2)]
    followed = {m.demonstration.partition("-")[0] for m in second}
    assert followed == ({"train", "round1"} if drawn[0]["trials"] else {"train"})
    assert drawn[1]["trials"] >= drawn[0]["trials"] and drawn[1]["pairs"] >= drawn[0]["pairs"]
    page = (tmp_path / "report/index.html").read_text()
    assert 'id="costs"' in page and "Behaviour cloning" in page and 'id="sweeps"' in page


@pytest.mark.long
def test_every_method_over_seeds(tmp_path):
    rows = compare(tmp_path, 0, 1)
    measured = [row for row in rows if "task" in row]
    for name in COMPARED:
        mine = [row for row in measured if (row["method"], row["round"]) == name]
        assert sorted((row["seed"], row["task"]) for row in mine) == sorted(
            {(row["seed"], row["task"]) for row in measured}
        )
    assert {(row["cost_of"], row["round"], row["seed"]) for row in rows if "cost_of" in row} == {
        (*name, seed) for name in COMPARED for seed in (0, 1)
    }
    figures = write_figures([tmp_path / "results.jsonl"], tmp_path / "figures")
    names = ("bars", "improvement", "improvement-dark", "rounds", "alpha", "sweeps")
    assert [path.name for path in figures] == [*(f"{name}.png" for name in names), "summary.md"]
    summary = figures[-1].read_text()
    assert "MILI, round 2, against MILI, round 1: " in summary
    assert "| trials of the round | 24 |" in summary and "| MIL, video | 8 |" in summary

    # The same rows in two files, one of which lacks a policy: the others are what they were.
    halves = [tmp_path / f"seed_{seed}.jsonl" for seed in (0, 1)]
    for seed, path in enumerate(halves):
        lacking = [row for row in rows if seed == 0 or "bc" not in row.values()]
        path.write_text("".join(json.dumps(r) + "\n" for r in lacking if r["seed"] == seed))
    partial = write_figures(halves, tmp_path / "halves")[-1].read_text().splitlines()
    whole = summary.splitlines()
    assert [line for line in whole if "ehaviour cloning" not in line] == partial != whole
    with pytest.raises(DataError, match=r"seed_1\.jsonl and .*seed_1\.jsonl both hold seed 1"):
        write_figures([*halves, halves[1]], tmp_path / "halves")

    before = {path: path.stat().st_mtime_ns for path in tmp_path.glob("seed_*/stages/*")}
    assert compare(tmp_path, 0, 1) == rows  # and nothing is trained again
    assert before == {path: path.stat().st_mtime_ns for path in tmp_path.glob("seed_*/stages/*")}

    # Seeds that cannot be compared are refused, and the old page stays.
    page = (tmp_path / "report/index.html").read_text()
    one, two = tmp_path / "seed_0", tmp_path / "seed_1"
    with pytest.raises(ConfigError, match="both of seed 0"):
        write_comparison([one, one], tmp_path / "report")
    (two / "rows" / "evaluate_bc.jsonl").unlink()
    with pytest.raises(DataError, match=r"seed_1/rows/evaluate_bc\.jsonl is missing"):
        write_comparison([one, two], tmp_path / "report")
    (two / "stages" / "evaluate_bc.json").unlink()
    with pytest.raises(DataError, match="seed_1 has no rows of 'bc' after round 0"):
        write_comparison([one, two], tmp_path / "report")
    assert (tmp_path / "report/index.html").read_text() == page


@pytest.mark.slow
def test_a_comparison_that_is_killed_takes_its_runs_along(tmp_path):
    call = [sys.executable, "-m", "experiments.compare", "--seeds=0", f"--workdir={tmp_path}"]
    call += ["--config=experiments/configs/mili.py:test"]
    call += [f"--config.{field}={value}" for field, value in SMALL.items()]
    comparison = subprocess.Popen(call, cwd=ROOT, stdout=subprocess.DEVNULL)
    try:
        limit = time.monotonic() + 120
        while not (tmp_path / "seed_0" / "manifest.json").exists():
            assert comparison.poll() is None and time.monotonic() < limit
            time.sleep(0.01)
        with pytest.raises(ConfigError, match="in use by process"):
            lock(tmp_path / "seed_0")
    finally:
        comparison.kill()
        comparison.wait()
    while True:  # the run's end is the kernel's to make
        try:
            lock(tmp_path / "seed_0").close()
            break
        except ConfigError:
            assert time.monotonic() < limit, "its run outlived it"
            time.sleep(0.01)


@pytest.mark.slow
def test_a_truncated_manifest_is_named(copy):
    for name in ("stages/pretrain.json", "manifest.json"):
        path = copy / name
        whole = path.read_bytes()
        path.write_bytes(whole[: len(whole) // 2])
        with pytest.raises(DataError, match=f"{name} is damaged"):
            run = open_run(config(), copy)
            with run.workdir:
                train.pretrain(run)
        path.write_bytes(whole)


@pytest.mark.slow
def test_a_dataset_of_another_image_size_is_refused(finished, tmp_path):
    open_run(config(**{"data.image_size": 64}), tmp_path / "run").workdir.close()
    shutil.copytree(finished / "dataset", tmp_path / "run" / "dataset")
    for _ in range(2):  # a refusal does not keep the folder locked
        with pytest.raises(
            DataError, match=r"dataset.* holds pictures 32x32x3, the spec has 64x64x3"
        ):
            open_run(config(**{"data.image_size": 64}), tmp_path / "run")


@pytest.mark.slow
def test_a_checkpoint_that_is_gone_is_missed(copy):
    shutil.rmtree(copy / "checkpoints" / "pretrain" / "40")
    run = open_run(config(), copy)
    with run.workdir:
        run_again(copy, "pair_1")
        # The one before it is not what the stage ended with.
        with pytest.raises(DataError, match="pretrain"):
            pair.pair(run, 1)
        (copy / "checkpoints" / "pretrain" / "40.json").unlink()
        with pytest.raises(DataError, match=r"pretrain/40\.json.*'pretrain', is missing"):
            train.pretrain(run)


@pytest.mark.slow
def test_a_flipped_bit_in_a_shard_is_found_before_training(copy):
    shard = shards_of(copy, "demos_train")[1]
    content = bytearray(shard.read_bytes())
    content[len(content) // 3] ^= 4
    shard.write_bytes(content)
    run_again(copy, "pretrain")
    run = open_run(config(), copy)
    with run.workdir, pytest.raises(DataError, match=f"{shard.name} is damaged: its SHA-256"):
        train.pretrain(run)


def test_tasks_that_the_benchmark_has_not():
    with pytest.raises(SimulationError, match=r"'press:doorbell'.*no object 'doorbell'"):
        KitchenEnv(task="press:doorbell")
    with pytest.raises(SimulationError, match="no family 'juggle'"):
        KitchenEnv(task="juggle:mug_01")


# Which trials are made, and what of them is learned


def planned(config, number, demos, *shown):
    return list(exploration.trial_plan(config, KITCHEN, number, "actor", 7, demos, *shown))


def test_later_rounds_follow_earlier_trials_too():
    rng = np.random.default_rng(0)
    listed, pool = tasks.load_tasks()["train"][:4], object_pool("train")

    def meta(name, task, number):
        scene = sample([task], pool, rng).to_json()
        return EpisodeMeta(name, task.id, scene, 0, number, "p", "", "tiny", True, False, ())

    demos = [meta(f"demo-{i}", task, 0) for i, task in enumerate(listed)]
    shown = [meta(f"round1-{i}", task, 1) for i, task in enumerate(listed)]
    changes = {"improve.trials": 300, "improve.trial_share": 0.6, "improve.commanded_share": 0.5}
    plan = planned(config(**changes), 2, demos, shown)
    assert plan == planned(config(**changes), 2, demos, shown)
    assert [t.seed for t in plan] == list(range(7, 307))
    source = {m.episode_id: m for m in (*demos, *shown)}

    def objects(scene):
        return {q.object for q in Scene.from_json(scene).placements}

    own = [t for t in plan if t.demonstration.startswith("round1")]
    assert len(own) / 300 == pytest.approx(0.6, abs=0.1)
    again = [t for t in own if objects(t.scene) == objects(source[t.demonstration].scene)]
    assert len(again) / len(own) == pytest.approx(0.5, abs=0.12)
    assert all(t.scene != source[t.demonstration].scene for t in again)  # arranged differently
    for trial in plan:
        assert trial.task == source[trial.demonstration].task and trial.policy == "actor"
    first = planned(config(**changes), 1, demos)
    assert {t.demonstration for t in first} == {m.episode_id for m in demos}
    weighed = planned(config(**changes), 2, demos, shown, np.array([0, 0.25, 0.75, 0]))
    counts = Counter(t.demonstration for t in weighed)
    assert counts["round1-0"] == counts["round1-3"] == 0
    assert 2 < counts["round1-2"] / counts["round1-1"] < 4.5


def test_what_is_rare_is_followed_more_often(copy):
    run = open_run(config(), copy)
    with run.workdir:
        ids = [m.episode_id for m in run.dataset.read_metadata("round_1")]
        useful = ids[1:7]
        run.dataset.write_labels("round_1", [Label(i, i in useful, "people") for i in ids])
        a, b = [useful[k] for k in (0, 0, 1)], [useful[k] for k in (1, 2, 2)]
        run.dataset.write_pairs("mili_1", a, b, np.ones(3), 0.0)
        kinds = dict.fromkeys(ids, "press") | dict.fromkeys(useful[4:], "push")
        manifest = {**run.workdir.read_manifest("pair_1"), "resembles": kinds}
        run.workdir.read_manifest = lambda name: manifest
        shown, weights = collect._followed(run, 2)
        assert [m.episode_id for m in shown] == useful
        # Of the presses three have two partners each and one has none; two pushes have none.
        assert weights == pytest.approx(np.array([1, 1, 1, 3, 3, 3]) / 12)
        assert collect._followed(run, 1)[0] == []


def test_some_disturbed_trials_begin_low_or_with_closed_fingers():
    task = tasks.load_tasks()["train"][0]
    rng = np.random.default_rng(0)
    scene = sample([task], object_pool("train"), rng).to_json()
    demo = EpisodeMeta("demo", task.id, scene, 0, 0, "p", "", "tiny", True, False, ())

    def tools(noise):
        changes = {"improve.trials": 300, "improve.noise": noise}
        plan = planned(config(**changes), 1, [demo])
        return np.array([Scene.from_json(trial.scene).tool for trial in plan])

    calm, disturbed = tools(0.0), tools(1.0)
    assert calm[:, 2].min() > 0.1 and (calm[:, 6] == 1).all()
    low = disturbed[:, 2] <= LOW_Z[1]
    assert 0.1 < low.mean() < LOW_SHARE + 0.08
    assert 0.3 < (disturbed[:, 6] < 1).mean() < 0.6


def test_trials_are_disturbed_and_evaluations_are_not(copy):
    env = KitchenEnv(image_size=config().data.image_size)
    run = open_run(config(), copy)
    with run.workdir:
        same = {}
        for split in ("round_1", "evaluation_mili_1"):
            same[split] = []
            for episode in itertools.islice(run.dataset.read(split), 12):
                poses = [episode.pose[0]]

                def watch(env, poses=poses):
                    poses.append(env.world.pose())

                rollout.replay(env, episode.meta, episode.action, watch)
                same[split].append(np.array_equal(np.stack(poses[:-1]), episode.pose))
    env.close()
    assert all(same["evaluation_mili_1"]) and not all(same["round_1"])


def test_trials_share_sets_of_objects_so_that_the_same_can_be_done_twice():
    rng = np.random.default_rng(0)
    task, pool = tasks.load_tasks()["train"][0], object_pool("train")
    scene = sample([task], pool, rng).to_json()
    demo = EpisodeMeta("demo", task.id, scene, 0, 0, "p", "", "tiny", True, False, ())

    def sets(**changes):
        changes = {"improve.trials": 200, "improve.commanded_share": 0.0, **changes}
        plan = planned(config(**changes), 1, [demo])
        scenes_ = [Scene.from_json(trial.scene) for trial in plan]
        assert len({trial.placements for trial in scenes_}) == 200  # each arranged differently
        return Counter(frozenset(q.object for q in trial.placements) for trial in scenes_)

    shared = sets(**{"improve.object_sets": 8})
    assert len(shared) == 8 and min(shared.values()) > 10
    assert len(sets(**{"improve.object_sets": 0})) > 190
    assert set(sets(**{"improve.object_sets": 8, "seed": 1})) != set(shared)


def test_half_of_the_drawn_pairs_are_a_trial_with_itself(copy):
    run = open_run(config(), copy)
    with run.workdir:
        pool = train.demonstration_pool(run)
        ids = [m.episode_id for m in run.dataset.read_metadata("round_1")]
        useful = ids[1:9]
        run.dataset.write_labels("round_1", [Label(i, i in useful, "people") for i in ids])
        a, b = [useful[k] for k in (0, 0, 1, 4)], [useful[k] for k in (1, 2, 2, 5)]
        drawn = {}
        for arm in ("mili", "pairs_only", "random_only", "self_only"):
            if arm == "self_only":
                a, b = [], []
            run.dataset.write_pairs(f"{arm}_1", a, b, np.ones(len(a)), 0.0)
            joined, table = retrain._with_trials(run, pool, 1, ARMS[arm])
            own = table.episodes[:, 0] == table.episodes[:, 1]
            # All that may be paired, whether or not they have a partner.
            alone = [joined.ids[k] for k in table.episodes[own, 0]]
            assert alone == (useful if arm in ("mili", "self_only") else [])
            trials = len(useful) if alone else 5
            assert len(joined) == len(pool) + trials and len(table) == len(a) + len(alone)
            drawn[arm] = np.diff(table.cumulative, prepend=0)[own].sum()
        shares = {"mili": 0.5, "pairs_only": 0.0, "random_only": 0.0, "self_only": 1.0}
        assert drawn == pytest.approx(shares)
    with pytest.raises(ConfigError, match=r"config\.improve\.self_share = 1\.5"):
        schema.check(config(**{"improve.self_share": 1.5}))


def test_workers_are_told_to_leave_the_accelerator_alone(monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "--xla_cpu_enable_fast_math=false")
    monkeypatch.delenv("JAX_PLATFORMS", raising=False)
    with rolling.simulating():
        assert os.environ["JAX_PLATFORMS"] == "cpu"
        assert os.environ["XLA_FLAGS"].startswith("--xla_cpu_enable_fast_math=false --xla")
    assert os.environ["XLA_FLAGS"] == "--xla_cpu_enable_fast_math=false"
    assert "JAX_PLATFORMS" not in os.environ
