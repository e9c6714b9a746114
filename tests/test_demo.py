"""`mili demo`: what the film shows, and what the command says of it."""

from __future__ import annotations

import re

import av
import numpy as np
import pytest
from test_packed import kitchen_policy

from mili_jax import cli
from mili_jax.domains.kitchen.env import HORIZON
from mili_jax.pipeline import console, demo
from mili_jax.pipeline.oneshot import OneShotPolicy
from mili_jax.report import reel
from mili_jax.report.films import FAILURE_COLOUR, SUCCESS_COLOUR, Film
from mili_jax.storage import packed
from mili_jax.types import ConfigError


def clip(colour, steps, height=48, width=64):
    return np.full((steps, height, width, 3), colour, np.uint8)


FILMS = [
    Film("press:button_1", "press", True, clip(10, 4), clip(200, 9), "done"),
    Film("grasp:mug_1", "grasp", False, clip(30, 6), clip(170, 3), "not done; it did push"),
]


def has(frame, colour):
    return (np.abs(frame.astype(int) - colour).max(-1) < 1).sum()


def test_a_verdict_is_in_the_frame_once_the_attempt_has_ended():
    shown = list(reel.frames(FILMS))
    first, second = 9 + reel.HOLD, 6 + reel.HOLD
    assert len(shown) == first + second + reel.END
    assert len({frame.shape for frame in shown}) == 1
    assert all(side % 2 == 0 for side in shown[0].shape[:2])
    for t, frame in enumerate(shown[:first]):
        assert (has(frame, SUCCESS_COLOUR) > 1000) == (t >= 9), t
        assert has(frame, FAILURE_COLOUR) == 0
    for t, frame in enumerate(shown[first : first + second]):
        assert (has(frame, FAILURE_COLOUR) > 1000) == (t >= 3), t
    # The demonstration is on the left, the attempt on the right, both to their ends.
    left, right = shown[8][70:100, 10:60], shown[8][70:100, 90:130]
    assert (left == 10).all() and (right == 200).all()
    # The list at the end has both.
    assert has(shown[-1], SUCCESS_COLOUR) > 50 and has(shown[-1], FAILURE_COLOUR) > 50


def test_a_long_list_ends_with_dots_and_a_long_name_is_cut():
    many = [Film("x" * 300, "g", k % 2 == 0, clip(0, 1), clip(0, 1), "y" * 300) for k in range(40)]
    last = list(reel.frames(many))[-1]
    assert last.shape[0] == 48 + 64 + 48
    with pytest.raises(ConfigError, match="pictures of one size"):
        reel.write_reel(None, [FILMS[0], Film("b", "g", True, clip(1, 2, 32), clip(1, 2, 32))])
    with pytest.raises(ConfigError, match="pictures of one size"):
        reel.write_reel(None, [])


@pytest.mark.slow
def test_the_command_films_every_attempt_and_counts_the_same(tmp_path, capsys):
    packed.write(tmp_path / "small", kitchen_policy())
    out = tmp_path / "a film.mp4"
    out.write_bytes(b"an older one")
    said = []
    for _ in range(2):
        argv = ["demo", f"--policy={tmp_path / 'small'}", "--count=3", f"--out={out}"]
        assert console.exit_code(lambda a=argv: cli.execute(a)) == 0
        said.append(capsys.readouterr().out)
    assert said[0] == said[1], "the same seed, the same attempts"
    head, what, *lines, count, path = said[0].splitlines()
    assert "learned from 1 demonstrated tasks" in head
    assert what == "3 attempts at test tasks, seed 0:" and path == str(out)
    tasks = [line.split()[0] for line in lines]
    policy = OneShotPolicy("small", kitchen_policy(), "small")
    assert tasks == [take.task.name for take in demo.takes(policy, [], 3, 0)]
    done = sum(line.split(maxsplit=1)[1] == "done" for line in lines)
    assert count == f"{done} of 3 done"
    with av.open(str(out)) as film:
        stream = film.streams.video[0]
        frames = sum(1 for _ in film.decode(video=0))
        assert (stream.width, stream.height) == (2 * 384 + 24, 288 + 64 + 48)
    shortest, longest = 3 * (1 + reel.HOLD) + reel.END, 3 * (2 * HORIZON + reel.HOLD) + reel.END
    assert shortest < frames < longest
    assert {file.name for file in tmp_path.iterdir()} == {"small", "a film.mp4"}


@pytest.mark.parametrize(
    "argv, message",
    [
        ([], "ConfigError: mili demo needs --out=FILE.mp4"),
        (["--out=x.gif"], "ConfigError: --out=x.gif: name a file that ends with .mp4"),
        (["--out=none/x.mp4"], "DataError: none is no folder; make it, or .*"),
        (["--out=x.mp4", "--policy=kitchn"], "ConfigError: there is no policy 'kitchn': .*"),
        (["--out=x.mp4", "--count=0"], "ConfigError: mili demo: --count: 0 is not 1 to 64"),
        (
            ["--out=x.mp4", "--taks=a"],
            "ConfigError: mili demo has no flag --taks; did you mean --task.",
        ),
        (["pack"], "ConfigError: say which folder the run is in: --workdir=DIR"),
        (["pack", "new"], "ConfigError: mili pack needs --out=DIR"),
        (["pack", "new", "--out=x"], "DataError: new holds no run: it has no manifest.json"),
    ],
)
def test_a_mistake_is_one_line_and_leaves_nothing(argv, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    argv = argv if argv[:1] == ["pack"] else ["demo", *argv]
    assert console.exit_code(lambda: cli.execute(argv)) == 1
    said = capsys.readouterr()
    assert re.fullmatch(message, said.err.strip()) and not said.out, said.err
    assert list(tmp_path.iterdir()) == []


class Marked:
    """An environment whose task is about what lies in the middle, and one that says nothing."""

    def render(self):
        return clip(100, 1, 100, 140)[0]

    def marks(self):
        return (("cup", 0.5, 0.5),)


class Silent:
    render = Marked.render


def test_what_the_task_is_about_has_a_ring_at_first():
    first, later = demo._seen(Marked(), 0), demo._seen(Marked(), demo.RINGED)
    ring = (first == demo.ORANGE).all(-1)
    apart = np.hypot(*(np.argwhere(ring) - (50, 70)).T) / 100
    assert len(apart) > 60 and np.abs(apart - demo.RING).max() < demo.THICK
    assert (first[~ring] == 100).all() and (later == 100).all()
    assert (demo._seen(Silent(), 0) == 100).all()
