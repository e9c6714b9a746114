"""The page about other robots: what it shows can be done."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys

import numpy as np
from makers import write_lerobot_v21, write_rlds
from pages import blocks, commands
from runs import ROOT

from mili_jax.interchange.importing import import_episodes
from mili_jax.interchange.mapping import FACTS, UNITS
from mili_jax.interchange.mapping_file import parse
from mili_jax.storage.dataset import Dataset
from mili_jax.storage.labels import Label

PAGE = (ROOT / "docs" / "other_robots.md").read_text()


def test_the_mapping_on_the_page_imports_such_files(tmp_path):
    text = next(t for t in re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL) if "format" in t)
    mapping = parse(text, "the page")
    assert mapping.to_fps == 10 and mapping.pose[2].period == 360
    made = write_lerobot_v21(tmp_path / "d", 3, steps=12)
    text = text.replace("fps: 30", "fps: 10").replace("to_fps: 10", "to_fps: 5")
    text = text.replace("index: 3", "index: 6")  # where these files have the gripper
    import_episodes(tmp_path / "d", "lerobot", parse(text, "it"), tmp_path / "out")
    for episode, wanted in zip(Dataset(tmp_path / "out").read("demos_train"), made, strict=True):
        assert len(episode) == 6 and episode.image.shape == (6, 2, 64, 86, 3)
        assert np.allclose(episode.pose[:, 0], np.radians(wanted.state[::2, 0]), atol=1e-6)
        assert np.allclose(episode.action[:, 1], np.radians(wanted.action[1::2, 1]), atol=1e-6)
        assert np.allclose(episode.pose[:, 3], wanted.state[::2, 6] / 100, atol=1e-6)


def test_the_page_names_every_fact_and_unit():
    for word in (*FACTS, "m", "cm", "mm", "rad", "deg"):
        assert f"`{word}`" in PAGE, word
    assert set(UNITS) >= {"m", "cm", "mm", "rad", "deg", "1"}


def test_the_commands_of_the_page_run_in_their_order(tmp_path):
    """On small files of the same kind, at the places that the page names. Trainings have three
    steps, and the answers come from here instead of the page."""
    write_rlds(tmp_path / "logs" / "bridge_dataset", {"train": 25})
    write_lerobot_v21(tmp_path / "logs" / "arm", 3, steps=12)
    text = next(t for t in blocks(PAGE, "yaml") if "format" in t)
    text = text.replace("fps: 30", "fps: 10").replace("to_fps: 10", "to_fps: 5")
    (tmp_path / "arm.yaml").write_text(text.replace("index: 3", "index: 6"))
    splits = next(t for t in blocks(PAGE, "yaml") if t.startswith("splits:"))
    shown = commands(PAGE)
    names = [line.split()[1] for line in shown]
    assert names == ["import", "look", "import", "import", "label", "run", "export"]
    for line in shown:
        words = shlex.split(line)[1:]
        if words[0] == "label":
            loop = Dataset(tmp_path / "runs" / "loop" / "dataset")
            ids = [m.episode_id for m in loop.read_metadata("round_1")]
            loop.write_labels("round_1", [Label(name, True, "ana") for name in ids])
            continue
        if "--map=loop.yaml" in words:
            guessed = (tmp_path / "runs" / "bridge" / "dataset" / "mapping.yaml").read_text()
            (tmp_path / "loop.yaml").write_text(
                guessed.replace("splits:\n  train: demos_train\n", splits)
            )
        if words[0] == "run":
            small = ("policy.channels=4", "policy.blocks=1", "train.steps=3", "improve.steps=3")
            words += [f"--config.{field}" for field in small]
        program = [sys.executable, "-m", "mili_jax.cli", *words]
        path = {**os.environ, "PYTHONPATH": str(ROOT)}
        done = subprocess.run(program, cwd=tmp_path, env=path, capture_output=True, text=True)
        assert done.returncode == 0, (line, done.stderr)
    assert (tmp_path / "runs" / "bridge" / "dataset" / "look" / "index.html").exists()
    assert "Action error" in (tmp_path / "runs" / "loop" / "report" / "index.html").read_text()
    assert (tmp_path / "arm_lerobot" / "meta" / "info.json").exists()


def test_the_snippet_of_the_page_runs(tmp_path):
    write_rlds(tmp_path / "logs" / "bridge_dataset", {"train": 3})
    (code,) = blocks(PAGE, "python")
    path = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
