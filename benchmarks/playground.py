"""What the packaged policy does after a person's demonstration, and after the expert's.

    python -m benchmarks.playground

A scripted person demonstrates the first test tasks on the playground, through the page's protocol,
and the policy tries each in three other scenes. Then the expert demonstrates the same tasks, three
times each, for one attempt. Neither leaves out a task. Two minutes on 2 cores.
"""

from __future__ import annotations

import collections
import signal
import subprocess
import sys

from absl import app, flags

from benchmarks.scripted_person import ScriptedPerson
from mili_jax.domains import base, rollout
from mili_jax.pipeline import demo
from mili_jax.pipeline.oneshot import OneShotPolicy, load_policy

_TASKS = flags.DEFINE_integer("tasks", 24, "the first test tasks")
_SEED = flags.DEFINE_integer("seed", 0, "of the person's hand")
ATTEMPTS, RETRIES = 3, 5
Count = collections.Counter[str]


def after_a_person(names: list[str]) -> Count:
    """Successes by group, out of `ATTEMPTS` a task."""
    call = [sys.executable, "-m", "mili_jax.cli", "teleop", "--playground", "--speed=5"]
    call += ["--port=0", "--no-open", *(f"--task={name}" for name in names)]
    server = subprocess.Popen(call, stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    done: Count = collections.Counter()
    try:
        with ScriptedPerson(server.stdout.readline().split()[-1], seed=_SEED.value) as person:
            person.until("ready")
            for number, name in enumerate(names):
                person.send("task", number)
                while person.look()["task"] != name or person.shown["state"] != "ready":
                    pass
                for _ in range(RETRIES):
                    if person.demonstrate():
                        break
                    person.send("discard")
                    while person.look()["state"] != "ready":
                        pass
                person.send("keep_failed")  # as it is
                for k in range(ATTEMPTS):
                    while len(person.look()["answers"]) != k or person.shown["state"] != "asking":
                        pass
                    done[name.partition(":")[0]] += person.shown["success"]
                    person.send("answer", int(person.shown["success"]))
                while person.look()["state"] != "done":
                    pass
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(30)
    return done


def after_the_expert(policy: OneShotPolicy, count: int) -> Count:
    """The same after demonstrations of the scripted expert, disturbed as in a run."""
    simulator = base.simulator_of(policy.domain, "this")
    envs = [simulator.make_env(policy.spec) for _ in range(count)]
    done: Count = collections.Counter()
    for seed in range(ATTEMPTS):
        asked = demo.takes(policy, [], count, seed)
        shown = {
            take.request.episode_id: rollout.demonstration(simulator, env, take.request, 1.0)
            for take, env in zip(asked, envs, strict=True)
        }
        trials = [take.trial(simulator) for take in asked]
        tried = rollout.run_job(simulator, envs, trials, policy.actor(shown))
        for take, episode in zip(asked, tried, strict=True):
            done[take.task.group] += episode.meta.success
    return done


def main(_: list[str]) -> None:
    """Measures; prints a line each."""
    policy = load_policy("kitchen")
    simulator = base.simulator_of(policy.domain, "this")
    names = [task.name for task in simulator.tasks("test")[: _TASKS.value]]
    attempts = ATTEMPTS * len(names)
    for who, done in (
        ("a scripted person", after_a_person(names)),
        ("the expert", after_the_expert(policy, len(names))),
    ):
        groups = ", ".join(f"{group} {done[group]}" for group in policy.domain.groups)
        print(f"shown by {who:<18} {sum(done.values())} of {attempts} ({groups})")


if __name__ == "__main__":
    app.run(main)
