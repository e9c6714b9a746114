"""One finished run for all the tests that only read it or copy it."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile

import pytest
from runs import ROOT, command

# A test's programs run for seconds, many the same: they are compiled quickly, and once for all the
# processes. Before JAX is imported, and for every process that is started from here.
os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "1"
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
    """The folder of a run that nobody interrupted, and what it printed."""
    workdir = tmp_path_factory.mktemp("finished") / "run"
    code, out, err = call("mili", workdir)
    assert code == 0, err
    (workdir.parent / "stdout").write_text(out)
    (workdir.parent / "stderr").write_text(err)
    return workdir
