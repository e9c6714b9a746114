"""The training stage as a loop: stopped and resumed, streaming, compiled once, on several hosts.

Its demonstrations are made up, so that no simulator runs.
"""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np
import pytest

from experiments.configs.mili import get_config
from mili_jax.pipeline import loop, train
from mili_jax.pipeline.run import Run, open_run
from mili_jax.storage.workdir import Workdir
from mili_jax.types import Batch, DataError, Episode, EpisodeMeta, PolicyId
from mili_jax.workers.stopping import Stopped

ROOT = Path(__file__).resolve().parents[1]
SIZE = 32
FIELDS = {
    "data.image_size": SIZE,
    "policy.channels": 8,
    "policy.blocks": 1,
    "train.batch": 4,
    "train.policy_steps": 2,
    "train.steps": 150,
    "train.checkpoint_every": 1000,
}


def demonstrations() -> list[Episode]:
    """Three each of eight tasks: pictures of noise, tools that wander."""
    rng = np.random.default_rng(0)
    tasks = [f"{f}:a{k}{':b' if f in ('push', 'place') else ''}"
             for f in ("press", "grasp", "push", "place") for k in range(2)]  # fmt: skip
    episodes = []
    for number, task in enumerate(tasks * 3):
        length = int(rng.integers(5, 20))
        pose = rng.uniform(0, 0.2, (length, 7)).astype(np.float32)
        image = rng.integers(0, 256, (length, SIZE, SIZE, 3), np.uint8)
        meta = EpisodeMeta(f"d{number}", task, "{}", 0, 0, "expert", "", "none", True, True, ())
        episodes.append(Episode(image, pose, pose[::-1].copy(), meta))
    return episodes


def opened(path: Path, **changes) -> Run:
    """A run that has its demonstrations."""
    config = get_config("test")
    config.update_from_flattened_dict({**FIELDS, **changes})
    run = open_run(config, path)
    if "demos_train" not in run.dataset.splits():
        episodes = demonstrations()
        for shard in range(3):
            run.dataset.write_shard("demos_train", shard, episodes[shard::3])
        run.dataset.commit("demos_train", 3)
    return run


def trained(path: Path, **changes) -> dict[str, np.ndarray]:
    """The parameters that the folder's training ended with."""
    run = opened(path, **changes)
    with run.workdir:
        found = train.load_params(run, PolicyId("pretrain"))
    return {jax.tree_util.keystr(k): np.asarray(v) for k, v in jax.tree.leaves_with_path(found)}


