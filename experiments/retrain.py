"""Stage 6 of a round: training on demonstrations and pairs, and its control.

python -m experiments.retrain --workdir=runs/run --round=1
"""

from __future__ import annotations

if __name__ == "__main__":
    # Here, not above: the worker processes that this one starts import this file as well.
    from experiments import command

    command.main("retrain")
