"""The learned filter: right where it says it is sure, silent where it is not."""

from __future__ import annotations

import numpy as np
import pytest
from made import run_of, useful

from mili_jax.improve import classifier, features
from mili_jax.improve.audit import audit_slice
from mili_jax.improve.classifier import TARGET, decide, designs, fit, thresholds, train
from mili_jax.improve.filters import FILTERS, LEARNED, Unanswered
from mili_jax.people.questions import Queue
from mili_jax.storage.labels import Answer, Kind, Label, resolve
from mili_jax.types import DataError


def cloud(count, seed, distance=4.0, size=40):
    """(features [N,F], useful bool [N]): two clouds, `distance` standard deviations apart."""
    rng = np.random.default_rng(seed)
    truth = rng.random(count) < 0.4
    direction = rng.normal(size=size)
    direction /= np.linalg.norm(direction)
    x = rng.normal(size=(count, size)) + distance * truth[:, None] * direction
    return (3 + 0.2 * x).astype(np.float32), truth


def asked_for(x, truth, budget, wrong=0.0, seed=0):
    """(numbers, answers): what people were asked for by the page's own queue, scored meanwhile by
    the classifier; some answers are wrong."""
    queue, rng = Queue(len(x), twice=0.0), np.random.default_rng(seed)
    index, said, trained = [], [], 0
    while len(index) < budget:
        page = queue.page("a", "a", min(9, budget - len(index)))
        for q in page.questions:
            queue.record("a", q.trial, q.asked)
            index.append(q.trial)
            said.append(bool(truth[q.trial]) ^ (rng.random() < wrong))
        queue.release("a", page.questions)
        if len(index) >= max(classifier.LEAST, 1.2 * trained):
            trained = len(index)
            found = decide(x, np.array(index), np.array(said))
            if found is not None:
                queue.rescore(found.probability)
    return np.array(index), np.array(said)


def test_the_fit_is_the_minimum_of_its_loss():
    optimize = pytest.importorskip("scipy.optimize")
    x, truth = cloud(120, 0, 1.5, 6)
    penalty = 3.0

    def loss(w):
        score = x @ w[:-1] + w[-1]
        nll = np.logaddexp(0, np.where(truth, -score, score)).sum()
        return nll + penalty / 2 * (w[:-1] ** 2).sum() + 1e-3 / 2 * w[-1] ** 2

    best = optimize.minimize(loss, np.zeros(7), method="BFGS", options={"gtol": 1e-7})
    weight, bias = fit(x.astype(float), truth, penalty)
    np.testing.assert_allclose([*weight, bias], best.x, atol=2e-3)


def test_a_kernel_s_design_gives_back_the_kernel():
    """Nystroem's method is exact between landmarks; what is straight keeps inner products."""
    x, _ = cloud(150, 0, size=5)
    straight, *kernels = designs(x)
    distance = ((x[:, None].astype(float) - x[None]) ** 2).sum(-1)
    for kernel in kernels:
        rows = kernel.of(x)
        np.testing.assert_allclose(rows @ rows.T, np.exp(-distance / kernel.width), atol=1e-4)
    rows = straight.of(x)
    found = ((rows[:, None] - rows[None]) ** 2).sum(-1)
    np.testing.assert_allclose(found / found.mean(), distance / distance.mean(), atol=1e-6)


def test_what_no_straight_line_parts_is_learned_as_well():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2500, 2)).astype(np.float32)
    truth = np.abs(np.linalg.norm(x, axis=1) - 1.1) < 0.45  # a ring
    index, said = asked_for(x, truth, 400)
    found = decide(x, index, said)
    assert found.sure > 1200
    assert truth[found.yes].mean() > 0.93 and (~truth[found.no]).mean() > 0.93


def test_probabilities_are_calibrated():
    x, truth = cloud(6000, 1, 2.0, 20)
    made, held_out = train(designs(x), x[:800], truth[:800], np.ones(800, bool))
    for p, right in ((made.probability(x[800:]), truth[800:]), (held_out, truth[:800])):
        for low in (0.0, 0.2, 0.4, 0.6, 0.8):
            there = (p >= low) & (p < low + 0.2)
            assert abs(right[there].mean() - p[there].mean()) < 0.12
    # Those held out are not better than what comes later: no answer was seen.
    later = np.mean((made.probability(x[800:]) > 0.5) == truth[800:])
    assert np.mean((held_out > 0.5) == truth[:800]) < later + 0.03


def test_thresholds_in_a_case_worked_by_hand():
    # 3.5% may be wrong by expectation: of 30 at 0.99 and 30 at 0.96 the mean is 0.975, and 30 more
    # at 0.9 are too many. At the other end nothing is above 1 - 0.6.
    rest = np.repeat([0.99, 0.96, 0.9, 0.6], [30, 30, 30, 10])
    sample = np.repeat([0.99, 0.96, 0.9, 0.6], [20, 20, 20, 5])
    assert thresholds(rest, sample, np.ones(65, bool)) == (-1, 0.96)
    # The sample has to support it. 2 of 40 wrong is what 95% means, 5 of 40 is rare (5%), and so
    # are 4 of 20 (2%), but not 1 of 20.
    for wrong, yes in (([0, 1], 0.96), ([20, 21, 22, 23, 24], 0.99), ([0, 20, 21, 22, 23], 0.99)):
        said = np.ones(65, bool)
        said[wrong] = False
        assert thresholds(rest, sample, said)[1] == yes
    said = np.ones(65, bool)
    said[:4] = False
    assert thresholds(rest, sample, said) == (-1, 2)
    assert thresholds(rest, sample[:9], np.ones(9, bool)) == (-1, 2)  # too few
    no, yes = thresholds(1 - rest, 1 - sample, np.zeros(65, bool))
    assert no == pytest.approx(0.04) and yes == 2


