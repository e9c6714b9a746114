"""Stage 3 of a round: autonomous trials of the latest policy.

python -m experiments.collect --workdir=runs/run --round=1
"""

from __future__ import annotations

if __name__ == "__main__":
    # Here, not above: the worker processes that this one starts import this file as well.
    from experiments import command

    command.main("collect")
