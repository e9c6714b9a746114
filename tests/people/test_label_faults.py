"""What goes wrong with the label page: hostile and broken messages, damage, full disks, two servers
on one round. Whatever it is, no answer is lost, and a sentence says what to do."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time

import pytest
from made import run_of, useful
from test_label_page import answer_by_keys, answers_all, labels_of, saved, until, waits_for_page
from test_serving import ask

from mili_jax.people import label as command
from mili_jax.storage.dataset import Dataset
from mili_jax.storage.labels import Answer, Kind, Label, resolve
from mili_jax.types import ConfigError, DataError

CLIENT = "c" * 12
WHO = {"annotator": "ana", "client": CLIENT}


def asked(server, path, *rest):
    """(status, body) of a request that waits, as the page does, when it is asked to."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        status, _, body = ask(server, path, *rest, token=server.token)
        if status not in (429, 503):  # too many at once; earlier answers are still being read
            return status, body
        time.sleep(0.5)
    raise AssertionError(f"{path}: still asked to wait after 60 s, with {status}")


def say(server, path, **content):
    """(status, message) of what the server answers to this message."""
    status, found = asked(server, path, "POST", json.dumps({**WHO, **content}).encode())
    return status, json.loads(found)


def ready(server):
    """Waits until the names of all trials are known."""
    end = time.monotonic() + 60
    while not page_of(server)[1]["progress"]["ready"]:
        assert time.monotonic() < end, "the trials' names are not read after 60 s"
        time.sleep(0.1)


def page_of(server, **content):
    return say(server, "/api/page", **{"size": 9, "held": [], **content})


GOOD = {"annotator": "ana", "client": CLIENT, "answers": [[0, 1, "yes", 1.0]]}
BROKEN = {
    "no JSON": b"{",
    "a list": b"[]",
    "deep": b"[" * 100000,
    "a number without end": json.dumps(GOOD).replace("1.0", "NaN").encode(),
    "an infinite number": json.dumps(GOOD).replace("1.0", "1e999").encode(),
    "no UTF-8": b"\xff\xfe",
    **{
        what: json.dumps({**GOOD, **change}).encode()
        for what, change in {
            "a trial that is not there": {"answers": [[30, 1, "yes", 1]]},
            "a negative trial": {"answers": [[-1, 1, "yes", 1]]},
            "a trial with a path": {"answers": [["../../etc/passwd", 1, "yes", 1]]},
            "a trial that is a bool": {"answers": [[True, 1, "yes", 1]]},
            "a third asking": {"answers": [[0, 3, "yes", 1]]},
            "an answer of another kind": {"answers": [[0, 1, "maybe", 1]]},
            "an answer that is true": {"answers": [[0, 1, True, 1]]},
            "negative seconds": {"answers": [[0, 1, "yes", -1]]},
            "seconds as text": {"answers": [[0, 1, "yes", "1"]]},
            "a short answer": {"answers": [[0, 1]]},
            "too many answers": {"answers": [[0, 1, "yes", 1]] * 97},
            "a name of two lines": {"annotator": "a\nb"},
            "a name without end": {"annotator": "a" * 41},
            "no name": {"annotator": "  "},
            "a name that is no text": {"annotator": {"$ne": ""}},
            "half a letter": {"annotator": "\ud800"},
            "a client with a path": {"client": "../../../../x"},
            "a field too many": {"kind": "simulator"},
        }.items()
    },
}


