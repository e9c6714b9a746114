"""What all tests share: limits of time and memory, and one finished run to read and to copy."""

from __future__ import annotations

import ctypes
import faulthandler
import fcntl
import gc
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from runs import ROOT, command

# A test's programs run for seconds, many the same: they are compiled quickly, and once for all the
# processes. Before JAX is imported, and for every process that is started from here.
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
# XLA's older way to make kernels compiles a train step in a quarter of the time.
QUICK = "--xla_cpu_use_fusion_emitters=false"
os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {QUICK}".strip()
# Programs start faster if what they import is compiled once.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"


HOURS = 3  # that a test of the mark `fault` may take
GRACE = 60  # s after its limit in which a test may still end by itself
ROOM = 1.5  # GB that a process may keep for what it has compiled
SCHEDULED = os.sched_getscheduler(0)  # as the tests were started
MOST = 4.0  # GB that a process may take, and so may those that it starts
_stderr = pytest.StashKey[int]()
_seen: dict[str, float] = {}  # the highest peaks so far, GB


def pytest_configure(config):
    config.stash[_stderr] = os.dup(2)  # before it is captured
    # Behind `nohup` or `&` they are ignored, and what a test starts would ignore them as well.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    if not hasattr(config, "workerinput"):  # a worker of pytest-xdist has its parent's
        os.environ["JAX_COMPILATION_CACHE_DIR"] = tempfile.mkdtemp(prefix="mili-tests-")


def pytest_collection_modifyitems(items):
    for item in items:
        if item.get_closest_marker("fault") and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(HOURS * 3600))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item):
    """A test that hangs where Python cannot fail it ends its process, with all its stacks.

    pytest-timeout, before that, ends a test by a signal, which fails it where it is.
    """
    marker = item.get_closest_marker("timeout")
    given = item.config.getoption("timeout")
    limit = float(marker.args[0] if marker else given or item.config.getini("timeout"))
    faulthandler.dump_traceback_later(limit + GRACE, exit=True, file=item.config.stash[_stderr])
    try:
        return (yield)
    finally:
        faulthandler.cancel_dump_traceback_later()


@pytest.fixture(autouse=True)
def memory():
    """Compiled programs go before they fill the memory, and no process takes more than MOST."""
    yield
    if _gigabytes("VmRSS") > ROOM and "jax" in sys.modules:
        sys.modules["jax"].clear_caches()
        gc.collect()
        ctypes.CDLL(None).malloc_trim(0)
    peaks = {
        "the process of this test": _gigabytes("VmHWM"),
        "a process that a test has started": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
        / 1e6,
    }
    # A peak stays one for all tests after it: it is this one's only if it has grown.
    over = {who: peak for who, peak in peaks.items() if peak > max(MOST, _seen.get(who, 0.0))}
    _seen.update(peaks)
    assert os.sched_getscheduler(0) == SCHEDULED, (
        "a library has changed how this thread is scheduled"
    )
    assert not over, ", ".join(f"{who} took {peak:.1f} GB" for who, peak in over.items())


def _gigabytes(field):
    status = Path("/proc/self/status").read_text()
    return int(status.partition(f"{field}:")[2].split()[0]) / 1e6


def pytest_unconfigure(config):
    if not hasattr(config, "workerinput"):
        shutil.rmtree(os.environ.pop("JAX_COMPILATION_CACHE_DIR"), ignore_errors=True)


@pytest.fixture(scope="session")
def call():
    """Runs a binary to its end: exit code, stdout, stderr."""

    def call(module, workdir, *flags, before=()):
        done = subprocess.run(
            [*before, *command(module, workdir, *flags)],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=800,
        )
        return done.returncode, done.stdout, done.stderr

    return call


@pytest.fixture(scope="session")
def finished(call, tmp_path_factory):
    """The folder of a run that nobody interrupted, and what it printed.

    It is made once; each worker of pytest-xdist has a copy to itself.
    """
    own = tmp_path_factory.mktemp("finished")
    shared = own.parent
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    shared /= "finished"
    shared.mkdir(exist_ok=True)
    with (shared / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (shared / "stderr").exists():
            code, out, err = call("mili", shared / "run", "--config.machine.processes=1")
            assert code == 0, err
            (shared / "stdout").write_text(out)
            (shared / "stderr").write_text(err)
    shutil.copytree(shared / "run", own / "run")
    for name in ("stdout", "stderr"):
        (own / name).write_text((shared / name).read_text().replace(str(shared), str(own)))
    return own / "run"
