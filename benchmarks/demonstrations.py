"""Demonstrations by a scripted person, through the teleoperation page's protocol, as many as a run
of the expert's has: for a training on the ones to be compared with a training on the others.

    mili demos --config=limited --workdir=runs/people
    python -m benchmarks.demonstrations --workdir=runs/people --tasks=16 --each=4 --alone
    mili pretrain --workdir=runs/people
    mili evaluate --workdir=runs/people --round=0

The second one starts `mili teleop` on the run's first tasks, demonstrates until each has so many,
the expert's included, and prints what failed. A failure is discarded and tried again in another
scene, as a person would. The seeds of its hand begin with --seed. --speed=5 takes a fifth of the
time; the robot's steps are the same. With --alone the expert's demonstrations of training tasks are
set aside first, so that nothing else is learned.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

from absl import app, flags

from benchmarks.scripted_person import ScriptedPerson
from mili_jax.domains import base
from mili_jax.pipeline.demonstrations import EXPERT
from mili_jax.storage.dataset import Dataset

_WORKDIR = flags.DEFINE_string("workdir", None, "the run's folder", required=True)
_CONFIG = flags.DEFINE_string("config", "run", "of a new run")
_CHANGES = flags.DEFINE_multi_string("set", [], "section.field=value of a new run's configuration")
_TASKS = flags.DEFINE_integer("tasks", 16, "the first training tasks")
_EACH = flags.DEFINE_integer("each", 4, "demonstrations of a task")
_ALONE = flags.DEFINE_bool("alone", False, "set the expert's of training tasks aside")
_SEED = flags.DEFINE_integer("seed", 0, "of the person's hand")
_SPEED = flags.DEFINE_float("speed", 5.0, "of the world")
_MOST = flags.DEFINE_integer("most", 20, "failures of one task before it is left out")


def main(_: list[str]) -> None:
    """Demonstrates; prints a line a task and the total."""
    dataset = Dataset(Path(_WORKDIR.value) / "dataset")
    if _ALONE.value and EXPERT in dataset.splits():
        print(f"the expert's are kept in {dataset.set_aside(EXPERT)}")
    simulator = base.simulator_of(base.load("kitchen"), "this")
    names = [task.name for task in simulator.tasks("train")[: _TASKS.value]]
    call = [sys.executable, "-m", "mili_jax.cli", "teleop", f"--workdir={_WORKDIR.value}"]
    if not (Path(_WORKDIR.value) / "manifest.json").exists():
        call += [f"--config={_CONFIG.value}", *(f"--config.{change}" for change in _CHANGES.value)]
    call += [f"--task={name}" for name in names]
    call += [f"--speed={_SPEED.value}", "--port=0", "--no-open"]
    server = subprocess.Popen(call, stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    failed = dict.fromkeys(names, 0)
    begun, steps = time.monotonic(), []
    try:
        line = server.stdout.readline()
        if not line:
            raise SystemExit("the server did not start; it says why above")
        with ScriptedPerson(line.split()[-1], seed=_SEED.value) as person:
            while True:
                said = person.until("ready")
                count = {name: n for name, _, n in said["tasks"]}
                open_ = [n for n in names if count[n] < _EACH.value and failed[n] < _MOST.value]
                if not open_:
                    break
                if said["task"] != open_[0]:
                    person.send("task", names.index(open_[0]))
                    while person.look()["task"] != open_[0]:
                        pass
                if person.demonstrate():
                    steps.append(person.shown["step"])
                    person.send("keep")
                else:
                    failed[said["task"]] += 1
                    person.send("discard")
                    person.send("again")  # another arrangement
                while person.look()["state"] != "ready":
                    pass
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(30)
    for name in names:
        print(f"{name:<40} {count[name]:3d} kept, {failed[name]:2d} failed")
    mean = sum(steps) / max(len(steps), 1)
    took = time.monotonic() - begun
    print(f"{len(steps)} demonstrations in {took:.0f} s, {mean:.0f} control steps each")
    print(f"{sum(failed.values())} failures")


if __name__ == "__main__":
    app.run(main)
