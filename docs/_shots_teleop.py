"""Takes the pictures of the page on which people demonstrate: `python docs/_shots_teleop.py`.

A script drives with the keys; Chromium and the extra [people] must be installed.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
from typing import Any

import numpy as np
from _shots import LOOKS, Look, _shot
from playwright.sync_api import sync_playwright

from mili_jax.domains.kitchen import objects
from mili_jax.workers import stopping

TASK = "place:apple_03:bowl_01"


class Server:
    """`mili teleop` with these flags."""

    def __init__(self, *flags: str) -> None:
        call = [sys.executable, "-m", "mili_jax.cli", "teleop", "--port=0", "--no-open", *flags]
        self.process = subprocess.Popen(
            call,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            preexec_fn=stopping.die_with_parent,
        )
        assert self.process.stdout is not None
        self.url = self.process.stdout.readline().split()[-1]

    def end(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(20)


class Page:
    """A page at the server, and what the server says there."""

    def __init__(self, browser: Any, look: Look, server: Server) -> None:
        phone = look.width < 500
        context = browser.new_context(
            viewport={"width": look.width, "height": look.height},
            color_scheme=look.scheme,
            has_touch=phone,
            is_mobile=phone,
        )
        self.look, self.page, self.said = look, context.new_page(), {}
        self.page.on("websocket", lambda s: s.on("framereceived", self._take))
        self.page.goto(server.url)
        self.page.wait_for_timeout(1500)

    def _take(self, packet: bytes) -> None:
        length = struct.unpack(">I", packet[:4])[0]
        self.said = json.loads(packet[4 : 4 + length])

    def shot(self, name: str) -> None:
        self.page.wait_for_timeout(300)
        _shot(self.look, self.page, f"teleop-{name}")

    def until(self, state: str) -> None:
        for _ in range(4000):
            if self.said.get("state") == state:
                self.page.wait_for_timeout(200)
                return
            self.page.wait_for_timeout(15)
        raise SystemExit(f"no {state}: {self.said}")

    def reach(self, goal: tuple[float, ...], near: float = 0.008) -> None:
        """Drives there by keys; h at last, so that the tool comes to rest."""
        down: set[str] = set()
        for _ in range(2000):
            if np.abs(goal - np.array(self.said["pose"][:3])).max() < near:
                break
            off = goal - np.array(self.said["wanted"][:3])
            ways = zip((("d", "a"), ("w", "s"), ("r", "f")), off, strict=True)
            wanted = {keys[int(v < 0)] for keys, v in ways if abs(v) > near / 2} or {"h"}
            for key in wanted - down:
                self.page.keyboard.down(key)
            for key in down - wanted:
                self.page.keyboard.up(key)
            down = wanted
            self.page.wait_for_timeout(15)
        for key in down:
            self.page.keyboard.up(key)

    def grip(self) -> None:
        self.page.keyboard.press("Space")
        self.page.wait_for_timeout(1100)


def _places(page: Page) -> tuple[dict[str, tuple[float, float]], Any]:
    rows = json.loads(page.said["scene"])["objects"]
    return {name: (x, y) for name, x, y, _ in rows}, objects.load_catalogue()


def _demonstrates(browser: Any, look: Look) -> None:
    with tempfile.TemporaryDirectory() as folder:
        tasks = f"--task={TASK}", "--task=press:button_22"
        server = Server(
            f"--workdir={folder}/run",
            "--config=test",
            "--config.data.noise=0.0",
            "--speed=2",
            *tasks,
        )
        page = Page(browser, look, server)
        page.shot("ready")
        at, catalogue = _places(page)
        apple, bowl = at["apple_03"], at["bowl_01"]
        height = catalogue["apple_03"].grasp[2]
        page.reach((*apple, 0.12))
        page.reach((*apple, height))
        page.grip()
        page.reach((*apple, 0.17), 0.03)
        page.page.keyboard.down("h")
        page.reach(((apple[0] + bowl[0]) / 2, (apple[1] + bowl[1]) / 2, 0.17), 0.02)
        page.page.keyboard.down("h")
        page.shot("driving")
        page.page.keyboard.up("h")
        page.page.keyboard.press("p")
        page.until("paused")
        page.shot("paused")
        page.page.keyboard.press("p")
        page.page.wait_for_timeout(400)
        page.reach((*bowl, 0.17))
        page.reach((*bowl, catalogue["bowl_01"].floor_height + height + 0.008), 0.012)
        page.grip()
        page.reach((*bowl, 0.17), 0.04)
        page.page.keyboard.press("Enter")
        page.until("review")
        page.shot("review")
        page.page.keyboard.press("k")
        page.until("ready")
        page.grip()
        page.page.keyboard.press("Enter")
        page.until("review")
        page.shot("failed")
        page.page.keyboard.press("d")
        page.until("ready")
        page.page.keyboard.press("?")
        page.shot("help")
        page.page.click("#help-close")
        other = Page(browser, look, server)
        other.shot("taken")
        other.page.context.close()
        server.end()
        page.page.wait_for_timeout(500)
        page.shot("closed")
        page.page.context.close()


def _plays(browser: Any, look: Look) -> None:
    server = Server("--playground", "--task=press:button_75", "--speed=1")
    page = Page(browser, look, server)
    page.shot("playground")
    at, catalogue = _places(page)
    button, top = at["button_75"], catalogue["button_75"].height
    page.grip()
    page.reach((*button, 0.12))
    page.reach((*button, top - 0.016), 0.004)
    page.reach((*button, 0.12), 0.03)
    page.page.keyboard.press("Enter")
    page.until("review")
    page.shot("shown")
    page.page.keyboard.press("k")
    page.until("watching")
    page.shot("watching")
    for k in range(3):
        page.until("asking")
        if not k:
            page.shot("asking")
        page.page.keyboard.press("y" if page.said["success"] else "n")
        page.page.wait_for_timeout(300)
    page.until("done")
    page.shot("done")
    page.page.context.close()
    server.end()


def main() -> None:
    with sync_playwright() as play:
        args = ["--no-sandbox"] if os.getuid() == 0 else []
        browser = play.chromium.launch(executable_path=shutil.which("chromium"), args=args)
        for look in LOOKS:
            _demonstrates(browser, look)
            _plays(browser, look)
        browser.close()


if __name__ == "__main__":
    main()
