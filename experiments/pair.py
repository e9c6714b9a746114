"""Stage 5 of a round: useful trials close in the latent space become pairs.

python -m experiments.pair --workdir=runs/quick --round=1
"""

from __future__ import annotations

from experiments import command
from mili_jax.pipeline import pair

if __name__ == "__main__":
    command.main(pair.pair, first_round=1)
