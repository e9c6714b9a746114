"""Functions of numbers: pairing, its oracle, statistics, batches."""

from __future__ import annotations

import math

import numpy as np
from test_episodes import episode

from mili_jax.batches import sampling
from mili_jax.batches.pool import build_pool, concatenate
from mili_jax.domains.kitchen.domain import KITCHEN
from mili_jax.improve import arms
from mili_jax.improve.oracle import alpha_curve, oracle_pairs, pair_quality, random_pairs
from mili_jax.improve.pairing import cosine_pairs
from mili_jax.report.statistics import (
    equivalence,
    headline,
    nearest_neighbour,
    paired_difference,
    wilson,
)
from sweep.row import Row

AREA = "Functions of numbers: pairing, oracle, statistics, batches"
Z = np.eye(3, 4)
DONE = [{"press:a"}, {"press:a"}, set()]
RESULTS = [
    {"method": "m", "family": "press", "task": f"press:{i}", "n": 4, "successes": i, "seed": 0}
    for i in range(3)
]


def group(task):
    return task.partition(":")[0]


def pool():
    return build_pool(KITCHEN, [episode("a"), episode("b", 1), episode("c", 2)], True)


def batch(**changes):
    made = pool()
    given = {
        **{"size": 2, "pair_fraction": 0.0, "policy_steps": 1, "frames": 2, "places": 4},
        **changes,
    }
    seed, step = given.pop("seed", 0), given.pop("step", 0)
    return sampling.sample_batch(made, sampling.group_by_task(made), None, seed, step, **given)


def table(*weights):
    return sampling.pair_table(pool(), ["a"], ["b"], np.array(weights))


def nothing(found):
    return len(found[0]) == 0


