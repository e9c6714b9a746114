"""Every method on the same demonstrations, trials and test arrangements, over several seeds.

    python -m experiments.compare --config=experiments/configs/mili.py:compare --seeds=0,1,2 \
        --workdir=runs/compare

Each seed is a run of `experiments.mili` in its own folder, `--jobs` of them at a time, each with
its share of the cores (one core per seed is faster than all cores for one seed after the other).
Started again, it goes on where it was.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from absl import flags
from ml_collections import ConfigDict

from experiments import command
from mili_jax.pipeline import schema
from mili_jax.report import results

_SEEDS = flags.DEFINE_list("seeds", ["0", "1", "2"], "training seeds")
_JOBS = flags.DEFINE_integer("jobs", 0, "seeds at a time; 0: one per core", lower_bound=0)
flags.set_default(command.WORKDIR, "runs/compare")
_PR_SET_PDEATHSIG = 1


def compare(config: ConfigDict, folder: Path) -> None:
    """Runs the seeds and writes the report over them; prints its path."""
    schema.check(config)
    given = command.shared_flags(sys.argv[1:])
    seeds = command.numbers(_SEEDS.value)
    folder.mkdir(parents=True, exist_ok=True)
    cores = sorted(os.sched_getaffinity(0))
    jobs = min(len(seeds), _JOBS.value or len(cores))
    free = [cores[i::jobs] or cores for i in range(jobs)]
    # Several processes share an accelerator only if none takes all of its memory.
    environment = {"XLA_PYTHON_CLIENT_PREALLOCATE": "false", **os.environ}

    def run(seed: int) -> bool:
        share, place = free.pop(), folder / f"seed_{seed}"
        log = folder / f"seed_{seed}.log"
        call = [sys.executable, "-m", "experiments.mili", *given, f"--config.seed={seed}"]
        if not any(flag.startswith("--config.machine.processes") for flag in given):
            call.append(f"--config.machine.processes={len(share)}")
        call += [f"--workdir={place}", f"--stopped_exit_code={os.EX_TEMPFAIL}"]

        def begin() -> None:
            os.sched_setaffinity(0, share)
            # Killed, this process takes the runs with it; else they would keep their folders.
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)

        with log.open("ab") as out:
            code = subprocess.run(
                call, stdout=out, stderr=out, preexec_fn=begin, env=environment
            ).returncode
        free.append(share)
        if code == 0:
            print(f"seed {seed} is done", flush=True)
            return True
        last = (log.read_text(errors="replace").strip().splitlines() or ["nothing was printed"])[-1]
        stopped = code == os.EX_TEMPFAIL
        how = "before its end; start it again" if stopped else f"with exit code {code}: {last}"
        print(f"seed {seed} stopped {how}; see {log}", file=sys.stderr, flush=True)
        return False

    with ThreadPoolExecutor(jobs) as pool:
        ended = list(pool.map(run, seeds))
    if not all(ended):
        sys.exit(f"{len(seeds) - sum(ended)} of {len(seeds)} seeds did not come to their end")
    done = [folder / f"seed_{seed}" for seed in seeds]
    print(results.write_comparison(done, folder / "report"))


if __name__ == "__main__":
    command.start(compare)
