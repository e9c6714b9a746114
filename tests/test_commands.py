"""Commands that other commands start: what they said is quoted well, how far they are is shown."""

from __future__ import annotations

import io
import subprocess
import sys
import textwrap

import pytest
from runs import ROOT, SMALL, config
from tqdm import tqdm

from mili_jax.command import compare
from mili_jax.pipeline.run import open_run
from mili_jax.types import ConfigError
from mili_jax.workers import commands

FAILING = {
    "our own error": ("import sys; sys.exit('DataError: shard 3')", "DataError: shard 3"),
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
    program = [sys.executable, "-c", textwrap.dedent(source)]
    done = subprocess.run(program, cwd=ROOT, capture_output=True, text=True)
    said = done.stdout + done.stderr
    assert done.returncode != 0
    words = commands.last_words(said, done.returncode)
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
    call = ["--config=test", f"--workdir={tmp_path}", "--seeds=4", *small]
    program = [sys.executable, "-m", "mili_jax.cli", "compare", *call]
    done = subprocess.run(program, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert last.startswith("JobError: 1 of 1 seeds did not come to their end; seed 4: exit code 1")
    assert "ConfigError: " in last and "is not empty" in last
    assert str(tmp_path / "seed_4.log") in last
    assert "compare:   0%" in done.stderr, "it shows how far it is"


@pytest.mark.slow
def test_a_whole_run_has_as_many_stages_as_the_comparison_counts(finished):
    assert compare._stages(config()) == len(list((finished / "stages").glob("*.json")))


# What lies around in folders that people look at


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
        call = ["filter", "--config=test", f"--workdir={tmp_path}", "--round=1"]
        program = [sys.executable, "-m", "mili_jax.cli", *call]
        code = subprocess.run(program, cwd=ROOT, stdout=out, stderr=out).returncode
    said = (tmp_path / "what I saw").read_text()
    assert code == 1 and "is not empty" not in said and "pretrain.json is missing" in said
    assert (tmp_path / "manifest.json").exists()
