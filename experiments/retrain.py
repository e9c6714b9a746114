"""Stage 6 of a round: training on demonstrations and pairs, and its control.

python -m experiments.retrain --workdir=runs/quick --round=1
"""

from __future__ import annotations

from experiments import command
from mili_jax.pipeline import retrain

if __name__ == "__main__":
    command.main(retrain.retrain, first_round=1, several_hosts=True)
