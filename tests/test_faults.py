"""Kills, hangs, failing disks, flipped bits: nothing is lost, nothing doubled, nothing accepted.

Every test has a short length, part of `make test`, and its full one under the marker `fault`
(tests/README.md has the commands). The faults are real; at most their moment is chosen.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import json
import os
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from runs import ROOT, command, config, data_of
from test_rollout import CursedPlayer, children, descriptors, ignore, make_trials
from test_stages import assert_same_checkpoints, assert_same_episodes, rows_of
from workers import SHARD, SHARDS, SPEC, SPLITS, Wild, make_player, write_each, write_wild

from mili_jax.domains.kitchen import scenes, tasks
from mili_jax.domains.kitchen.env import KitchenEnv, object_pool
from mili_jax.domains.kitchen.spec import spec
from mili_jax.domains.rollout import Trial
from mili_jax.learning.step import init_state
from mili_jax.pipeline import train
from mili_jax.pipeline.run import Run
from mili_jax.storage import doctor
from mili_jax.storage.dataset import Dataset
from mili_jax.storage.labels import Label
from mili_jax.storage.workdir import Workdir
from mili_jax.types import DataError, MiliError
from mili_jax.workers import pool as worker_pool
from mili_jax.workers import ray


def lengths(short, full):
    return [
        pytest.param(short, marks=pytest.mark.slow, id="short"),
        pytest.param(full, marks=pytest.mark.fault, id="full"),
    ]


def program(source, *arguments, **options):
    """Starts Python on a source text that sees this folder and the package."""
    path = os.pathsep.join([str(Path(__file__).parent), str(ROOT)])
    environment = {**os.environ, "PYTHONPATH": path, **options.pop("env", {})}
    line = [sys.executable, "-c", source, *map(str, arguments)]
    return subprocess.Popen(line, cwd=ROOT, env=environment, **options)


def digests(folder):
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.glob("[!.]*")}


# The collector, killed


COLLECTOR = "import sys, workers; workers.collect(sys.argv[1])"


@pytest.mark.parametrize("kills", lengths(3, 100))
def test_the_collector_killed_at_random_instants(kills, tmp_path):
    began = time.monotonic()
    assert program(COLLECTOR, tmp_path / "whole", stderr=subprocess.DEVNULL).wait() == 0
    duration = time.monotonic() - began
    whole = tmp_path / "whole" / "mili" / "1.0.0"
    reference = digests(whole)
    assert len(reference) == SHARDS * SPLITS + 4
    rng = random.Random(0)
    done = finished = 0
    while done < kills or not finished:
        root = tmp_path / f"killed{finished}"
        folder = root / "mili" / "1.0.0"
        known: dict = {}
        committed: dict = {}
        while True:
            run = program(COLLECTOR, root, stderr=subprocess.DEVNULL)
            if done < kills:
                try:
                    run.wait(rng.uniform(0, duration))
                except subprocess.TimeoutExpired:
                    run.kill()  # it alone: its workers must notice
                    done += 1
            code = run.wait()
            assert code in (0, -9)
            now = {k: v for k, v in digests(folder).items() if ".array_record-" in k}
            assert known.items() <= now.items(), "a shard was lost or changed"
            splits = Dataset(root, SPEC).splits()
            assert committed.items() <= splits.items(), "a committed split was lost or changed"
            known, committed = now, splits
            if code == 0:
                break
        finished += 1
        assert digests(folder) == reference
        ids = [m.episode_id for name in splits for m in Dataset(root, SPEC).read_metadata(name)]
        assert len(ids) == len(set(ids)) == SHARD * SHARDS * SPLITS
    assert done == kills
    print(f"{done} kills, {finished} datasets, all equal to the one nobody killed")


# Each stage, killed


STEPS = (  # binary, module and function, flags, the stages it makes
    ("demos", "demonstrate.demonstrate", (), [f"demos_{split}" for split in tasks.SPLITS]),
    ("pretrain", "train.pretrain", (), ["pretrain"]),
    ("evaluate", "evaluate.evaluate", ("--round=0",), ["evaluate_pretrain"]),
    ("collect", "collect.collect", ("--round=1",), ["round_1"]),
    ("label", "collect.label", ("--round=1",), ["filter_1"]),
    ("pair", "pair.pair", ("--round=1",), ["pair_1"]),
    ("retrain", "retrain.retrain", ("--round=1",), ["mili_1", "control_1"]),
    ("evaluate", "evaluate.evaluate", ("--round=1",), ["evaluate_mili_1", "evaluate_control_1"]),
)
# A binary whose process is killed so many seconds after its stage has begun.
KILLED = """
import importlib, os, runpy, signal, sys, threading, time
delay, module, name = float(sys.argv[1]), sys.argv[2], sys.argv[3]
home, name = name.split(".")
home = importlib.import_module("mili_jax.pipeline." + home)
real = getattr(home, name)
def die():
    time.sleep(delay)
    os.kill(os.getpid(), signal.SIGKILL)
