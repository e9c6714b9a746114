"""Ray gives what local processes give, is not seen from outside, and outlives its own workers."""

from __future__ import annotations

import functools
import importlib.util
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from test_rollout import cursed, ignore, make_player, make_trials, touch

from mili_jax.types import SimulationError
from mili_jax.workers import ray
from mili_jax.workers.pool import run_jobs
from mili_jax.workers.worker import beat

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


class Environment:
    """Writes what its process was given of the environment."""

    def __call__(self, job, skip):
        folder, *names = job
        text = "\n".join(os.environ.get(name, "-") for name in names)
        (Path(folder) / f"environment-{os.getpid()}").write_text(text)
        return []


def script(tmp_path, body, **environment):
    """Runs a script of its own cluster, or of none, with a limit; exit code and what it said."""
    file = tmp_path / "script.py"
    file.write_text(f"from mili_jax.workers import ray\nimport test_cluster, test_rollout\n{body}")
    given = {**os.environ, **environment}
    path = [str(Path(__file__).parent), str(Path(__file__).parents[1])]
    given["PYTHONPATH"] = os.pathsep.join(path)
    python = given.pop("PYTHON", sys.executable)
    done = subprocess.run(
        [python, str(file)], env=given, capture_output=True, text=True, timeout=400
    )
    return done.returncode, done.stdout + done.stderr


GUARD = "if __name__ == '__main__':\n    "


@pytest.mark.slow
def test_an_environment_whose_path_has_a_space(tmp_path):
    """And what decides the bits of arithmetic reaches the worker of an actor there, too."""
    folder = tmp_path / "some where" / "with ü"
    folder.mkdir(parents=True)
    (folder / "venv").symlink_to(sys.prefix)
    code, said = script(
        tmp_path,
        f"{GUARD}jobs = [(i, [{str(tmp_path)!r}, 'XLA_FLAGS', 'JAX_PLATFORMS']) for i in (0, 1)]\n"
        f"    sink = test_rollout.ignore\n"
        f"    print(len(list(ray.run_jobs(jobs, test_cluster.Environment, sink, 2))), 'done')",
        PYTHON=str(folder / "venv" / "bin" / "python"),
        XLA_FLAGS="--xla_cpu_multi_thread_eigen=false",
        JAX_PLATFORMS="cpu",
    )
    assert code == 0 and "2 done" in said, said
    found = [file.read_text().splitlines() for file in tmp_path.glob("environment-*")]
    assert found and all(f == ["--xla_cpu_multi_thread_eigen=false", "cpu"] for f in found)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["nobody", "silent", "no such host", "no address"])
def test_an_address_where_no_cluster_is(kind, tmp_path):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        if kind == "silent":
            other.listen()
        here = f"127.0.0.1:{other.getsockname()[1]}"
        address = {"no such host": "nosuch.invalid:6379", "no address": "nonsense"}.get(kind, here)
        code, said = script(
            tmp_path, f"ray.CONNECT_LIMIT = 4\n{GUARD}ray.connect(1)", RAY_ADDRESS=address
        )
    last = said.strip().splitlines()[-1]
    assert code == 1 and "ConfigError: no Ray cluster" in last and "RAY_ADDRESS" in last, said
    assert address in last
    assert kind == "no address" or "within 4 s" in last


@pytest.mark.slow
@pytest.mark.parametrize("folder", ["a" * 90, "a file"])
def test_a_folder_where_ray_cannot_keep_its_files(folder, tmp_path):
    (tmp_path / "a file").touch()
    if folder != "a file":
        (tmp_path / folder).mkdir()
    code, said = script(tmp_path, f"{GUARD}ray.connect(1)", TMPDIR=str(tmp_path / folder))
    last = said.strip().splitlines()[-1]
    assert code == 1 and "ConfigError: Ray cannot keep its files" in last, said
    assert "RAY_TMPDIR" in last and "Event loop" not in said


class Sleeper:
    def sleep(self):
        time.sleep(600)


@pytest.mark.slow
def test_actors_that_do_not_come_are_not_waited_for_for_ever(trials, monkeypatch, caplog):
    cluster = ray.connect(2)
    monkeypatch.setattr(ray, "LOOK", 0.5)
    monkeypatch.setattr(ray, "ACTOR_LIMIT", 4.0)
    cpus = cluster.cluster_resources()["CPU"]
    other = cluster.remote(num_cpus=cpus)(Sleeper).remote()
    other.sleep.remote()
    try:
        with pytest.raises(SimulationError, match=rf"0 of 1 have answered.* {cpus:g} CPUs, 0 of"):
            list(ray.run_jobs([(0, trials[:1])], make_player, touch, 1))
        assert "waiting for Ray's actors: 0 of 1" in caplog.text
    finally:
        cluster.kill(other)


@pytest.mark.long
def test_actors_that_are_at_work_are_waited_for(monkeypatch, caplog, tmp_path):
    """A job may take longer than the time in which an actor has to show that it is there."""
    monkeypatch.setattr(ray, "LOOK", 0.5)
    monkeypatch.setattr(ray, "ACTOR_LIMIT", 10.0)
    jobs = [(0, [tmp_path, 15])]
    (done,) = ray.run_jobs(jobs, Patient, ignore, 1)
    assert done.job == 0


class Patient:
    """Is at it for a while, and shows that it lives."""

    def __call__(self, job, skip):
        for _ in range(job[1]):
            beat(0)
            time.sleep(1)
        return []


@pytest.mark.slow
def test_ray_takes_no_signal_from_who_starts_it(tmp_path):
    """By itself it takes SIGTERM, and a training that follows would end without a save."""
    code, said = script(
        tmp_path,
        "import signal\nfrom mili_jax.workers.stopping import ASKING\n"
        f"{GUARD}before = [signal.getsignal(n) for n in ASKING]\n    ray.connect(1)\n"
        "    print([signal.getsignal(n) for n in ASKING] == before)",
    )
    assert code == 0 and "True" in said, said
