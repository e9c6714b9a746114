"""The arms of a round: each changes what it says and nothing else."""

import itertools

import numpy as np
import pytest

from mili_jax.improve import arms
from mili_jax.improve.arms import ARMS, Choice, Demonstrations, Trials
from mili_jax.improve.oracle import pair_quality
from mili_jax.types import ConfigError

HOW = Choice(alpha=0.6, cap=1000, mutual=False, seed=3)


@pytest.fixture(scope="module")
def trials():
    rng = np.random.default_rng(0)
    n, centres = 200, rng.normal(size=(8, 6))
    kind = rng.integers(0, 8, n)
    z = centres[kind] + 0.4 * rng.normal(size=(n, 6))
    return Trials(
        ids=[f"t{i}" for i in range(n)],
        z=(z / np.linalg.norm(z, axis=1, keepdims=True)).astype(np.float32),
        useful=rng.random(n) < 0.5,
        clear=rng.random(n) < 0.9,
        achieved=[{f"task{k}"} for k in kind],
    )


DEMO_IDS = [f"d{i}" for i in range(8)]
DEMO_Z = np.eye(8, 6, dtype=np.float32) + 0.1
DEMO_Z /= np.linalg.norm(DEMO_Z, axis=1, keepdims=True)


def choose(name, trials):
    return arms.choose(arms.parse(name), trials, Demonstrations(DEMO_IDS, DEMO_Z), HOW)


def candidates(name, trials, seed):
    return arms.candidates(arms.parse(name), trials.useful, trials.clear, seed)


def as_set(pairs):
    return {frozenset(p) for p in zip(pairs.a, pairs.b, strict=True)}


def similar(trials, allowed, alpha=0.6):
    """All pairs of allowed trials above alpha, by a loop."""
    z = trials.z.astype(np.float64)
    return {
        frozenset((trials.ids[i], trials.ids[j]))
        for i, j in itertools.combinations(np.flatnonzero(allowed), 2)
        if z[i] @ z[j] / np.linalg.norm(z[i]) / np.linalg.norm(z[j]) > alpha
    }


def test_mili_and_its_variants_differ_in_one_thing(trials):
    useful, clear, n = trials.useful, trials.clear, np.arange(len(trials.ids))
    assert as_set(choose("mili", trials)) == similar(trials, useful & clear)
    assert as_set(choose("unfiltered", trials)) == similar(trials, clear)
    assert as_set(choose("trials_50", trials)) == similar(trials, useful & clear & (n < 50))
    assert as_set(choose("alpha_900", trials)) == similar(trials, useful & clear, 0.9)
    assert choose("alpha_900", trials).alpha == 0.9 and choose("mili", trials).alpha == 0.6
    assert as_set(choose("trials_1000", trials)) == as_set(choose("noise_0", trials))
    assert as_set(choose("noise_0", trials)) == as_set(choose("mili", trials))


def test_noise_turns_answers_round_at_the_stated_rate(trials):
    many = trials._replace(
        ids=[str(i) for i in range(20_000)],
        useful=np.arange(20_000) % 2 == 0,
        clear=np.ones(20_000, bool),
    )
    clean = set(candidates("mili", many, 0))
    noisy = set(candidates("noise_20", many, 0))
    assert len(clean - noisy) / 10_000 == pytest.approx(0.2, abs=0.015)
    assert len(noisy - clean) / 10_000 == pytest.approx(0.2, abs=0.015)
    assert noisy == set(candidates("noise_20", many, 0))
    assert noisy != set(candidates("noise_20", many, 1))
    less = set(candidates("noise_5", many, 0))
    assert (less ^ clean) < (noisy ^ clean), "what 5% turn round, 20% turn round too"