def stage(*arguments):
    threading.Thread(target=die, daemon=True).start()
    return real(*arguments)
setattr(home, name, stage)
sys.argv[1:4] = []
runpy.run_module("experiments." + module, run_name="__main__")
"""


@pytest.mark.fault
def test_every_stage_killed_at_random_instants(finished, call, tmp_path):
    """A few kills of a whole run are in `test_stages.py`."""
    kills = 10
    workdir, before = tmp_path / "run", tmp_path / "before"
    workdir.mkdir()
    rng = random.Random(1)
    counts = []
    for module, function, given, made in STEPS:
        facts = [json.loads((finished / "stages" / f"{name}.json").read_text()) for name in made]
        duration = sum(fact["seconds"] for fact in facts) + 0.03
        shutil.copytree(workdir, before)
        done = 0
        while done < kills:
            flags = command(module, workdir, *given)[3:]
            delay = rng.uniform(0, duration)
            run = program(KILLED, delay, module, function, *flags, stderr=subprocess.DEVNULL)
            code = run.wait()
            assert code in (0, -9)
            if code == 0:  # it was faster than its killer: again from its beginning
                shutil.rmtree(workdir)
                shutil.copytree(before, workdir)
            done += code == -9
        shutil.rmtree(before)
        code, _, err = call(module, workdir, *given)
        assert code == 0, err
        counts.append(f"{module} {done}")
    assert_same_episodes(finished, workdir)
    assert_same_checkpoints(finished, workdir)
    assert rows_of(workdir) == rows_of(finished)
    tables = [(data_of(w) / "pairs_mili_1.csv").read_bytes() for w in (finished, workdir)]
    assert tables[0] == tables[1]
    assert doctor.examine(workdir) == [] and not list(workdir.rglob(".*.tmp"))
    print("kills:", ", ".join(counts))


# Disks that refuse


def writes(path):
    """Something of every kind of file, through the functions that write them."""
    rng = np.random.default_rng(0)
    with Workdir(path, {"seed": 1}) as workdir:
        dataset = Dataset(workdir.path / "dataset", spec(16))
        from test_episodes import episode

        for number in range(1, 8):
            split = f"round_{number}"
            for shard in range(6):
                dataset.write_shard(split, shard, [episode(f"{number}-{shard}", seed=shard)])
            dataset.commit(split, 6)
            ids = [f"{number}-{shard}" for shard in range(6)]
            if not dataset.read_labels(split):
                dataset.write_labels(split, [Label(i, True, "simulator", "simulator") for i in ids])
            table = dataset.write_pairs(f"mili_{number}", ids[:3], ids[3:], np.ones(3), 0.9)
            workdir.write_rows(f"pair_{number}", [{"round": number}])
            workdir.finish(f"pair_{number}", {"seed": 1}, outputs=[table])
            tree = {"w": rng.normal(size=(4, 4)).astype(np.float32), "step": number}
            saved = workdir.save_checkpoint("pretrain", tree, number)
            workdir.write_metrics("pretrain", number, {"loss": number})
        workdir.finish("pretrain", {"seed": 1}, outputs=[saved], steps=7)
    return workdir.path


def content(path):
    """What a run holds: every dataset file's digest, the rows, the checkpoint."""
    reader = Workdir(path)
    tree = reader.load_checkpoint("pretrain", {"w": np.zeros((4, 4), np.float32), "step": 0})
    return digests(data_of(path)), reader.read_rows(), tree["w"].tolist(), tree["step"]


FAILING = """
import ctypes, errno, shutil, sys
from pathlib import Path
import test_faults
test_faults.meet_every_failure(ctypes.CDLL(sys.argv[1]), Path(sys.argv[2]), *map(int, sys.argv[3:]))
"""


def meet_every_failure(shim, folder, count, stride):
    """Lets the n-th write fail, for n = 1, 1 + stride, ... up to count, in each of three ways."""
    reference = folder / "whole"
    shim.arm(str(reference).encode(), -1, 0)
    writes(reference)
    total = shim.disarm()
    assert total >= count, f"only {total} writes"
    wanted = content(reference)
    refused = {"ENOSPC": 0, "EIO": 0, "short": 0}
    for name, code in (("ENOSPC", 28), ("EIO", 5), ("short", 0)):
        for n in range(1, count + 1, stride):
            path = folder / f"{name}-{n}"
            shim.arm(str(path).encode(), n, code)
            try:
                writes(path)
            except MiliError as error:
                assert str(path) in str(error), (name, n, error)
                refused[name] += 1
            finally:
                seen = shim.disarm()
            assert seen >= n, (name, n, seen)
            assert doctor.examine(path) == [], (name, n)
            writes(path)
            assert content(path) == wanted, (name, n)
            shutil.rmtree(path)
    tried = len(range(1, count + 1, stride))
    print(f"{total} writes; of {tried} each refused: {refused}")
    assert refused["ENOSPC"] == refused["EIO"] == tried