@pytest.mark.parametrize("seed", range(3))
def test_four_hundred_answers_decide_the_rest(seed):
    x, truth = cloud(4000, seed)
    index, said = asked_for(x, truth, 400, seed=seed)
    found = decide(x, index, said)
    rest = np.setdiff1d(np.arange(4000), index)
    decided = found.yes | found.no
    assert not decided[index].any()
    assert truth[found.yes].mean() >= 0.95
    assert found.yes[decided & truth].mean() >= 0.9
    assert decided[rest].mean() >= 0.6 and found.sure == decided.sum()
    assert abs(found.precision - truth[found.yes].mean()) < 0.06


@pytest.mark.parametrize("seed", [0, *(pytest.param(k, marks=pytest.mark.long) for k in (1, 2))])
def test_it_is_silent_where_it_cannot_know(seed):
    """Features that say nothing, and answers that are hardly better than a coin."""
    x, truth = cloud(2000, seed, distance=0.0)
    found = decide(x, *asked_for(x, truth, 300, seed=seed))
    assert found.sure < 0.1 * len(x)
    # Where a fifth of the answers is wrong it decides less, and what it decides is still right.
    x, truth = cloud(2000, seed)
    found = decide(x, *asked_for(x, truth, 300, wrong=0.2, seed=seed))
    assert found.sure < 0.5 * len(x)
    assert not found.yes.any() or truth[found.yes].mean() > 0.9


def test_few_or_equal_answers_and_damaged_trials():
    x, truth = cloud(1500, 0)
    index = np.arange(classifier.LEAST - 1)
    assert decide(x, index, truth[index]) is None
    assert decide(x, np.arange(100), np.ones(100, bool)) is None
    x[::7] = np.nan
    found = decide(x, np.arange(200), truth[:200])
    assert np.isnan(found.probability[::7]).all() and not (found.yes | found.no)[::7].any()
    assert np.isfinite(np.delete(found.probability, np.arange(0, 1500, 7))).all()
    x[:, 3] = 1.0  # a feature that never changes
    assert decide(x, np.arange(900), truth[:900]).sure > 300


def made_trials(tmp_path, count=800):
    dataset = run_of(tmp_path, count)
    rng = np.random.default_rng(0)
    truth = np.array([useful(k) for k in range(count)])
    x = rng.normal(size=(count, 8)) + 5 * truth[:, None] * np.eye(8)[0]
    return dataset, x, truth


def unanswered(dataset, x, ids):
    return Unanswered(dataset, "round_1", frozenset(ids), lambda: x)


def test_as_a_filter_it_answers_the_rest_and_takes_back_what_it_is_not_sure_of(tmp_path):
    dataset, x, truth = made_trials(tmp_path)
    names = [m.episode_id for m in dataset.read_metadata("round_1")]
    audit = np.flatnonzero(audit_slice(800))
    chosen = np.union1d(audit, np.arange(120))
    people = [Label(names[k], bool(truth[k]), "ana") for k in chosen]
    dataset.write_labels("round_1", people)
    learned = FILTERS["learned"]
    rest = set(names) - {x.episode_id for x in people}
    trials = unanswered(dataset, x, rest)
    labels = learned(trials)
    assert {x.kind for x in labels} == {Kind.CLASSIFIER} and {x.annotator for x in labels} == {
        LEARNED
    }
    assert {x.episode_id for x in labels} <= rest and len(labels) > 0.8 * len(rest)
    number = {name: k for k, name in enumerate(names)}
    right = [bool(truth[number[x.episode_id]]) == (x.answer is Answer.YES) for x in labels]
    assert np.mean(right) >= TARGET
    assert trials.report["saved"] == len(labels) and trials.report["people"] == len(chosen)
    assert trials.report["precision"] >= 0.9 and trials.report["audited"] == len(audit)
    dataset.write_labels("round_1", labels)
    assert learned(unanswered(dataset, x, rest)) == []  # the same again says nothing new
    # Features that have become useless: it takes all back, and the rule counts none of it.
    noise = np.random.default_rng(1).normal(size=x.shape)
    back = learned(unanswered(dataset, noise, rest))
    assert {x.episode_id for x in back if x.answer is Answer.UNSURE} >= {
        x.episode_id for x in labels
    } - {x.episode_id for x in back if x.answer is not Answer.UNSURE}
    dataset.write_labels("round_1", back)
    verdict = resolve(dataset.read_labels("round_1"))
    assert {n: verdict[n] for n in names if n not in rest} == {
        names[k]: bool(truth[k]) for k in chosen
    }


def test_without_answers_or_policy_it_says_what_to_do(tmp_path):
    dataset, x, _ = made_trials(tmp_path, 60)
    names = [m.episode_id for m in dataset.read_metadata("round_1")]
    learned = FILTERS["learned"]
    with pytest.raises(DataError, match=r"answered for 0 of 60 trials.*mili label --round=1"):
        learned(unanswered(dataset, x, names))
    dataset.write_labels("round_1", [Label(n, True, "ana") for n in names[:50]])
    with pytest.raises(DataError, match="nearly all 50 answers"):
        learned(unanswered(dataset, x, names))
    with pytest.raises(DataError, match="needs a policy"):
        learned(Unanswered(dataset, "round_1", frozenset(names)))


def test_features_are_kept_for_what_they_are_made_of_alone(tmp_path):
    path = features.path_of(tmp_path, "round_1")
    assert features.load(path, "x") is None
    made = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float16)
    features.save(path, "x", made)
    assert (features.load(path, "x") == made).all() and features.load(path, "y") is None
    assert (features.load(path) == made).all()
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    assert features.load(path, "x") is None
