"""Algorithm 1 as stages that talk through files: demonstrations, pre-training, trials, filter,
pairing, retraining, evaluation, report.

The only module that sees both halves, the simulator and the learner. A stage reads what earlier
stages committed, writes its own, and its manifest last; one whose manifest is there is skipped. So
a run that was killed goes on with the same command. The manifest says what the stage was made from
(which parameters, labels, pairs): when these are others now, the same command makes it again.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import itertools
import logging
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict
from tqdm import tqdm

from mili_jax import (
    acting,
    arms,
    data,
    filters,
    learner,
    maml,
    nets,
    pairing,
    schema,
    statistics,
    training,
)
from mili_jax.episodes import Dataset, write_shard
from mili_jax.sim import cluster, rollout, scenes, tasks
from mili_jax.sim.env import KitchenEnv, object_pool
from mili_jax.sim.world import CAMERA_HEIGHT, VIEW_HALF, Scene
from mili_jax.types import FAMILIES, ConfigError, DataError, EpisodeMeta, Task
from mili_jax.workdir import Workdir, source_commit

ALPHAS = (0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.925, 0.95, 0.97, 0.98, 0.99)
# By config.machine.backend: two ways to the same shards.
_RUN_JOBS = dict(zip(schema.BACKENDS, (rollout.run_jobs, cluster.run_jobs), strict=True))
connect_ray = cluster.connect
EMBEDDED = 256  # episodes in memory when a split is embedded
LOG = logging.getLogger(__name__)


@dataclasses.dataclass
class Run:
    """A configuration in its folder."""

    config: ConfigDict
    workdir: Workdir
    dataset: Dataset

    @property
    def policy(self) -> nets.Policy:
        c = self.config.policy
        return nets.Policy(
            camera=nets.Camera(VIEW_HALF, CAMERA_HEIGHT),
            embedding=c.embedding,
            head=c.head,
            embedding_size=c.embedding_size,
            channels=c.channels,
            blocks=c.blocks,
            bfloat16=self.config.train.bfloat16,
        )


def open_run(config: ConfigDict, path: Path) -> Run:
    """Makes or resumes the run's folder. Raises ConfigError or DataError, naming what and where."""
    schema.check(config)
    kept = config.to_dict()
    # Who does the work may change from day to day.
    for field in ("backend", "processes", "pairing"):
        del kept["machine"][field]
    workdir = Workdir(path, kept, free=("evaluate",))
    try:
        return Run(config, workdir, Dataset(workdir.path / "dataset", config.data.image_size))
    except BaseException:
        workdir.close()
        raise


def join_hosts(coordinator: str, hosts: int, host: int) -> None:
    """Makes this process one of several hosts that train together, before anything else.

    Args:
      coordinator: address:port of host 0, which all can reach.

    They share the folder of the run, and each gives its devices. Raises ConfigError if they do not
    come together within five minutes.
    """
    try:
        jax.distributed.initialize(coordinator, hosts, host)
    except (RuntimeError, ValueError) as error:
        raise ConfigError(
            f"--coordinator={coordinator} --hosts={hosts} --host={host}: {error}"
        ) from error


