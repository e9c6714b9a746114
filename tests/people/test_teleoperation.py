"""The teleoperation page's server by its own protocol: a scripted person demonstrates, what they
keep is trained on, and whoever means no good does not disturb them."""

from __future__ import annotations

import collections
import json
import os
import resource
import signal
import socket
import struct
import subprocess
import sys
import time

import numpy as np
import pytest
import test_serving
from test_serving import raw
from websockets.exceptions import ConnectionClosed

from benchmarks.scripted_person import Manner, ScriptedPerson
from mili_jax import cli
from mili_jax.batches.sampling import group_by_task
from mili_jax.configs import get_config
from mili_jax.people.demonstrations import Kept
from mili_jax.pipeline import demonstrate, overrides
from mili_jax.pipeline.run import open_run, open_stored
from mili_jax.pipeline.train import demonstration_pool
from mili_jax.storage.dataset import Dataset
from mili_jax.types import MiliError

TASKS = ("press:button_22", "place:apple_03:bowl_01")
COMMAND = ("-m", "mili_jax.cli", "teleop", "--port=0", "--no-open")
FAST = "--speed=5"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("given") / "run"


@pytest.fixture(scope="module")
def server(served_once, folder):
    tasks = [f"--task={task}" for task in TASKS]
    return served_once(*COMMAND, f"--workdir={folder}", "--config=test", FAST, *tasks)


@pytest.fixture
def person(server):
    with ScriptedPerson(server.url) as someone:
        someone.until("ready", "waiting", "paused", "review")
        if someone.shown["state"] != "ready":
            someone.send("discard")
            someone.until("ready")
        yield someone


@pytest.fixture
def given(server, folder):
    """The run's folder with a demonstration of the first task in it, whichever tests ran before."""
    if not any(e.meta.task == TASKS[0] for e in stored(folder)):
        with ScriptedPerson(server.url) as someone:
            someone.until("ready")
            someone.send("task", 0)
            while someone.look()["task"] != TASKS[0]:
                pass
            drives(someone)
            someone.send("finish")
            someone.until("review")
            someone.send("keep_failed")
            someone.until("ready")
    return folder


def ask(server, path, method="GET", body=None, **headers):
    return test_serving.ask(server, path, method, body, **{"token": server.token, **headers})


def opened(server, path, **kwargs):
    return test_serving.opened(server, path, **{"token": server.token, **kwargs})


def stored(folder):
    dataset = Dataset(folder / "dataset")
    return list(dataset.read("demos_people")) if "demos_people" in dataset.splits() else []


def drives(person, steps=2):
    """Holds the clutch until so many control steps more are recorded."""
    person.until("ready", "waiting", "driving")
    before = person.shown["step"]
    end = time.monotonic() + 20
    while person.shown["step"] < before + steps:
        assert time.monotonic() < end
        person.hand(True, 1.0)
        person.look()
    person.hand(False, 1.0)
    person.until("waiting")


# Demonstrations


def test_a_scripted_person_does_both_tasks_and_pre_training_reads_them(server, person, folder):
    first = len(stored(folder))
    done = collections.Counter()
    for _ in range(16):
        said = person.until("ready")
        count = {task: n for task, _, n in said["tasks"]}
        if min(done[task] for task in TASKS) >= 2:
            break
        assert count[said["task"]] == min(count.values()), "the one that was shown least"
        if person.demonstrate():
            done[said["task"]] += 1
            person.send("keep")
        else:
            person.send("discard")
        person.until("ready")
    assert min(done[task] for task in TASKS) >= 2
    everything = stored(folder)
    episodes = everything[first:]
    assert len(episodes) == sum(done.values())
    assert all(e.meta.success and e.meta.useful for e in episodes)
    for field in ("episode_id", "seed"):
        assert len({getattr(e.meta, field) for e in everything}) == len(everything)
    for e in episodes:
        assert (np.abs(e.action[:, :2]) <= 0.2501).all()
        # Actions are where the tool goes, not where it is: on average several steps ahead.
        assert np.linalg.norm(e.action[:, :3] - e.pose[:, :3], axis=1).mean() > 0.03
    # No further step: the pool of the stage has them, in pairs, and they are among its inputs.
    run = open_stored(folder)
    pool = demonstration_pool(run)
    assert len(pool) == len(everything) and set(pool.tasks) == set(TASKS)
    assert (pool.task >= 0).all()
    assert sum(len(group) for group in group_by_task(pool).groups) == 2
    assert "demos_people" in run.dataset.digests("demos_train", "demos_people")


