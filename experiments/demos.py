"""Stage 1: the scripted expert demonstrates the tasks of all splits.

python -m experiments.demos --workdir=runs/quick
"""

from __future__ import annotations

from experiments import command
from mili_jax import stages

if __name__ == "__main__":
    command.main(stages.demonstrate)