ROWS = [
    Row("embeddings of None", lambda _: cosine_pairs(None, 0.5), "embedding"),
    Row("embeddings of text", lambda _: cosine_pairs([["a", "b"]] * 2, 0.5), "embedding"),
    Row("embeddings that are complex", lambda _: cosine_pairs(Z * 1j, 0.5), "embedding"),
    Row("ragged embeddings", lambda _: cosine_pairs([[1.0], [1.0, 2.0]], 0.5), "embedding"),
    Row("an embedding in one row", lambda _: cosine_pairs(np.ones(4), 0.5), r"\[N,Z\]"),
    Row("embeddings of no numbers", lambda _: cosine_pairs(np.ones((3, 0)), 0.5), "row 0"),
    Row(
        "embeddings in a list",
        lambda _: cosine_pairs(np.ones((2, 3)).tolist(), 0.5),
        lambda f: len(f[0]) == 1,
    ),
    Row(
        "embeddings in whole numbers",
        lambda _: cosine_pairs(np.ones((2, 3), int), 0.5),
        lambda f: len(f[0]) == 1,
    ),
    Row("embeddings of nothing", lambda _: cosine_pairs(np.ones((0, 3)), 0.5), nothing),
    Row("an alpha as text", lambda _: cosine_pairs(Z, "0.9"), "alpha.*'0.9'"),
    Row("no alpha", lambda _: cosine_pairs(Z, None), "alpha.*None"),
    Row("an alpha in an array", lambda _: cosine_pairs(Z, np.array([0.9, 0.8])), "alpha"),
    Row("a cap of 1.5", lambda _: cosine_pairs(Z, 0.5, cap=1.5), "cap.*1.5"),
    Row("a cap as text", lambda _: cosine_pairs(Z, 0.5, cap="4"), "cap.*'4'"),
    Row("a negative cap", lambda _: cosine_pairs(Z, 0.5, cap=-1), "cap.* -1"),
    Row("a block of 0", lambda _: cosine_pairs(Z, 0.5, block=0), "block must be at least 1.* 0"),
    Row("a block of 0.5", lambda _: cosine_pairs(Z, 0.5, block=0.5), "block.*0.5"),
    Row("no backend", lambda _: cosine_pairs(Z, 0.5, backend=None), "backend: None"),
    Row("more random pairs than none", lambda _: random_pairs(0, 1, 0), "there are 0"),
    Row("random pairs of -3 trials", lambda _: random_pairs(-3, 1, 0), "trials"),
    Row("half a random pair", lambda _: random_pairs(3, 0.5, 0), "count.*0.5"),
    Row("random pairs of no seed", lambda _: random_pairs(3, 1, None), "seed.*None"),
    Row("random pairs of a negative seed", lambda _: random_pairs(3, 1, -1), "seed.*-1"),
    Row("the oracle with a cap of NaN", lambda _: oracle_pairs(DONE, math.nan, 0), "cap.*nan"),
    Row("the oracle with no seed", lambda _: oracle_pairs(DONE, 4, None), "seed.*None"),
    Row(
        "the oracle of a text for a trial",
        lambda _: oracle_pairs(["press:a", "press:b"], None, 0),
        "trial 0",
    ),
    Row(
        "the oracle of None for a trial", lambda _: oracle_pairs([{"a"}, None], None, 0), "trial 1"
    ),
    Row("pairs beyond the trials, scored", lambda _: pair_quality([[0, 3]], DONE, group), "pair"),
    Row("pairs of negative trials, scored", lambda _: pair_quality([[-1, 0]], DONE, group), "pair"),
    Row("pairs of three, scored", lambda _: pair_quality([[0, 1, 2]], DONE, group), "pairs"),
    Row("pairs of fractions, scored", lambda _: pair_quality([[0.5, 1]], DONE, group), "pairs"),
    Row(
        "pairs of nothing, scored", lambda _: pair_quality([], DONE, group), lambda q: q.pairs == 0
    ),
    Row(
        "a curve over alphas of NaN",
        lambda _: alpha_curve(Z, DONE, [math.nan], group),
        "alpha.*nan",
    ),
    Row("a curve over no alphas", lambda _: alpha_curve(Z, DONE, [], group), lambda c: c == []),
    Row(
        "a curve over one alpha without its list",
        lambda _: alpha_curve(Z, DONE, 0.9, group),
        "alphas",
    ),
    Row("an interval of text", lambda _: wilson("1", 2), "'1' of 2"),
    Row("an interval of NaN", lambda _: wilson(math.nan, 2), "nan of 2"),
    Row(
        "an interval of numpy's",
        lambda _: wilson(np.int64(1), np.int64(2)),
        lambda ends: 0 < ends[0] < 0.5 < ends[1] < 1,
    ),
    Row("a level in per cent", lambda _: wilson(1, 2, 95), "level.*95"),
    Row("a level as text", lambda _: wilson(1, 2, "0.95"), "level.*'0.95'"),
    Row("a level of NaN", lambda _: wilson(1, 2, math.nan), "level.*nan"),
    Row("a mean of ten drawings", lambda _: headline(RESULTS, resamples=10), "at least 100"),
    Row(
        "a mean of drawings in words",
        lambda _: headline(RESULTS, resamples="many"),
        "resamples.*'many'",
    ),
    Row("a mean of a negative seed", lambda _: headline(RESULTS, seed=-1), "seed.*-1"),
    Row("a mean of no seed", lambda _: headline(RESULTS, seed=None), "seed.*None"),
    Row("a mean of None", lambda _: headline(None), "result rows"),
    Row("a mean of texts", lambda _: headline(["a"]), "result row"),
    Row("a difference to nothing", lambda _: paired_difference(RESULTS, []), "no result rows"),
    Row("a margin of NaN", lambda _: equivalence(RESULTS, RESULTS, math.nan), "margin.*nan"),
    Row("a margin in per cent", lambda _: equivalence(RESULTS, RESULTS, 5), "margin.*5"),
    Row("a margin as text", lambda _: equivalence(RESULTS, RESULTS, "0.05"), "margin.*'0.05'"),
    Row("neighbours of text", lambda _: nearest_neighbour([["a"], ["b"]], [0, 1]), "embedding"),
    Row("neighbours without labels", lambda _: nearest_neighbour(Z, None), "labels"),
    Row("neighbours of nothing", lambda _: nearest_neighbour(np.ones((0, 4)), []), "N > 1"),
    Row(
        "no frame of an episode",
        lambda _: sampling.spread(5, 0),
        "must be at least 1.* 0$",
    ),
    Row(
        "half a frame of an episode",
        lambda _: sampling.spread(5, 0.5),
        "frames of an episode.* 0.5",
    ),
    Row("a pool of nothing", lambda _: build_pool(KITCHEN, [], True), "no episodes"),
    Row(
        "a pool of a task that is none",
        lambda _: build_pool(KITCHEN, [episode("a", task="fly:b")], True),
        "'fly:b'",
    ),
    Row("a pool of no pools", lambda _: concatenate([]), "no pools"),
    Row("a pool with itself", lambda _: concatenate([pool(), pool()]), "comes twice"),
    Row(
        "tasks of one demonstration each",
        lambda _: sampling.group_by_task(build_pool(KITCHEN, [episode("a")], True)),
        "no task has two",
    ),
    Row("weights of NaN", lambda _: table(math.nan), "pair weights"),
    Row("a weight too many", lambda _: table(1.0, 1.0), "pair weights"),
    Row("weights of zero", lambda _: table(0.0), "pair weights"),
    Row("a pair of nobody", lambda _: sampling.pair_table(pool(), ["a"], ["nobody"]), "'nobody'"),
    Row("no pairs in a table", lambda _: sampling.pair_table(pool(), [], []), "0 and 0 ids"),
    Row("a batch of nothing", lambda _: batch(size=0), "size must be at least 1.* 0"),
    Row("a batch of 2.5 rows", lambda _: batch(size=2.5), "size must be at least 1.* 2.5"),
    Row("a batch of NaN shares", lambda _: batch(pair_fraction=math.nan), "pair_fraction"),
    Row("a batch without a table of pairs", lambda _: batch(pair_fraction=0.5), "asks for pairs"),
    Row("a batch of no steps", lambda _: batch(policy_steps=0), "policy_steps must be at least 1"),
    Row("a batch of no frames", lambda _: batch(frames=0), "must be at least 1.* 0$"),
    Row("a batch of two places", lambda _: batch(places=2), "places"),
    Row("a batch of a negative seed", lambda _: batch(seed=-1), "seed.*-1"),
    Row("a batch of no seed", lambda _: batch(seed=None), "seed.*None"),
    Row("a batch of a negative step", lambda _: batch(step=-1), "step.*-1"),
    Row(
        "the policies of a round that is not there",
        lambda _: arms.check_round(_config(), 2, 0),
        "no round 2",
    ),
]


def _config():
    from mili_jax.configs import get_config

    return get_config("test")
