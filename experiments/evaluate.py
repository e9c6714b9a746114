"""Stage 7 of a round: one-shot success on held-out objects; round 0 is the pre-trained policy.

python -m experiments.evaluate --workdir=runs/run --round=1
"""

from __future__ import annotations

if __name__ == "__main__":
    # Here, not above: the worker processes that this one starts import this file as well.
    from experiments import command

    command.main("evaluate")
