"""The teleoperation page: the control loop with the page attached, and how late the picture is.

    python -m benchmarks.teleoperation
    python -m benchmarks.teleoperation --seconds=60

`mili teleop` serves practice in real time, and Chromium shows the page while a key moves the robot
to and fro. The rate is control steps per second of the clock. The latency is what the page
measures: from the message of a hand until the first picture that it is in is drawn. The share is
of 0.1 s that a step with its pictures takes on the robot's thread, measured in this process.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
from absl import app, flags

from mili_jax.domains import base
from mili_jax.people.robot import Robot

_SECONDS = flags.DEFINE_float("seconds", 30.0, "of driving")
HOLD = 0.6  # s that a key is held before the other one
PERIOD = 0.1  # s of a control step


def step_seconds(count: int = 50) -> float:
    """The median of a control step with its pictures, s."""
    domain = base.load("kitchen")
    spec = domain.spec(64, ())
    assert spec is not None
    robot = Robot(domain, spec)
    robot.begin(robot.scene("train", None, 0))
    took = []
    for _ in range(count):
        begun = time.perf_counter()
        robot.step(robot.observation["pose"])
        robot.look()
        took.append(time.perf_counter() - begun)
    robot.close()
    return float(np.median(took))


def main(_: list[str]) -> None:
    """Measures; prints a line each."""
    from playwright.sync_api import sync_playwright

    alone = step_seconds()
    print(f"step with pictures     {1000 * alone:6.1f} ms, {alone / PERIOD:.2f} of its period")
    call = [sys.executable, "-m", "mili_jax.cli", "teleop", "--free", "--port=0", "--no-open"]
    server = subprocess.Popen(call, stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    url = server.stdout.readline().split()[-1]
    try:
        with sync_playwright() as play:
            args = ["--no-sandbox"] if os.getuid() == 0 else []
            browser = play.chromium.launch(executable_path=shutil.which("chromium"), args=args)
            page = browser.new_page(viewport={"width": 1280, "height": 800})
            page.goto(url)
            page.wait_for_selector("body[data-state=ready]")
            page.keyboard.down("h")  # the clutch, all the time
            page.wait_for_timeout(500)
            first, begun = int(page.get_attribute("body", "data-step") or 0), time.monotonic()
            while time.monotonic() - begun < _SECONDS.value:
                for key in ("d", "w", "a", "s"):
                    page.keyboard.down(key)
                    page.wait_for_timeout(1000 * HOLD)
                    page.keyboard.up(key)
            last, took = int(page.get_attribute("body", "data-step") or 0), time.monotonic() - begun
            found = page.evaluate(
                "performance.getEntriesByName('picture').map(m => [m.startTime, m.duration])"
            )
            browser.close()
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(20)
    lag = np.array([duration for _, duration in found])
    shown = np.diff(np.unique(np.round([start + duration for start, duration in found], 3)))
    print(f"control steps/s        {(last - first) / took:6.2f} over {took:.0f} s")
    for name, values in (("command to picture", lag), ("between pictures", shown)):
        middle, late, most = np.percentile(values, [50, 95, 100])
        print(f"{name:<22} {middle:6.0f} ms median, {late:.0f} ms 95%, {most:.0f} ms at most")


if __name__ == "__main__":
    app.run(main)
