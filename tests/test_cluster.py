"""Ray gives what local processes give, is not seen from outside, and outlives its own workers."""

from __future__ import annotations

import functools
import importlib.util
import os
import signal
import socket
import time
from pathlib import Path

import pytest
from test_rollout import cursed, make_player, make_trials, touch

from mili_jax.types import SimulationError
from mili_jax.workers import ray
from mili_jax.workers.pool import run_jobs

# Ray is optional for users, and so for those who test a plain installation; `make test` and CI have
# it and run all of this.
if not importlib.util.find_spec("ray"):
    pytest.skip("the extra [cluster] is not installed", allow_module_level=True)


@pytest.fixture(scope="module", autouse=True)
def no_cluster_is_left():
    """Its workers find this folder where local ones find it, in the path."""
    before = os.environ.get("PYTHONPATH", "")
    os.environ["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parent), before])
    yield
    os.environ["PYTHONPATH"] = before
    importlib.import_module("ray").shutdown()


@pytest.fixture(scope="module")
def trials():
    return make_trials(6)


def listening():
    """Addresses on which a process of Ray listens, as they stand in /proc: inode to address."""
    mine = set()
    for process in Path("/proc").glob("[0-9]*"):
        try:
            # Not any "ray": other tests' processes say "array", and may listen elsewhere.
            command = (process / "cmdline").read_bytes()
            if command.startswith(b"ray::") or b"/ray/" in command:
                links = [os.readlink(fd) for fd in (process / "fd").iterdir()]
                mine |= {link[8:-1] for link in links if link.startswith("socket:[")}
        except OSError:
            continue
    found = set()
    for table in ("tcp", "tcp6"):
        for line in Path("/proc/net", table).read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and fields[9] in mine:
                found.add(fields[1].split(":")[0])
    return found


@pytest.mark.slow
def test_ray_gives_the_same_episodes_and_only_this_machine_sees_it(trials, tmp_path):
    from test_rollout import write

    jobs = [(7, trials[4:6]), (2, trials[:1]), (9, trials[1:4])]
    folders = []
    facts = []
    for backend in (run_jobs, ray.run_jobs):
        folders.append(tmp_path / str(len(folders)))
        folders[-1].mkdir()
        sink = functools.partial(write, folders[-1])
        facts.append(sorted(backend(jobs, make_player, sink, 2)))
    assert facts[0] == facts[1]
    names = sorted(p.name for p in folders[0].iterdir())
    assert names == sorted(p.name for p in folders[1].iterdir()) and len(names) == 9
    for name in names:
        assert (folders[0] / name).read_bytes() == (folders[1] / name).read_bytes()
    loopback = f"{int.from_bytes(socket.inet_aton('127.0.0.1'), 'little'):08X}"
    addresses = listening()
    assert loopback in addresses, "no listening socket of Ray was found"
    assert {a[-8:] for a in addresses} == {loopback}, addresses


@pytest.mark.slow
def test_deaths_of_workers_and_of_actors(trials, tmp_path):
    """A worker in a trial, twice; then the actor itself, whose job Ray runs again elsewhere."""
    sink = functools.partial(touch, tmp_path)
    curses = {trials[0].seed: ("kill", 9), trials[4].seed: ("segfault", 1)}
    jobs = [(0, trials[:3]), (1, trials[3:])]
    done = sorted(ray.run_jobs(jobs, cursed(curses, tmp_path), sink, 2))
    assert [job.set_aside for job in done] == [("trial-0",), ()]
    assert [i.item for i in done[1].incidents] == ["trial-4"]
    with pytest.raises(SimulationError, match="'trial-0' ended 2 workers"):
        for file in tmp_path.glob("5000-*"):
            file.unlink()
        list(ray.run_jobs(jobs[:1], cursed(curses, tmp_path), sink, 1, required=True))
    (tmp_path / "actor").mkdir()
    runs = ray.run_jobs([(3, trials[:1])], functools.partial(Patricide, tmp_path), sink, 1)
    assert [job.job for job in runs] == [3]
    assert len(list((tmp_path / "actor").iterdir())) == 2
    assert (tmp_path / "job-3").exists()


class Patricide:
    """Kills the actor that its process belongs to, the first time."""

    def __init__(self, folder):
        self.folder = folder / "actor"

    def __call__(self, job, skip):
        first = not list(self.folder.iterdir())
        (self.folder / str(os.getpid())).touch()
        if first:
            os.kill(os.getppid(), signal.SIGKILL)
            time.sleep(60)
        return []
