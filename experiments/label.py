"""Stage 4 of a round: the filter F answers yes or no for every trial.

python -m experiments.label --workdir=runs/quick --round=1
"""

from __future__ import annotations

from experiments import command
from mili_jax.pipeline import collect

if __name__ == "__main__":
    command.main(collect.label, first_round=1)