def test_the_world_waits_while_the_clutch_is_released(person):
    drives(person, 3)
    before = dict(person.shown)
    time.sleep(0.5)
    person.hand(False, 0.0)
    person.send("pause", 1)
    paused = person.until("paused")
    assert (paused["step"], paused["pose"]) == (before["step"], before["pose"])
    for _ in range(5):
        person.hand(True, 1.0)  # presses do nothing now
    person.send("pause", 0)
    assert person.until("waiting", "driving")["step"] == before["step"]
    drives(person, 1)
    person.send("discard")
    assert person.until("ready")["step"] == 0


def test_silence_releases_the_clutch(person):
    person.hand(True, 1.0)
    person.until("driving")
    said = person.until("waiting", wait=5)
    assert "silent" in said["note"] and said["step"] < 5 * 10 * 2


def test_nothing_is_finished_before_it_has_begun(person):
    person.send("finish")
    assert "Nothing" in person.look()["note"] and person.shown["state"] == "ready"


def test_what_failed_is_called_so_and_kept_only_on_request(person, folder):
    before = len(stored(folder))
    drives(person, 2)
    person.send("finish")
    assert person.until("review")["success"] is False
    person.send("keep")
    end = time.monotonic() + 10
    while not person.shown["trouble"]:
        assert time.monotonic() < end
        person.look()
    assert "not done" in person.shown["trouble"] and len(stored(folder)) == before
    person.send("keep_failed")
    person.until("ready")
    episodes = stored(folder)
    assert len(episodes) == before + 1 and episodes[-1].meta.success is False


def test_a_disk_that_refuses_loses_nothing(server, person, folder):
    before = len(stored(folder))
    drives(person, 2)
    person.send("finish")
    person.until("review")
    soft, hard = resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (0, hard))
    try:
        person.send("keep_failed")
        end = time.monotonic() + 20
        while "free space" not in person.shown["trouble"]:
            assert time.monotonic() < end, person.shown
            person.look()
        assert person.shown["state"] == "review" and len(stored(folder)) == before
    finally:
        resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (soft, hard))
    person.send("keep_failed")
    person.until("ready")
    assert len(stored(folder)) == before + 1
    assert any("could not be written" in line for line in server.lines)


def test_the_tool_does_not_follow_a_hand_that_jumps(person):
    person.hand(True, 1.0)
    before = np.array(person.until("driving")["wanted"])
    person._place = person._place + 0.5
    person.hand(True, 1.0)
    end = time.monotonic() + 10
    while "jumped" not in person.shown["note"]:
        assert time.monotonic() < end
        person.hand(True, 1.0)
        person.look()
    np.testing.assert_allclose(person.shown["wanted"], before)


# Two pages, two servers, a server that was killed


def test_a_second_page_is_refused_and_may_take_over(server, person):
    drives(person, 2)
    step = person.shown["step"]
    with opened(server, "/drive") as other, pytest.raises(ConnectionClosed) as closed:
        other.recv(timeout=10)
    assert closed.value.rcvd.code == 4001
    drives(person, 1)  # it goes on meanwhile
    with opened(server, "/drive?take") as other:
        packet = other.recv(timeout=10)
        length = struct.unpack(">I", packet[:4])[0]
        assert json.loads(packet[4 : 4 + length])["step"] > step, "the same demonstration"
        with pytest.raises(ConnectionClosed) as closed:
            while True:
                person.socket.recv(timeout=10)
        assert closed.value.rcvd.code == 4001