def test_the_ends_of_the_scale(trials):
    mine = np.flatnonzero(trials.useful & trials.clear)
    oracle = choose("oracle", trials)
    assert as_set(oracle) == {
        frozenset((trials.ids[i], trials.ids[j]))
        for i, j in itertools.combinations(mine, 2)
        if trials.achieved[i] & trials.achieved[j]
    }
    anyhow = choose("random", trials)
    assert len(anyhow.a) == len(choose("mili", trials).a) and anyhow.alpha == -1
    assert {*anyhow.a, *anyhow.b} <= {trials.ids[i] for i in mine}
    rows = [(int(a[1:]), int(b[1:])) for a, b in zip(anyhow.a, anyhow.b, strict=True)]
    same = np.mean([bool(trials.achieved[i] & trials.achieved[j]) for i, j in rows])
    assert (
        same
        < 0.3
        < pair_quality(
            np.array([(int(a[1:]), int(b[1:])) for a, b in zip(*choose("mili", trials)[:2])]),  # noqa: B905
            trials.achieved,
            str,
        ).precision
    )


def test_without_a_trial_paired_with_itself_the_pairs_are_the_same(trials):
    for alone, name in (
        ("pairs_only", "mili"),
        ("oracle_only", "oracle"),
        ("random_only", "random"),
        ("mil_pairs", "mili"),
    ):
        assert choose(alone, trials)[:2] == choose(name, trials)[:2]
        assert arms.parse(alone).self_share(0.5) == 0.0 and arms.parse(name).self_share(0.5) == 0.5
    assert not choose("self_only", trials).a and arms.parse("self_only").self_share(0.5) == 1.0


def test_what_takes_the_gain_apart_has_one_thing_less_than_mili(trials):
    assert choose("pictures_only", trials)[:2] == choose("mili", trials)[:2]
    assert not arms.parse("pictures_only").acts and arms.parse("mili").acts
    useless = candidates("useless_only", trials, 0)
    assert len(useless) and set(useless) == set(np.flatnonzero(~trials.useful & trials.clear))
    assert not choose("useless_only", trials).a
    assert arms.parse("useless_only").self_share(0.5) == 1.0
    early = arms.parse("early_stopped")
    assert early.pairs is None and not early.more_rows and early.share == 0.25
    with pytest.raises(ConfigError, match="share of the steps is 0"):
        arms.Arm("none", "none", share=0)


def test_only_the_oracle_sees_what_trials_achieved(trials):
    blind = trials._replace(achieved=[{"x"}] * len(trials.ids))
    for name in (*ARMS, "trials_50", "alpha_900", "noise_10"):
        if not name.startswith("oracle") and arms.parse(name).pairs is not None:
            assert choose(name, blind)[:2] == choose(name, trials)[:2], name


def test_each_useful_trial_with_its_nearest_demonstration(trials):
    found = choose("nearest", trials)
    mine = np.flatnonzero(trials.useful & trials.clear)
    assert found.a == [trials.ids[i] for i in mine]
    for i, name, cosine in zip(mine, found.b, found.cosine, strict=True):
        best = max(range(8), key=lambda d: float(trials.z[i] @ DEMO_Z[d]))
        assert name == DEMO_IDS[best]
        assert cosine == pytest.approx(float(trials.z[i] @ DEMO_Z[best]), abs=1e-6)


def test_no_useful_trial_makes_no_pair(trials):
    none = trials._replace(useful=np.zeros(len(trials.ids), bool))
    for name in ("mili", "oracle", "random", "nearest", "trials_50"):
        assert choose(name, none).a == []
    assert choose("unfiltered", none).a


@pytest.mark.parametrize(
    ("name", "method"),
    [("mili", "mili"), ("random", "random_pairs"), ("noise_5", "mili_noise_5")],
)
def test_what_rows_call_it(name, method):
    assert arms.parse(name).method == method


@pytest.mark.parametrize(
    "name", ["", "milli", "noise", "noise_101", "alpha_1001", "trials_x", "mili_1"]
)
def test_unknown_arms_are_refused(name):
    with pytest.raises(ConfigError, match=f"no arm {name!r}"):
        arms.parse(name)
