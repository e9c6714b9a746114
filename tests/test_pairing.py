"""Pairing against loops over all pairs, hand-worked cases and properties."""

import itertools
import math

import numpy as np
import pytest

from mili_jax.improve import oracle, pairing, screening
from mili_jax.improve.oracle import PairQuality
from mili_jax.improve.screening import BACKENDS
from mili_jax.types import ConfigError, DataError


def family(task: str) -> str:
    return task.split(":")[0]


def clusters(n: int, seed: int = 0, spread: float = 0.3) -> np.ndarray:
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(12, 16))
    return (centres[rng.integers(0, 12, n)] + spread * rng.normal(size=(n, 16))).astype(np.float32)


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    a, b = a.astype(np.float64), b.astype(np.float64)
    return float(a @ b / math.sqrt((a @ a) * (b @ b)))


def brute(embedding: np.ndarray, alpha: float) -> dict[tuple[int, int], float]:
    every = {
        (i, j): cosine(embedding[i], embedding[j])
        for i, j in itertools.combinations(range(len(embedding)), 2)
    }
    return {pair: c for pair, c in every.items() if c > alpha}


def brute_capped(
    embedding: np.ndarray, alpha: float, cap: int, mutual: bool
) -> set[tuple[int, int]]:
    near = brute(embedding, alpha)
    votes: dict[tuple[int, int], int] = {}
    for i in range(len(embedding)):
        mine = sorted((-c, sum(p) - i, p) for p, c in near.items() if i in p)
        for *_, pair in mine[:cap]:
            votes[pair] = votes.get(pair, 0) + 1
    if mutual:
        return {pair for pair, v in votes.items() if v == 2}
    room, kept = dict.fromkeys(range(len(embedding)), cap), set()
    for pair in sorted(votes, key=lambda p: (-near[p], p)):
        if room[pair[0]] and room[pair[1]]:
            kept.add(pair)
            room[pair[0]] -= 1
            room[pair[1]] -= 1
    return kept


def as_set(pairs: np.ndarray) -> set[tuple[int, int]]:
    return {(int(i), int(j)) for i, j in pairs}


@pytest.mark.parametrize("alpha", [-1.0, 0.3, 0.9, 1.0])
@pytest.mark.parametrize("block", [1, 7, 64, 1024])
def test_finds_exactly_the_pairs_of_a_loop(alpha: float, block: int) -> None:
    embedding = clusters(60)
    pairs, similarity = pairing.cosine_pairs(embedding, alpha, block=block)
    expected = brute(embedding, alpha)
    assert as_set(pairs) == set(expected) and len(pairs) == len(expected)
    assert [tuple(p) for p in pairs] == sorted(expected)
    assert similarity.dtype == np.float32
    np.testing.assert_allclose(similarity, [expected[tuple(p)] for p in pairs], atol=1e-6)


@pytest.mark.parametrize("mutual", [False, True])
@pytest.mark.parametrize("cap", [1, 3, 100])
def test_cap_against_a_loop(cap: int, mutual: bool) -> None:
    embedding = clusters(70, seed=3)
    for block in (3, 1000):
        pairs, _ = pairing.cosine_pairs(embedding, 0.5, block=block, cap=cap, mutual=mutual)
        assert as_set(pairs) == brute_capped(embedding, 0.5, cap, mutual)
        assert np.bincount(pairs.ravel(), minlength=1).max() <= cap


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("options", [{}, {"cap": 4}, {"cap": 4, "mutual": True}])
def test_backends_blocks_and_temporary_arrays_change_nothing(
    backend: str, options: dict, monkeypatch: pytest.MonkeyPatch
) -> None:
    if backend == "faiss":
        pytest.importorskip("faiss")
    # Trials in doubles and triples, so that many cosines tie exactly, and opposite ones.
    embedding = np.concatenate([clusters(90, seed=5), clusters(40, seed=5), -clusters(20, seed=5)])
    alpha = 0.6
    if options:
        expected = brute_capped(embedding, alpha, 4, "mutual" in options)
    else:
        expected = set(brute(embedding, alpha))
    first = pairing.cosine_pairs(embedding, alpha, **options)
    assert as_set(first[0]) == expected and len(first[0]) == len(expected)
    for small in (50, 2000):
        for module, limit in (
            (screening, "WORK"),
            (pairing, "WORK"),
            (screening, "NEAR"),
            (pairing, "BAND"),
        ):
            monkeypatch.setattr(module, limit, small)
        monkeypatch.setattr(screening, "MANY", 100 * small)
        for block in (1, 33, 150, 4096):
            again = pairing.cosine_pairs(embedding, alpha, block=block, backend=backend, **options)
            for one, other in zip(first, again, strict=True):
                np.testing.assert_array_equal(one, other)


