"""The wheel: what it holds, and that it runs from any folder where nothing can be written to it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from email import message_from_string

import pytest
from runs import ROOT, SMALL

from mili_jax import __version__

LIMIT = 1200  # s for a command
MEGABYTE = 2**20
SOURCES = ("mili_jax", "data", "experiments", "tests", "benchmarks")
pytestmark = pytest.mark.slow


def run(*program, **given):
    done = subprocess.run(
        [str(word) for word in program], capture_output=True, text=True, timeout=LIMIT, **given
    )
    assert done.returncode == 0, done.stderr + done.stdout
    return done.stdout


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A copy of the checkout: building writes into it."""
    copy = tmp_path_factory.mktemp("source")
    for name in SOURCES:
        ignored = shutil.ignore_patterns("__pycache__", "results")
        shutil.copytree(ROOT / name, copy / name, ignore=ignored)
    for file in ROOT.iterdir():
        if file.is_file() and not file.name.startswith("."):
            shutil.copy(file, copy / file.name)
    return copy


@pytest.fixture(scope="module")
def wheel(source, tmp_path_factory):
    out = tmp_path_factory.mktemp("wheel")
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check")
    run(*pip, "wheel", source, "--no-deps", "--no-build-isolation", "--wheel-dir", out)
    (made,) = out.iterdir()
    return made


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """Makes a fresh virtual environment that sees the packages of this one, but not the project:
    what an editable installation adds to it is read in its own folder alone."""

    def make(name):
        place = tmp_path_factory.mktemp(name) / "venv"
        run(sys.executable, "-m", "venv", "--without-pip", place)
        (packages,) = place.glob("lib/python3*/site-packages")
        (packages / "others.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
        return place, packages

    return make


def install(place, *what):
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", place)
    run(*pip, "install", "--no-deps", "--no-index", "--no-build-isolation", *what)


def elsewhere():
    """Variables of a shell that knows nothing of the checkout."""
    left = ("PYTHONPATH", "VIRTUAL_ENV", "PYTHONDONTWRITEBYTECODE")
    return {name: value for name, value in os.environ.items() if name not in left}


def snapshot(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*")}


def test_the_wheel_holds_the_package_its_data_and_nothing_else(wheel, source):
    assert wheel.stat().st_size <= 15 * MEGABYTE
    with zipfile.ZipFile(wheel) as archive:
        held = {name: archive.read(name) for name in archive.namelist()}
    facts = f"mili_jax-{__version__}.dist-info"
    assert {name.split("/")[0] for name in held} == {"mili_jax", facts}
    modules = {f.relative_to(source).as_posix() for f in (source / "mili_jax").rglob("*.py")}
    assert {name for name in held if name.endswith(".py")} == modules
    # Every other file of the package, and the top-level folder data.
    others = [f for f in (source / "mili_jax").rglob("*") if f.is_file() and f.suffix != ".py"]
    for file in others:
        if "__pycache__" not in file.parts:
            assert held[file.relative_to(source).as_posix()] == file.read_bytes()
    assert "mili_jax/py.typed" in held
    for file in (source / "data").rglob("*"):
        if file.is_file():
            name = file.relative_to(source / "data").as_posix()
            assert held[f"mili_jax/data/{name}"] == file.read_bytes()
    assert "mili_jax/data/policies/kitchen/parameters.npz" in held
    assert b"mili = mili_jax.cli:main" in held[f"{facts}/entry_points.txt"]
    assert held[f"{facts}/top_level.txt"] == b"mili_jax\n"
    metadata = message_from_string(held[f"{facts}/METADATA"].decode())
    assert metadata["Version"] == __version__ and metadata["Requires-Python"] == "<3.12,>=3.11"
    assert metadata["License-Expression"] == "Apache-2.0"


def test_the_wheel_runs_from_any_folder_and_writes_nothing_to_itself(wheel, environment, tmp_path):
    place, packages = environment("fresh")
    install(place, wheel)
    folder = tmp_path / "another folder"
    folder.mkdir()
    (folder / "mili_jax.txt").touch()
    for path in (*packages.rglob("*"), packages):  # (root may write nevertheless: see below)
        path.chmod(0o555 if path.is_dir() else 0o444)
    before = snapshot(packages)
    try:

        def mili(*argv):
            return run(place / "bin" / "mili", *argv, cwd=folder, env=elsewhere())

        where = run(
            place / "bin" / "python",
            "-c",
            "import importlib.util, mili_jax; print(mili_jax.__file__)\n"
            "assert not any(map(importlib.util.find_spec, ('experiments', 'tests', 'benchmarks')))",
            cwd=folder,
            env=elsewhere(),
        )
        assert where.strip() == str(packages / "mili_jax" / "__init__.py")
        assert mili("--version") == f"mili {__version__}\n"
        assert "The loop" in mili("--help")
        assert "520 train, 40 validation, 40 test" in mili("domains")
        shown = "import mili_jax; print(mili_jax.load_policy('kitchen').spec.height)"
        assert run(place / "bin" / "python", "-c", shown, cwd=folder, env=elsewhere()) == "64\n"
        assert mili("demo", "--count=1", "--out=film.mp4").endswith(" of 1 done\nfilm.mp4\n")
        (folder / "film.mp4").unlink()
        small = [f"--config.{field}={value}" for field, value in SMALL.items()]
        said = mili("run", "--config=test", "--workdir=a run", *small)
        assert said.splitlines()[-1] == str(folder / "a run" / "report" / "index.html")
        made = folder / "a run"
        assert "<html" in (made / "report" / "index.html").read_text()
        stages = {file.stem for file in made.glob("stages/*.json")}
        assert {"demos_train", "pretrain", "pair_1", "mili_1", "evaluate_mili_1"} <= stages
        assert (made / "results.jsonl").read_text().count('"method"') >= 16
        manifest = json.loads((made / "manifest.json").read_text())
        assert manifest["versions"]["mili-jax"] == __version__ and manifest["commit"] is None
        assert mili("doctor", "a run") == "a run: nothing is damaged\n"
        assert {path.name for path in folder.iterdir()} == {"a run", "mili_jax.txt"}
        assert snapshot(packages) == before
    finally:
        for path in (packages, *packages.rglob("*")):
            if path.is_dir():
                path.chmod(0o755)


def test_an_editable_installation_finds_its_data(source, environment, tmp_path):
    place, _ = environment("editable")
    install(place, "--editable", source)
    said = run(place / "bin" / "mili", "domains", cwd=tmp_path, env=elsewhere())
    assert "520 train, 40 validation, 40 test" in said
    code = "from mili_jax.domains.kitchen import shipped; print(shipped.path('tasks.json'))"
    where = run(place / "bin" / "python", "-c", code, cwd=tmp_path, env=elsewhere())
    assert where.strip() == str(source / "data" / "tasks.json")
