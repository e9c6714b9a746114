"""Pairing against faiss's flat range search, and what it holds in memory.

    python -m benchmarks.pairing
    python -m benchmarks.pairing --trials=1000000 --share=0.02

Both search the same embeddings for cosines above the same threshold, in a process of its own each.
Ours searches all of them, without a cap (every pair) and with one (the nearest of each trial, what
a run uses). faiss is asked for a share of the trials and its time is scaled: it works row by row.
The embeddings are trials of tasks, 115 of each, as many as useful trials of a task in the paper's
8,200 of 60,000 would be for 71 tasks. Wall-clock seconds want a quiet machine; CPU seconds of all
threads stand beside them. Memory is the highest of the process less what it was when the embeddings
stood ready and a small search had been done.
"""

from __future__ import annotations

import multiprocessing
import resource
import time
from typing import NamedTuple

import numpy as np
from absl import app, flags

from mili_jax.improve import pairing

_TRIALS = flags.DEFINE_list("trials", ["60000"], "numbers of embeddings")
_SIZE = flags.DEFINE_integer("size", 32, "length of an embedding")
_ALPHA = flags.DEFINE_float("alpha", 0.97, "threshold")
_CAP = flags.DEFINE_integer("cap", 40, "most pairs per trial")
_SHARE = flags.DEFINE_float("share", 0.2, "of the trials that faiss is asked for")
_UNCAPPED = flags.DEFINE_integer("uncapped", 200_000, "most embeddings to find every pair of")


class Cost(NamedTuple):
    """Seconds by the wall clock and of CPU time, megabytes."""

    wall: float
    cpu: float
    memory: float


def embeddings(n: int, size: int) -> np.ndarray:
    """Unit vectors float32 [n,size]: trials of a task have a cosine of about 0.97."""
    rng = np.random.default_rng(0)
    out = rng.normal(size=(n // 115 + 1, size)).astype(np.float32)
    out /= np.linalg.norm(out, axis=1, keepdims=True)
    out = out[rng.integers(0, len(out), n)]
    for part in np.array_split(out, 1 + n // 100_000):
        part += 0.17 / np.sqrt(size) * rng.normal(size=part.shape).astype(np.float32)
        part /= np.linalg.norm(part, axis=1, keepdims=True)
    return out


def search(what: str, x: np.ndarray, alpha: float, option: int) -> None:
    """The search that is measured. The option is the cap, or faiss's share in thousandths."""
    if what == "faiss":
        import faiss

        index = faiss.IndexFlatIP(x.shape[1])
        index.add(x)
        rows = len(x) * option // 1000
        # In parts: its answer for all would be larger than the embeddings.
        for at in range(0, rows, 4096):
            index.range_search(x[at : min(rows, at + 4096)], alpha)
    else:
        pairing.cosine_pairs(x, alpha, cap=option if what == "capped" else None)


def measure(
    queue: multiprocessing.Queue, what: str, n: int, size: int, alpha: float, option: int
) -> None:
    """Runs in a process of its own and puts its `Cost`."""
    x = embeddings(n, size)
    search(what, x[: min(n, 4096)], alpha, option)
    before = resource.getrusage(resource.RUSAGE_SELF)
    wall, cpu = time.perf_counter(), time.process_time()
    search(what, x, alpha, option)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    after = resource.getrusage(resource.RUSAGE_SELF)
    queue.put(Cost(wall, cpu, (after.ru_maxrss - before.ru_maxrss) / 1024))


def main(argv: list[str]) -> None:
    del argv
    spawn = multiprocessing.get_context("spawn")
    row = "{:>9} {:>9} {:>9} {:>9} {:>9} {:>12} {:>12}"
    print(row.format("trials", "search", "wall s", "CPU s", "MB", "faiss / wall", "faiss / CPU"))
    for n in map(int, _TRIALS.value):
        costs: dict[str, Cost] = {}
        thousandths = max(1, round(1000 * _SHARE.value))
        for what in ("faiss", "capped", *(("all",) if n <= _UNCAPPED.value else ())):
            queue: multiprocessing.Queue = spawn.Queue()
            option = thousandths if what == "faiss" else _CAP.value
            arguments = (queue, what, n, _SIZE.value, _ALPHA.value, option)
            process = spawn.Process(target=measure, args=arguments)
            process.start()
            cost = queue.get()
            process.join()
            if what == "faiss":
                scale = 1000 / thousandths
                cost = cost._replace(wall=cost.wall * scale, cpu=cost.cpu * scale)
            costs[what] = cost
            wall, cpu = (getattr(costs["faiss"], f) / getattr(cost, f) for f in ("wall", "cpu"))
            figures = (f"{cost.wall:.2f}", f"{cost.cpu:.2f}", f"{cost.memory:.0f}")
            print(row.format(n, what, *figures, f"{wall:.2f}", f"{cpu:.2f}"), flush=True)


if __name__ == "__main__":
    app.run(main)