def test_broken_messages_change_nothing_and_the_person_goes_on(tmp_path, label):
    run_of(tmp_path, 30)
    server = label(tmp_path)
    for what, body in BROKEN.items():
        status, _, found = ask(server, "/api/answers", "POST", body, token=server.token)
        assert status == 400 and json.loads(found)["error"], what
    assert ask(server, "/api/answers", "POST", b"{}", token="x" * 30)[0] == 403
    for path in ("/clip/x/0", f"/clip/{'0' * 16}/0", "/clip/%2e%2e/0", "/shown/x/0", "/asked/0"):
        assert ask(server, path, token=server.token)[0] in (403, 404), path
    assert page_of(server, size=10**9)[0] == page_of(server, size=0)[0] == 400
    assert labels_of(tmp_path) == []
    status, found = say(server, "/api/answers", answers=[[0, 1, "yes", 1.0]])
    assert (status, found["new"]) == (200, 1) and len(labels_of(tmp_path)) == 1
    assert ask(server, "/", token=server.token)[0] == 200
    for name in ("label.css", "label.js", "player.js", "store.js", "icon.svg"):
        status, fields, _ = ask(server, f"/{name}", token=server.token)
        assert status == 200 and fields["x-content-type-options"] == "nosniff"


def test_the_same_answer_twice_is_one_and_a_correction_is_kept(tmp_path, label):
    run_of(tmp_path, 30)
    server = label(tmp_path)
    both = [[3, 1, "yes", 1.5], [4, 1, "no", 2]]
    assert [say(server, "/api/answers", answers=both)[1]["new"] for _ in range(3)] == [2, 0, 0]
    assert say(server, "/api/answers", answers=[[3, 1, "no", 1]])[1]["new"] == 1
    assert say(server, "/api/answers", answers=[[5, 1, "no", 1], [5, 1, "yes", 1]])[1]["new"] == 1
    server.end(signal.SIGKILL)
    server = label(tmp_path)
    ready(server)
    assert say(server, "/api/answers", answers=[[3, 1, "no", 9], [4, 1, "no", 9]])[1]["new"] == 0
    kept = [(x.episode_id[-2:], x.answer, x.seconds) for x in labels_of(tmp_path)]
    assert kept == [
        ("03", Answer.YES, 1.5),
        ("04", Answer.NO, 2),
        ("03", Answer.NO, 1),
        ("05", Answer.YES, 1),
    ]


def test_answers_from_before_are_not_asked_for_again(tmp_path, label, person):
    dataset = run_of(tmp_path, 40)
    machine = [Label(f"round_1-{k:06d}", True, "net", Kind.CLASSIFIER) for k in range(40)]
    people = [Label(f"round_1-{k:06d}", useful(k), "bo") for k in range(25)]
    dataset.write_labels("round_1", [*machine, *people])
    page = person(label(tmp_path))
    answers_all(page)
    mine = [x for x in labels_of(tmp_path) if x.annotator == "ana"]
    fresh = {x.episode_id for x in mine} - {x.episode_id for x in people}
    assert len(fresh) == 15 and len(mine) - 15 <= 8  # and what is asked twice
    assert resolve(labels_of(tmp_path)) == {f"round_1-{k:06d}": useful(k) for k in range(40)}


def test_a_disk_that_refuses_loses_nothing(tmp_path, label, person):
    run_of(tmp_path, 27)
    server = label(tmp_path)
    page = person(server)
    shown = waits_for_page(page)
    soft, hard = resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (0, hard))
    answer_by_keys(page, shown)
    until(page, "document.querySelector('#trouble').textContent.includes('free space')")
    assert page.inner_text("#saved") == "9 not saved yet"
    assert labels_of(tmp_path) == []
    answer_by_keys(page, waits_for_page(page, shown))  # one goes on meanwhile
    resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (soft, hard))
    answers_all(page)
    until(page, "document.querySelector('#trouble').hidden")
    assert resolve(labels_of(tmp_path)) == {f"round_1-{k:06d}": useful(k) for k in range(27)}
    assert len([x for x in labels_of(tmp_path) if x.asked == 1]) == 27
    said, _ = server.end(signal.SIGTERM)
    assert said.count("answers were not saved") == 1 and "could not be written" in said


