"""Stage 2: one-shot imitation and the latent space of tasks, from demonstrations.

python -m experiments.pretrain --workdir=runs/run
"""

from __future__ import annotations

if __name__ == "__main__":
    # Here, not above: the worker processes that this one starts import this file as well.
    from experiments import command

    command.main("pretrain")
