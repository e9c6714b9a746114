"""Every method on the same demonstrations, trials and test arrangements, over several seeds.

    python -m experiments.compare --config=experiments/configs/mili.py:compare --seeds=0,1,2 \
        --workdir=runs/compare

Each seed is a run of `experiments.mili` in its own folder, `--jobs` of them at a time, each with
its share of the cores (one core per seed is faster than all cores for one seed after the other).
Started again, it goes on where it was.
"""

from __future__ import annotations

import concurrent.futures
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from absl import flags
from ml_collections import ConfigDict
from tqdm import tqdm

from experiments import command
from mili_jax.workers import commands, stopping

_SEEDS = flags.DEFINE_list("seeds", ["0", "1", "2"], "training seeds")
_JOBS = flags.DEFINE_integer("jobs", 0, "seeds at a time; 0: one per core", lower_bound=0)
flags.set_default(command.WORKDIR, "runs/compare")
LOOK = 1.0  # s between two looks at how far the seeds are
TAIL = 1 << 16  # bytes of a log that are looked at


def compare(config: ConfigDict, folder: Path) -> None:
    """Runs the seeds and writes the report over them; prints its path."""
    from mili_jax.pipeline import schema  # here, not above: they take seconds, see `command`
    from mili_jax.report import results

    schema.check(config)
    given = command.shared_flags(sys.argv[1:])
    seeds = command.numbers(_SEEDS.value)
    folder.mkdir(parents=True, exist_ok=True)
    cores = sorted(os.sched_getaffinity(0))
    jobs = min(len(seeds), _JOBS.value or len(cores))
    free = [cores[i::jobs] or cores for i in range(jobs)]

    def run(seed: int) -> str:
        """Runs a seed; returns why it did not come to its end, "" if it did."""
        share = free.pop()
        try:
            if asked():
                return "it was not begun"
            return _run(seed, folder, given, share, asked)
        finally:
            free.append(share)

    with (
        stopping.asking("the seeds have saved", lambda: commands.stop_started(set())) as asked,
        concurrent.futures.ThreadPoolExecutor(jobs) as pool,
    ):
        running = {seed: pool.submit(run, seed) for seed in seeds}
        failed = []
        for seed in _as_they_end(running, folder, _stages(config)):
            if why := running[seed].result():
                failed.append(f"seed {seed}: {why} (see {_log(folder, seed)})")
                tqdm.write(failed[-1], file=sys.stderr)
            else:
                tqdm.write(f"seed {seed} is done")
        if asked():
            raise stopping.stopped(f"with {len(seeds) - len(failed)} of {len(seeds)} seeds done")
    if failed:
        raise commands.JobError(
            f"{len(failed)} of {len(seeds)} seeds did not come to their end; {'; '.join(failed)}"
        )
    print(results.write_comparison([_place(folder, seed) for seed in seeds], folder / "report"))


def _place(folder: Path, seed: int) -> Path:
    return folder / f"seed_{seed}"


def _log(folder: Path, seed: int) -> Path:
    return folder / f"seed_{seed}.log"


def _run(
    seed: int, folder: Path, given: Sequence[str], share: Sequence[int], asked: Callable[[], bool]
) -> str:
    """Runs a seed on its share of the cores; returns why it did not come to its end, or ""."""
    call = [sys.executable, "-m", "experiments.mili", *given, f"--config.seed={seed}"]
    if not any(flag.startswith("--config.machine.processes") for flag in given):
        call.append(f"--config.machine.processes={len(share)}")
    call += [f"--workdir={_place(folder, seed)}", commands.STOPPED_FLAG]
    # Several processes share an accelerator only if none takes all of its memory.
    environment = {"XLA_PYTHON_CLIENT_PREALLOCATE": "false", **os.environ}

    def begin() -> None:
        os.sched_setaffinity(0, share)
        stopping.die_with_parent()  # else it would keep its folder

    with _log(folder, seed).open("ab") as out, stopping.shielded(signal.SIGINT, signal.SIGHUP):
        before = out.tell()
        process = subprocess.Popen(call, stdout=out, stderr=out, preexec_fn=begin, env=environment)
    if asked():  # while it was started
        process.terminate()
    code = process.wait()
    if code == 0:
        return ""
    if asked() or code == commands.STOPPED_CODE:
        return "it was stopped; start the comparison again"
    with _log(folder, seed).open("rb") as log:
        log.seek(max(before, log.seek(0, os.SEEK_END) - TAIL))
        said = log.read().decode(errors="replace")
    return f"exit code {code}, {commands.last_words(said, code)}"


def _as_they_end(
    running: Mapping[int, concurrent.futures.Future[str]], folder: Path, stages: int
) -> Iterator[int]:
    """The seeds in the order in which they end; meanwhile it shows how far all of them are."""
    left = set(running)
    with tqdm(total=stages * len(running), desc="compare", unit="stage", mininterval=0) as bar:
        while left:
            futures = [running[seed] for seed in left]
            concurrent.futures.wait(futures, LOOK, concurrent.futures.FIRST_COMPLETED)
            bar.n = sum(len(list(_place(folder, s).glob("stages/*.json"))) for s in running)
            at_work = [f"seed {s}: {_at_work(folder, s)}" for s in sorted(left)]
            bar.set_postfix_str(", ".join(at_work))
            for seed in [seed for seed in left if running[seed].done()]:
                left.remove(seed)
                yield seed


def _at_work(folder: Path, seed: int) -> str:
    """What a seed is at, by the last lines of its log."""
    try:
        with _log(folder, seed).open("rb") as log:
            log.seek(max(0, log.seek(0, os.SEEK_END) - TAIL))
            return commands.at_work(log.read().decode(errors="replace")) or "begins"
    except FileNotFoundError:
        return "waits"


def _stages(config: ConfigDict) -> int:
    """How many stages a whole run has: three splits are demonstrated, a round has its trials,
    answers and pairs, and every policy is trained and evaluated."""
    from mili_jax.improve import arms

    rounds = config.improve.rounds
    trained = sum(len(arms.policies(config, number)) for number in range(rounds + 1))
    return 3 + 3 * rounds + 2 * trained


if __name__ == "__main__":
    command.start(compare)