def test_answers_that_can_never_be_taken_hold_nothing_up(tmp_path, label, person):
    """Two that another program left in the browser, before and between good ones."""
    dataset = run_of(tmp_path, 27)
    page = person(label(tmp_path))
    waits_for_page(page)
    digest = dataset.digests("round_1")["round_1"][:16]
    left = [
        [[9999, 1, "yes", 1]],
        [[3, 1, "yes" if useful(3) else "no", 1]],
        [[4, 1, "perhaps", 1]],
        [[5, 1, "yes" if useful(5) else "no", 1]],
    ]
    page.evaluate(
        "([key, left]) => localStorage.setItem(key, JSON.stringify(left))",
        [f"mili.outbox.{digest}.abc", [{"annotator": "ana", "answers": a} for a in left]],
    )
    page.reload()
    until(page, "document.querySelector('#trouble').textContent.includes('refuses an answer')")
    answers_all(page)
    assert "refuses" in page.inner_text("#trouble")
    assert resolve(labels_of(tmp_path)) == {f"round_1-{k:06d}": useful(k) for k in range(27)}
    kept = page.evaluate(f"JSON.parse(localStorage.getItem('mili.refused.{digest}'))")
    assert [entry["answers"] for entry in kept] == [left[0], left[2]]
    assert not page.faults


def test_a_damaged_trial_is_left_out_and_named(tmp_path, label, person):
    dataset = run_of(tmp_path, 30)
    shard = next(dataset.path.glob("*round_1.array_record*"))
    content = bytearray(shard.read_bytes())
    reader = dataset.reader("round_1")

    def damaged():
        found = []
        for k in range(30):
            try:
                reader.episode(k)
            except DataError as error:
                assert shard.name in str(error) and "doctor" in str(error)
                found.append(k)
        return found

    assert damaged() == []
    # Flips bits until one of the records that the page will ask for is hit.
    at = len(content) // 6
    content[at : at + 8] = bytes(255 - b for b in content[at : at + 8])
    shard.write_bytes(content)
    bad = damaged()
    assert 1 <= len(bad) <= 2
    server = label(tmp_path)
    page = person(server)
    seen, before = "", []
    while (shown := waits_for_page(page, before)) is not None:
        page.wait_for_timeout(300)
        seen += page.inner_text("#grid")
        if "cannot be shown" in page.inner_text("#grid"):
            assert shard.name in page.inner_text("#trouble")
        page.keyboard.press("Enter")
        before = shown
    saved(page)
    assert seen.count("cannot be shown") == len(bad)
    assert f"All {30 - len(bad)} trials are answered" in page.inner_text("#message")
    answered = {int(x.episode_id[-6:]) for x in labels_of(tmp_path)}
    assert answered == set(range(30)) - set(bad)
    said, _ = server.end(signal.SIGTERM)
    assert f"trial {bad[0]} cannot be shown" in said and not page.faults


def test_two_servers_on_one_round(tmp_path, label):
    run_of(tmp_path, 9)
    server = label(tmp_path)
    with pytest.raises(ConfigError, match=f"served already, at http://127.0.0.1:{server.port}"):
        command.serve(tmp_path, 1, port=0)
    server.end(signal.SIGKILL)
    label(tmp_path).end(signal.SIGTERM)  # a lock goes with its process


