"""Stage 5 of a round: useful trials close in the latent space become pairs.

python -m experiments.pair --workdir=runs/run --round=1
"""

from __future__ import annotations

if __name__ == "__main__":
    # Here, not above: the worker processes that this one starts import this file as well.
    from experiments import command

    command.main("pair")
