"""The doctor finds exactly what is damaged, and the run's own command makes exactly that again."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
from runs import ROOT, data_of
from test_stages import assert_same_checkpoints, assert_same_episodes, rows_of

from mili_jax.storage import doctor
from mili_jax.storage.dataset import Dataset
from mili_jax.storage.workdir import Workdir, lock
from mili_jax.types import ConfigError, DataError

DATA = "dataset/mili/1.0.0"
# A file of every kind, and what has to go with it.
TAKEN = {
    f"{DATA}/mili-round_1.array_record-00002": {"stages/round_1.json"},
    f"{DATA}/mili-evaluation_mili_1.array_record-00000": {"stages/evaluate_mili_1.json"},
    f"{DATA}/labels_round_1.jsonl": {"stages/filter_1.json"},
    f"{DATA}/pairs_mili_1.csv": {"stages/pair_1.json"},
    "manifest.json": set(),
    "stages/pretrain.json": set(),
    "stages/filter_1.json": set(),
    "checkpoints/pretrain/35.json": {"checkpoints/pretrain/35"},
    "checkpoints/mili_1/10.json": {"checkpoints/mili_1/10", "stages/mili_1.json"},
    "metrics.jsonl": set(),
}


@pytest.fixture
def copy(finished, tmp_path):
    return shutil.copytree(finished, tmp_path / "copy")


def damage(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0x80
    path.write_bytes(content)


def taken(workdir):
    folder = workdir / "damaged"
    return {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}


def consult(workdir, *flags):
    line = [sys.executable, "-m", "experiments.doctor", f"--workdir={workdir}", *flags]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True)
    return done.returncode, done.stdout, done.stderr


def assert_same_runs(finished, workdir):
    assert_same_episodes(finished, workdir)
    assert_same_checkpoints(finished, workdir)
    assert rows_of(workdir) == rows_of(finished)
    for path in data_of(finished).glob("[!.]*"):
        mine = (data_of(workdir) / path.name).read_bytes()
        if path.suffix == ".jsonl":  # the filter answers again, and says the same
            assert mine[-path.stat().st_size :] == path.read_bytes()
        elif path.name != "checksums.json":
            assert mine == path.read_bytes(), path.name
    names = {p.name for p in (finished / "stages").iterdir()}
    assert {p.name for p in (workdir / "stages").iterdir()} == names


@pytest.mark.slow
def test_a_whole_run_has_no_damage(finished):
    assert doctor.examine(finished) == []
    code, out, _ = consult(finished)
    assert code == 0 and "nothing is damaged" in out


@pytest.mark.slow
@pytest.mark.parametrize("name", TAKEN)
def test_each_kind_of_file_is_found_and_taken_away_with_what_belongs_to_it(name, copy):
    before = {p.relative_to(copy) for p in copy.rglob("*") if p.is_file()}
    damage(copy / name)
    (found,) = doctor.examine(copy)
    assert found.path == copy / name and str(copy / name) in found.why
    wanted = {copy / name, *(copy / other for other in TAKEN[name])}
    assert set(found.drop) == wanted
    assert doctor.repair(copy) == [found]
    gone = {p for p in wanted if not p.exists()}
    assert gone == wanted - {copy / "metrics.jsonl"}  # of that the good lines stay
    after = {p.relative_to(copy) for p in copy.rglob("*") if p.is_file()}
    lost = before - after
    assert {p for p in lost if not any((copy / p).is_relative_to(w) for w in wanted)} == set()
    assert len(taken(copy)) >= len(wanted) and doctor.examine(copy) == []


@pytest.mark.slow
def test_a_pair_table_of_any_arm_takes_its_own_stage_with_it(copy):
    Dataset(copy / "dataset").write_pairs("trials_250_1", ["a"], ["b"], np.ones(1), 0.9)
    table = copy / DATA / "pairs_trials_250_1.csv"
    damage(table)
    (found,) = doctor.examine(copy)
    assert set(found.drop) == {table, copy / "stages" / "pair_1.json"}


@pytest.mark.slow
def test_rows_that_were_written_just_before_a_kill_are_no_damage(copy):
    (copy / "rows" / "evaluate_2.jsonl").write_text('{"round": 2}\n')
    assert doctor.examine(copy) == []
    results = copy / "results.jsonl"
    results.write_bytes(results.read_bytes().replace(b"5", b"6"))
    assert [found.path for found in doctor.examine(copy)] == [results]


@pytest.mark.slow
def test_the_run_makes_again_what_was_damaged_and_nothing_else(call, finished, copy):
    shards = data_of(copy)
    broken = [
        shards / "mili-demos_train.array_record-00001",
        shards / "mili-round_1.array_record-00003",
        shards / "labels_round_1.jsonl",
        shards / "pairs_mili_1.csv",
        copy / "manifest.json",
        copy / "stages" / "control_1.json",
        copy / "rows" / "evaluate_pretrain.jsonl",
        max((copy / "checkpoints" / "mili_1" / "10").rglob("*"), key=lambda p: p.stat().st_size),
    ]
    for path in broken:
        damage(path)
    (shards / "mili-evaluation_pretrain.array_record-00002").unlink()
    broken.append(shards / "mili-evaluation_pretrain.array_record-00002")
    untouched = shards / "mili-round_1.array_record-00000"
    made = untouched.stat().st_mtime_ns
    code, out, err = consult(copy)
    assert code == 1 and "--repair" in err
    assert all(str(path) in out for path in broken)
    assert not (copy / "damaged").exists(), "to look changes nothing"
    code, out, _ = consult(copy, "--repair")
    assert code == 0 and "own command" in out
    assert doctor.examine(copy) == []
    code, _, err = call("mili", copy)
    assert code == 0, err
    assert_same_runs(finished, copy)
    assert untouched.stat().st_mtime_ns == made and doctor.examine(copy) == []
    metas = json.loads((copy / "stages" / "demos_train.json").read_text())
    assert metas["episodes"] == 10 and metas["set_aside"] == []


@pytest.mark.slow
@pytest.mark.parametrize("name", [
    "checksums.json",
    pytest.param("dataset_info.json", marks=pytest.mark.long),
])  # fmt: skip
def test_a_description_is_made_again_from_the_shards(call, finished, copy, name):
    damage(data_of(copy) / name)
    assert data_of(copy) / name in {found.path for found in doctor.examine(copy)}
    doctor.repair(copy)
    assert doctor.examine(copy) == []
    shards = {p: p.stat().st_mtime_ns for p in data_of(copy).glob("mili-*")}
    labels = (data_of(copy) / "labels_round_1.jsonl").read_bytes()
    code, _, err = call("mili", copy)
    assert code == 0, err
    assert_same_runs(finished, copy)
    assert {p: p.stat().st_mtime_ns for p in shards} == shards, "nothing was collected again"
    assert (data_of(copy) / "labels_round_1.jsonl").read_bytes() == labels


@pytest.mark.slow
def test_lost_checksums_cost_no_label(finished, copy):
    (data_of(copy) / "checksums.json").unlink()
    assert data_of(copy) / "checksums.json" in {found.path for found in doctor.examine(copy)}
    doctor.repair(copy)
    labels = [Dataset(run / "dataset").read_labels("round_1") for run in (finished, copy)]
    assert labels[0] == labels[1] and len(labels[0]) == 20
    assert doctor.examine(copy) == []


@pytest.mark.slow
def test_a_lost_manifest_is_made_anew_for_the_same_configuration_alone(copy):
    config = Workdir(copy).config
    damage(copy / "manifest.json")
    doctor.repair(copy)
    other = {**config, "train": {**config["train"], "steps": 7}}
    with pytest.raises(ConfigError, match=r"config\.train\.steps = 40, now it is 7"):
        Workdir(copy, other)
    Workdir(copy, config).close()
    assert Workdir(copy).config == config


@pytest.mark.slow
def test_a_run_that_is_at_work_is_left_alone(copy):
    damage(data_of(copy) / "pairs_mili_1.csv")
    held = lock(copy)
    with pytest.raises(ConfigError, match="in use"):
        doctor.repair(copy)
    held.close()
    assert not (copy / "damaged").exists()


def test_folders_that_are_no_run(tmp_path):
    with pytest.raises(DataError, match="is no workdir"):
        doctor.examine(tmp_path)
    for flags in ((), ("--repair",)):
        code, _, err = consult(tmp_path / "nowhere", *flags)
        assert code == 1 and err.startswith("DataError: ") and "nowhere is no workdir" in err
        assert not (tmp_path / "nowhere").exists()


def test_a_manifest_lost_in_the_first_training_costs_no_checkpoint(tmp_path):
    config = {"seed": 0}
    with Workdir(tmp_path / "run", config) as run:
        saved = run.save_checkpoint("pretrain", {"w": np.arange(3)}, 10, of={}, seconds=1.0)
        run.write_metrics("pretrain", 10, {"loss": 1.0})
    damage(tmp_path / "run" / "manifest.json")
    doctor.repair(tmp_path / "run")
    Workdir(tmp_path / "run", config).close()
    assert saved.exists() and Workdir(tmp_path / "run").latest_step("pretrain") == 10
