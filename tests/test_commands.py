"""The command line: mistakes are told in one line, and what other commands say is quoted well."""

from __future__ import annotations

import ast
import importlib
import io
import subprocess
import sys
import textwrap

import pytest
from ml_collections import ConfigDict
from runs import ROOT, SMALL, config
from tqdm import tqdm

from experiments import command, compare
from mili_jax.pipeline.run import open_run
from mili_jax.types import ConfigError
from mili_jax.workers import commands

PATH = "experiments/configs/mili.py"


def run(module, *given, **options):
    call = [sys.executable, "-m", f"experiments.{module}", *given]
    return subprocess.run(call, cwd=ROOT, capture_output=True, text=True, **options)


def said_by(source):
    """The exit code and the words of a program that fails."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(source)], capture_output=True, text=True, cwd=ROOT
    )
    return done.returncode, done.stdout + done.stderr


FAILING = {
    "our own error": (
        "import sys; sys.exit('DataError: shard 3 is damaged')",
        "DataError: shard 3",
    ),
    "an error": ("1 / 0", "ZeroDivisionError: division by zero"),
    # JAX ends with lines about how it shortened the traceback.
    "an error in JAX": ("import jax; jax.jit(lambda x: x.nosuch)(1.0)", "AttributeError: "),
    "an error of several lines": ("raise ValueError('one\\n\\ntwo')", "ValueError: one"),
    "an error with a note": (
        """
        error = OSError("the disk")
        error.add_note("In a worker process:\\n  somewhere deep")
        raise error
        """,
        "OSError: the disk",
    ),
    "after a progress bar": (
        """
        import sys, tqdm
        bar = tqdm.tqdm(total=9, desc="trials")
        bar.update()
        sys.exit("SimulationError: no object")
        """,
        "SimulationError: no object",
    ),
    "a crash": (
        "import faulthandler, ctypes; faulthandler.enable(); ctypes.string_at(0)",
        "killed by SIGSEGV; Fatal Python error: Segmentation fault",
    ),
    "a kill": (
        "import os; print('at it', flush=True); os.kill(os.getpid(), 9)",
        "killed by SIGKILL; at it",
    ),
    "no word": ("import sys; sys.exit(3)", "nothing was printed"),
}


@pytest.mark.parametrize("kind", FAILING)
def test_the_line_that_names_the_error_is_quoted(kind):
    source, expected = FAILING[kind]
    code, said = said_by(source)
    assert code != 0
    words = commands.last_words(said, code)
    assert words.startswith(expected) and "\n" not in words, said


def test_what_a_command_is_at_is_read_off_its_progress_bar():
    drawn = io.StringIO()
    assert commands.at_work("") == commands.at_work("a warning: 3%\n") == ""
    with tqdm(total=4, desc="trials, round 1", file=drawn, mininterval=0) as bar:
        for _ in range(3):
            bar.update()
            bar.refresh()
        assert commands.at_work(drawn.getvalue()) == "trials, round 1 75%"
        drawn.write("\nDataError: something\n")
        assert commands.at_work(drawn.getvalue()) == "trials, round 1 75%"


@pytest.mark.slow
def test_a_seed_that_fails_is_quoted_with_its_log(tmp_path):
    (tmp_path / "seed_4").mkdir()
    (tmp_path / "seed_4" / "letter.txt").touch()
    small = [f"--config.{field}={value}" for field, value in SMALL.items()]
    done = run("compare", f"--config={PATH}:test", f"--workdir={tmp_path}", "--seeds=4", *small)
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert last.startswith("JobError: 1 of 1 seeds did not come to their end; seed 4: exit code 1")
    assert "letter.txt" not in last and "is not empty" in last
    assert str(tmp_path / "seed_4.log") in last
    assert "compare:   0%" in done.stderr, "it shows how far it is"


def test_a_whole_run_has_as_many_stages_as_the_comparison_counts(finished):
    manifests = len(list((finished / "stages").glob("*.json")))
    assert compare._stages(config()) == manifests


@pytest.mark.parametrize(
    "module, given, said",
    [
        ("demos", ["--nosuch=1"], "Unknown command line flag 'nosuch'"),
        ("demos", ["--round=1"], "Unknown command line flag 'round'"),
        ("collect", ["--roundd=1"], "Unknown command line flag 'roundd'. Did you mean: round"),
        ("compare", ["--seed=1"], "Unknown command line flag 'seed'. Did you mean: seeds"),
        ("launch", ["--option=a=1"], "Unknown command line flag 'option'"),
        ("launch", ["--stages=compare"], "--stages names 'compare'; it takes each"),
        ("launch", ["--stages="], "--stages names no stage"),
        ("launch", ["--options=nothing"], "--options names 'nothing' without a value"),
        ("launch", ["--options=nosuch=1"], "--options: Parameter 'nosuch'"),
        ("launch", ["--options=timeout_min=soon"], '--options: Parameter "timeout_min"'),
        ("demos", ["--workdir="], "--workdir names no folder"),
        ("demos", ["--config=nosuch.py"], "No such file or directory: 'nosuch.py'"),
        ("demos", ["--config=README.md"], "README.md"),
        ("pair", ["--config.improve.arms=mili,nosuch"], "no arm 'nosuch'"),
        ("pair", ["surplus"], "what is 'surplus'?"),
    ],
)
def test_a_mistake_is_one_line(module, given, said, tmp_path):
    call = [f"--config={PATH}:test", f"--workdir={tmp_path / 'run'}", *given]
    done = run(module, *call)
    (line,) = done.stderr.splitlines()
    assert done.returncode == 1 and line.startswith("ConfigError: ") and said in line
    assert not (tmp_path / "run" / "manifest.json").exists()


def test_lists_may_be_written_as_people_write_them():
    given = {"name": "a,b", "x": {"arms": ("mili,control",), "one": ("mili",), "n": (3,)}}
    found = command._with_lists(ConfigDict(given))
    assert found.x.arms == ("mili", "control") and found.x.one == ("mili",)
    assert found.name == "a,b" and found.x.n == (3,)


@pytest.mark.parametrize("name", ["run.log", "slurm-77.out", ".DS_Store", "Thumbs.db", "log"])
def test_what_people_and_systems_leave_in_a_folder_is_no_reason_to_refuse_it(name, tmp_path):
    (tmp_path / name).write_text("x")
    open_run(config(), tmp_path).workdir.close()
    assert (tmp_path / "manifest.json").exists() and (tmp_path / name).read_text() == "x"


@pytest.mark.parametrize("name", ["letter.txt", ".git/", "run.log/", "data/"])
def test_what_may_be_somebodys_work_is_refused(name, tmp_path):
    path = tmp_path / name
    path.mkdir() if name.endswith("/") else path.touch()
    with pytest.raises(ConfigError, match="is not empty"):
        open_run(config(), tmp_path)
    assert not (tmp_path / "manifest.json").exists()


@pytest.mark.slow
def test_a_command_may_write_its_output_into_the_folder_of_its_run(tmp_path):
    with (tmp_path / "what I saw").open("w") as out:
        call = [f"--config={PATH}:test", f"--workdir={tmp_path}", "--round=1"]
        program = [sys.executable, "-m", "experiments.label", *call]
        code = subprocess.run(program, cwd=ROOT, stdout=out, stderr=out).returncode
    said = (tmp_path / "what I saw").read_text()
    assert code == 1 and "is not empty" not in said and "round_1" in said
    assert (tmp_path / "manifest.json").exists()


def test_every_binary_names_a_function_that_is_there():
    for path in sorted((ROOT / "experiments").glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "command.main":
                home, _, name = ast.literal_eval(node.args[0]).partition(".")
                assert callable(getattr(importlib.import_module(f"mili_jax.pipeline.{home}"), name))
