"""Statistics of episodes as LeRobot stores them: min, max, mean, std, count and five quantiles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

QUANTILES = {"q01": 0.01, "q10": 0.10, "q50": 0.50, "q90": 0.90, "q99": 0.99}
Stats = dict[str, np.ndarray]


def of_numbers(values: np.ndarray) -> Stats:
    """Of [T,n], each statistic [n]; count [1]."""
    values = values.astype(np.float64).reshape(len(values), -1)
    quantiles = np.quantile(values, list(QUANTILES.values()), axis=0)
    return {
        "min": values.min(0),
        "max": values.max(0),
        "mean": values.mean(0),
        "std": values.std(0),
        "count": np.array([len(values)]),
        **dict(zip(QUANTILES, quantiles, strict=True)),
    }


def of_pictures(pictures: np.ndarray) -> Stats:
    """Of uint8 [T,H,W,3], each statistic [3,1,1] of values from 0 to 1; count [1], of pictures."""
    # Counted and not sorted: there are 256 values.
    found: dict[str, list[float]] = {name: [] for name in ("min", "max", "mean", "std", *QUANTILES)}
    levels = np.arange(256) / 255
    for channel in range(3):
        counts = np.bincount(pictures[..., channel].ravel(), minlength=256)
        there = np.flatnonzero(counts)
        mean = float(counts @ levels / counts.sum())
        found["min"].append(levels[there[0]])
        found["max"].append(levels[there[-1]])
        found["mean"].append(mean)
        found["std"].append(float(np.sqrt(counts @ (levels - mean) ** 2 / counts.sum())))
        below = np.cumsum(counts)
        for name, share in QUANTILES.items():
            found[name].append(levels[np.searchsorted(below, share * below[-1])])
    stats = {name: np.array(values).reshape(3, 1, 1) for name, values in found.items()}
    return {**stats, "count": np.array([len(pictures)])}


def together(episodes: Sequence[Mapping[str, np.ndarray]]) -> Stats:
    """Of several episodes, by their own statistics.

    All but the quantiles are exact; of these the outermost are kept, as LeRobot does.
    """
    counts = np.array([float(stats["count"][0]) for stats in episodes])
    shape = (-1, *[1] * episodes[0]["mean"].ndim)
    weights = (counts / counts.sum()).reshape(shape)
    means = np.stack([stats["mean"] for stats in episodes])
    mean = (weights * means).sum(0)
    stds = np.stack([stats["std"] for stats in episodes])
    variance = (weights * (stds**2 + (means - mean) ** 2)).sum(0)
    found = {
        "min": np.min([stats["min"] for stats in episodes], axis=0),
        "max": np.max([stats["max"] for stats in episodes], axis=0),
        "mean": mean,
        "std": np.sqrt(variance),
        "count": np.array([int(counts.sum())]),
    }
    for name, share in QUANTILES.items():
        outermost = np.min if share <= 0.5 else np.max
        found[name] = outermost([stats[name] for stats in episodes], axis=0)
    return found
