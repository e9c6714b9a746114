"""Stage 2b: behaviour cloning and MIL, what the loop is compared with, if the config asks for it.

python -m experiments.baselines --config=experiments/configs/mili.py:compare --workdir=runs/one
"""

from __future__ import annotations

from experiments import command
from mili_jax.pipeline import train

if __name__ == "__main__":
    command.main(train.train_baselines)
