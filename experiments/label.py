"""Stage 4 of a round: the filter F answers yes or no for every trial.

python -m experiments.label --workdir=runs/run --round=1
"""

from __future__ import annotations

if __name__ == "__main__":
    # Here, not above: the worker processes that this one starts import this file as well.
    from experiments import command

    command.main("filter")