@pytest.fixture(scope="session")
def shim(tmp_path_factory):
    # Only a library loaded before libc makes a chosen write fail, and it must be compiled; nothing
    # else here needs a compiler, so its absence is no failure.
    if not shutil.which("cc"):
        pytest.skip("no C compiler to make a disk fail with")
    library = tmp_path_factory.mktemp("shim") / "failing_writes.so"
    source = Path(__file__).with_name("failing_writes.c")
    subprocess.run(["cc", "-O1", "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
    return library


@pytest.mark.parametrize("stride", lengths(100, 1))
def test_the_disk_refuses_each_of_the_first_200_writes(stride, shim, tmp_path):
    run = program(
        FAILING, shim, tmp_path, 200, stride,
        env={"LD_PRELOAD": str(shim)}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    said = run.communicate()[0]
    assert run.returncode == 0, said[-3000:]
    print(said.splitlines()[-1])


# Flipped bits and truncations


def readers(workdir):
    """Every file that counts, by kind, and what reads it."""
    run = config()
    data = data_of(workdir)
    dataset = Dataset(workdir / "dataset")
    reader = Workdir(workdir)

    this = Run(run, reader, dataset)
    hyper = train.hyper_of(run, 1, 1.0)
    state = init_state(this.policy, hyper, 0, run.policy.frames)

    def checkpoint(name, step):
        return lambda: reader.load_checkpoint(name, state, step)

    found: dict = {kind: [] for kind in ("shard", "labels", "pairs", "manifest", "checkpoint")}
    for path in sorted(data.glob("mili-*")):
        split = path.name[5:].partition(".")[0]
        found["shard"].append((path, lambda split=split: list(dataset.read(split))))
    found["labels"] = [(data / "labels_round_1.jsonl", lambda: dataset.read_labels("round_1"))]
    found["pairs"] = [(data / "pairs_mili_1.csv", lambda: dataset.read_pairs("mili_1"))]
    for name in ("checksums.json", "features.json", "dataset_info.json"):
        found["manifest"].append((data / name, lambda: Dataset(workdir / "dataset")))
    found["manifest"].append((workdir / "manifest.json", lambda: Workdir(workdir)))
    for path in sorted((workdir / "stages").glob("*.json")):
        found["manifest"].append((path, lambda stem=path.stem: reader.read_manifest(stem)))
    for path in sorted((workdir / "checkpoints").rglob("*")):
        if path.is_file() and path.stat().st_size:
            name, step = path.relative_to(workdir / "checkpoints").parts[:2]
            load = checkpoint(name, int(step.removesuffix(".json")))
            found["checkpoint"].append((path, load))
    return found


@pytest.mark.parametrize("flips, cuts", [
    pytest.param(40, 15, marks=pytest.mark.slow, id="short"),
    pytest.param(500, 100, marks=pytest.mark.fault, id="full"),
])  # fmt: skip
def test_flipped_bits_and_truncations(flips, cuts, finished, tmp_path):
    workdir = shutil.copytree(finished, tmp_path / "copy")
    kinds = readers(workdir)
    rng = random.Random(2)
    counts = dict.fromkeys(kinds, 0)
    for i in range(flips + cuts):
        kind = list(kinds)[i % len(kinds)]
        path, read = rng.choice(kinds[kind])
        whole = path.read_bytes()
        read()
        if i < flips:
            damaged = bytearray(whole)
            damaged[rng.randrange(len(whole))] ^= 1 << rng.randrange(8)
        else:
            damaged = whole[: rng.randrange(len(whole))]
        path.write_bytes(damaged)
        with pytest.raises(DataError) as caught:
            read()
        assert str(path) in str(caught.value), (kind, path)
        # A rotten manifest of checksums leaves nothing to compare the others with.
        assert path in {damage.path for damage in doctor.examine(workdir)}, (kind, path)
        path.write_bytes(whole)
        counts[kind] += 1
    assert doctor.examine(workdir) == []
    print(f"{flips} flips, {cuts} cuts:", counts)


# The same bits everywhere


@pytest.mark.parametrize("count", lengths(12, 200))
def test_workers_order_and_backend_change_no_bit(count, tmp_path, monkeypatch):
    """Every pair of a task and a seed alone in its shard, whose bytes are compared."""
    trials = make_trials(count)
    rng = random.Random(3)
    shuffled = rng.sample(range(count), count)
    cases = [
        ("one", worker_pool.run_jobs, 1, range(count)),
        ("two", worker_pool.run_jobs, 2, range(count)),
    ]
    cases.append(("shuffled", worker_pool.run_jobs, 2, shuffled))
    if importlib.util.find_spec("ray"):
        cases.append(("ray", ray.run_jobs, 2, shuffled))
    found = {}
    # Where Ray's workers find this folder.
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(Path(__file__).parent), str(ROOT)]))
    for name, run_jobs, workers, order in cases:
        # Jobs of three trials cut in this order: other neighbours in lockstep, too.
        order = list(order)
        cut = [order[i : i + 3] for i in range(0, count, 3)]
        jobs = [(i, [trials[k] for k in group]) for i, group in enumerate(cut)]
        sink = functools.partial(write_each, tmp_path / name)
        for _ in run_jobs(jobs, make_player, sink, workers):
            pass
        shards = (tmp_path / name).rglob("mili-*.array_record-*")
        found[name] = {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in shards}
        assert len(found[name]) == count
    assert all(found[name] == found["one"] for name in found)
    assert len(set(found["one"].values())) == count
    if "ray" in found:
        importlib.import_module("ray").shutdown()
    print(f"{count} trials, equal:", ", ".join(found))