def test_taking_in_turn_against_a_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    for n, count in ((5, 40), (30, 100), (500, 400)):
        ends = np.stack([rng.choice(n, 2, replace=False) for _ in range(count)])
        room = rng.integers(0, 4, n)
        left, expected = room.copy(), []
        for i, j in ends:
            expected.append(bool(left[i] and left[j]))
            left[[i, j]] -= expected[-1]
        for chunk in (1, 7, 1000):
            mine = room.copy()
            monkeypatch.setattr(pairing, "TURN", chunk)
            taken = pairing.take_in_turn(*ends.T, mine)
            assert taken.tolist() == expected and (mine == left).all()


def test_a_collapsed_latent_space_is_paired_row_by_row(monkeypatch: pytest.MonkeyPatch) -> None:
    # All alike, so every group of every trial holds something near; of equals the first count.
    monkeypatch.setattr(screening, "NEAR", 1000)
    embedding = np.ones((300, 4)) + 1e-15 * np.random.default_rng(0).normal(size=(300, 4))
    pairs, similarity = pairing.cosine_pairs(embedding, 0.9, block=64, cap=2)
    assert pairs.tolist() == [[0, 1], [0, 2], [1, 2]] and (similarity == 1).all()


def test_hand_worked() -> None:
    # Angles 0, 30, 70 degrees: cosines 0.866, 0.342, 0.766.
    angle = np.radians([0, 30, 70])
    embedding = np.stack([np.cos(angle), np.sin(angle)], 1) * np.array([[1], [5], [0.1]])
    pairs, similarity = pairing.cosine_pairs(embedding, 0.7)
    assert pairs.tolist() == [[0, 1], [1, 2]]
    np.testing.assert_allclose(similarity, [math.sqrt(3) / 2, math.cos(math.radians(40))], 1e-6)
    assert pairing.cosine_pairs(embedding, 0.7, cap=1)[0].tolist() == [[0, 1]]
    assert pairing.cosine_pairs(embedding, 0.5, cap=2, mutual=True)[0].tolist() == [[0, 1], [1, 2]]


def test_near_ties_do_not_depend_on_the_block() -> None:
    # Hundreds of cosines within 1e-7 of the threshold, where float32 products disagree.
    rng = np.random.default_rng(0)
    axis = np.eye(32)[0]
    side = rng.normal(size=(300, 32))
    side[:, 0] = 0
    side /= np.linalg.norm(side, axis=1, keepdims=True)
    target = 0.9 + rng.uniform(-1e-7, 1e-7, (300, 1))
    embedding = np.concatenate([axis[None], target * axis + np.sqrt(1 - target**2) * side])
    expected = brute(embedding, 0.9)
    assert 50 < sum(0 in p for p in expected) < 250
    for block in (1, 16, 100, 512):
        assert as_set(pairing.cosine_pairs(embedding, 0.9, block=block)[0]) == set(expected)
        capped = pairing.cosine_pairs(embedding, 0.5, block=block, cap=5)[0]
        assert as_set(capped) == brute_capped(embedding, 0.5, 5, False)


def test_alpha_is_not_enough_when_equal() -> None:
    same = np.ones((3, 4))
    assert len(pairing.cosine_pairs(same, 1.0)[0]) == 0
    assert len(pairing.cosine_pairs(same, 0.999)[0]) == 3
    assert len(pairing.cosine_pairs(-same[:1].repeat(2, 0), 0.0, cap=1)[0]) == 1


def test_few_or_no_trials() -> None:
    for n, cap in itertools.product((0, 1), (None, 3)):
        pairs, similarity = pairing.cosine_pairs(np.ones((n, 4)), 0.0, cap=cap)
        assert pairs.shape == (0, 2) and similarity.shape == (0,)
    assert oracle.oracle_pairs([], None, 0).shape == (0, 2)
    assert oracle.random_pairs(0, 0, 0).shape == (0, 2)
    assert math.isnan(oracle.pair_quality(np.zeros((0, 2)), [], family).precision)


