"""The audit slice: trials that people are asked about whatever a classifier thinks of them.

What is answered of it is a random sample of all trials, which answers to chosen trials are not. So
it says how often a classifier is right.
"""

from __future__ import annotations

import numpy as np

SHARE = 0.1
_STREAM = 1


def audit_slice(count: int, share: float = SHARE) -> np.ndarray:
    """Which of a split's trials belong to it, bool [N]. Whether a trial does depends on its number
    alone, not on how many there are."""
    return uniform(count, _STREAM) < share


def uniform(count: int, stream: int) -> np.ndarray:
    """Numbers in [0,1) for 0..N-1, float64 [N], by SplitMix64 (Steele et al. 2014). Each stream has
    its own."""
    with np.errstate(over="ignore"):
        start = np.uint64(stream) * np.uint64(0xD1342543DE82EF95)
        x = start + (np.arange(count, dtype=np.uint64) + np.uint64(1)) * np.uint64(
            0x9E3779B97F4A7C15
        )
        for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
            x = (x ^ (x >> np.uint64(shift))) * np.uint64(factor)
        x = x ^ (x >> np.uint64(31))
    return (x >> np.uint64(11)).astype(np.float64) / 2**53
