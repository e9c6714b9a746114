"""A page of `mili teleop` in a browser, driven by one device after the other towards places that
the test knows from the scene."""

from __future__ import annotations

import json
import struct
import time

import numpy as np

from mili_jax.domains.kitchen import objects

PATIENCE = 30.0  # s for anything that a page or a robot does
NEAR = 0.006  # m
HOVER, LIFT = 0.12, 0.17  # m


class Page:
    """What a page shows, read off its WebSocket, and waits with a limit."""

    def __init__(self, browser, url, **options):
        options = {"viewport": {"width": 1280, "height": 800}, **options}
        scripts = options.pop("scripts", ())
        self.context = browser.new_context(**options)
        for script in scripts:
            self.context.add_init_script(script)
        self.page = self.context.new_page()
        self.page.set_default_timeout(1000 * PATIENCE)
        self.faults, self.said = [], {}
        self.page.on("pageerror", lambda error: self.faults.append(str(error)))
        self.page.on("websocket", lambda s: s.on("framereceived", self._take))
        self.page.goto(url)
        self.until(lambda: self.said or "Not here" in self.page.inner_text("#panel"))

    def _take(self, packet):
        if isinstance(packet, bytes) and len(packet) > 4:
            length = struct.unpack(">I", packet[:4])[0]
            said = json.loads(packet[4 : 4 + length])
            if "state" in said:
                self.said = said

    def until(self, true, wait=PATIENCE):
        end = time.monotonic() + wait
        while not true():
            assert time.monotonic() < end, (self.said, self.faults, self.page.inner_text("body"))
            self.page.wait_for_timeout(15)

    def state(self, *states):
        self.until(lambda: self.said["state"] in states)
        return self.said

    def key(self, key):
        """Presses a key that the page's panel names, once it does."""
        self.page.wait_for_selector(f"#panel [data-key='{key}']")
        self.page.keyboard.press(key)

    def close(self):
        self.context.close()

    @property
    def pose(self):
        return np.array(self.said["pose"])

    def choose(self, task):
        """Has the page ask for a task, at its beginning."""
        if self.said["task"] != task:
            self.page.select_option(
                "#tasks", index=[t for t, _, _ in self.said["tasks"]].index(task)
            )
            self.until(lambda: self.said["task"] == task)
        self.state("ready")


class Mouse:
    """Drags on the picture, the wheel for the height, the right button for the fingers."""

    def __init__(self, shown):
        self.shown, self.mouse = shown, shown.page.mouse
        box = shown.page.locator("#picture").bounding_box()
        self.middle = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        self.scale = box["height"] / 0.7  # pixels a metre

    def reach(self, goal, near=NEAR):
        end = time.monotonic() + PATIENCE
        self.mouse.move(*self.middle)
        self.mouse.down()
        x, y = self.middle
        while (off := goal - np.array(self.shown.said["wanted"][:3]))[:2].any():
            assert time.monotonic() < end, self.shown.said
            if np.abs(goal - self.shown.pose[:3]).max() < near:
                break
            flat = np.clip(off[:2] * self.scale * (1, 0.67), -40, 40)
            x, y = x + flat[0], y - flat[1]
            if np.abs(off[:2]).max() > near / 2:
                self.mouse.move(x, y)
            if abs(off[2]) > near / 2:
                self.mouse.wheel(0, float(np.clip(-off[2] / 2.5e-4, -100, 100)))
            self.shown.page.wait_for_timeout(45)
        self.mouse.up()

    def grip(self, opening):
        self.mouse.click(*self.middle, button="right")
        self.shown.until(lambda: abs(self.shown.said["wanted"][6] - opening) < 0.01)
        self.shown.state("waiting")

    def finish(self):
        self.shown.page.click("#finish")


class Keys:
    """w a s d r f, slowly with Shift; Space for the fingers."""

    AXES = (("d", "a"), ("w", "s"), ("r", "f"))

    def __init__(self, shown):
        self.shown, self.keyboard = shown, shown.page.keyboard
        self.down = set()

    def reach(self, goal, near=NEAR):
        end = time.monotonic() + PATIENCE
        while np.abs(goal - self.shown.pose[:3]).max() >= near:
            assert time.monotonic() < end, self.shown.said
            off = goal - np.array(self.shown.said["wanted"][:3])
            wanted = {
                keys[int(v < 0)]
                for keys, v in zip(self.AXES, off, strict=True)
                if abs(v) > near / 2
            }
            if np.abs(off).max() < 0.02:
                wanted.add("Shift")
            self._hold(wanted or {"h"})
            self.shown.page.wait_for_timeout(15)
        self._hold(set())

    def _hold(self, wanted):
        for key in sorted(wanted - self.down, key="Shift".__ne__):
            self.keyboard.down(key)
        for key in self.down - wanted:
            self.keyboard.up(key)
        self.down = wanted

    def grip(self, opening):
        self.keyboard.press("Space")
        self.shown.until(lambda: abs(self.shown.said["wanted"][6] - opening) < 0.01)
        self.shown.state("waiting")

    def finish(self):
        self.keyboard.press("Enter")


