"""Stage 2: one-shot imitation and the latent space of tasks, from demonstrations.

python -m experiments.pretrain --workdir=runs/quick
"""

from __future__ import annotations

from experiments import command
from mili_jax.pipeline import train

if __name__ == "__main__":
    command.main(train.pretrain, several_hosts=True)
