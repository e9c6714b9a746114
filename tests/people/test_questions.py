"""The queue of questions: nothing is lost, nothing asked more often than it should be, whatever
people do and in whatever order."""

from __future__ import annotations

import collections

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mili_jax.improve.audit import audit_slice, uniform
from mili_jax.people.agreement import between, cohen, within
from mili_jax.people.questions import GAP, LEASE, Question, Queue
from mili_jax.storage.labels import Answer, Kind, Label

YES, NO, UNSURE = Answer


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def drain(queue, names=("ana",), size=9):
    """Everybody answers in turn until nothing is left: [(annotator, question)] in that order."""
    given_ = []
    while True:
        pages = [(name, queue.page(name, name, size)) for name in names]
        if not any(page for _, page in pages):
            return given_
        for name, page in pages:
            for q in page.questions if page else ():
                queue.record(name, q.trial, q.asked)
                given_.append((name, q))
            if page:
                queue.release(name, page.questions)


@given(
    count=st.integers(1, 120),
    people=st.integers(1, 4),
    size=st.integers(1, 12),
    twice=st.sampled_from([0.0, 0.1, 0.5, 1.0]),
)
@settings(max_examples=60, deadline=None)
def test_every_trial_is_answered_and_some_exactly_twice(count, people, size, twice):
    queue = Queue(count, twice)
    given_ = drain(queue, [f"p{i}" for i in range(people)], size)
    times = collections.Counter(q.trial for _, q in given_)
    wanted = {k: 1 + int(queue.is_repeated(k)) for k in range(count)}
    assert times == wanted
    assert len({(name, q.trial, q.asked) for name, q in given_}) == len(given_)
    assert queue.answered == count and queue.left == 0
    if twice == 0.5 and count == 120:
        assert 35 < sum(v == 2 for v in times.values()) < 85


@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_pages_that_are_out_never_share_a_trial(data):
    """Pages asked for, answered in part, given back, forgotten for longer than their lease, scores
    changed, trials found damaged: at any time a trial is on one page at most."""
    clock, count = Clock(), data.draw(st.integers(5, 60))
    queue = Queue(count, 0.3, clock)
    out = {}  # client -> (until, questions)
    answered, gone = collections.Counter(), set()
    for _ in range(data.draw(st.integers(1, 40))):
        clock.now += data.draw(st.sampled_from([0, 1, LEASE / 2, LEASE + 1]))
        out = {c: (t, q) for c, (t, q) in out.items() if t >= clock.now}
        client = data.draw(st.sampled_from("abc"))
        match data.draw(st.sampled_from(["page", "answer", "give up", "score"])):
            case "page" if client not in out:
                page = queue.page(client, client, data.draw(st.integers(1, 9)))
                if page is not None:
                    held = {q.trial for _, qs in out.values() for q in qs}
                    asked = [q.trial for q in page.questions]
                    assert not held & set(asked) and len(set(asked)) == len(asked)
                    assert not gone & set(asked)
                    assert all(answered[t] < 1 + queue.is_repeated(t) for t in asked)
                    out[client] = clock.now + LEASE, page.questions
            case "answer" if client in out:
                until, questions = out[client]
                some = data.draw(st.integers(0, len(questions)))
                for q in questions[:some]:
                    queue.record(client, q.trial, q.asked)
                    queue.record(client, q.trial, q.asked)  # sent twice
                    answered[q.trial] += 1
                queue.release(client, questions[:some])
                out[client] = until, questions[some:]
                if some == len(questions):
                    del out[client]
            case "give up":
                trial = data.draw(st.integers(0, count - 1))
                gone.add(trial)
                queue.give_up(trial)
            case "score":
                queue.rescore(np.linspace(0, 1, count))
    assert queue.answered == len(answered)


def test_uncertain_trials_come_first_and_the_audit_slice_is_sampled_at_random():
    count = 4000
    scores = uniform(count, 99)
    queue = Queue(count, twice=0.0)
    queue.rescore(scores)
    asked = []
    while len(asked) < 400:
        page = queue.page("a", "a", 9)
        asked += [q.trial for q in page.questions]
        for q in page.questions:
            queue.record("a", q.trial, q.asked)
        queue.release("a", page.questions)
    audit = audit_slice(count)
    mine = [t for t in asked if audit[t]]
    others = [t for t in asked if not audit[t]]
    assert 0.2 < len(mine) / len(asked) < 0.3
    # Of the others those nearest to 1/2: none left is nearer than one asked, but for a batch.
    far = np.abs(scores[others] - 0.5).max()
    left = np.setdiff1d(np.flatnonzero(~audit), others)
    assert np.abs(scores[left] - 0.5).min() > far - 0.02
    # Of the audit slice whatever they score.
    assert 0.2 < np.std(scores[mine]) < 0.4 and 0.35 < np.mean(scores[mine]) < 0.65


