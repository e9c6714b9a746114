"""How often Meta-World's scripted experts succeed as the domain `metaworld` lets them act.

    python -m benchmarks.metaworld_experts [--seeds=10] [--task=window-open-v3]

It prints a row of a Markdown table for each of the 50 tasks, left out or not: successes, and the
mean number of control steps. Scenes are those of the seeds 0, 1, ...; nothing is disturbed. Two
minutes on one core.
"""

from __future__ import annotations

import argparse

import numpy as np

from mili_jax.domains import base
from mili_jax.domains.metaworld.env import MetaWorldEnv
from mili_jax.domains.metaworld.scenes import Scene
from mili_jax.domains.metaworld.tasks import GROUP_OF, LEFT_OUT, SPLITS
from mili_jax.domains.rollout import Trial, demonstrate

SIZE = 16  # pixels of a picture


class Blind(MetaWorldEnv):
    """Without pictures, which take most of the time and which experts do not look at."""

    def _observe(self) -> dict[str, np.ndarray]:
        return {"image": np.zeros((SIZE, SIZE, 3), np.uint8), "pose": self._poses[-1]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--task", action="append", default=[])
    options = parser.parse_args()
    domain = base.load("metaworld")
    simulator = base.simulator_of(domain, "this table")
    split_of = {name: split for split, names in SPLITS.items() for name in names}
    split_of |= dict.fromkeys(LEFT_OUT, "left out")
    env = Blind(image_size=SIZE)
    print("| task | group | split | successes | steps |\n|---|---|---|---|---|")
    for name in options.task or sorted(GROUP_OF):
        trials = [Trial("", name, Scene(name, k).to_json(), k) for k in range(options.seeds)]
        made = [demonstrate(simulator, env, trial, noise=0.0) for trial in trials]
        done = sum(episode.meta.success for episode in made)
        steps = np.mean([len(episode) for episode in made])
        print(
            f"| {name} | {GROUP_OF[name]} | {split_of[name]} | {done} of {len(made)} "
            f"| {steps:.0f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
