"""Every method on the same demonstrations, trials and test arrangements, over several seeds.

    python -m experiments.compare --config=experiments/configs/mili.py:compare --seeds=0,1,2 \
        --workdir=runs/compare

Each seed is a run of `experiments.mili` in its own folder, `--jobs` of them at a time, each with
its share of the cores (one core per seed is faster than all cores for one seed after the other).
Started again, it goes on where it was.
"""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from absl import flags
from ml_collections import ConfigDict

from experiments import command
from mili_jax import stages

_SEEDS = flags.DEFINE_list("seeds", ["0", "1", "2"], "training seeds")
_JOBS = flags.DEFINE_integer("jobs", 0, "seeds at a time; 0: one per core", lower_bound=0)


def compare(config: ConfigDict, folder: Path) -> None:
    """Runs the seeds and writes the report over them; prints its path."""
    stages.check(config)
    folder.mkdir(parents=True, exist_ok=True)
    seeds = [int(seed) for seed in _SEEDS.value]
    cores = sorted(os.sched_getaffinity(0))
    jobs = min(len(seeds), _JOBS.value or len(cores))
    free = [cores[i::jobs] or cores for i in range(jobs)]
    overrides = [flag for flag in sys.argv[1:] if flag.lstrip("-").startswith("config")]

    def run(seed: int) -> tuple[int, Path]:
        share = free.pop()
        log = folder / f"seed_{seed}.log"
        call = [sys.executable, "-m", "experiments.mili", *overrides, f"--config.seed={seed}"]
        call += [f"--config.machine.processes={len(share)}", f"--workdir={folder / f'seed_{seed}'}"]
        with log.open("ab") as out:
            code = subprocess.run(
                call, stdout=out, stderr=out, preexec_fn=lambda: os.sched_setaffinity(0, share)
            ).returncode
        free.append(share)
        return code, log

    with ThreadPoolExecutor(jobs) as pool:
        for seed, (code, log) in zip(seeds, pool.map(run, seeds), strict=True):
            if code:
                last = log.read_text(errors="replace").strip().splitlines()[-1:]
                sys.exit(f"seed {seed} stopped with exit code {code}: {last}; see {log}")
            print(f"seed {seed} is done")
    done = [folder / f"seed_{seed}" for seed in seeds]
    print(stages.write_comparison(done, folder / "report"))


if __name__ == "__main__":
    command.start(compare)