def test_most_of_a_page_has_the_same_answer():
    count = 2000
    truth = uniform(count, 50) < 0.5
    noise = uniform(count, 51) - 0.5
    queue = Queue(count, twice=0.0)
    queue.rescore(np.clip(np.where(truth, 0.8, 0.2) + 0.5 * noise, 0, 1))
    shares = []
    while (page := queue.page("a", "a", 9)) is not None:
        answers = [bool(truth[q.trial]) for q in page.questions]
        assert page.likely is not None
        shares.append(np.mean([answer == page.likely for answer in answers]))
        for q in page.questions:
            queue.record("a", q.trial, 1)
        queue.release("a", page.questions)
    assert np.mean(shares) > 0.93  # in random order it would be about 0.6


def test_who_answered_first_is_asked_again_only_after_others():
    queue = Queue(300, twice=0.3)
    order = drain(queue)
    first = {q.trial: n for n, (_, q) in enumerate(order) if q.asked == 1}
    gaps = [n - first[q.trial] for n, (_, q) in enumerate(order) if q.asked == 2]
    early = [gap for gap in gaps if gap < GAP]
    assert len(gaps) > 60 and len(early) <= 9  # the last ones, when nothing else is left
    # With two people it is the other one who is asked, as for the first time.
    order = drain(Queue(300, twice=0.15), ["ana", "bo"])
    by = collections.defaultdict(list)
    for name, q in order:
        by[q.trial].append((name, q.asked))
    twice = [v for v in by.values() if len(v) == 2]
    assert sum(len({name for name, _ in v}) == 2 for v in twice) > 0.9 * len(twice)


def test_a_page_is_given_back_when_its_lease_is_over_or_its_client_claims_it_again():
    clock = Clock()
    queue = Queue(9, 0.0, clock)
    page = queue.page("a", "ana", 9)
    assert len(page.questions) == 9 and queue.page("b", "bo", 9) is None
    assert queue.pages_of("a") == [page]
    clock.now = LEASE + 1
    again = queue.page("b", "bo", 9)
    assert {q.trial for q in again.questions} == set(range(9)) and queue.pages_of("a") == []
    other = Queue(9, 0.0, clock)  # the server was started again
    other.claim("a", page.questions[:5])
    assert len(other.page("b", "bo", 9).questions) == 4


def test_the_audit_slice_does_not_depend_on_how_many_trials_there_are():
    few, many = audit_slice(500), audit_slice(60000)
    assert (many[:500] == few).all() and abs(many.mean() - 0.1) < 0.005
    values = [uniform(20000, stream) for stream in (1, 2, 3)]
    for v in values:
        assert abs(v.mean() - 0.5) < 0.01 and v.min() >= 0 and v.max() < 1
        assert abs(np.corrcoef(v[:-1], v[1:])[0, 1]) < 0.03
    assert abs(np.corrcoef(values)[np.triu_indices(3, 1)]).max() < 0.03


def test_kappa_in_cases_worked_by_hand():
    # 20 yes-yes, 5 yes-no, 10 no-yes, 15 no-no: p_o = 0.7, p_e = 0.5 * 0.6 + 0.5 * 0.4 = 0.5.
    pairs = [(YES, YES)] * 20 + [(YES, NO)] * 5 + [(NO, YES)] * 10 + [(NO, NO)] * 15
    found = cohen(pairs)
    assert (found.n, found.share) == (50, 0.7) and found.kappa == pytest.approx(0.4)
    assert cohen([]).kappa is None and cohen([(YES, YES)] * 5).kappa is None
    assert cohen([(YES, YES), (NO, NO)]).kappa == 1
    assert cohen([(YES, NO), (NO, YES)]).kappa == -1


def test_agreement_takes_corrections_and_leaves_out_machines():
    labels = [
        Label("a", YES, "ana"),
        Label("a", NO, "ana"),  # a correction of the first asking
        Label("a", NO, "ana", asked=2),
        Label("b", YES, "ana"),
        Label("b", UNSURE, "ana", asked=2),
        Label("a", NO, "bo"),
        Label("b", YES, "bo"),
        Label("b", YES, "net", Kind.CLASSIFIER),
    ]
    assert within(labels)[:2] == (2, 0.5)
    assert between(labels)[:2] == (2, 1.0) and between(labels).kappa == 1
    assert Question(1) == Question(1, 1)
