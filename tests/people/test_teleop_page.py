"""The teleoperation page in a real browser: each device does a press and a place, and what is kept
is what pre-training reads."""

from __future__ import annotations

import pytest
from driving import Controller, Keys, Mouse, Pad, Page, place, press

from mili_jax.storage.dataset import Dataset

PRESS, PLACE = "press:button_22", "place:apple_03:bowl_01"
SPEED = 5  # times real time


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("teleop") / "run"


@pytest.fixture(scope="module")
def server(served_once, folder):
    flags = f"--task={PRESS}", f"--task={PLACE}", f"--speed={SPEED}", "--port=0", "--no-open"
    return served_once(
        "-m", "mili_jax.cli", "teleop", f"--workdir={folder}", "--config=test", *flags
    )


@pytest.fixture
def opened(browser):
    """A function that opens a page of a server."""
    pages = []

    def come(server, **options):
        pages.append(Page(browser, server.url, **options))
        return pages[-1]

    yield come
    for page in pages:
        page.close()
        assert page.faults == []


def kept(folder):
    dataset = Dataset(folder / "dataset")
    return list(dataset.read("demos_people")) if "demos_people" in dataset.splits() else []


def does_both(device, shown, folder):
    """A press and a place with this device, both kept."""
    for task, does in ((PRESS, press), (PLACE, place)):
        before = len(kept(folder))
        shown.choose(task)
        does(device, shown)
        said = shown.state("review")
        assert said["success"], said
        shown.page.keyboard.press("k")
        shown.until(lambda n=before: shown.said["kept"] == n + 1)
        episode = kept(folder)[-1]
        assert episode.meta.task == task and episode.meta.success
        assert episode.meta.policy == "person" and episode.meta.round == 0
        assert 5 < len(episode) < 200


def test_the_mouse_does_a_press_and_a_place(server, folder, opened):
    shown = opened(server)
    does_both(Mouse(shown), shown, folder)


def test_keys_do_a_press_and_a_place(server, folder, opened):
    shown = opened(server)
    does_both(Keys(shown), shown, folder)


def test_a_gamepad_does_a_press_and_a_place(server, folder, opened):
    shown = opened(server, scripts=[Pad.SCRIPT])
    does_both(Pad(shown), shown, folder)


EMULATE = """
window.emulated = new IWER.XRDevice(IWER.metaQuest3);
window.emulated.installRuntime({ forceInstall: true });
"""


def test_a_headset_s_controller_does_a_press_and_a_place(server, folder, opened, iwer):
    shown = opened(server, scripts=[iwer, EMULATE])
    does_both(Controller(shown), shown, folder)
