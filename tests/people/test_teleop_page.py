"""The teleoperation page in a real browser: each device does a press and a place, and what is kept
is what pre-training reads."""

from __future__ import annotations

import json

import pytest
from driving import Controller, Keys, Mouse, Pad, Page, place, press

from mili_jax.storage.dataset import Dataset

PRESS, PLACE = "press:button_22", "place:apple_03:bowl_01"
SPEED = 3  # times real time


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("teleop") / "run"


@pytest.fixture(scope="module")
def server(served_once, folder):
    flags = f"--task={PRESS}", f"--task={PLACE}", f"--speed={SPEED}", "--port=0", "--no-open"
    return served_once(
        *("-m", "mili_jax.cli", "teleop", f"--workdir={folder}", "--config=test"),
        *("--config.data.noise=0.0", *flags),
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
        shown.key("k")
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


# What else a page shows


def test_a_page_says_what_failed_and_keeps_it_only_on_request(server, folder, opened):
    shown = opened(server)
    before = len(kept(folder))
    shown.page.keyboard.press("Space")
    shown.state("waiting")
    shown.page.keyboard.press("Enter")
    assert shown.state("review")["success"] is False
    shown.page.wait_for_selector("#panel button.main")
    panel = shown.page.inner_text("#panel")
    assert "failed" in panel and "only if you ask" in panel
    shown.page.keyboard.press("Enter")  # the main choice is the safe one
    shown.state("ready")
    assert len(kept(folder)) == before
    shown.page.keyboard.press("Space")
    shown.state("waiting")
    shown.page.click("#finish")
    shown.state("review")
    shown.page.click("text=Keep it all the same")
    shown.state("ready")
    assert len(kept(folder)) == before + 1 and kept(folder)[-1].meta.success is False


def test_a_pause_a_reload_and_a_second_window_keep_the_demonstration(server, opened):
    shown = opened(server)
    shown.page.keyboard.down("d")
    shown.until(lambda: shown.said["step"] >= 3)
    shown.page.keyboard.up("d")
    step = shown.state("waiting")["step"]
    shown.page.keyboard.press("p")
    shown.state("paused")
    shown.page.keyboard.press("d")
    shown.page.reload()
    shown.said = {}
    shown.until(lambda: shown.said)
    assert (shown.said["state"], shown.said["step"]) == ("paused", step)
    assert "token" not in shown.page.url
    other = opened(server)
    assert not other.said and "driven on another page" in other.page.inner_text("#panel")
    other.page.click("text=Drive it here")
    other.until(lambda: other.said)
    assert other.said["step"] == step
    shown.until(lambda: "taken over" in shown.page.inner_text("#panel"))
    other.page.keyboard.press("p")
    other.state("waiting")
    other.page.keyboard.press("Escape")
    assert other.state("ready")["step"] == 0


def test_a_window_that_is_left_releases_the_clutch(server, opened):
    shown = opened(server)
    shown.page.keyboard.down("h")
    shown.state("driving")
    shown.page.evaluate("window.dispatchEvent(new Event('blur'))")
    shown.state("waiting")
    shown.page.keyboard.press("Escape")
    shown.state("ready")


NO_XR = "Object.defineProperty(Navigator.prototype, 'xr', { value: undefined });"


def test_a_browser_without_webxr_says_so_and_a_phone_has_buttons(server, opened):
    shown = opened(
        server,
        scripts=[NO_XR],
        viewport={"width": 390, "height": 844},
        has_touch=True,
        is_mobile=True,
    )
    page = shown.page
    assert page.is_disabled("#headset") and "no WebXR" in page.get_attribute("#headset", "title")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    before = shown.pose
    box = page.locator("[data-move=down]").bounding_box()
    page.mouse.move(box["x"] + 5, box["y"] + 5)
    page.mouse.down()
    shown.until(lambda: shown.pose[2] < before[2] - 0.03)
    page.mouse.up()
    shown.state("waiting")
    page.tap("#grip")
    shown.until(lambda: shown.said["wanted"][6] == 0)
    shown.state("waiting")
    page.tap("#discard")
    shown.state("ready")


def test_the_playground(served_once, opened, tmp_path_factory):
    """One demonstration with the mouse, three attempts of the policy, three answers."""
    folder = tmp_path_factory.mktemp("playground")
    flags = f"--workdir={folder}", "--task=press:button_75", f"--speed={SPEED}"
    server = served_once(
        "-m", "mili_jax.cli", "teleop", "--playground", *flags, "--port=0", "--no-open"
    )
    shown = opened(server)
    press(Mouse(shown), shown)
    assert shown.state("review")["success"]
    shown.key("k")
    for k in range(3):
        shown.until(
            lambda k=k: len(shown.said["answers"]) == k and shown.said["state"] == "asking", 90
        )
        shown.key("y" if shown.said["success"] else "n")
    said = shown.state("done")
    assert all(mine == simulator for mine, simulator in said["answers"])
    assert "after one demonstration" in shown.page.inner_text("#panel")
    lines = (folder / "people" / "playground.jsonl").read_text().splitlines()
    assert [json.loads(line)["simulator"] for line in lines] == [s for _, s in said["answers"]]
    assert {json.loads(line)["task"] for line in lines} == {"press:button_75"}
    shown.page.click("text=Once more")
    assert shown.state("ready")["answers"] == []
