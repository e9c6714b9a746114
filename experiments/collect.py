"""Stage 3 of a round: autonomous trials of the latest policy.

python -m experiments.collect --workdir=runs/quick --round=1
"""

from __future__ import annotations

from experiments import command
from mili_jax import stages

if __name__ == "__main__":
    command.main(stages.collect, first_round=1)