def test_a_second_server_on_a_run_is_refused_with_the_first_one_s_address(server, folder):
    call = [sys.executable, *COMMAND, f"--workdir={folder}", "--config=test"]
    done = subprocess.run(call, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and done.stdout == ""
    (said,) = done.stderr.strip().splitlines()
    assert f"served already, at http://127.0.0.1:{server.port}" in said


def refused(*flags):
    with pytest.raises(MiliError) as error:
        cli.execute(["teleop", "--port=0", "--no-open", *flags])
    return str(error.value)


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--task=place:mug_04:pan_05x"], "there is no such task; did you mean place:mug_0"),
        (["--task=../../etc/passwd"], "there is no such task"),
        (["--task=press:button_22", "--free"], "take --task=NAME or --free"),
        (["--playground", "--free"], "--playground takes neither"),
        (["--config=test", "--config.domain.name=logs"], "needs a simulator"),
        (["--speed=0"], "0 is not 0.1 to 5"),
    ],
)
def test_what_cannot_be_demonstrated_is_refused_in_a_line(flags, said):
    assert said in refused(*flags)


def test_tasks_of_the_evaluation_are_not_trained_on(tmp_path):
    flags = f"--workdir={tmp_path / 'run'}", "--config=test"
    assert "is for evaluation" in refused(*flags, "--task=press:button_75")


def test_an_episode_of_a_killed_server_is_there_after_the_next_start(given):
    folder = given
    dataset = Dataset(folder / "dataset")
    there = stored(folder)
    shard = len({path for path, _ in dataset.places("demos_people")})
    last = there[-1]
    fields = {**vars(last.meta), "episode_id": "train-person-000999"}
    episode = type(last)(last.image, last.pose, last.action, type(last.meta)(**fields))
    copy = folder.parent / "copy"
    subprocess.run(["cp", "-r", folder, copy], check=True, timeout=60)
    dataset = Dataset(copy / "dataset")
    dataset.write_shard("demos_people", shard, [episode])  # and then the lights went out
    assert len(stored(copy)) == len(there)
    kept = Kept(Dataset(copy / "dataset"))
    assert len(stored(copy)) == kept.mine == len(there) + 1


def test_the_expert_s_demonstrations_leave_those_of_people_alone(given):
    """`mili demos` in a run in which people have demonstrated, twice, with other settings."""
    copy = given.parent / "demos"
    subprocess.run(["cp", "-r", given, copy], check=True, timeout=60)
    (copy / "manifest.json").unlink()
    before = [e.meta for e in stored(copy)]
    config = get_config("test")
    changes = {"data.tasks": 4, "data.demonstrations": 2, "machine.processes": 1}
    overrides.override(config, [(name, str(value)) for name, value in changes.items()])
    subprocess.run(["rm", "-r", copy / "people"], check=True, timeout=60)
    run = open_run(config, copy)
    try:
        demonstrate._demonstrate(run, "train")
        assert [e.meta for e in stored(copy)] == before
        pool = demonstration_pool(run)
        assert len(pool) == 8 + len(before)
        shared = pool.task[[pool.ids.index(m.episode_id) for m in before]]
        assert (shared == pool.task[pool.ids.index("train-000-0")]).any(), "one task, two teachers"
    finally:
        run.workdir.close()


# Whoever means no good

HOSTILE = {
    "no token": ("/", 403, {"Authorization": None}),
    "a wrong token": ("/", 403, {"token": "x" * 30}),
    "another site's page": ("/", 403, {"Origin": "https://evil.example"}),
    "another port's page": ("/", 403, {"Origin": "http://127.0.0.1:1"}),
    "a sandboxed frame": ("/", 403, {"Origin": "null"}),
    "a foreign name": ("/", 421, {"Host": "evil.example"}),
    "up in the tree": ("/../../etc/passwd", 404, {}),
    "up in the tree, encoded": ("/%2e%2e/%2e%2e/etc/passwd", 404, {}),
    "up from a file": ("/teleop.js/../../serving.py", 404, {}),
    "a module of ours": ("/session.py", 404, {}),
    "the label page's script": ("/label.js", 404, {}),
    "a path with a zero": ("/teleop.css%00.html", 404, {}),
    "the socket by HTTP": ("/drive", 404, {}),
}


