"""Stage 2b: behaviour cloning and MIL, what the loop is compared with, if the config asks for it.

python -m experiments.baselines --config=experiments/configs/mili.py:compare --workdir=runs/one
"""

from __future__ import annotations

if __name__ == "__main__":
    # Here, not above: the worker processes that this one starts import this file as well.
    from experiments import command

    command.main("baselines")
