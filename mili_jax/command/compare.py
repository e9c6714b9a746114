"""Trains and evaluates every method on the same demonstrations, trials and test arrangements, over
several seeds, and writes one report over them.

  mili compare --config=compare --seeds=0,1,2 --workdir=runs/compare

Each seed is a run of its own in DIR/seed_<n>, --jobs of them at a time, each with its share of the
cores: one core per seed is faster than all cores for one seed after the other. DIR/seed_<n>.log has
what a seed prints. Started again, the command goes on where it was.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from mili_jax.command import configurations, jobs
from mili_jax.command.parser import Parser, whole, workdir
from mili_jax.storage.files import make_directory
from mili_jax.workers import commands, stopping

if TYPE_CHECKING:
    from ml_collections import ConfigDict

LOOK = 1.0  # s between two looks at how far the seeds are
TAIL = 1 << 16  # bytes of a log that are looked at


def add_arguments(parser: Parser) -> None:
    parser.usage = "mili compare --config=NAME --workdir=DIR [--seeds=0,1,2]"
    parser.add_workdir()
    parser.add_config()
    parser.add_argument("--seeds", default="0,1,2", metavar="N,N", help="by default 0,1,2")
    parser.add_argument(
        "--jobs",
        type=whole(0),
        default=0,
        metavar="N",
        help="seeds at a time; by default one a core",
    )
    parser.add_stopped()


def run(options: argparse.Namespace) -> None:
    """Compares. Raises ConfigError, and JobError if a seed did not come to its end."""
    folder, config = workdir(options), configurations.chosen(options, None)
    jobs.refuse_seed(options.changes)
    given = configurations.flags(options)
    compare(config, folder, given, options.seeds.split(","), options.jobs)


def compare(
    config: ConfigDict, folder: Path, given: Sequence[str], seeds: Sequence[str], most: int
) -> None:
    """Runs the seeds and writes the report over them; prints its path.

    Args:
      given: the flags that give `mili run` this configuration.
      most: seeds at a time; 0 for one per core.
    """
    from mili_jax.pipeline import schema  # here, not above: they take seconds
    from mili_jax.report import results

    schema.check(config)
    numbers = jobs.numbers(seeds)
    make_directory(folder)
    cores = sorted(os.sched_getaffinity(0))
    at_once = min(len(numbers), most or len(cores))
    free = [cores[i::at_once] or cores for i in range(at_once)]

    def begin(seed: int) -> str:
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
        concurrent.futures.ThreadPoolExecutor(at_once) as pool,
    ):
        running = {seed: pool.submit(begin, seed) for seed in numbers}
        failed = []
        for seed in _as_they_end(running, folder, _stages(config)):
            if why := running[seed].result():
                failed.append(f"seed {seed}: {why} (see {_log(folder, seed)})")
                tqdm.write(failed[-1], file=sys.stderr)
            else:
                tqdm.write(f"seed {seed} is done")
        if asked():
            done = f"{len(numbers) - len(failed)} of {len(numbers)}"
            raise stopping.stopped(f"with {done} seeds done")
    if failed:
        raise commands.JobError(
            f"{len(failed)} of {len(numbers)} seeds did not come to their end; {'; '.join(failed)}"
        )
    print(results.write_comparison([_place(folder, seed) for seed in numbers], folder / "report"))


def _place(folder: Path, seed: int) -> Path:
    return folder / f"seed_{seed}"


def _log(folder: Path, seed: int) -> Path:
    return folder / f"seed_{seed}.log"


def _run(
    seed: int, folder: Path, given: Sequence[str], share: Sequence[int], asked: Callable[[], bool]
) -> str:
    """Runs a seed on its share of the cores; returns why it did not come to its end, or ""."""
    call = [sys.executable, "-m", "mili_jax.cli", "run", *given, f"--config.seed={seed}"]
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
