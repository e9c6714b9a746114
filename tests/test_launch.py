"""Seeds and stages submitted from one command, with submitit's local executor and with Ray."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from runs import ROOT, SMALL, command

from experiments import launch
from mili_jax.pipeline import algorithm

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
@pytest.mark.parametrize("on", ["local", pytest.param("ray", marks=pytest.mark.long)])
def test_jobs_run_in_their_order_and_a_failure_is_told(on, tmp_path):
    """`label` comes too early: the job before it is done, the one after it is not."""
    listed = "--stages=demos,label,pretrain"
    (tmp_path / "seed_5").mkdir()
    (tmp_path / "seed_5" / "letter.txt").touch()
    done = submit(tmp_path, f"--on={on}", "--seeds=5,3", listed, "--config.data.tasks=2")
    assert done.returncode == 1
    assert "JobError" in done.stderr and "pretrain.json is missing" in done.stderr.splitlines()[-1]
    assert "seed_5" in done.stderr and "is not empty" in done.stderr.splitlines()[-1]
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
        (["--seeds="], "ConfigError: --seeds names no seed"),
        (["--noconfig.improve.warm_start"], "ConfigError: write --config.improve.warm_start=False"),
        (["--config.seed", "1"], "ConfigError: write --config.seed=value"),
        (["--config.improve.alpha=2"], r"ConfigError: config.improve.alpha = 2"),
    ],
)
def test_mistakes_are_told_before_anything_is_submitted(given, message, tmp_path):
    done = submit(tmp_path / "sweep", *given)
    assert done.returncode == 1 and done.stderr.startswith(message)
    assert not (tmp_path / "sweep").exists()


@pytest.mark.slow
def test_a_job_that_is_preempted_saves_is_queued_again_and_goes_on(tmp_path):
    """Through submitit's local controller, with the signal that SLURM sends to all processes."""
    import submitit

    workdir = tmp_path / "seed_0"
    steps = ["--config.train.checkpoint_every=100000", "--config.train.steps=200"]
    launch.Job(command("demos", workdir, *steps))()
    executor = submitit.AutoExecutor(tmp_path / "jobs", "local")
    executor.update_parameters(timeout_min=600)
    job = executor.submit(launch.Job(command("pretrain", workdir, *steps)))
    wait_for((workdir / "metrics.jsonl").exists)
    (at_work,) = children(int(job.job_id))
    for pid in (*children(at_work), at_work):
        os.kill(pid, signal.SIGUSR2)
    wait_for(lambda: job.paths.stdout.exists() and "preempted" in job.paths.stderr.read_text())
    wait_for(lambda: list((workdir / "checkpoints" / "pretrain").glob("*.json")))
    (saved,) = (workdir / "checkpoints" / "pretrain").glob("*.json")
    assert 0 < int(saved.stem) < 200, "it was saved before its end"
    assert job.exception() is None
    assert json.loads((workdir / "stages" / "pretrain.json").read_text())["steps"] == 200
    assert f"{saved.stem}/200" in job.paths.stderr.read_text(), "it went on from there"


def children(pid):
    return [int(p) for p in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def wait_for(condition, seconds=500):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_slurm_is_asked_for_one_job_after_the_other(tmp_path, monkeypatch):
    """What `sbatch` gets, from the real submitit; no SLURM is here to take it."""
    for name, lines in {
        "srun": "",
        "sbatch": f"n=$(ls {tmp_path}/job_* 2>/dev/null | wc -l); n=$((n + 1))\n"
        f'cp "${{@: -1}}" {tmp_path}/job_$n; echo "Submitted batch job $n"\n',
    }.items():
        (tmp_path / name).write_text(f"#!/bin/bash\n{lines}")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    done = submit(
        tmp_path / "sweep",
        "--on=slurm",
        "--stages=each",
        "--seeds=0,1",
        "--options=slurm_partition=cpu",
    )
    assert done.returncode == 0, done.stderr
    listed = len(list(algorithm.plan(1)))
    jobs = [(tmp_path / f"job_{i + 1}").read_text() for i in range(2 * listed)]
    for i, job in enumerate(jobs):
        after = f"#SBATCH --dependency=afterok:{i}\n" in job
        assert after == (i % listed > 0), "the first of a seed waits for none"
        assert "#SBATCH --partition=cpu\n" in job and "#SBATCH --time=1440\n" in job
    assert "#SBATCH --job-name=seed_1_report\n" in jobs[-1]


def test_each_stage_in_its_order():
    plan = list(algorithm.plan(2))
    assert plan[:4] == [("demos", ()), ("pretrain", ()), ("baselines", ()), ("evaluate", (0,))]
    steps = ("collect", "label", "pair", "retrain", "evaluate")
    assert plan[4:14] == [(name, (number,)) for number in (1, 2) for name in steps]
    assert plan[14:] == [("report", ())]
    assert all((ROOT / "experiments" / f"{name}.py").exists() for name, _ in plan)
