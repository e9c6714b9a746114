"""Stage 1: the scripted expert demonstrates the tasks of all splits.

python -m experiments.demos --workdir=runs/run
"""

from __future__ import annotations

if __name__ == "__main__":
    # Here, not above: the worker processes that this one starts import this file as well.
    from experiments import command

    command.main("demos")