@pytest.mark.parametrize(
    ("folder", "number", "said"),
    [
        ("nowhere", 1, "is no run's folder"),
        (".", 2, "no trials of the split 'round_2'; there are round_1"),
    ],
)
def test_a_round_without_trials_is_said_in_a_line(tmp_path, folder, number, said):
    run_of(tmp_path, 9)
    argv = ["-m", "mili_jax.cli", "label", str(tmp_path / folder), f"--round={number}", "--no-open"]
    done = subprocess.run([sys.executable, *argv], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and said in done.stderr and done.stderr.count("\n") == 1
    assert not (tmp_path / "nowhere").exists()


def test_a_damaged_label_file_is_said_on_the_page_and_in_the_terminal(tmp_path, label, person):
    dataset = run_of(tmp_path, 9)
    dataset.write_labels("round_1", [Label("round_1-000001", True, "bo")])
    path = dataset.path / "labels_round_1.jsonl"
    path.write_bytes(path.read_bytes().replace(b"yes", b"no"))
    server = label(tmp_path)
    page = person(server)
    until(page, "document.querySelector('#trouble').textContent.includes('labels_round_1')")
    said, _ = server.end(signal.SIGTERM)
    assert "labels_round_1.jsonl is damaged" in said


SHAPES = [(1, 8, 8, 3), (5, 40, 60, 3), (200, 24, 32, 3), (7, 2, 20, 30, 3), (3, 16, 16, 4)]


def test_what_the_page_shows_of_a_robot_s_cameras(tmp_path):
    import io

    import numpy as np
    from PIL import Image

    from mili_jax.people.clips import FRAMES, SIDE, Clips, encode

    rng = np.random.default_rng(0)
    for shape in SHAPES:
        image = rng.integers(0, 255, shape[:1] + (1,) * (len(shape) - 2) + (3,), np.uint8)
        image = np.broadcast_to(image, (*shape[:-1], 3))
        if shape[-1] == 4:
            image = np.concatenate([image, np.zeros_like(image[..., :1])], -1)
        clip = encode(image)
        sheet = np.asarray(Image.open(io.BytesIO(clip.jpeg)))
        views = shape[1] if len(shape) == 5 else 1
        assert clip.frames == min(shape[0], FRAMES)
        assert (clip.height, clip.width) == (shape[-3], shape[-2] * views)
        chosen = np.linspace(0, shape[0] - 1, clip.frames).round().astype(int)
        for k in range(clip.frames):
            y, x = k // clip.columns * clip.height, k % clip.columns * clip.width
            part = sheet[y : y + clip.height, x : x + clip.width].reshape(-1, 3)
            wanted = image[chosen[k]].reshape(-1, shape[-1])[0, :3]
            assert np.abs(part.astype(int) - wanted).max() < 20
        assert clip.seconds == pytest.approx(shape[0] / 10)
    large = encode(np.zeros((60, 480, 640, 3), np.uint8))
    assert max(large.width, large.height) == SIDE and large.height == 192
    made = []
    clips = Clips(lambda k: made.append(k) or large, kept=3 * len(large.jpeg))
    for k in [0, 1, 2, 0, 3, 0, 1]:
        clips.get(k)
    assert made == [0, 1, 2, 3, 1]


def test_the_names_of_trials_are_kept_and_belong_to_their_split(tmp_path):
    from mili_jax.people.trials import Trials

    run_of(tmp_path, 20)
    kept = tmp_path / "names.json"

    def names():
        trials = Trials(Dataset(tmp_path / "dataset"), "round_1", kept)
        trials.read_names()
        return trials.names

    wanted = [f"round_1-{k:06d}" for k in range(20)]
    assert names() == wanted
    content = json.loads(kept.read_text())
    content["names"][0] = "other"
    kept.write_text(json.dumps(content))
    assert names()[0] == "other"  # it was read
    for bad in ({**content, "split": "x"}, {**content, "names": []}, []):
        kept.write_text(json.dumps(bad))
        assert names() == wanted
    kept.write_text("{")
    assert names() == wanted and os.path.getsize(kept) > 100


def test_memory_stays_as_it_is_over_many_trials(tmp_path, label):
    run_of(tmp_path, 2000)
    server = label(tmp_path)

    def answer(pages):
        for _ in range(pages):
            found = page_of(server)[1]
            questions = found["page"]["questions"]
            for trial, _ in questions:
                assert asked(server, f"/clip/{digest}/{trial}")[0] == 200
            answers = [[t, k, "yes" if useful(t) else "no", 0.1] for t, k in questions]
            assert say(server, "/api/answers", answers=answers)[0] == 200

    digest = say(server, "/api/start")[1]["digest"]
    ready(server)
    answer(10)
    before = server.rss()
    answer(100)
    assert server.rss() - before < 40
    assert len(labels_of(tmp_path)) > 900


def test_without_the_web_packages_it_says_what_to_install(tmp_path):
    code = "import sys; sys.modules['starlette'] = None; sys.argv = ['mili', 'label', 'x'];"
    code += "from mili_jax.cli import main; sys.exit(main())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and "pip install 'mili-jax[people]'" in done.stderr
    assert done.stderr.count("\n") == 1
