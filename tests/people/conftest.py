"""Servers that tests start as processes of their own, and end."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
import threading
from pathlib import Path

import pytest

pytest.importorskip("starlette", reason="the extra [people] is not installed")

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


@pytest.fixture
def served():
    """A function that starts `python ARGS`, waits for the address, and ends it after the test."""
    started = []

    def start(*argv):
        started.append(Served(argv))
        return started[-1]

    yield start
    for each in started:
        each.kill()
