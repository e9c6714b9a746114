"""One finished run for all the tests that only read it or copy it."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import tempfile

import pytest
from runs import ROOT, command

# A test's programs run for seconds, many the same: they are compiled quickly, and once for all the
# processes. Before JAX is imported, and for every process that is started from here.
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.5"
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"


def pytest_configure(config):
    if not hasattr(config, "workerinput"):  # a worker of pytest-xdist has its parent's
        os.environ["JAX_COMPILATION_CACHE_DIR"] = tempfile.mkdtemp(prefix="mili-tests-")


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
            timeout=900,
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
            code, out, err = call("mili", shared / "run")
            assert code == 0, err
            (shared / "stdout").write_text(out)
            (shared / "stderr").write_text(err)
    shutil.copytree(shared / "run", own / "run")
    for name in ("stdout", "stderr"):
        (own / name).write_text((shared / name).read_text().replace(str(shared), str(own)))
    return own / "run"