class Pad:
    """A stub of `navigator.getGamepads`: sticks in proportion to the way."""

    SCRIPT = """
    window.stubPad = { id: "stub", connected: true, axes: [0, 0, 0, 0],
      buttons: Array.from({ length: 17 }, () => ({ pressed: false, value: 0 })) };
    navigator.getGamepads = () => [window.stubPad];
    """

    def __init__(self, shown):
        self.shown = shown

    def _axes(self, axes):
        self.shown.page.evaluate("axes => { window.stubPad.axes = axes; }", axes)

    def reach(self, goal, near=NEAR):
        end = time.monotonic() + PATIENCE
        while np.abs(goal - self.shown.pose[:3]).max() >= near:
            assert time.monotonic() < end, self.shown.said
            off = goal - np.array(self.shown.said["wanted"][:3])
            x, y, z = (
                float(np.sign(v) * np.clip(12 * abs(v), 0.25, 1)) if abs(v) > near / 2 else 0.0
                for v in off
            )
            self._axes([x, -y, 0, -z])
            self._button(5, not (x or y or z))  # so that the tool comes to rest
            self.shown.page.wait_for_timeout(15)
        self._axes([0, 0, 0, 0])
        self._button(5, False)

    def _button(self, number, pressed):
        script = "([i, on]) => { window.stubPad.buttons[i] = { pressed: on, value: +on }; }"
        self.shown.page.evaluate(script, [number, pressed])

    def _press(self, number):
        self._button(number, True)
        self.shown.page.wait_for_timeout(80)
        self._button(number, False)

    def grip(self, opening):
        self._press(0)
        self.shown.until(lambda: abs(self.shown.said["wanted"][6] - opening) < 0.01)
        self.shown.state("waiting")

    def finish(self):
        self._press(9)


class Controller:
    """An emulated Quest 3's right controller, by iwer. Its frame is y up, -z ahead."""

    HAND = "window.emulated.controllers.right"

    def __init__(self, shown):
        self.shown = shown
        self.place = np.array([0.25, 1.4, -0.3])
        shown.page.click("#headset")
        shown.until(lambda: shown.page.inner_text("#headset").startswith("Leave"))
        self.trigger = 0.0
        self._put()

    def _put(self, squeeze=None):
        script = f"""([p, squeeze, trigger]) => {{
          {self.HAND}.position.set(...p);
          if (squeeze !== null) {self.HAND}.updateButtonValue("squeeze", squeeze);
          {self.HAND}.updateButtonValue("trigger", trigger);
        }}"""
        self.shown.page.evaluate(script, [self.place.tolist(), squeeze, self.trigger])

    def reach(self, goal, near=NEAR):
        end = time.monotonic() + PATIENCE
        self._put(1)
        while np.abs(goal - self.shown.pose[:3]).max() >= near:
            assert time.monotonic() < end, self.shown.said
            off = goal - np.array(self.shown.said["wanted"][:3])
            x, y, z = off * min(1.0, 0.04 / max(float(np.linalg.norm(off)), 1e-9))
            self.place += (x, z, -y)
            self._put()
            self.shown.page.wait_for_timeout(50)
        self._put(0)
        self.shown.state("waiting")
        self.place = np.array([0.25, 1.4, -0.3])  # comfortable again: nothing moves by that
        self._put()

    def grip(self, opening):
        self._put(1)
        self.shown.page.wait_for_timeout(60)
        self.trigger = 1.0 - opening
        self._put()
        self.shown.until(lambda: abs(self.shown.said["wanted"][6] - opening) < 0.01)
        self.shown.until(lambda: self.shown.said["state"] == "driving")
        self.shown.page.wait_for_timeout(250)
        self._put(0)
        self.shown.state("waiting")

    def finish(self):
        for pressed in (1, 0):
            script = f"v => {self.HAND}.updateButtonValue('a-button', v)"
            self.shown.page.evaluate(script, pressed)
            self.shown.page.wait_for_timeout(120)
        self.trigger = 0.0
        self._put()


def places(said):
    """Where each object stands, m, by its name."""
    return {name: np.array([x, y]) for name, x, y, _ in json.loads(said["scene"])["objects"]}


def press(device, shown):
    """Presses the button that the page asks for, and finishes."""
    (name,) = shown.said["task"].split(":")[1:]
    spec, at = objects.load_catalogue()[name], places(shown.said)[name]
    if shown.said["wanted"][6] > 0.5:
        device.grip(0.0)
    device.reach(np.array([*at, HOVER]), 0.012)
    device.reach(np.array([*at, spec.height - 0.016]), 0.004)
    device.reach(np.array([*at, HOVER]), 0.04)
    device.finish()


def place(device, shown):
    """Puts an object that is round from above where the page asks for, and finishes."""
    name, goal = shown.said["task"].split(":")[1:]
    catalogue, at = objects.load_catalogue(), places(shown.said)
    spec, container = catalogue[name], catalogue[goal]
    assert spec.symmetric
    height = spec.grasp[2]
    device.reach(np.array([*at[name], HOVER]), 0.012)
    device.reach(np.array([*at[name], height]), 0.008)
    device.grip(0.0)
    device.reach(np.array([*at[name], LIFT]), 0.04)
    device.reach(np.array([*at[goal], LIFT]), 0.012)
    device.reach(np.array([*at[goal], container.floor_height + height + 0.008]), 0.012)
    device.grip(1.0)
    device.reach(np.array([*at[goal], LIFT]), 0.04)
    device.finish()
