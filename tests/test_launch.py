"""Seeds and stages submitted from one command, with submitit's local executor and with Ray."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys

import pytest
from runs import ROOT, SMALL, config

from experiments import launch

# Both are optional for users, and so for those who test a plain installation; `make test` and CI
# have them and run all of this.
for package in ("submitit", "ray"):
    if not importlib.util.find_spec(package):
        pytest.skip("the extra [cluster] is not installed", allow_module_level=True)


def submit(workdir, *given):
    small = [f"--config.{field}={value}" for field, value in SMALL.items()]
    flag = "--config=experiments/configs/mili.py:test"
    program = [sys.executable, "-m", "experiments.launch", flag, f"--workdir={workdir}", *small]
    return subprocess.run([*program, *given], cwd=ROOT, capture_output=True, text=True)


@pytest.mark.slow
@pytest.mark.parametrize("on", ["local", "ray"])
def test_jobs_run_in_their_order_and_a_failure_is_told(on, tmp_path):
    """`label` comes too early: the job before it is done, the one after it is not."""
    stages = "--stages=demos,label,pretrain"
    done = submit(tmp_path, f"--on={on}", "--seeds=3", stages, "--config.data.tasks=2")
    assert done.returncode == 1
    assert "JobError" in done.stderr and "pretrain.json is missing" in done.stderr.splitlines()[-1]
    folder = tmp_path / "seed_3"
    assert {p.stem for p in (folder / "stages").iterdir()} == {
        f"demos_{split}" for split in ("train", "validation", "test")
    }
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["config"]["seed"] == 3 and manifest["config"]["data"]["tasks"] == 2


@pytest.mark.slow
@pytest.mark.parametrize(
    "given, message",
    [
        (["--stages=demos,nosuch"], "ConfigError: --stages names 'nosuch'"),
        (["--seeds=1,x"], "ConfigError: --seeds names 'x'"),
        (["--config.seed", "1"], "ConfigError: write --config.seed=value"),
        (["--config.improve.alpha=2"], r"ConfigError: config.improve.alpha = 2"),
    ],
)
def test_mistakes_are_told_before_anything_is_submitted(given, message, tmp_path):
    done = submit(tmp_path / "sweep", *given)
    assert done.returncode == 1 and done.stderr.startswith(message)
    assert not (tmp_path / "sweep").exists()


def test_each_stage_in_its_order():
    planned = launch.each_stage(config(**{"improve.rounds": 2}))
    assert planned[:4] == [["demos"], ["pretrain"], ["baselines"], ["evaluate", "--round=0"]]
    assert planned[4:9] == [
        [name, "--round=1"] for name in ("collect", "label", "pair", "retrain", "evaluate")
    ]
    assert [step[-1] for step in planned[9:14]] == ["--round=2"] * 5
    assert planned[14:] == [["report"]]
