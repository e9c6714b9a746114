"""One finished run for all the tests that only read it or copy it."""

from __future__ import annotations

import os
import subprocess

import pytest
from runs import ROOT, command


@pytest.fixture(scope="session")
def environment(tmp_path_factory):
    """The processes of this file compile the same programs."""
    cache = str(tmp_path_factory.mktemp("xla"))
    return {
        **os.environ,
        "JAX_COMPILATION_CACHE_DIR": cache,
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.5",
        "TF_CPP_MIN_LOG_LEVEL": "3",
    }


@pytest.fixture(scope="session")
def call(environment):
    """Runs a binary to its end: exit code, stdout, stderr."""

    def call(module, workdir, *flags, before=()):
        done = subprocess.run(
            [*before, *command(module, workdir, *flags)],
            cwd=ROOT,
            env=environment,
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