def test_refuses() -> None:
    good = np.ones((3, 4))
    for kwargs in ({"alpha": 1.5}, {"alpha": math.nan}, {"alpha": 0.5, "cap": 0}):
        with pytest.raises(ConfigError):
            pairing.cosine_pairs(good, **kwargs)
    with pytest.raises(ConfigError, match="mutual"):
        pairing.cosine_pairs(good, 0.5, mutual=True)
    for bad in (0.0, np.nan, np.inf):
        broken = good.copy()
        broken[1] = bad
        with pytest.raises(DataError, match="row 1"):
            pairing.cosine_pairs(broken, 0.5)
    with pytest.raises(ConfigError, match=r"'annoy' is unknown; use one of \['blocks', 'faiss'\]"):
        pairing.cosine_pairs(good, 0.5, backend="annoy")
    with pytest.raises(ConfigError, match="there are 3"):
        oracle.random_pairs(3, 4, 0)


ACHIEVED = [
    {"grasp:mug"},
    {"grasp:mug", "push:mug:pan"},
    {"grasp:jar"},
    {"push:mug:pan"},
    {"press:bell"},
    set(),
]


def test_quality_hand_worked() -> None:
    # Oracle pairs: (0,1) by the grasp, (1,3) by the push. Same family besides: (0,2), (1,2).
    assert oracle.oracle_pairs(ACHIEVED, None, 0).tolist() == [[0, 1], [1, 3]]
    quality = oracle.pair_quality(np.array([[0, 1], [0, 2], [0, 4], [4, 5]]), ACHIEVED, family)
    assert quality == PairQuality(4, 0.25, 0.5, 0.5)


def some_achievements(n: int, seed: int) -> list[set[str]]:
    rng = np.random.default_rng(seed)
    tasks = [f"{family}:{k}" for family in ("press", "grasp", "push") for k in range(4)]
    return [set(rng.choice(tasks, rng.integers(0, 3), replace=False)) for _ in range(n)]


def test_quality_and_oracle_against_loops() -> None:
    achieved = some_achievements(50, 1)
    every = list(itertools.combinations(range(50), 2))
    right = {(i, j) for i, j in every if achieved[i] & achieved[j]}
    families = [{t.split(":")[0] for t in a} for a in achieved]
    assert as_set(oracle.oracle_pairs(achieved, None, 0)) == right
    pairs = oracle.random_pairs(50, 200, 5)
    quality = oracle.pair_quality(pairs, achieved, family)
    hits = len(as_set(pairs) & right)
    kin = sum(bool(families[i] & families[j]) for i, j in as_set(pairs))
    assert quality == PairQuality(200, hits / 200, hits / len(right), kin / 200)

    capped = oracle.oracle_pairs(achieved, 2, 7)
    assert as_set(capped) <= right and np.bincount(capped.ravel()).max() <= 2
    assert capped.tolist() == oracle.oracle_pairs(achieved, 2, 7).tolist()
    assert capped.tolist() != oracle.oracle_pairs(achieved, 2, 8).tolist()
    # Every trial that has partners is used unless all its partners are full.
    used = np.bincount(capped.ravel(), minlength=50)
    for i, j in right:
        assert used[i] or used[j]


def test_random_pairs_are_distinct_and_uniform() -> None:
    assert as_set(oracle.random_pairs(9, 36, 0)) == set(itertools.combinations(range(9), 2))
    hits = np.zeros((7, 7))
    for seed in range(600):
        pairs = oracle.random_pairs(7, 5, seed)
        assert len(as_set(pairs)) == 5 and (pairs[:, 0] < pairs[:, 1]).all()
        np.add.at(hits, (pairs[:, 0], pairs[:, 1]), 1)
    counts = hits[np.triu_indices(7, 1)]
    # 600 * 5 / 21 = 143 expected, standard deviation about 10.4.
    assert counts.min() > 100 and counts.max() < 190
    large = oracle.random_pairs(60_000, 1000, 0)
    assert (large[:, 0] < large[:, 1]).all() and large.max() > 50_000


@pytest.mark.parametrize("options", [{}, {"cap": 3}, {"cap": 2, "mutual": True}])
def test_alpha_curve_is_the_quality_at_each_alpha(options: dict) -> None:
    embedding, achieved = clusters(80, seed=2), some_achievements(80, 2)
    exact = pairing.cosine_pairs(embedding, 0.5)[1]
    # One threshold out of order, one doubled, and one on top of a similarity.
    alphas = [0.95, 0.2, 0.9, -1.0, 0.9, float(exact[3]), 1.0]
    curve = oracle.alpha_curve(embedding, achieved, alphas, family, block=17, **options)
    for alpha, point in zip(alphas, curve, strict=True):
        pairs, _ = pairing.cosine_pairs(embedding, alpha, **options)
        np.testing.assert_equal(point, oracle.pair_quality(pairs, achieved, family))