def plan(rounds: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Algorithm 1 in its order: the commands of experiments/, each with its round if it has one."""
    for name in ("demos", "pretrain", "baselines"):
        yield name, ()
    yield "evaluate", (0,)
    for number in range(1, rounds + 1):
        for name in ("collect", "label", "pair", "retrain", "evaluate"):
            yield name, (number,)
    yield "report", ()


def run_all(run: Run) -> Path:
    """The whole of Algorithm 1 and its report; returns the path of the report's page."""
    steps: dict[str, Callable[..., Any]] = {
        "demos": demonstrate,
        "pretrain": pretrain,
        "baselines": train_baselines,
        "collect": collect,
        "label": label,
        "pair": pair,
        "retrain": retrain,
        "evaluate": evaluate,
        "report": write_report,
    }
    made: Any = None
    for name, numbers in plan(run.config.improve.rounds):
        made = steps[name](run, *numbers)
    return Path(made)


# Demonstrations


def demonstrate(run: Run) -> None:
    """Stages: the scripted expert demonstrates every task of a split; only successes are kept."""
    for split in tasks.SPLITS:
        _demonstrate(run, split)


def _demonstrate(run: Run, split: str) -> None:
    config, name = run.config, f"demos_{split}"
    subset = _subset(run, "data")
    if split != "train":  # as many tasks of it as are evaluated
        subset["tasks"] = config.evaluate.tasks
    if not run.workdir.begins(name, subset):
        return
    began = time.time()
    requests = demonstration_requests(config, split)
    facts = _roll(
        run,
        name,
        requests,
        functools.partial(rollout.Teacher, config.data.image_size, config.data.noise),
        f"demonstrations, {split}",
        required=True,
    )
    metas = list(run.dataset.read_metadata(name))
    attempts = sum(1 + m.seed - r.seed for m, r in zip(metas, requests, strict=True))
    _finish(run, name, subset, began, attempts=attempts, **facts)


def demonstration_requests(config: ConfigDict, split: str) -> list[rollout.Request]:
    """What is asked of the expert: the same for every seed of training."""
    listed = tasks.load_tasks()[split]
    count = config.data.tasks if split == "train" else config.evaluate.tasks
    base = tasks.SPLITS.index(split) * schema.SEED_STRIDE
    return [
        rollout.Request(
            f"{split}-{i:03d}-{k}",
            task.id,
            split,
            base + schema.DEMO_STRIDE * (schema.MOST_DEMOS * i + k),
        )
        for i, task in enumerate(listed[:count])
        for k in range(config.data.demonstrations)
    ]


def _roll(
    run: Run,
    split: str,
    items: Sequence[Any],
    make_runner: Callable[[], Any],
    title: str,
    required: bool = False,
) -> dict[str, Any]:
    """Runs requests or trials as shards of a split, those that are missing, and commits it.

    Returns the number of episodes, and the ids of the trials that had to be set aside because
    they killed their workers; if `required`, that is an error. What is there of an older policy of
    the same name, or from other settings, is removed first.

    Raises DataError if the split holds episodes that this run did not make.
    """
    size = run.config.machine.shard
    jobs = [(i, items[at : at + size]) for i, at in enumerate(range(0, len(items), size))]
    if _outdated(run, split, jobs):
        LOG.warning("%s is of an older policy or of other settings; it is made again", split)
        run.dataset.drop(split)
    missing = [job for job in jobs if not run.dataset.has_shard(split, job[0])]
    sink = functools.partial(
        write_shard, run.dataset.path.parents[1], run.dataset.image_size, split
    )
    there = len(items) - sum(len(job) for _, job in missing)
    with (
        simulating(),
        tqdm(total=len(items), initial=there, desc=title, unit="episode", mininterval=1) as bar,
    ):
        machine = run.config.machine
        run_jobs = _RUN_JOBS[machine.backend]
        for done in run_jobs(missing, make_runner, sink, machine.processes, required):
            for incident in done.incidents:
                where = incident.item or f"shard {incident.job}"
                LOG.warning("%s: a worker at %s %s; run again", split, where, incident.how)
            for name in done.set_aside:
                LOG.warning("%s: %s is set aside, it kills its workers", split, name)
            bar.update(len(done.metas) + len(done.set_aside))
    run.dataset.commit(split, len(jobs))
    count = run.dataset.splits()[split]
    aside: list[str] = []
    if count < len(items):  # some perhaps by an earlier process, so the file says which
        kept = {m.episode_id for m in run.dataset.read_metadata(split)}
        aside = [item.episode_id for item in items if item.episode_id not in kept]
    return {"episodes": count, "set_aside": aside}


def _outdated(run: Run, split: str, jobs: Sequence[rollout.Job]) -> bool:
    """Whether a shard that is there holds other episodes than its job would make."""
    for index, items in jobs:
        if not run.dataset.has_shard(split, index):
            continue
        asked = {item.episode_id: item for item in items}
        metas = run.dataset.read_shard_metadata(split, index)
        for m in metas:
            item = asked.get(m.episode_id)
            if item is not None and item.made(m):
                continue
            if m.policy.partition("@")[0] != items[0].policy.partition("@")[0]:
                raise DataError(
                    f"shard {index} of {split!r} in {run.dataset.path} holds {m.episode_id!r} of "
                    f"the policy {m.policy!r}, which this stage does not make: episodes of your "
                    "own need no such stage; go on with the next one"
                )
            return True
        if isinstance(items[0], rollout.Request) and len(metas) < len(items):
            return True  # of trials some may have been set aside
    return run.dataset.has_shard(split, len(jobs))


class simulating:  # noqa: N801
    """While it lasts, new processes run JAX on the CPU, where there is one for each core, and on
    one thread: an accelerator is for this process, which trains."""

    FLAGS = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"

    def __enter__(self) -> None:
        self._before = {name: os.environ.get(name) for name in ("XLA_FLAGS", "JAX_PLATFORMS")}
        flags = f"{self._before['XLA_FLAGS'] or ''} {self.FLAGS}".strip()
        os.environ.update(XLA_FLAGS=flags, JAX_PLATFORMS="cpu")

    def __exit__(self, *error: object) -> None:
        for name, value in self._before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _subset(run: Run, *sections: str) -> dict[str, Any]:
    """The parts of the config that a stage depends on."""
    whole = run.config.to_dict()
    return {"seed": whole["seed"], **{name: whole[name] for name in sections}}


def _finish(run: Run, name: str, subset: Mapping[str, Any], began: float, **facts: Any) -> None:
    run.workdir.finish(name, subset, seconds=round(time.time() - began, 1), **facts)


def _parameters(run: Run, name: str) -> dict[str, str]:
    """The parameters that a training ended with, as an input of a stage. Raises DataError if it
    did not end."""
    step = run.workdir.read_manifest(name)["steps"]
    return {f"checkpoints/{name}": run.workdir.checkpoint_facts(name, step)["content"]}


def _policy_id(name: str, inputs: Mapping[str, str]) -> str:
    """What episodes call the policy that acted: its name and which parameters of that name."""
    return f"{name}@{inputs[f'checkpoints/{name}'][:12]}"


# Training

_make_train_step = functools.cache(learner.make_train_step)  # compiled once for equal trainings
_make_meta_step = functools.cache(maml.make_train_step)
_make_embed = functools.cache(learner.make_embed)
_LEARNING = ("data", "policy", "train")
_LOOP = (*_LEARNING, "improve")


def pretrain(run: Run) -> None:
    """Stage (line 5): one-shot imitation and the latent space, eq. 3 on the demonstrations."""
    if not run.workdir.begins("pretrain", _subset(run, *_LEARNING)):
        return
    c = run.config.train
    hyper = _hyper(run.config, c.steps, c.learning_rate)
    _imitate(run, "pretrain", hyper, c.batch, _demonstrations(run), _LEARNING)


def train_baselines(run: Run) -> None:
    """Stages: behaviour cloning (eq. 1) and MIL on the same demonstrations."""
    sections = (*_LEARNING, "baselines")
    for name in run.config.baselines.methods:
        if not run.workdir.begins(name, _subset(run, *sections)):
            continue
        pool, hyper = _demonstrations(run), _baseline_hyper(run.config, name)
        if name == "bc":
            _imitate(run, name, hyper, run.config.train.batch, pool, sections)
            continue
        _meta_train(run, name, hyper, pool, sections)


def _meta_train(
    run: Run,
    name: str,
    hyper: learner.Hyper,
    pool: data.Pool,
    sections: Sequence[str],
    inputs: Mapping[str, str] | None = None,
    *,
    table: data.PairTable | None = None,
    params: Any = None,
    seed: int | None = None,
) -> None:
    """Trains MIL on tasks of demonstrations, and on pairs of a table if there is one; the rest as
    in `_imitate`."""
    config, mil = run.config, _mil(run.config, name)
    seed = config.seed if seed is None else seed
    state = maml.init_state(run.policy, hyper, mil, config.seed, config.policy.frames, params)
    pool = data.hold(pool, int(config.machine.pool_gb * 1e9))
    batch = functools.partial(
        data.sample_tasks,
        pool,
        data.group_by_task(pool),
        table,
        seed,
        size=config.baselines.mil_tasks,
        pair_fraction=0.0 if table is None else config.improve.pair_fraction,
        policy_steps=config.baselines.mil_policy_steps,
    )
    step_fn = _make_meta_step(run.policy, hyper, mil, learner.make_mesh())
    facts = _learned_from(pool, table)
    _train(run, name, hyper, state, step_fn, batch, sections, facts, inputs, seed)


def _mil(config: ConfigDict, name: str) -> maml.MilHyper:
    c = config.baselines
    return maml.MilHyper(
        # What goes on from `mil` is shown what that is.
        support=schema.SUPPORTS.get(name, schema.SUPPORTS["mil"]),
        adapted=c.mil_adapted,
        inner_steps=c.mil_inner_steps,
        inner_rate=c.mil_inner_rate,
        first_order=c.mil_first_order,
        clip=c.mil_clip,
    )


def retrain(run: Run, number: int) -> None:
    """Stages (line 24): training on demonstrations and the pairs of all rounds so far.

    Every arm of MILI's kind trains as many steps, from the same start (in later rounds from its own
    last policy) and on as many rows of demonstrations; the rows of pairs come on top. MIL's train
    as many steps as MIL had on the demonstrations, and as many tasks in each, from where it stood.
    """
    arms.check_round(run.config, number, 1)
    for name in arms.policies(run.config, number):
        _retrain(run, name, number)


def _retrain(run: Run, name: str, number: int) -> None:
    c, arm = run.config.improve, name.rpartition("_")[0]
    start, alone = arms.start_of(run.config, number, arm), arms.parse(arm).alone
    inputs = _parameters(run, start) if c.warm_start else {}
    if not alone:
        for past in range(1, number + 1):
            inputs |= run.dataset.digests(f"pairs_{arm}_{past}.csv", f"labels_round_{past}.jsonl")
    sections = (*_LOOP, "baselines") if arms.adapts(name) else _LOOP
    if not run.workdir.begins(name, _subset(run, *sections), inputs):
        return
    pool, table = _demonstrations(run), None
    if not alone:
        pool, table = _with_trials(run, pool, number, arm)
        if table is None:
            LOG.warning("round %d found no pair; it trains on demonstrations alone", number)
    options: dict[str, Any] = {
        "table": table,
        "params": load_params(run, start) if c.warm_start else None,
        "seed": _stream(run.config, number),
    }
    if arms.adapts(name):
        hyper = _baseline_hyper(run.config, name)
        _meta_train(run, name, hyper, pool, sections, inputs, **options)
        return
    hyper = _hyper(run.config, c.steps, c.learning_rate)
    rows = c.batch + (_pair_rows(run.config) if arm == "more_demos" else 0)
    _imitate(run, name, hyper, rows, pool, sections, inputs, **options)


def _pair_rows(config: ConfigDict) -> int:
    """The rows of pairs in a batch of retraining, on top of those of demonstrations: as many in
    each of the colour groups that these make."""
    c = config.improve
    colours = learner.most_colours(c.batch)
    return colours * round(c.batch * c.pair_fraction / (1 - c.pair_fraction) / colours)


def _stream(config: ConfigDict, number: int) -> int:
    """The seed of what a retraining draws: every round's own, so that none sees again what the last
    one saw in the same order, and the same for all arms of a round."""
    return int(np.random.SeedSequence((config.seed, number)).generate_state(1)[0] >> 1)


def _demonstrations(run: Run) -> data.Pool:
    return data.read_pool(run.dataset, "demos_train", demonstrations=True)


def _with_trials(
    run: Run, pool: data.Pool, number: int, arm: str
) -> tuple[data.Pool, data.PairTable | None]:
    """Demonstrations and trials of rounds 1..number, with the pairs that an arm trains on: those of
    its tables, and for `self_share` of the draws one of its candidates with itself, paired or not.

    Seen turned, mirrored and shifted in two ways a trial shows what to do in a picture of the same
    scene, and its pair is right for certain.
    """
    pools, parsed = [pool], arms.parse(arm)
    share = parsed.self_share(run.config.improve.self_share)
    a: list[str] = []
    b: list[str] = []
    weights: list[np.ndarray] = []
    for past in range(1, number + 1):
        pairs = run.dataset.read_pairs(f"{arm}_{past}")
        metas, useful, rested = _answered(run, past)
        mine = arms.candidates(parsed, useful, rested, run.config.seed)
        own = tuple(metas[i].episode_id for i in mine)
        drawings = [(pairs.a, pairs.b, 1 - share), (own, own, share)]
        drawings = [drawing for drawing in drawings if drawing[0] and drawing[2] > 0]
        used = {name for first, second, _ in drawings for name in (*first, *second)}
        if used:
            pools.append(
                data.read_pool(run.dataset, f"round_{past}", False, wanted=used.__contains__)
            )
        for first, second, part in drawings:
            drawn = _weights(run, past, first, second)
            a += first
            b += second
            weights.append(part * drawn / drawn.sum())
    joined = data.concatenate(pools)
    return joined, data.pair_table(joined, a, b, np.concatenate(weights)) if a else None


def _weights(run: Run, number: int, a: Sequence[str], b: Sequence[str]) -> np.ndarray:
    """Sampling weights of pairs: even over the trials, and over the families that they resemble.

    Without them a trial with many partners, and a family that is easy, would come up most. What a
    trial resembles is the family of the nearest demonstration in the latent space; nobody labels
    it.
    """
    partners = Counter((*a, *b))
    weights = np.array([1 / partners[m] + 1 / partners[n] for m, n in zip(a, b, strict=True)])
    return _even(run, number, a, weights)


def _even(run: Run, number: int, ids: Sequence[str], weights: np.ndarray) -> np.ndarray:
    """The weights of trials, made even over the families that they resemble if so configured."""
    if not run.config.improve.balance or not ids:
        return weights
    resembles = run.workdir.read_manifest(f"pair_{number}")["resembles"]
    kinds = np.array([FAMILIES.index(resembles[name]) for name in ids])
    return weights / np.bincount(kinds, weights, len(FAMILIES))[kinds]


def _hyper(config: ConfigDict, steps: int, learning_rate: float) -> learner.Hyper:
    c = config.train
    return learner.Hyper(
        steps=steps,
        learning_rate=learning_rate,
        warmup=min(100, steps // 5),
        contrastive=c.contrastive,
        contrastive_weight=c.contrastive_weight,
        recall_weight=c.recall_weight,
        demo_dropout=c.demo_dropout,
    )


def _baseline_hyper(config: ConfigDict, name: str) -> learner.Hyper:
    c = config.baselines
    if name == "bc":
        hyper = _hyper(config, c.bc_steps, config.train.learning_rate)
        return dataclasses.replace(hyper, condition=False)
    return _hyper(config, c.mil_steps, c.mil_learning_rate)


def _imitate(
    run: Run,
    name: str,
    hyper: learner.Hyper,
    rows: int,
    pool: data.Pool,
    sections: Sequence[str],
    inputs: Mapping[str, str] | None = None,
    *,
    table: data.PairTable | None = None,
    params: Any = None,
    seed: int | None = None,
) -> None:
    """Trains one-shot imitation (or behaviour cloning) on demonstrations, `rows` of a batch, and a
    table of pairs, from `params` if there are any; `seed` is of what it draws."""
    config, mesh = run.config, learner.make_mesh()
    seed = config.seed if seed is None else seed
    state = learner.init_state(run.policy, hyper, config.seed, config.policy.frames, params)
    pool = data.hold(pool, int(config.machine.pool_gb * 1e9))
    extra = 0 if table is None else _pair_rows(config)
    colours, compared = learner.most_colours(rows), rows if extra else None
    hyper = dataclasses.replace(hyper, colours=colours, compared=compared)
    size, host, hosts = rows + extra, jax.process_index(), jax.process_count()
    batch = functools.partial(
        data.sample_batch,
        pool,
        data.group_by_task(pool),
        table,
        seed,
        size=size,
        pair_fraction=extra / size,
        policy_steps=config.train.policy_steps,
        frames=config.policy.frames,
        places=config.policy.places,
        truncated=config.train.truncated and hyper.condition,
        part=slice(size * host // hosts, size * (host + 1) // hosts),
    )
    facts = _learned_from(pool, table)
    step_fn = _make_train_step(run.policy, hyper, mesh)
    # An accelerator is faster than one thread draws batches; a CPU has its own use for the others.
    one = isinstance(pool.image, np.ndarray) and jax.default_backend() == "cpu"
    threads = 1 if one else min(8, os.cpu_count() or 1)
    _train(run, name, hyper, state, step_fn, batch, sections, facts, inputs, seed, threads)


def _learned_from(pool: data.Pool, table: data.PairTable | None) -> dict[str, int]:
    return {
        "pairs": 0 if table is None else int(np.sum(table.episodes[:, 0] != table.episodes[:, 1])),
        "demonstrations": int((pool.task >= 0).sum()),
        "trials": int((pool.task < 0).sum()),
    }


def _train(
    run: Run,
    name: str,
    hyper: learner.Hyper,
    state: learner.TrainState,
    step_fn: Callable[..., tuple[learner.TrainState, Any]],
    batch: Callable[..., data.Batch],
    sections: Sequence[str],
    facts: Mapping[str, Any],
    inputs: Mapping[str, str] | None = None,
    seed: int | None = None,
    threads: int = 1,
) -> None:
    training.train(
        run.workdir,
        name,
        state,
        step_fn,
        batch,
        steps=hyper.steps,
        config=_subset(run, *sections),
        inputs=inputs or {},
        facts=facts,
        seed=run.config.seed if seed is None else seed,
        checkpoint_every=run.config.train.checkpoint_every,
        threads=threads,
    )


def load_params(run: Run, name: str) -> Any:
    """The averaged parameters that a training stage ended with. Raises DataError without them."""
    # The last step and no other: a stage that did not finish has earlier checkpoints too.
    step, frames = run.workdir.read_manifest(name)["steps"], run.config.policy.frames
    hyper = _hyper(run.config, 1, 1.0)
    if arms.adapts(name):
        mil = _mil(run.config, name)
        state = jax.eval_shape(lambda: maml.init_state(run.policy, hyper, mil, 0, frames))
    else:
        state = jax.eval_shape(lambda: learner.init_state(run.policy, hyper, 0, frames))
    return run.workdir.load_checkpoint(name, state, step).average


# Acting


def _supports(run: Run, splits: Sequence[str]) -> tuple[maml.Shown, list[EpisodeMeta]]:
    """The steps that MIL adapts to, of every episode of the splits, and the episodes' facts."""
    episodes = [e for split in splits for e in run.dataset.read(split)]
    pool = data.build_pool(episodes, demonstrations=False)
    fields = data.steps_along(pool, np.arange(len(pool)), run.config.baselines.mil_policy_steps)
    return maml.Shown(*fields), [e.meta for e in episodes]


def embed(run: Run, params: Any, splits: Sequence[str]) -> tuple[np.ndarray, list[EpisodeMeta]]:
    """Embeds every episode of the splits: z float32 [N,Z] and the episodes' facts."""
    function = _make_embed(run.policy)
    c = run.config.policy
    parts, metas = [], []
    for split in splits:
        stored = run.dataset.read(split)
        # A split may be larger than the memory.
        while episodes := list(itertools.islice(stored, EMBEDDED)):
            pool = data.build_pool(episodes, demonstrations=False)
            inputs = data.demo_inputs(pool, np.arange(len(pool)), c.frames, c.places)
            parts.append(learner.embed_all(function, params, *inputs))
            metas += [e.meta for e in episodes]
    return np.concatenate(parts), metas


# Improvement


def collect(run: Run, number: int) -> None:
    """Stage (lines 9-12): trials of the latest policy, each after a random demonstration.

    From the second round on what useful trials did are tasks as well (line 20), see `_followed`.
    """
    name, before = f"round_{number}", arms.start_of(run.config, number)
    inputs = _parameters(run, before)
    if not run.workdir.begins(name, _subset(run, *_LOOP), inputs):
        return
    began = time.time()
    params = load_params(run, before)
    z, metas = embed(run, params, ["demos_train", *(f"round_{k}" for k in range(1, number))])
    table = {m.episode_id: row for m, row in zip(metas, z, strict=True)}
    demos = [m for m in metas if m.round == 0]
    maker = acting.MakeActor(run.policy, params, table, run.config.improve.temperature)
    size, noise = run.config.data.image_size, run.config.improve.noise
    player = functools.partial(rollout.Player, maker, size, noise=noise)
    actor = _policy_id(before, inputs)
    trials = list(trial_plan(run.config, number, actor, demos, *_followed(run, number)))
    facts = _roll(run, name, trials, player, f"trials, round {number}")
    _finish(run, name, _subset(run, *_LOOP), began, inputs=inputs, **facts)


def _followed(run: Run, number: int) -> tuple[list[EpisodeMeta], np.ndarray]:
    """The earlier trials that those of a round follow, and how often each: float64 [N], sum 1.

    They are the useful ones that came to rest. One with many partners shows what many show, and
    what is easy succeeds most; so a trial comes up as one over one plus its partners, and
    `improve.balance` makes the families that trials resemble even.
    """
    shown: list[EpisodeMeta] = []
    weights: list[np.ndarray] = [np.zeros(0)]
    for past in range(1, number):
        metas, useful, rested = _answered(run, past)
        mine = arms.candidates(arms.Arm("mili"), useful, rested, run.config.seed)
        pairs = run.dataset.read_pairs(f"mili_{past}")
        partners = Counter((*pairs.a, *pairs.b))
        ids = [metas[i].episode_id for i in mine]
        rarity = np.array([1 / (1 + partners[name]) for name in ids])
        weights.append(_even(run, past, ids, rarity))
        shown += [metas[i] for i in mine]
    weight = np.concatenate(weights)
    return shown, weight / weight.sum() if shown else weight


def trial_plan(
    config: ConfigDict,
    number: int,
    policy: str,
    demos: Sequence[EpisodeMeta],
    shown: Sequence[EpisodeMeta] = (),
    weights: np.ndarray | None = None,
) -> Iterator[rollout.Trial]:
    """The trials of a round, a function of the seed: new scenes with any training object in them.

    In `commanded_share` of the trials the objects of the demonstration are there; elsewhere the
    robot does what it makes of the demonstration among one of `object_sets` sets of objects, which
    may be such as nobody has demonstrated. The sets come again and again, arranged anew each time:
    two trials form a pair only if they did the same, and with new objects in every trial that would
    hardly happen (Singh et al. 2020 have 60,000 trials in 150 scenes). `trial_share` of the
    demonstrations are earlier trials, if there are any in `shown`, drawn by `weights`: of these
    only the objects around are known, and the task is the one they were commanded, which may not be
    what they show. With noise some begin where a demonstration may, low or with closed fingers.
    """
    c, pool = config.improve, object_pool("train")

    @functools.cache
    def object_set(k: int) -> tuple[str, ...]:
        return _objects(scenes.sample([], pool, np.random.default_rng((config.seed, number, k, 1))))

    for i in range(c.trials):
        rng = np.random.default_rng((config.seed, number, i))
        own = bool(shown) and rng.random() < c.trial_share
        if own:
            demo = shown[int(rng.choice(len(shown), p=weights))]
        else:
            demo = demos[int(rng.integers(len(demos)))]
        there = rng.random() < c.commanded_share
        if there and own:
            scene = scenes.rearrange(_objects(Scene.from_json(demo.scene)), rng)
        elif there or not c.object_sets:
            scene = scenes.sample([Task.parse(demo.task)] if there else [], pool, rng)
        else:
            scene = scenes.rearrange(object_set(int(rng.integers(c.object_sets))), rng)
        if c.noise:
            scene = dataclasses.replace(scene, tool=rollout.first_pose(scene, rng))
        yield rollout.Trial(
            episode_id=f"round{number}-{i:06d}",
            task=demo.task,
            scene=scene.to_json(),
            seed=(10 + number) * schema.SEED_STRIDE + i,
            round=number,
            policy=policy,
            demonstration=demo.episode_id,
        )


def _objects(scene: Scene) -> tuple[str, ...]:
    return tuple(placement.object for placement in scene.placements)


def label(run: Run, number: int) -> None:
    """Stage (line 13): the filter F answers yes or no for every trial that nobody has answered."""
    name, split = f"filter_{number}", f"round_{number}"
    inputs = _parameters(run, arms.start_of(run.config, number))
    if not run.workdir.begins(name, _subset(run, *_LOOP), inputs):
        return
    began, known = time.time(), run.dataset.read_labels(split)
    metas = [m for m in run.dataset.read_metadata(split) if m.episode_id not in known]
    if metas:
        run.dataset.write_labels(split, filters.simulator(metas))
    labels = run.dataset.read_labels(split).values()
    useful = sum(answer.useful for answer in labels)
    facts = {"trials": len(labels), "useful": useful, "answered_before": len(known)}
    _finish(run, name, _subset(run, *_LOOP), began, inputs=inputs, **facts)


def pair(run: Run, number: int) -> None:
    """Stage (lines 17-22): useful trials that lie close in the latent space become pairs."""
    name, before = f"pair_{number}", arms.start_of(run.config, number)
    split = f"round_{number}"
    inputs = _parameters(run, before) | run.dataset.digests(f"labels_{split}.jsonl")
    if not run.workdir.begins(name, _subset(run, *_LOOP), inputs):
        return
    began, c = time.time(), run.config.improve
    params = load_params(run, before)
    metas, useful, rested = _answered(run, number)
    z, _ = embed(run, params, [split])
    demo_z, demos = embed(run, params, ["demos_train"])
    trials = arms.Trials(
        ids=[m.episode_id for m in metas],
        z=z,
        useful=useful,
        rested=rested,
        achieved=[set(m.achieved_tasks) for m in metas],
    )
    options = {"alpha": c.alpha, "cap": c.cap, "mutual": c.mutual, "seed": run.config.seed}
    options["backend"] = run.config.machine.pairing
    tables, counts = [], {}
    for key in arms.policies(run.config, number):
        arm = arms.parse(key.rpartition("_")[0])
        if not arm.alone:
            pairs = arms.choose(arm, trials, [m.episode_id for m in demos], demo_z, **options)
            tables.append(run.dataset.write_pairs(key, *pairs))
            counts[key.rpartition("_")[0]] = len(pairs.a)
    nearest = (z @ demo_z.T).argmax(1) if len(z) else np.zeros(0, int)
    resembles = {
        name: Task.parse(demos[j].task).family for name, j in zip(trials.ids, nearest, strict=True)
    }
    mine = arms.candidates(arms.Arm("mili"), useful, rested, run.config.seed)
    position = {trials.ids[i]: k for k, i in enumerate(mine)}
    used = run.dataset.read_pairs(f"mili_{number}")
    rows = [(position[m], position[n]) for m, n in zip(used.a, used.b, strict=True)]
    _report_pairs(run, number, z[mine], [metas[i] for i in mine], np.array(rows).reshape(-1, 2))
    _finish(
        run,
        name,
        _subset(run, *_LOOP),
        began,
        candidates=len(mine),
        pairs=counts,
        resembles=resembles,
        inputs=inputs,
        outputs=tables,
    )


def _answered(run: Run, number: int) -> tuple[list[EpisodeMeta], np.ndarray, np.ndarray]:
    """A round's N trials, with what F said of each and whether it came to rest, bool [N].

    Raises DataError if F has not answered for all of them.
    """
    split = f"round_{number}"
    metas, labels = list(run.dataset.read_metadata(split)), run.dataset.read_labels(split)
    unanswered = [m.episode_id for m in metas if m.episode_id not in labels]
    if unanswered:
        raise DataError(
            f"{run.dataset.path}: {len(unanswered)} of the {len(metas)} trials of {split!r} have "
            f"no label ({unanswered[0]!r} is the first); let `experiments.label` or people answer"
        )
    useful = np.array([labels[m.episode_id].useful for m in metas], bool)
    anyhow = not run.config.improve.rested
    return metas, useful, np.array([m.terminated or anyhow for m in metas], bool)


def _report_pairs(
    run: Run, number: int, z: np.ndarray, metas: Sequence[EpisodeMeta], pairs: np.ndarray
) -> None:
    """Writes precision and recall of pairs against the oracle over alpha: metrics, never data."""
    config, c = run.config, run.config.improve
    achieved = [set(m.achieved_tasks) for m in metas]
    curve = pairing.alpha_curve(z, achieved, ALPHAS) if len(z) else []
    scored = [(c.alpha, True, pairing.pair_quality(pairs, achieved))]
    scored += [(alpha, False, quality) for alpha, quality in zip(ALPHAS, curve, strict=False)]
    run.workdir.write_rows(
        f"pair_{number}",
        [
            {
                "config": config.name,
                "round": number,
                "seed": config.seed,
                "alpha": alpha,
                "chosen": chosen,
                "cap": c.cap if chosen else None,
                "pairs": quality.pairs,
                # A share of nothing is nan, which JSON has no word for.
                **{
                    name: None if np.isnan(value) else value
                    for name, value in quality._asdict().items()
                    if name != "pairs"
                },
            }
            for alpha, chosen, quality in scored
        ],
    )


# Evaluation


@dataclasses.dataclass(frozen=True)
class Arrangement:
    """One evaluation episode: the same for every method, seed of training and condition."""

    task: Task
    index: int  # of the episode within its task
    scene: Scene
    right: str  # id of a demonstration of the task
    wrong: str  # id of a demonstration of another task that the scene affords
    seed: int


def arrangements(config: ConfigDict) -> list[Arrangement]:
    """The evaluation episodes: scenes that hold the objects of the task and of a foil task."""
    split, count = config.evaluate.split, config.evaluate.tasks
    listed = tasks.load_tasks()[split][:count]
    pool = object_pool(split)
    found = []
    for i, task in enumerate(listed):
        for k in range(config.evaluate.episodes):
            rng = np.random.default_rng((config.evaluate.seed, tasks.SPLITS.index(split), i, k))
            demos = rng.integers(config.data.demonstrations, size=2)
            j = int(rng.choice([x for x in range(count) if x != i]))
            found.append(
                Arrangement(
                    task=task,
                    index=k,
                    scene=scenes.sample([task], pool, rng, foil=listed[j]),
                    right=f"{split}-{i:03d}-{demos[0]}",
                    wrong=f"{split}-{j:03d}-{demos[1]}",
                    seed=(100 + tasks.SPLITS.index(split)) * schema.SEED_STRIDE + 1000 * i + k,
                )
            )
    return found


def evaluate(run: Run, number: int) -> None:
    """Stages: one-shot success on held-out objects of every policy of a round (0: pre-training).

    The loop's policies and MIL are given the right, a wrong and no demonstration, what stands
    beside them the right one alone.
    """
    for name, method in arms.policies(run.config, number).items():
        _evaluate(run, name, method, number)


def _evaluate(run: Run, name: str, method: str, number: int) -> None:
    stage = f"evaluate_{name}"
    subset, inputs = _subset(run, *_LOOP, "evaluate"), _parameters(run, name)
    if not run.workdir.begins(stage, subset, inputs):
        return
    began, config = time.time(), run.config
    params = load_params(run, name)
    plan = arrangements(config)
    maker, measured = _held_out(run, name, params)
    player = functools.partial(rollout.Player, maker, config.data.image_size)
    conditions = config.evaluate.conditions
    if method not in (("mili",) if number else ("meta_imitation", "mil")):
        conditions = conditions[:1]
    trials = [
        rollout.Trial(
            episode_id=f"{name}-{condition}-{a.task.id}-{a.index}",
            task=a.task.id,
            scene=a.scene.to_json(),
            seed=a.seed,
            round=number,
            policy=_policy_id(name, inputs),
            demonstration={"right": a.right, "wrong": a.wrong, "none": ""}[condition],
        )
        for condition in conditions
        for a in plan
    ]
    facts = _roll(run, f"evaluation_{name}", trials, player, f"evaluation of {name}")
    outcomes = {m.episode_id: m for m in run.dataset.read_metadata(f"evaluation_{name}")}
    rows, commit = [], source_commit()
    scenes_of: dict[str, str] = {}
    for a in plan:
        scenes_of[a.task.id] = f"{scenes_of.get(a.task.id, '')}{a.seed} {a.scene.to_json()}\n"
    steps = [run.workdir.read_manifest(n)["steps"] for n in arms.lineage(config, name, number)]
    cost = {"steps": sum(steps), "trials": arms.trials_seen(config, name, number)}
    for c, condition in enumerate(conditions):
        part = trials[c * len(plan) : (c + 1) * len(plan)]
        for task in dict.fromkeys(a.task for a in plan):
            # One that was set aside counts as a failure.
            mine = [outcomes.get(t.episode_id) for t in part if t.task == task.id]
            rows.append(
                {
                    "config": config.name,
                    "commit": commit,
                    "method": method,
                    "round": number,
                    "seed": config.seed,
                    "split": config.evaluate.split,
                    "family": task.family,
                    "task": task.id,
                    "demo": condition,
                    "n": len(mine),
                    "successes": sum(m is not None and m.success for m in mine),
                    "any_task": sum(m is not None and bool(m.achieved_tasks) for m in mine),
                    "outcomes": [int(m is not None and m.success) for m in mine],
                    "arrangements": hashlib.sha256(scenes_of[task.id].encode()).hexdigest()[:12],
                    **cost,
                }
            )
    run.workdir.write_rows(stage, rows)
    _finish(run, stage, subset, began, inputs=inputs, **measured, **facts)


def _held_out(run: Run, name: str, params: Any) -> tuple[Callable[[], rollout.Actor], dict]:
    """Makes the actor of a policy for held-out demonstrations, and what can be measured of it on
    them alone: how well its embedding tells tasks apart, or whether adapting to one demonstration
    of a task lowers the loss on another."""
    held = [f"demos_{s}" for s in ("validation", "test")]
    if arms.adapts(name):
        hyper, mil = _baseline_hyper(run.config, name), _mil(run.config, name)
        shown, metas = _supports(run, held)
        ids = [m.episode_id for m in metas]
        kinds = np.unique([m.task for m in metas], return_inverse=True)[1]
        of_task = [np.flatnonzero(kinds == k) for k in range(kinds.max() + 1)]
        support, query = (np.array([rows[k] for rows in of_task]) for k in (0, 1))
        before, after = maml.improvement(run.policy, hyper, mil, params, shown, support, query)
        table = {i: jax.tree.map(lambda a: a[k], shown) for k, i in enumerate(ids)}  # noqa: B023
        adaptation = {
            "tasks": len(of_task),
            "before": float(before.mean()),
            "after": float(after.mean()),
            "improved": float(np.mean(after < before)),
        }
        maker = acting.MakeAdaptingActor(run.policy, hyper, mil, params, table)
        return maker, {"adaptation": adaptation}
    if name == "bc":  # acts without a demonstration, whichever it is given
        nothing = np.zeros(run.config.policy.embedding_size, np.float32)
        ids = [m.episode_id for split in held for m in run.dataset.read_metadata(split)]
        return acting.MakeActor(run.policy, params, dict.fromkeys(ids, nothing)), {}
    z, metas = embed(run, params, held)
    neighbours = {
        "task": statistics.nearest_neighbour(z, [m.task for m in metas]),
        "family": statistics.nearest_neighbour(z, [Task.parse(m.task).family for m in metas]),
    }
    table = {m.episode_id: row for m, row in zip(metas, z, strict=True)}
    return acting.MakeActor(run.policy, params, table), {"neighbours": neighbours}


# Report


def write_report(run: Run) -> Path:
    """Stage: `report/index.html` from what the other stages left; made anew every time."""
    from mili_jax import report  # brings Matplotlib, which no other stage needs

    config, workdir, last = run.config, run.workdir, arms.last_policy(run.config)
    rounds = range(1, config.improve.rounds + 1)
    names = [name for number in (0, *rounds) for name in arms.policies(config, number)]
    collection = [_collected(run, number) for number in rounds]
    metrics = [
        {"stage": name, "step": step, **values}
        for name in names
        for step, values in workdir.read_metrics(name).items()
    ]
    params = load_params(run, last)
    splits = ["demos_train", "demos_validation", "demos_test"]
    z, metas = embed(run, params, splits)
    kinds = [Task.parse(m.task).family for m in metas]
    rows = workdir.read_rows()
    return report.write_report(
        workdir.path / "report",
        title="One-shot imitation that improves from its own trials",
        config=config.to_dict(),
        manifest=workdir.provenance(),
        rows=[row for row in rows if "task" in row],
        pairing_rows=[row for row in rows if "alpha" in row],
        metrics=metrics,
        embedding={
            "z": z,
            "family": kinds,
            "task": [m.task for m in metas],
            "split": [m.episode_id.split("-")[0] for m in metas],
        },
        neighbours=workdir.read_manifest(f"evaluate_{last}")["neighbours"],
        collection=collection,
        videos=_films(run, last),
    )


def _collected(run: Run, number: int) -> dict[str, Any]:
    """What the trials of a round did, for people: this reads the oracle."""
    metas = list(run.dataset.read_metadata(f"round_{number}"))
    labels = run.dataset.read_labels(f"round_{number}")
    achieved: Counter[str] = Counter()
    confusion = {family: Counter[str]() for family in FAMILIES}
    for m in metas:
        done = {Task.parse(t).family for t in m.achieved_tasks} if m.useful else set()
        achieved.update(done)
        confusion[Task.parse(m.task).family].update(done or {"none"})
    return {
        "round": number,
        "trials": len(metas),
        "useful": sum(answer.useful for answer in labels.values()),
        "achieved": dict(achieved),
        "confusion": {family: dict(row) for family, row in confusion.items()},
    }


def _films(run: Run, name: str) -> list[dict[str, Any]]:
    """Successes and failures of each family, played again in front of an oblique camera."""
    config = run.config
    split, most = f"evaluation_{name}", config.evaluate.videos
    right = [
        m for m in run.dataset.read_metadata(split) if m.episode_id.startswith(f"{name}-right-")
    ]
    chosen: list[str] = []
    for family in FAMILIES:
        for success in (True, False):
            fits = [
                m.episode_id
                for m in right
                if Task.parse(m.task).family == family and m.success == success
            ]
            chosen += fits[:: max(1, len(fits) // max(1, most))][:most]
    found = {e.meta.episode_id: e for e in run.dataset.read(split) if e.meta.episode_id in chosen}
    demos = {m.episode_id: m for m in run.dataset.read_metadata(f"demos_{config.evaluate.split}")}
    films = []
    env = KitchenEnv(image_size=config.data.image_size)
    try:
        for episode_id in tqdm(chosen, desc="videos", unit="episode", mininterval=1):
            episode = found[episode_id]
            m, shown = episode.meta, demos[episode.meta.demonstration]
            frames: list[np.ndarray] = []
            rollout.replay(env, m, episode.action, lambda e: frames.append(e.render()))  # noqa: B023
            lesson: list[np.ndarray] = []
            trial = rollout.Trial(shown.episode_id, shown.task, shown.scene, shown.seed)
            rollout.demonstrate(
                env,
                trial,
                config.data.noise,
                lambda e: lesson.append(e.render()),  # noqa: B023
            )
            films.append(
                {
                    "title": m.task.replace(":", " "),
                    "family": Task.parse(m.task).family,
                    "success": m.success,
                    "demo": np.stack(lesson),
                    "attempt": np.stack(frames),
                    "caption": "achieved: " + (", ".join(m.achieved_tasks) or "nothing"),
                }
            )
    finally:
        env.close()
    return films
