"""Commands that are asked to stop, by real signals: they save, end with a line, and go on.

The first half is small programs that need no JAX. The second is the project's own commands, at
random moments; its full length is under the marker `fault` (tests/README.md has the command).
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
import uuid
from pathlib import Path

import pytest
from runs import ROOT, command
from test_rollout import alive
from test_stages import assert_same_checkpoints, assert_same_episodes, rows_of

from mili_jax.storage import doctor
from mili_jax.workers import stopping
from mili_jax.workers.stopping import ASKING, ONCE, Stopped

SIGNALS = [pytest.param(number, id=number.name) for number in ASKING]
GOES_ON = "the same command goes on from here"
LIMIT = 300  # s for what takes a second where nothing else runs
TAG = "INTERRUPTED"  # the variable by which all processes of a command are found


def environment(**more):
    path = os.pathsep.join([str(Path(__file__).parent), str(ROOT)])
    return {**os.environ, "PYTHONPATH": path, TAG: uuid.uuid4().hex, **more}


def processes(tag):
    """The processes that carry this value of TAG, which they have from who started them."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if f"{TAG}={tag}".encode() in (process / "environ").read_bytes().split(b"\0"):
                found.append(int(process.name))
    return [pid for pid in found if alive(pid)]


def wait_until(condition, seconds=LIMIT):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come to that"
        time.sleep(0.02)


class Program:
    """A program in a session of its own, as a terminal would hold it."""

    def __init__(self, call, **options):
        self.environment = environment(**options.pop("env", {}))
        self.process = subprocess.Popen(
            call,
            cwd=ROOT,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            **options,
        )

    def send(self, number, whole=False):
        """To the program, or to all of its terminal's processes, as ctrl-C goes."""
        with contextlib.suppress(ProcessLookupError):
            (os.killpg if whole else os.kill)(self.process.pid, number)

    def end(self, seconds=LIMIT):
        """Its exit code and what it said, when it and all that it has started are gone."""
        try:
            out, err = self.process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            for pid in processes(self.environment[TAG]):
                os.kill(pid, signal.SIGKILL)
            raise
        wait_until(lambda: not processes(self.environment[TAG]))
        return self.process.returncode, out, err


def python(source, *arguments, **options):
    return Program([sys.executable, "-c", source, *map(str, arguments)], **options)


BEGIN = """
import hashlib, os, sys, time
from mili_jax.workers import stopping
stopping.listen()
print("ready", flush=True)
"""
ANYWHERE = {
    "in Python": "while True: pass",
    "asleep": "time.sleep(600)",
    "in C": "hashlib.pbkdf2_hmac('sha256', b'x', b'y', 2**31 - 1)",  # which looks at no signal
    "in an except that catches all": """
while True:
    try:
        time.sleep(0.01)
    except BaseException:
        pass
""",
    "in a finalizer": """
class Slow:
    def __del__(self):
        time.sleep(600)
Slow()
""",
}


@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize("where", ANYWHERE)
def test_a_signal_ends_a_command_wherever_it_is(where, number):
    program = python(BEGIN + ANYWHERE[where])
    assert program.process.stdout.readline() == "ready\n"
    program.send(number)
    code, _, err = program.end()
    assert code == 128 + number
    assert err.split("\n") == ["", f"stopped at once by {number.name}: {GOES_ON}", ""]


def test_a_signal_that_was_ignored_stays_ignored():
    """As by `nohup`, and by a shell for what it starts in the background."""
    program = python(
        BEGIN + "time.sleep(2); print('done')",
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN),
    )
    assert program.process.stdout.readline() == "ready\n"
    program.send(signal.SIGHUP)
    assert program.end() == (0, "done\n", "")


STEPS = """
import sys, time
from mili_jax.workers import stopping
stopping.listen(int(sys.argv[1]) if sys.argv[1:] else None)
with stopping.asking("this step") as asked:
    print("ready", flush=True)
    while not asked():
        time.sleep(0.01)
    print("saving", flush=True)
    time.sleep(float(sys.argv[2]) if sys.argv[2:] else 0)
    raise stopping.stopped("at step 7")
"""


@pytest.mark.parametrize("number", SIGNALS)
def test_what_asks_after_its_steps_ends_by_itself(number):
    program = python(STEPS)
    assert program.process.stdout.readline() == "ready\n"
    program.send(number)
    code, out, err = program.end()
    assert (code, out) == (128 + number, "saving\n")
    assert err == ""  # the line is for who catches Stopped to print


@pytest.mark.parametrize("code", [0, 75])
def test_the_exit_code_can_be_chosen(code):
    for source in (STEPS, BEGIN.replace("listen()", f"listen({code})") + "time.sleep(600)"):
        program = python(source, code)
        assert program.process.stdout.readline() == "ready\n"
        program.send(signal.SIGTERM)
        assert program.end()[0] == code


