"""How often a demonstration succeeds on Meta-World if it is repeated without looking.

    python -m benchmarks.metaworld_replay runs/metaworld

Of a finished run it takes the evaluation's scenes and demonstrations, sends the robot the
expert's commands, step by step, and prints the successes of each task. A policy that is worth
its pictures does better.
"""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path

import numpy as np

from benchmarks.metaworld_experts import SIZE, Blind
from mili_jax.pipeline.evaluate import arrangements
from mili_jax.pipeline.run import open_stored


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("workdir", type=Path)
    parser.add_argument("--episodes", type=int, default=100)
    parser.add_argument("--split", default="test")
    options = parser.parse_args()
    run = open_stored(options.workdir)
    config = run.config.copy_and_resolve_references()
    config.evaluate.split, config.evaluate.episodes = options.split, options.episodes
    demos = {e.meta.episode_id: e.action for e in run.dataset.read(f"demos_{options.split}")}
    env, done, tried = Blind(image_size=SIZE), Counter[str](), Counter[str]()
    for a in arrangements(config):
        env.reset(seed=a.seed, options={"task": a.task.name, "scene": a.scene})
        ended, step, action = False, 0, demos[a.right]
        while not ended:
            *_, terminated, truncated, _ = env.step(action[min(step, len(action) - 1)])
            ended, step = terminated or truncated, step + 1
        done[a.task.name] += bool(env.outcome()["success"])
        tried[a.task.name] += 1
    for name, count in tried.items():
        print(f"{name}: {done[name]} of {count}")
    print(f"mean: {100 * np.mean([done[name] / tried[name] for name in tried]):.1f}%")


if __name__ == "__main__":
    main()