def assert_equal(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> None:
    assert set(one) == set(other) and len(one) > 10
    for name in one:
        np.testing.assert_array_equal(one[name], other[name], err_msg=name)


def test_embeddings_that_are_all_alike_are_told(tmp_path, monkeypatch, caplog):
    for threshold in (1.01, -1.01):
        monkeypatch.setattr(loop, "COLLAPSED", threshold)
        run = opened(tmp_path / str(threshold), **{"train.steps": 2})
        with run.workdir:
            train.pretrain(run)
        assert ("nearly the same embedding" in caplog.text) == (threshold < 0)


def test_streaming_trains_to_the_same_bits_and_nothing_is_compiled_twice(tmp_path, monkeypatch):
    compiled: list[int] = []
    placed = 0
    place = loop.place

    def count(batch, mesh):
        nonlocal placed
        placed += 1
        return place(batch, mesh)

    def listen(event: str, seconds: float, **_: object) -> None:
        if event == "/jax/core/compile/backend_compile_duration":
            compiled.append(placed)

    monkeypatch.setattr(loop, "place", count)
    jax.monitoring.register_event_duration_secs_listener(listen)
    found = []
    for gigabytes in (1.0, 0.0):
        changes = {"train.steps": 30, "train.checkpoint_every": 10, "machine.pool_gb": gigabytes}
        folder = tmp_path / str(gigabytes)
        run = opened(folder, **changes)
        with run.workdir:
            train.pretrain(run)
        found.append(trained(folder, **changes))
    assert placed == 60
    # The first step compiles; none after it does, in the training that follows neither.
    assert max(compiled) >= 1
    assert not [at for at in compiled if 1 < at < 30 or 31 < at < 60]
    assert_equal(*found)


def start(workdir: Path, *flags: str, before: Sequence[str] = ()) -> subprocess.Popen:
    if not workdir.exists():
        opened(workdir).workdir.close()
    fields = [f"--config.{field}={value}" for field, value in FIELDS.items()]
    command = [*before, sys.executable, "-m", "experiments.pretrain", f"--workdir={workdir}"]
    return subprocess.Popen(
        [*command, "--config=experiments/configs/mili.py:test", *fields, *flags],
        cwd=ROOT,
        env={**os.environ, "JAX_PLATFORMS": "cpu"},
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(*processes: subprocess.Popen, code: int = 0) -> str:
    """Waits for the end of all, of which each has this exit code; what the first one said."""
    said = [process.communicate(timeout=600)[1] for process in processes]
    assert [process.returncode for process in processes] == [code] * len(processes), said
    return said[0]


def wait_for_metrics(workdir: Path, *processes: subprocess.Popen, after: int = 0) -> None:
    deadline = time.monotonic() + 500
    while max(metric_steps(workdir), default=0) <= after and time.monotonic() < deadline:
        assert all(process.poll() is None for process in processes), processes[0].stderr.read()
        time.sleep(0.02)


def metric_steps(workdir: Path) -> list[int]:
    file = workdir / "metrics.jsonl"
    lines = file.read_text().split("\n")[:-1] if file.exists() else []
    return [json.loads(line)["step"] for line in lines]


def saved_steps(workdir: Path) -> list[int]:
    return sorted(int(p.stem) for p in (workdir / "checkpoints/pretrain").glob("*.json"))


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory) -> Path:
    workdir = tmp_path_factory.mktemp("unbroken") / "run"
    finish(start(workdir))
    assert saved_steps(workdir) == [150]
    return workdir


@pytest.mark.slow
def test_a_signalled_training_saves_and_resumes_to_the_same_bits(unbroken, tmp_path):
    """Again and again. SIGINT has the next test to itself."""
    workdir, reached = tmp_path / "run", 0
    for number in (signal.SIGTERM, signal.SIGHUP):
        process = start(workdir)
        wait_for_metrics(workdir, process, after=reached)
        process.send_signal(number)
        said = finish(process, code=128 + number)
        step = saved_steps(workdir)[-1]
        assert reached < step < 150, "it ended before it was asked to"
        line = f"stopped at pretrain, step {step} of 150: the same command goes on from here"
        assert said.splitlines()[-1] == line and "Traceback" not in said
        assert not (workdir / "stages" / "pretrain.json").exists()
        reached = step
    finish(start(workdir))
    assert_equal(trained(workdir), trained(unbroken))


@pytest.mark.slow
@pytest.mark.parametrize("signals", [1, pytest.param(2, marks=pytest.mark.long)])
def test_a_training_that_is_interrupted_while_it_compiles(signals, tmp_path, monkeypatch):
    """It ends after its first step, and saves that; a second signal ends it at once."""
    if signals == 2:
        monkeypatch.setenv("JAX_DISABLE_MOST_OPTIMIZATIONS", "0")  # it compiles for longer
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR")
    workdir = tmp_path / "run"
    process = start(workdir)
    said = ""
    while "0/150" not in said:
        assert process.poll() is None, said
        said += process.stderr.read(1)
    for _ in range(signals):
        time.sleep(1)
        process.send_signal(signal.SIGINT)
    last = finish(process, code=130).splitlines()[-1]
    if signals == 1:
        assert last == "stopped at pretrain, step 1 of 150: the same command goes on from here"
        assert saved_steps(workdir) == [1]
    else:
        assert last == "stopped at once by SIGINT: the same command goes on from here"
        assert not (workdir / "checkpoints").exists()


@pytest.mark.slow
def test_a_checkpoint_that_cannot_be_written_is_one_line(tmp_path, monkeypatch):
    """Each of Orbax's threads has its own word about it, some after the save has failed."""
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR")
    workdir = tmp_path / "run"
    opened(workdir, **{"train.steps": 2}).workdir.close()
    process = start(workdir, "--config.train.steps=2", before=["prlimit", "--fsize=50000"])
    lines = [line for line in re.split(r"[\r\n]+", finish(process, code=1)) if line]
    (line,) = [line for line in lines if not line.startswith("pretrain: ")]
    assert line.startswith(f"DataError: checkpoint {workdir}/checkpoints/pretrain/2 could not")


def test_terminated_in_its_last_step_it_ends_and_nothing_follows(tmp_path, monkeypatch):
    place, calls = loop.place, []

    def terminate(batch, mesh):
        calls.append(batch)
        if len(calls) == 3:
            signal.raise_signal(signal.SIGTERM)
            time.sleep(1)  # another thread hears it
        return place(batch, mesh)

    monkeypatch.setattr(loop, "place", terminate)
    run = opened(tmp_path, **{"train.steps": 3})
    with run.workdir:
        with pytest.raises(Stopped, match="the end of pretrain"):
            train.pretrain(run)
        assert len(calls) == 3 and run.workdir.read_manifest("pretrain")["steps"] == 3
        train.pretrain(run)  # has nothing left to do


def test_a_training_that_was_stopped_goes_on_when_more_rounds_are_asked_for(tmp_path, caplog):
    def run(rounds, until, **inputs):
        drawn = []

        def batch(step):
            if step == until:
                raise DataError("stopped here")
            drawn.append(step)
            return Batch(**dict.fromkeys(Batch._fields, np.zeros(8, np.float32)))

        config = {"improve": {"rounds": rounds}}
        with Workdir(tmp_path, config, grows=("improve.rounds",)) as workdir:
            state = {"w": np.zeros(2, np.float32)}
            loop.train(
                workdir, "mili_1", state, lambda s, b, seed: (s, {"loss": 0.0}), batch,
                steps=9, config=config, inputs=inputs, facts={}, seed=0, checkpoint_every=2,
            )  # fmt: skip
        return drawn

    with pytest.raises(DataError, match="stopped here"):
        run(1, 8)
    assert run(2, -1) == [8] and "trained again" not in caplog.text
    assert run(3, -1, pairs="others") == list(range(9)) and "trained again" in caplog.text


@pytest.mark.long
def test_two_hosts_train_as_one_stop_together_and_one_goes_on(unbroken, tmp_path):
    workdir = tmp_path / "run"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    flags = (f"--coordinator={address}", "--hosts=2")
    processes = [start(workdir, *flags, f"--host={i}") for i in range(2)]
    wait_for_metrics(workdir, *processes)
    processes[1].send_signal(signal.SIGTERM)
    finish(*processes, code=143)
    (step,) = saved_steps(workdir)
    assert 20 <= step < 150, "they ended before they were asked to"
    finish(start(workdir))
    assert saved_steps(workdir)[-1] == 150
    # Early on they agree but for the order of sums; later that order has grown into another path.
    mine, wanted = (Workdir(path).read_metrics("pretrain")[20] for path in (workdir, unbroken))
    assert mine == pytest.approx(wanted, rel=1e-2, abs=1e-3)
    for name, value in trained(workdir).items():
        assert np.isfinite(value).all(), name