def test_hostile_requests_and_messages_leave_the_person_alone(server, person):
    drives(person, 2)
    for what, (path, status, headers) in HOSTILE.items():
        assert ask(server, path, **headers)[0] == status, what
    for method in ("PUT", "DELETE", "OPTIONS", "PATCH"):
        assert ask(server, "/", method)[0] == 405
    assert ask(server, "/", "POST", b"x" * (1 << 19))[0] in (405, 413)
    for data in (b"\x00\r\n\r\n", b"GET / HTTP/1.1\r\nX: " + b"y" * 60000 + b"\r\n\r\n"):
        answer = raw(server, data)
        assert answer == b"" or answer.startswith(b"HTTP/1.1 4")
    for bad in ({"token": "x" * 30}, {"origin": "https://evil.example"}):
        with pytest.raises(Exception, match="403"):
            opened(server, "/drive", **bad)
    drives(person, 2)
    # On the person's own page: what a broken script or extension would send.
    good = {"do": "hand", "n": 1, "held": True, "place": [0, 0, 0], "turn": [0, 0, 0, 1]}
    good |= {"opening": 1, "frame": "table"}
    odd = ["", "{", "[1]", '{"do": "open", "value": 1}', "[" * 5000]
    odd += [json.dumps({**good, "place": [float("nan"), 0, 0]})]
    odd += [json.dumps({**good, "place": [1e308, 0, 0]}), json.dumps({**good, "n": "../x"})]
    odd += ['{"do": "task", "value": "../../x"}', json.dumps({**good, "turn": [0, 0, 0, 0]})]
    for text in odd:
        person.socket.send(text)
        with pytest.raises(ValueError, match=r"message|field|turn|number|one of"):
            while True:
                person.look(10)
    drives(person, 2)


def test_bad_messages_end_a_page_and_a_new_one_goes_on(server, person):
    drives(person, 2)
    step = person.shown["step"]
    person.socket.send(b"\x00" * 60_000)  # bytes where text is wanted
    for kind in ("size", "number", "rate", "noise"):
        with opened(server, "/drive?take") as bad, pytest.raises(ConnectionClosed):
            if kind == "size":
                bad.send("x" * 70_000)
            elif kind == "noise":
                bad.socket.sendall(b"\xff" * 100)
            else:
                for _ in range(30 if kind == "number" else 2000):
                    bad.send("{}" if kind == "number" else '{"do": "pause", "value": 0}')
            while True:
                bad.recv(timeout=10)
    with ScriptedPerson(server.url) as again:
        assert again.until("waiting", "driving")["step"] >= step
        drives(again, 1)


def test_a_thousand_sockets_and_a_slow_reader_do_not_stop_the_person(server, person):
    idle = []
    try:
        for k in range(1000):
            s = socket.socket()
            s.settimeout(5)
            s.connect(("127.0.0.1", server.port))
            idle.append(s)
            if k % 250 == 249:
                drives(person, 2)
    finally:
        for s in idle:
            s.close()
    drives(person, 2)
    before = server.rss()
    with opened(server, "/drive?take", max_queue=1, close_timeout=0.5) as slow:
        for n in range(60):
            hand = {"do": "hand", "n": n, "held": True, "place": [0, 0, 0], "turn": [0, 0, 0, 1]}
            slow.send(json.dumps({**hand, "opening": 1, "frame": "table"}))
            time.sleep(0.05)
        assert server.rss() - before < 60
    assert server.rss() < 700


def test_it_ends_when_asked_and_says_what_it_has(served):
    server = served(*COMMAND, "--free", FAST)
    with ScriptedPerson(server.url, Manner(rest=0.0)) as someone:
        assert someone.until("ready")["task"] == ""
        button = next(x for x in json.loads(someone.shown["scene"])["objects"] if "button" in x[0])
        assert someone.demonstrate(f"press:{button[0]}")
        names = [name for name, _ in someone.shown["achieved"]]
        someone.send("keep", names.index(f"press:{button[0]}"))
        someone.until("ready")
        assert someone.shown["kept"] == 1 and not someone.shown["stored"]
        said, code = server.end(signal.SIGTERM)
    assert code == 128 + signal.SIGTERM and "stopped with 1 demonstration" in said
    assert not [name for name in os.listdir() if name == "people"]


def test_a_live_demo_is_the_playground(served):
    server = served("-m", "mili_jax.cli", "demo", "--live", "--port=0", "--no-open")
    with ScriptedPerson(server.url) as someone:
        said = someone.until("ready")
        assert said["playground"] and len(said["tasks"]) == 8 and said["marks"]
    # At once, while the policy is still being compiled: it must not take the interpreter down.
    said, code = server.end(signal.SIGTERM)
    assert "answers" in said and code == 128 + signal.SIGTERM and "terminate" not in said
