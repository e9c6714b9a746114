"""Every recipe of docs/extending.md, followed from outside of the package, word by word."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from installing import environment, install
from page import PAGE, recipes

from mili_jax.storage.dataset import Dataset

RECIPES = recipes()
# The files that a newcomer may have to touch, and whether a folder comes on top.
MOST = {
    "A head": 2,
    "A simulator": 2,
    "A filter": 2,
    "A task family": 3,
    "A data format": 3,
    "An arm": 2,
}
FOLDERS = {"A simulator": {"lamps"}}


def set_up(heading, folder):
    """Writes a recipe's files, installs them if it says so, and returns the environment."""
    recipe, here = RECIPES[heading], folder / "here"
    recipe.write(here)
    if "pip install -e ." not in recipe.commands:
        assert "export PYTHONPATH=$PWD" in recipe.commands
        return here, environment(here)
    site = folder / "site"
    site.mkdir()
    install(here, site)
    return here, environment(site)


def run(program, here, env):
    done = subprocess.run(
        program, cwd=here, env=env, capture_output=True, text=True, timeout=900, check=False
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
    return done.stdout


def test_there_is_a_recipe_for_everything_that_can_be_added():
    assert set(RECIPES) == set(MOST)


@pytest.mark.parametrize("heading", MOST)
def test_a_newcomer_touches_few_files(heading):
    files = {Path(name) for name in RECIPES[heading].files}
    outside = {f for f in files if f.parts[0] not in FOLDERS.get(heading, ())}
    assert len(outside) <= MOST[heading]
    assert {f.parts[0] for f in files - outside} == FOLDERS.get(heading, set())
    assert sum(f.name.startswith("test_") for f in outside) == 1
    assert not any(f.parts[0] in ("mili_jax", "experiments", "tests") for f in files)
    counted = re.search(rf"\[{heading.lower()}\]\(#.*?\|\s*(\d)(.*?)\|", PAGE.read_text())
    assert counted and int(counted[1]) == len(outside)
    assert ("folder" in counted[2]) == (heading in FOLDERS)


@pytest.mark.slow
@pytest.mark.parametrize("heading", MOST)
def test_its_own_test_passes(heading, tmp_path):
    here, env = set_up(heading, tmp_path)
    (test,) = (name for name in RECIPES[heading].files if name.startswith("test_"))
    assert f"python -m pytest {test}" in RECIPES[heading].commands
    said = run([sys.executable, "-m", "pytest", "-p", "no:cacheprovider", test], here, env)
    assert re.search(r"[1-9]\d* passed", said) and "skipped" not in said


def command(heading, name="run"):
    """What a recipe's last command has after `mili run`."""
    (line,) = (c for c in RECIPES[heading].commands if c.startswith(f"mili {name} "))
    return shlex.split(line)[2:]


@pytest.mark.slow
@pytest.mark.parametrize("heading", [h for h in MOST if h != "A data format"])
def test_its_command_is_a_configuration_that_holds(heading, tmp_path):
    here, env = set_up(heading, tmp_path)
    flags = [flag for flag in command(heading) if not flag.startswith("--workdir=")]
    said = run([sys.executable, "-m", "mili_jax.cli", "config", *flags], here, env)
    for flag in flags[1:]:
        field, _, value = flag.removeprefix("--config.").partition("=")
        assert f"* {field.partition('.')[2]} = {value}" in said


@pytest.mark.slow
def test_its_format_is_imported_from_the_shell(tmp_path):
    here, env = set_up("A data format", tmp_path)
    code = "import pathlib, test_npz_episodes as t; t.write(pathlib.Path('theirs'), 4)"
    run([sys.executable, "-c", code], here, env)
    flags = command("A data format", "import")
    run([sys.executable, "-m", "mili_jax.cli", "import", *flags], here, env)
    dataset = Dataset(here / "runs/mine/dataset")
    assert dataset.splits() == {"demos_train": 4}
    assert {m.task for m in dataset.read_metadata("demos_train")} == {"open drawer"}


@pytest.mark.slow
def test_all_of_them_together_go_through_the_whole_loop(tmp_path):
    """The simulator of one recipe, the head, the filter and the arm of others, in one run."""
    here, env = set_up("A simulator", tmp_path)
    for heading in ("A head", "A filter", "An arm"):
        RECIPES[heading].write(tmp_path / "site")
    program = [sys.executable, "-m", "mili_jax.cli", "run", *command("A simulator")]
    program += ["--config.machine.processes=0", "--config.policy.places=4"]
    for heading in ("A head", "A filter", "An arm"):
        program += [flag for flag in command(heading) if flag.startswith("--config.")]
    page = here / run(program, here, env).strip()
    assert page.is_file()
    folder = here / "runs" / "lamps"
    rows = [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()]
    results = [row for row in rows if "task" in row]
    assert {row["domain"] for row in results} == {"lamps"}
    assert {row["task"] for row in results} == {"light white", "light orange"}
    assert "mili_not_twins" in {row["method"] for row in results}
    config = json.loads((folder / "manifest.json").read_text())["config"]
    assert config["policy"]["head"] == "whole_picture:WholePicture"
    labels = (folder / "dataset/mili/1.0.0/labels_round_1.jsonl").read_text().splitlines()
    assert len(labels) == 48 and all('"changed"' in line for line in labels)
