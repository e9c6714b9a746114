"""Takes the pictures of docs/people.md: `python docs/_shots.py RUN`, where RUN is a run's folder
with trials of round 1. The run is copied; Chromium and the extra [people] must be installed.
"""

from __future__ import annotations

import contextlib
import functools
import io
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image
from playwright.sync_api import sync_playwright

from mili_jax.workers import stopping

OUT = Path(__file__).parent / "figures" / "people"


class Look(NamedTuple):
    """A screen, and the width of the picture that is kept of it."""

    width: int
    height: int
    scheme: str
    kept: int


LOOKS = (Look(1280, 800, "light", 900), Look(390, 844, "dark", 300))


class Server:
    def __init__(self, run: Path, port: int = 0) -> None:
        call = [sys.executable, "-m", "mili_jax.cli", "label", str(run), f"--port={port}"]
        call += ["--no-open", "--reveal"]
        self.process = subprocess.Popen(
            call,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            preexec_fn=stopping.die_with_parent,
        )
        assert self.process.stdout is not None
        self.url = self.process.stdout.readline().split()[-1]
        found = re.search(r":(\d+)/", self.url)
        self.port = int(found[1]) if found else 0

    def end(self, number: int = signal.SIGTERM) -> None:
        self.process.send_signal(number)
        self.process.wait(20)


@contextlib.contextmanager
def copied(run: Path, damaged: bool = False) -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / run.name
        shutil.copytree(run, place, ignore=shutil.ignore_patterns("people", "labels_*"))
        checks = place / "dataset" / "mili" / "1.0.0"
        shutil.copytree(run / "dataset", place / "dataset", dirs_exist_ok=True)
        if damaged:
            for shard in checks.glob("mili-round_1.*"):
                content = bytearray(shard.read_bytes())
                for k in range(1, 8):
                    content[k * len(content) // 9] ^= 255
                shard.write_bytes(content)
        yield place


def _come(browser: Any, look: Look, server: Server, name: str) -> Any:
    context = browser.new_context(
        viewport={"width": look.width, "height": look.height},
        color_scheme=look.scheme,
        has_touch=look.width < 500,
        is_mobile=look.width < 500,
    )
    page = context.new_page()
    page.goto(server.url)
    page.wait_for_selector("#who[open]")
    if name:
        page.fill("#name", name)
        page.keyboard.press("Enter")
        page.wait_for_timeout(2500)
    return page


def _shot(look: Look, page: Any, name: str) -> None:
    picture = Image.open(io.BytesIO(page.screenshot()))
    tall = round(picture.height * look.kept / picture.width)
    small = picture.convert("RGB").resize((look.kept, tall), Image.Resampling.LANCZOS)
    path = OUT / f"{name}-{look.width}.webp"
    small.save(path, quality=60, method=6)
    print(path.name, path.stat().st_size)


def main(run: Path) -> None:
    OUT.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as play:
        args = ["--no-sandbox"] if os.getuid() == 0 else []
        browser = play.chromium.launch(executable_path=shutil.which("chromium"), args=args)
        for look in LOOKS:
            come, shot = functools.partial(_come, browser, look), functools.partial(_shot, look)
            with copied(run) as place:
                server = Server(place)
                shot(come(server, ""), "name")
                page = come(server, "ana")
                for key in ("1", "4", "8", "Shift+Digit5"):
                    page.keyboard.press(key)
                page.wait_for_timeout(700)
                shot(page, "grid")
                page.keyboard.press("Enter")
                page.wait_for_timeout(1500)
                page.keyboard.press("z")
                page.wait_for_timeout(1500)
                shot(page, "back")
                page.keyboard.press("Enter")
                page.keyboard.press("s")
                page.wait_for_timeout(1500)
                page.keyboard.press("r")
                page.wait_for_timeout(2500)
                shot(page, "single")
                page.keyboard.press("s")
                server.end(signal.SIGKILL)
                page.wait_for_timeout(500)
                page.keyboard.press("Enter")
                page.wait_for_timeout(3000)
                shot(page, "lost")
                server = Server(place, server.port)
                other = come(server, "bo")
                for _ in range(12):
                    page.keyboard.press("Enter")
                    page.wait_for_timeout(700)
                shot(page, "others")
                for _ in range(8):
                    other.keyboard.press("Enter")
                    other.wait_for_timeout(700)
                for each in (page, other) * 4:
                    each.keyboard.press("Enter")
                    each.wait_for_timeout(1500)
                shot(page, "done")
                page.keyboard.press("?")
                page.wait_for_timeout(500)
                shot(page, "help")
                server.end()
            with copied(run, damaged=True) as place:
                server = Server(place)
                page = come(server, "ana")
                for _ in range(5):
                    if page.locator(".broken").count():
                        break
                    page.keyboard.press("Enter")
                    page.wait_for_timeout(1500)
                shot(page, "damaged")
                server.end()
        browser.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
