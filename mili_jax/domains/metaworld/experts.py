"""Meta-World's scripted policies as teachers: where they want the hand, and what fingers do."""

from __future__ import annotations

import numpy as np

from mili_jax.domains.metaworld import native
from mili_jax.domains.metaworld.env import MetaWorldEnv
from mili_jax.domains.metaworld.spec import ACTION
from mili_jax.types import SimulationError

# Two of them say a step and not a place; they turn the way that is left (m) into a command by this.
OWN_GAIN = {"drawer-open-v3": 4.0, "reach-v3": 5.0}

# m to each side of the hand. The controller goes no faster for what is farther away, and a label
# that is near says which way to go: around a wall, not through it.
AHEAD = 0.15


class Expert:
    """The teacher of the episode that `env` was just reset to: of the task that its scene holds."""

    def __init__(self, env: MetaWorldEnv) -> None:
        if env.scene is None:
            raise SimulationError("call reset before you ask for an expert")
        self.env, self.name = env, env.scene.env
        self.script = native.policy(self.name)

    def act(self) -> np.ndarray:
        """float32 [4]: the place and the effort it wants now, within the bounds of an action."""
        numbers = self.env.numbers
        with native.quiet():
            command = self.script.get_action(numbers)
            if self.name in OWN_GAIN:
                place = numbers[:3] + command[:3] / OWN_GAIN[self.name]
            else:
                place = self.script._desired_pos(self.script._parse_obs(numbers))
        # handle-pull's script says one number for all three now and then.
        way = np.broadcast_to(place, 3) - numbers[:3]
        wanted = np.append(numbers[:3] + np.clip(way, -AHEAD, AHEAD), command[3])
        return np.clip(wanted, ACTION.low, ACTION.high).astype(np.float32)

    def done(self) -> bool:
        """It goes on until the environment ends the episode."""
        return False