@pytest.mark.parametrize("second", SIGNALS)
def test_a_second_signal_ends_it_at_once(second):
    program = python(STEPS, 75, 600)
    assert program.process.stdout.readline() == "ready\n"
    program.send(signal.SIGINT)
    assert program.process.stdout.readline() == "saving\n"
    time.sleep(2 * ONCE)
    program.send(second)
    code, _, err = program.end()
    assert code == 75 and "Traceback" not in err
    assert err.rstrip().endswith(f"stopped at once by SIGINT: {GOES_ON}")


def test_a_step_that_takes_long_says_what_is_waited_for():
    program = python(STEPS, 75, 600)
    assert program.process.stdout.readline() == "ready\n"
    program.send(signal.SIGINT)
    assert program.process.stderr.readline() == "\n"
    said = program.process.stderr.readline()
    assert said == "stopping after this step; a second signal ends it at once\n"
    program.send(signal.SIGINT)
    assert program.end()[0] == 75


def test_several_signals_within_a_moment_are_one():
    """A terminal that closes sends one, and its shell another one."""
    program = python(STEPS, 75, 1)
    assert program.process.stdout.readline() == "ready\n"
    for number in (signal.SIGHUP, signal.SIGHUP, signal.SIGTERM):
        program.send(number)
    assert program.end() == (75, "saving\n", "")


def test_a_signal_that_comes_after_the_last_question_is_not_lost():
    with (
        pytest.raises(Stopped, match=f"^stopped after this step: {GOES_ON}"),
        stopping.asking("this step") as asked,
    ):
        assert not asked()
        signal.raise_signal(signal.SIGTERM)
        wait_until(asked)
    with (
        pytest.raises(RuntimeError, match="its own"),  # an error arrives as it is
        stopping.asking("this step") as asked,
    ):
        signal.raise_signal(signal.SIGTERM)
        wait_until(asked)
        raise RuntimeError("its own")


def state():
    handlers = [signal.getsignal(number) for number in ASKING]
    wakeup = signal.set_wakeup_fd(-1)
    signal.set_wakeup_fd(wakeup)
    named = [t.name for t in threading.enumerate() if t.name == "signals"]
    return handlers, wakeup, named, len(os.listdir("/proc/self/fd"))


def test_who_asks_in_another_program_leaves_it_as_it_was():
    before = state()
    for _ in range(3):
        with stopping.asking("this step") as asked:
            assert not asked() and state()[0] != before[0]
    assert state() == before
    found = []

    def elsewhere():  # only a main thread may listen
        with stopping.asking("this step") as asked:
            found.append(asked())

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert found == [False] and state() == before


WORKERS = """
import sys
import test_rollout
from mili_jax.workers import stopping
from mili_jax.workers.pool import run_jobs
if __name__ == "__main__":
    stopping.listen()
    jobs = [(i, [sys.argv[1], 600]) for i in range(2)]
    list(run_jobs(jobs, test_rollout.Busy, test_rollout.ignore, 2))
"""


@pytest.mark.parametrize("moment", ["while they start", "at work"])
@pytest.mark.parametrize("number", SIGNALS)
def test_workers_hear_nothing_and_end_with_their_command(number, moment, tmp_path):
    """A terminal's signal reaches them as well: they must not be reported as having died."""
    script = tmp_path / "script.py"
    script.write_text(WORKERS)
    program = Program([sys.executable, str(script), str(tmp_path)])

    def workers():
        tagged = processes(program.environment[TAG])
        return [p for p in tagged if b"spawn_main" in Path(f"/proc/{p}/cmdline").read_bytes()]

    if moment == "at work":
        wait_until(lambda: len(list(tmp_path.glob("pid-*"))) == 2)
    else:
        wait_until(workers)
    program.send(number, whole=True)
    code, _, err = program.end()
    assert code == 128 + number
    assert err.split("\n") == ["", f"stopped at once by {number.name}: {GOES_ON}", ""]


# The project's own commands


CODES = {-number for number in ASKING} | {128 + number for number in ASKING}
ONES = [(number,) for number in ASKING]
TWICE = [(signal.SIGINT, signal.SIGINT), (signal.SIGTERM, signal.SIGINT)]


def interrupted(call, rng, longest):
    """Runs a command and interrupts it; its exit code is 0 if it was faster."""
    program = Program(call)
    delay, whole = rng.uniform(0, longest), rng.random() < 0.5
    with contextlib.suppress(subprocess.TimeoutExpired):
        program.process.wait(delay)
    for number in rng.choice([*ONES, *TWICE]):
        program.send(number, whole)
        time.sleep(rng.uniform(0, 4 * ONCE))
    code, _, err = program.end(400)
    if "init_import_site" in err:  # Python itself was still starting, and nothing of ours was there
        return interrupted(call, rng, longest)
    assert code == 0 or code in CODES, (code, err[-3000:])
    assert "Fatal Python error" not in err and "Segmentation" not in err, err[-3000:]
    if code > 0:
        assert "Traceback" not in err, err[-3000:]
        assert err.rstrip().endswith(GOES_ON), err[-3000:]
    return code