# A long run


RESETS = "import sys, workers; workers.reset_often(int(sys.argv[1]), int(sys.argv[2]))"


@pytest.mark.parametrize("count, warm", [
    pytest.param(900, 300, marks=pytest.mark.slow, id="short"),
    pytest.param(20_000, 500, marks=pytest.mark.fault, id="full"),
])  # fmt: skip
def test_memory_over_many_resets(count, warm):
    run = program(RESETS, count, warm, stdout=subprocess.PIPE, text=True)
    said = run.communicate()[0]
    assert run.returncode == 0
    print(said.splitlines()[-1])


# Workers that die, many times


@pytest.mark.parametrize("kills, hangs, segfaults", [
    pytest.param(3, 2, 2, marks=pytest.mark.slow, id="short"),
    pytest.param(50, 50, 20, marks=pytest.mark.fault, id="full"),
])  # fmt: skip
def test_workers_killed_hung_and_segfaulted(kills, hangs, segfaults, tmp_path):
    list(worker_pool.run_jobs([(0, make_trials(1))], make_player, ignore, 1))
    before = children(), descriptors()  # with what Python starts once and for good
    ways = ["kill"] * kills + ["hang", "stop"] * (hangs // 2) + ["segfault"] * segfaults
    random.Random(4).shuffle(ways)
    trials = make_trials(len(ways))
    curses = {t.seed: (way, 1) for t, way in zip(trials, ways, strict=True)}
    make = functools.partial(CursedPlayer, curses, tmp_path)
    jobs = [(i, trials[i : i + 2]) for i in range(0, len(trials), 2)]
    done = sorted(worker_pool.run_jobs(jobs, make, ignore, 2))
    incidents = [incident for job in done for incident in job.incidents]
    assert {i.item for i in incidents} == {t.episode_id for t in trials}
    assert len(incidents) == len(ways)
    slowest = max(i.silent for i in incidents)
    assert slowest <= 5
    assert not any(job.set_aside for job in done)
    assert [m.episode_id for job in done for m in job.metas] == [t.episode_id for t in trials]
    assert (children(), descriptors()) == before
    print(f"{len(ways)} workers lost, the slowest noticed after {slowest:.2f} s, no trial lost")


# Actions of any size


@pytest.mark.parametrize("count", lengths(40, 10_000))
def test_random_actions_with_extremes(count, tmp_path):
    pool, listed = object_pool("train"), tasks.load_tasks()["train"]
    trials = []
    for i in range(count):
        task = listed[i % len(listed)]
        scene = scenes.sample([task], pool, np.random.default_rng((7, i))).to_json()
        trials.append(Trial(f"wild-{i}", task.id, scene, i, 1, "wild"))
    jobs = [(i, trials[at : at + 20]) for i, at in enumerate(range(0, count, 20))]
    for job in worker_pool.run_jobs(jobs, Wild, functools.partial(write_wild, tmp_path), 2):
        assert not job.set_aside
    dataset = Dataset(tmp_path, spec(16))
    dataset.commit("round_1", len(jobs))
    space = KitchenEnv(image_size=16).observation_space["pose"]
    frames = episodes = 0
    for episode in dataset.read("round_1"):
        assert np.isfinite(episode.pose).all() and np.isfinite(episode.action).all()
        assert (episode.pose >= space.low).all() and (episode.pose <= space.high).all(), (
            episode.meta
        )
        frames += len(episode)
        episodes += 1
    assert episodes == count
    print(f"{episodes} trials, {frames} frames: all finite and in bounds")
