"""MILI (Singh et al. 2020, algorithm 1) where much is demonstrated: 200 tasks, one round of trials.

    mili run --config=many --workdir=runs/many

Half an hour on 2 cores. A round of trials adds nothing where so much is demonstrated.
"""

from __future__ import annotations


def fields() -> dict[str, object]:
    """What differs from the defaults."""
    return {"data.cameras": ("top_depth",)}