STARTERS = {
    "compare": ["compare"],
    "launch, submitit": ["launch", "--on=local", "--stages=demos,pretrain"],
    "launch, Ray": ["launch", "--on=ray", "--stages=demos,pretrain"],
}


@pytest.mark.parametrize("kind", [
    pytest.param("compare", marks=pytest.mark.slow),
    pytest.param("launch, Ray", marks=pytest.mark.long),
    pytest.param("launch, submitit", marks=pytest.mark.fault),
])  # fmt: skip
def test_who_starts_commands_passes_a_signal_on_and_waits(kind, tmp_path):
    """As ctrl-C does, to all processes of a terminal: the training saves, and nobody is left."""
    for package in ("submitit", "ray"):
        if kind != "compare":
            pytest.importorskip(package)
    module, *more = STARTERS[kind]
    long = ["--config.train.steps=4000", "--config.train.checkpoint_every=4000"]
    program = Program([*command(module, tmp_path, *long), "--seeds=0", *more])
    run = tmp_path / "seed_0"
    wait_until(lambda: (run / "metrics.jsonl").exists() or program.process.poll() is not None, 600)
    time.sleep(3)
    program.send(signal.SIGINT, whole=True)
    code, _, err = program.end(400)
    assert code == 130, err
    last = err.rstrip().splitlines()[-1]
    assert last.startswith("stopped ") and last.endswith(GOES_ON) and "Traceback" not in err
    (saved,) = (run / "checkpoints" / "pretrain").glob("*.json")
    assert 0 < int(saved.stem) < 4000, "it was saved, and before its end"
    if kind == "compare":
        assert "seed 0: pretrain" in err, "it showed what it was at"


@pytest.mark.long
def test_a_whole_run_interrupted_again_and_again_ends_with_the_same_bits(finished, call, tmp_path):
    """One command makes everything, so that each signal meets another part of it."""
    rng = random.Random(0)
    workdir = tmp_path / "run"
    beside = command("mili", workdir, "--config.machine.processes=1")
    codes = [interrupted(beside, rng, 20) for _ in range(3)]
    code, _, err = call("mili", workdir)
    assert code == 0, err
    assert_same_as(finished, workdir)
    print("exit codes", codes)


def assert_same_as(finished, workdir):
    assert_same_episodes(finished, workdir)
    assert_same_checkpoints(finished, workdir)
    assert rows_of(workdir) == rows_of(finished)
    assert doctor.examine(workdir) == [] and not list(workdir.rglob(".*.tmp"))


STAGES = (
    ("demos", ()),
    ("pretrain", ()),
    ("evaluate", ("--round=0",)),
    ("collect", ("--round=1",)),
    ("label", ("--round=1",)),
    ("pair", ("--round=1",)),
    ("retrain", ("--round=1",)),
    ("evaluate", ("--round=1",)),
    ("report", ()),
)


@pytest.mark.fault
def test_every_stage_interrupted_18_times(finished, call, tmp_path):
    """With the next test 200 signals and more."""
    rng = random.Random(1)
    workdir, before = tmp_path / "run", tmp_path / "before"
    workdir.mkdir()
    codes = []
    for module, given in STAGES:
        shutil.copytree(workdir, before)
        began = time.monotonic()
        code, _, err = call(module, workdir, *given)
        assert code == 0, err
        longest = time.monotonic() - began
        shutil.rmtree(workdir)
        shutil.copytree(before, workdir)
        done = 0
        while done < 18:
            codes.append(interrupted(command(module, workdir, *given), rng, longest))
            done += codes[-1] != 0
            if codes[-1] == 0:  # it was faster: again from its beginning
                shutil.rmtree(workdir)
                shutil.copytree(before, workdir)
        shutil.rmtree(before)
        code, _, err = call(module, workdir, *given)
        assert code == 0, err
    assert_same_as(finished, workdir)
    tell(codes)


@pytest.mark.fault
@pytest.mark.parametrize("module", ["mili", "compare", "launch"])
def test_a_whole_run_interrupted_14_times(module, finished, tmp_path):
    rng = random.Random(2)
    whole = command(module, tmp_path / "run")
    if module != "mili":
        whole.append("--seeds=0")
    codes = []
    while sum(code != 0 for code in codes) < 14:
        codes.append(interrupted(whole, rng, 25))
        if codes[-1] == 0:  # it has ended: again from its beginning
            shutil.rmtree(tmp_path / "run")
    ended = subprocess.run(whole, cwd=ROOT, capture_output=True, text=True, timeout=900)
    assert ended.returncode == 0, ended.stderr
    assert_same_as(finished, tmp_path / "run" / ("" if module == "mili" else "seed_0"))
    tell(codes)


def tell(codes):
    count = sum(code != 0 for code in codes)
    print(f"{count} interrupts, exit codes {sorted(set(codes))}, same bits after all")
