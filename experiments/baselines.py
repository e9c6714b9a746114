"""Stage 2b: what is compared with the loop, behaviour cloning and MIL, where the config asks for it.

python -m experiments.baselines --config=experiments/configs/mili.py:compare --workdir=runs/compare
"""

from __future__ import annotations

from experiments import command
from mili_jax import stages

if __name__ == "__main__":
    command.main(stages.train_baselines)
