"""The training stage as a loop: stopped and resumed, streaming, compiled once, on several hosts.

Its demonstrations are made up, so that no simulator runs.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest

from experiments.configs.mili import get_config
from mili_jax.pipeline import loop, train
from mili_jax.pipeline.run import Run, open_run
from mili_jax.storage.workdir import Workdir
from mili_jax.types import Batch, DataError, Episode, EpisodeMeta
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
        found = train.load_params(run, "pretrain")
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


def start(workdir: Path, *flags: str) -> subprocess.Popen:
    if not workdir.exists():
        opened(workdir).workdir.close()
    fields = [f"--config.{field}={value}" for field, value in FIELDS.items()]
    command = [sys.executable, "-m", "experiments.pretrain", f"--workdir={workdir}"]
    return subprocess.Popen(
        [*command, "--config=experiments/configs/mili.py:test", *fields, *flags],
        cwd=ROOT,
        env={**os.environ, "JAX_PLATFORMS": "cpu"},
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(*processes: subprocess.Popen) -> None:
    said = [process.communicate(timeout=600)[1] for process in processes]
    assert [process.returncode for process in processes] == [0] * len(processes), said


def wait_for_metrics(workdir: Path, *processes: subprocess.Popen) -> None:
    deadline = time.monotonic() + 500
    while not (workdir / "metrics.jsonl").exists() and time.monotonic() < deadline:
        assert all(process.poll() is None for process in processes), processes[0].stderr.read()
        time.sleep(0.02)


def saved_steps(workdir: Path) -> list[int]:
    return sorted(int(p.stem) for p in (workdir / "checkpoints/pretrain").glob("*.json"))


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory) -> Path:
    workdir = tmp_path_factory.mktemp("unbroken") / "run"
    finish(start(workdir))
    assert saved_steps(workdir) == [150]
    return workdir


@pytest.mark.slow
def test_a_terminated_training_saves_exits_with_0_and_resumes_to_the_same_bits(unbroken, tmp_path):
    workdir = tmp_path / "run"
    process = start(workdir)
    wait_for_metrics(workdir, process)
    process.send_signal(signal.SIGTERM)
    finish(process)
    (step,) = saved_steps(workdir)
    assert 20 <= step < 150, "it ended before it was told to"
    assert not (workdir / "stages" / "pretrain.json").exists()
    finish(start(workdir))
    assert_equal(trained(workdir), trained(unbroken))


def test_terminated_in_its_last_step_it_ends_and_nothing_follows(tmp_path, monkeypatch):
    place, calls = loop.place, []

    def terminate(batch, mesh):
        calls.append(signal.raise_signal(signal.SIGTERM) if len(calls) == 2 else None)
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


@pytest.mark.slow
def test_two_hosts_train_as_one_stop_together_and_one_goes_on(unbroken, tmp_path):
    workdir = tmp_path / "run"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    flags = (f"--coordinator={address}", "--hosts=2")
    processes = [start(workdir, *flags, f"--host={i}") for i in range(2)]
    wait_for_metrics(workdir, *processes)
    processes[1].send_signal(signal.SIGTERM)
    finish(*processes)
    (step,) = saved_steps(workdir)
    assert 20 <= step < 150, "they ended before they were told to"
    finish(start(workdir))
    assert saved_steps(workdir)[-1] == 150
    # Early on they agree but for the order of sums; later that order has grown into another path.
    mine, wanted = (Workdir(path).read_metrics("pretrain")[20] for path in (workdir, unbroken))
    assert mine == pytest.approx(wanted, rel=1e-2, abs=1e-3)
    for name, value in trained(workdir).items():
        assert np.isfinite(value).all(), name
