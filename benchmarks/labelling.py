"""The label page: how soon it is there, how fast answers can be given, and what memory it takes.

    python -m benchmarks.labelling
    python -m benchmarks.labelling --trials=60000 --size=32 --steps=8 --seconds=60

Trials of a moving square are written to a temporary folder, four of ten marked useful. `mili label`
serves them, and Chromium answers by keys at one key every 0.25 s: the digits of what is wrong on a
page, then Enter. Answers per hour are those of the server's label file over the time from the first
page to the last answer. Memory is the server's resident set.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from absl import app, flags

from mili_jax.spec import Camera, Field, Layout, Spec
from mili_jax.storage.dataset import Dataset
from mili_jax.types import Episode, EpisodeMeta

_TRIALS = flags.DEFINE_integer("trials", 4000, "stored trials")
_SIZE = flags.DEFINE_integer("size", 64, "side of the picture in pixels")
_STEPS = flags.DEFINE_integer("steps", 30, "of a trial")
_SECONDS = flags.DEFINE_float("seconds", 60.0, "of answering")
_KEY = flags.DEFINE_float("key", 0.25, "seconds between two keys")
X = Layout((Field("x", "m", -1, 1),))
SHARD, READY = 500, 30.0


def write(root: Path, trials: int, size: int, steps: int) -> Dataset:
    """Trials of a square that moves over a ground of patches; of a useful one it turns green."""
    dataset = Dataset(root, Spec(X, X, size, size, (Camera("front"),)))
    side = size // 8
    numbers = np.zeros((steps, 1), np.float32)
    for shard, start in enumerate(range(0, trials, SHARD)):
        episodes = []
        for k in range(start, min(start + SHARD, trials)):
            rng = np.random.default_rng(k)
            patches = rng.integers(60, 120, (8, 8, 3), np.uint8).repeat(side, 0).repeat(side, 1)
            image = np.tile(patches, (steps, 1, 1, 1))
            for t in range(steps):
                x = t * (size - side) // max(steps - 1, 1)
                late = t > steps // 2
                image[t, size // 2 : size // 2 + side, x : x + side] = (
                    (30, 230, 60) if late and useful(k) else 240
                )
            name = f"round_1-{k:06d}"
            facts = (name, "any", "{}", k, 1, "pretrain", "", "none", useful(k), False, ())
            episodes.append(Episode(image, numbers, numbers, EpisodeMeta(*facts)))
        dataset.write_shard("round_1", shard, episodes)
    dataset.commit("round_1", -(-trials // SHARD))
    return dataset


def useful(number: int) -> bool:
    """Whether the trial of this number is."""
    return number * 7919 % 10 < 4


def memory(process: subprocess.Popen[str]) -> float:
    """Resident set of a process, MB."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    found = re.search(r"VmRSS:\s+(\d+)", status)
    return int(found[1]) / 1024 if found else float("nan")


def tiles(page: Any) -> list[tuple[int, str]]:
    """(trial, answer) of what the page shows, once its clips play; [] while it does not."""
    found: list[tuple[int, str]] = page.evaluate(
        "[...document.querySelectorAll('#grid .tile')].map(t => [+t.dataset.trial, "
        "t.dataset.answer])"
    )
    side = page.evaluate("[...document.querySelectorAll('#grid canvas')].map(c => c.width)")
    return found if found and all(width == _SIZE.value for width in side) else []


def wait(page: Any, before: list[tuple[int, str]]) -> list[tuple[int, str]]:
    """The next page once it plays."""
    end = time.monotonic() + READY
    while not (found := tiles(page)) or [t for t, _ in found] == [t for t, _ in before]:
        if time.monotonic() > end:
            raise SystemExit(f"no page within {READY:g} s: {page.inner_text('body')[:300]}")
        page.wait_for_timeout(5)
    return found


def answer(page: Any, seconds: float, key: float) -> tuple[int, float, list[float]]:
    """Answers for so long: (answers given, seconds, seconds from Enter to the next page)."""
    shown, before, count, waits = wait(page, []), [(-1, "")], 0, []
    begun = time.monotonic()
    while time.monotonic() - begun < seconds:
        for i, (trial, said) in enumerate(shown):
            if said != ("yes" if useful(trial) else "no"):
                page.wait_for_timeout(1000 * key)
                page.keyboard.press(str(i + 1))
        page.wait_for_timeout(1000 * key)
        page.keyboard.press("Enter")
        pressed = time.monotonic()
        count, before = count + len(shown), shown
        shown = wait(page, before)
        waits.append(time.monotonic() - pressed)
    return count, time.monotonic() - begun, waits


def main(_: list[str]) -> None:
    """Measures; prints a line each."""
    from playwright.sync_api import sync_playwright

    with tempfile.TemporaryDirectory() as folder:
        begun = time.monotonic()
        write(Path(folder) / "dataset", _TRIALS.value, _SIZE.value, _STEPS.value)
        print(f"{_TRIALS.value} trials written in {time.monotonic() - begun:.0f} s")
        call = [sys.executable, "-m", "mili_jax.cli", "label", folder, "--port=0", "--no-open"]
        begun = time.monotonic()
        server = subprocess.Popen(call, stdout=subprocess.PIPE, text=True)
        assert server.stdout is not None
        line = server.stdout.readline()
        print(f"address after          {time.monotonic() - begun:6.2f} s")
        url = line.split()[-1]
        try:
            with sync_playwright() as play:
                args = ["--no-sandbox"] if os.getuid() == 0 else []
                browser = play.chromium.launch(executable_path=shutil.which("chromium"), args=args)
                page = browser.new_page(viewport={"width": 1280, "height": 800})
                page.goto(url)
                page.fill("#name", "bench")
                opened = time.monotonic()
                page.keyboard.press("Enter")
                wait(page, [])
                print(f"first page after       {time.monotonic() - opened:6.2f} s")
                opened = time.monotonic()
                page.reload()
                wait(page, [])
                print(f"page again after       {time.monotonic() - opened:6.2f} s")
                before = memory(server)
                count, took, waits = answer(page, _SECONDS.value, _KEY.value)
                page.wait_for_timeout(2000)
                shown = page.inner_text("#pace")
                print(f"answers/h              {3600 * count / took:.0f} ({count} in {took:.0f} s)")
                print(f"the page's own timing  {shown}")
                quick = 1000 * np.array(waits)
                print(
                    f"Enter to next clips    {np.median(quick):6.0f} ms, 95%: "
                    f"{np.percentile(quick, 95):.0f} ms"
                )
                print(f"memory of the server   {before:.0f} MB, then {memory(server):.0f} MB")
                browser.close()
        finally:
            server.send_signal(signal.SIGTERM)
            server.wait(20)
        stored = Dataset(Path(folder) / "dataset").read_labels("round_1")
        print(f"label file             {len(stored)} answers")


if __name__ == "__main__":
    app.run(main)
