"""A robot that nobody here knows, from its own package, through the whole loop."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from installing import environment, install

from mili_jax.spec import Spec
from mili_jax.storage.dataset import Dataset

TOY = Path(__file__).with_name("toy")
STAGES = {
    *("demos_train", "demos_validation", "demos_test", "pretrain", "evaluate_pretrain"),
    *("round_1", "filter_1", "pair_1", "mili_1", "unfiltered_1"),
    *("evaluate_mili_1", "evaluate_unfiltered_1"),
}
HELD_OUT = {"open yellow drawer", "turn yellow lever", "close yellow drawer"}
HELD_OUT |= {"turn yellow lever back"}


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The environment in which the toy is installed."""
    target = tmp_path_factory.mktemp("site")
    install(TOY, target)
    return environment(target)


@pytest.fixture(scope="module")
def command(site):
    """Runs the loop in a folder: exit code, stdout, stderr."""

    def run(workdir, *flags):
        program = [sys.executable, "-m", "experiments.mili", f"--config={TOY / 'config.py'}"]
        done = subprocess.run(
            [*program, f"--workdir={workdir}", *flags],
            env=site,
            cwd=TOY.parents[1],
            capture_output=True,
            text=True,
            timeout=900,
        )
        return done.returncode, done.stdout, done.stderr

    return run


@pytest.fixture(scope="module")
def run(command, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("toy") / "run"
    code, out, err = command(workdir)
    assert code == 0, err[-3000:]
    assert out.strip() == str(workdir / "report" / "index.html")
    return workdir


@pytest.mark.slow
def test_all_stages_and_the_report(run):
    assert {path.stem for path in (run / "stages").glob("*.json")} == STAGES
    made = json.loads((run / "stages" / "unfiltered_1.json").read_text())
    assert made["pairs"] > 0 and made["trials"] > 0
    page = (run / "report" / "index.html").read_text()
    films = {task for task in HELD_OUT if task in page}
    assert {task.split()[2] for task in films} == {"drawer", "lever"}
    words = set(re.findall("[a-z]+", page.partition("<body")[2].lower()))
    assert not {"press", "grasp", "push", "kitchen"} & words


@pytest.mark.slow
def test_rows_are_of_its_own_tasks_and_groups(run):
    rows = [json.loads(line) for line in (run / "results.jsonl").read_text().splitlines()]
    results = [row for row in rows if "task" in row]
    assert {row["domain"] for row in results} == {"toy"}
    assert {row["task"] for row in results} == HELD_OUT
    assert {(row["task"].split()[2].rstrip(), row["family"]) for row in results} == {
        ("drawer", "drawer"),
        ("lever", "lever"),
    }
    # Both of the loop's policies after the right, a wrong and no demonstration, the arm once.
    counts = {"meta_imitation": 3, "mili": 3, "no_filter": 1}
    for method, conditions in counts.items():
        assert sum(row["method"] == method for row in results) == conditions * len(HELD_OUT)


@pytest.mark.slow
def test_episodes_are_of_its_own_robot(run):
    dataset = Dataset(run / "dataset")
    spec = dataset.spec
    assert spec == Spec.from_json((dataset.path / "spec.json").read_text())
    assert spec.picture == (96, 128, 3) and spec.delta and spec.tool is None
    assert spec.pose.names == ("x", "y", "z", "grip")
    assert spec.action.names == ("dx", "dy", "dz", "grip")
    assert [camera.matrix for camera in spec.cameras] == [None]
    demos = list(dataset.read("demos_train"))
    assert len(demos) == 12 and all(e.meta.success for e in demos)
    assert {e.meta.task for e in demos} >= {"open drawer", "turn lever"}
    for episode in (*demos, *dataset.read("round_1")):
        assert episode.image.shape == (len(episode), 96, 128, 3)
        assert episode.pose.shape == episode.action.shape == (len(episode), 4)
        assert (np.abs(episode.action[:, :3]) <= 0.05 + 1e-6).all()
    # In a demonstration of a drawer the picture changes where the drawer is, and elsewhere hardly.
    shown = next(e for e in demos if e.meta.task == "open drawer")
    assert 0.002 < (shown.image[0] != shown.image[-1]).any(-1).mean() < 0.2


@pytest.mark.slow
def test_the_same_command_makes_nothing_again(run, command):
    before = {p: p.stat().st_mtime_ns for p in run.rglob("*") if "report" not in p.parts}
    code, _, err = command(run)
    assert code == 0, err[-3000:]
    after = {p: p.stat().st_mtime_ns for p in run.rglob("*") if "report" not in p.parts}
    changed = {p.name for p in after if p.is_file() and after[p] != before.get(p)}
    assert changed <= {"manifest.json", "lock"}


@pytest.mark.slow
def test_what_it_cannot_do_is_said_in_one_line(command, tmp_path):
    code, out, err = command(tmp_path / "run", "--config.policy.head=anchored_mixture")
    assert (code, out) == (1, "") and len(err.strip().splitlines()) == 1
    assert "'anchored_mixture' acts on places of a table and needs a robot with a tool" in err
    assert not (tmp_path / "run").exists()
