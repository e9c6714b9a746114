"""Servers that tests start as processes of their own, and end."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import sys
import tarfile
import threading
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 60  # s for a server to print its address, or to end


class Served:
    """A server in a process of its own."""

    def __init__(self, argv):
        env = {**os.environ, "PYTHONPATH": f"{ROOT}:{os.environ.get('PYTHONPATH', '')}"}
        self.process = subprocess.Popen(
            [sys.executable, *map(str, argv)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=ROOT,
            env=env,
        )
        self.lines = []
        self._found = threading.Event()
        self.port, self.token, self.url = 0, "", ""
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        assert self._found.wait(PATIENCE) and self.port, "".join(self.lines)

    def _read(self):
        for line in self.process.stdout:
            self.lines.append(line)
            if found := re.search(r"(https?://\S+:(\d+)/\?token=(\S+))", line):
                self.url, self.port, self.token = found[1], int(found[2]), found[3]
                self._found.set()
        self._found.set()

    def rss(self):
        """Memory that it holds, MB."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+)", status)[1]) / 1024

    def end(self, number):
        """Sends a signal; what it printed and its exit code."""
        self.process.send_signal(number)
        code = self.process.wait(PATIENCE)
        self._reader.join(PATIENCE)
        return "".join(self.lines), code

    def kill(self):
        with contextlib.suppress(OSError):
            self.process.kill()
        self.process.wait(PATIENCE)


@pytest.fixture(scope="module")
def served_once():
    """As `served`; the servers are those of all tests of a module."""
    yield from _starting()


@pytest.fixture
def served():
    """A function that starts `python ARGS`, waits for the address, and ends it after the test."""
    yield from _starting()


def _starting():
    started = []

    def start(*argv):
        started.append(Served(argv))
        return started[-1]

    yield start
    for each in started:
        each.kill()


@pytest.fixture(scope="session")
def browser():
    """Chromium: the system's, else the one that Playwright has brought."""
    api = pytest.importorskip("playwright.sync_api")
    names = ("chromium", "chromium-browser", "google-chrome")
    found = next((path for name in names if (path := shutil.which(name))), None)
    with api.sync_playwright() as play:
        try:
            # As root it has no sandbox.
            args = ["--no-sandbox"] if os.getuid() == 0 else []
            launched = play.chromium.launch(executable_path=found, args=args)
        except api.Error as error:
            # A machine for tests may have no browser, and no right to install one; `.ci/run` does
            # so where it can. The server is tested without one (`test_serving.py`).
            pytest.skip(f"no Chromium: {str(error).splitlines()[0]}")
        yield launched
        launched.close()


@pytest.fixture
def label(served, tmp_path):
    """A function that starts `mili label` on the run in a folder; it returns the server."""

    def start(folder, *flags, port=0):
        argv = ["-m", "mili_jax.cli", "label", folder, "--round=1", f"--port={port}", "--no-open"]
        return served(*argv, *flags)

    return start


@pytest.fixture
def person(browser):
    """A function that opens a server's page in a browser of its own and gives a name."""
    contexts = []

    def come(server, name="ana", width=1280, height=800, **options):
        context = browser.new_context(viewport={"width": width, "height": height}, **options)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(30000)
        page.faults = []
        page.on("pageerror", lambda error: page.faults.append(str(error)))
        page.goto(server.url)
        page.fill("#name", name)
        page.keyboard.press("Enter")
        return page

    yield come
    for context in contexts:
        context.close()


@pytest.fixture(scope="session")
def iwer(tmp_path_factory):
    """The script of npm's iwer, which emulates a headset: it is fetched, not shipped, and goes into
    a page before the page's own scripts."""
    # Without npm or its registry there is no headset. A controller's axes are tested by
    # hand-worked poses (`test_hand.py`), and its messages by the scripted person.
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("no npm, which brings the emulated headset")
    folder = tmp_path_factory.mktemp("iwer")
    call = [npm, "pack", "iwer@2.5.0", "--silent"]
    try:
        done = subprocess.run(call, cwd=folder, capture_output=True, text=True, timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        pytest.skip(f"npm has not brought iwer within {PATIENCE} s")
    if done.returncode:
        pytest.skip(f"npm cannot bring iwer: {' '.join(done.stderr.split())[:200]}")
    with tarfile.open(folder / done.stdout.strip().splitlines()[-1]) as archive:
        found = archive.extractfile("package/build/iwer.min.js")
        assert found is not None
        return found.read().decode()
