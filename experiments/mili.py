"""MILI from demonstrations to report in one command; started again, it goes on where it was.

python -m experiments.mili --config=experiments/configs/mili.py:run --workdir=runs/run
"""

from __future__ import annotations

if __name__ == "__main__":
    # Here, not above: the worker processes that this one starts import this file as well.
    from experiments import command

    command.main("run")
