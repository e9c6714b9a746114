"""Answers of people and machines: all are kept, one rule says what training reads, and whatever is
written is checked, so that it can be read back."""

import dataclasses
import datetime
import itertools
import json
import random
import tarfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from test_episodes import SPEC, episode

from mili_jax.improve import filters
from mili_jax.storage import doctor, ledger
from mili_jax.storage.dataset import Dataset
from mili_jax.storage.labels import Answer, Kind, Label, parse_labels, resolve
from mili_jax.types import DataError, EpisodeMeta

YES, NO, UNSURE = Answer
PERSON, CLASSIFIER, SIMULATOR = Kind


def answers(*said):
    """Labels of one episode from (annotator, answer): p..., c... and s... say what gave it."""
    kinds = {kind[0]: kind for kind in Kind}
    return [Label("t", answer, who, kinds[who[0]]) for who, answer in said]


@pytest.mark.parametrize(
    ("said", "verdict"),
    [
        ([("pa", YES)], True),
        ([("pa", NO)], False),
        ([("pa", UNSURE)], None),
        ([("pa", YES), ("pa", NO)], False),  # the last of one annotator
        ([("pa", NO), ("pa", YES), ("pa", UNSURE)], None),
        ([("pa", YES), ("pb", NO)], None),  # a tie
        ([("pa", YES), ("pb", NO), ("pc", NO)], False),
        ([("pa", YES), ("pb", UNSURE), ("pc", UNSURE)], True),  # who is unsure says neither
        ([("pa", YES), ("pb", NO), ("pb", YES)], True),
        ([("s", NO)], False),
        ([("s", NO), ("pa", YES)], True),  # people overrule machines
        ([("pa", YES), ("s", NO)], True),  # also when these answer later
        ([("s", NO), ("c", NO), ("pa", YES)], True),  # however many there are
        ([("s", YES), ("pa", UNSURE)], None),  # to be unsure is an answer
        ([("s", YES), ("pa", YES), ("pb", NO)], None),
        ([("s", YES), ("c", NO)], None),
        ([("c", NO), ("c", YES)], True),
        ([("c", UNSURE), ("s", NO)], False),
    ],
)
def test_the_rule_in_cases_worked_by_hand(said, verdict):
    assert resolve(answers(*said)) == {"t": verdict}


def test_a_person_and_a_machine_of_one_name_are_two():
    labels = [Label("t", YES, "ana"), Label("t", NO, "ana", CLASSIFIER)]
    assert resolve(labels) == resolve(labels[::-1]) == {"t": True}
    assert resolve([]) == {}


def slow_rule(labels: list[Label], episode_id: str) -> bool | None:
    """The rule again, backwards and without a table."""
    seen, votes = [], {True: [], False: []}
    for label in reversed(labels):
        who = (label.annotator, label.kind)
        if label.episode_id == episode_id and who not in seen:
            seen.append(who)
            votes[label.kind == "person"].append(label.answer)
    heard = votes[True] if votes[True] else votes[False]
    for word, other, meant in (("yes", "no", True), ("no", "yes", False)):
        if sum(v == word for v in heard) > sum(v == other for v in heard):
            return meant
    return None


def test_the_rule_agrees_with_a_loop_of_its_own():
    rng = random.Random(0)
    for _ in range(2000):
        labels = [
            Label(
                rng.choice("ab"),
                rng.choice(list(Answer)),
                rng.choice("xyz"),
                rng.choice(list(Kind)),
            )
            for _ in range(rng.randrange(12))
        ]
        wanted = {label.episode_id: slow_rule(labels, label.episode_id) for label in labels}
        assert resolve(labels) == wanted


def test_all_answers_are_kept_in_their_order(tmp_path):
    dataset = Dataset(tmp_path, SPEC)
    assert dataset.read_labels("round_1") == []
    dataset.write_shard("round_1", 0, [episode("a"), episode("b", useful=False), episode("c")])
    dataset.commit("round_1", 1)
    first = filters.simulator(filters.Unanswered(dataset, "round_1", frozenset("ab")))
    people = [
        Label("a", NO, "ana", time="2026-01-02T03:04:05+00:00", seconds=1.25),
        Label("a", UNSURE, "bo", time="2026-01-02T03:05:00Z", seconds=0),
        Label("a", YES, "ana"),
    ]
    dataset.write_labels("round_1", first)
    for label in people:
        dataset.write_labels("round_1", [label])
    assert dataset.read_labels("round_1") == [*first, *people]
    assert [label.kind for label in first] == ["simulator"] * 2
    assert resolve(dataset.read_labels("round_1")) == {"a": True, "b": False}
    lines = (dataset.path / "labels_round_1.jsonl").read_text().splitlines()
    assert json.loads(lines[2]) == {
        "episode_id": "a",
        "answer": "no",
        "annotator": "ana",
        "kind": "person",
        "time": "2026-01-02T03:04:05+00:00",
        "seconds": 1.25,
    }


def test_labels_of_an_old_version_are_read_and_go_on(tmp_path):
    with tarfile.open(Path(__file__).with_name("old_dataset.tar.gz")) as archive:
        archive.extractall(tmp_path, filter="data")
    dataset = Dataset(tmp_path)
    old = [
        Label("t0", YES, "simulator", SIMULATOR),
        Label("t1", NO, "simulator", SIMULATOR),
        Label("t1", YES, "ana", PERSON, "2025-01-02T03:04:05Z"),
    ]
    assert dataset.read_labels("round_1") == old
    dataset.write_labels("round_1", [Label("t0", UNSURE, "ana")])
    assert dataset.read_labels("round_1") == [*old, Label("t0", UNSURE, "ana")]
    assert resolve(dataset.read_labels("round_1")) == {"t0": None, "t1": True}


@pytest.mark.parametrize(
    ("line", "label"),
    [
        # Lines that the old version stored and could not read again.
        ('{"episode_id": "t0", "useful": 1, "by": "p", "time": ""}', Label("t0", YES, "p")),
        ('{"episode_id": "t0", "useful": 0, "by": "", "time": "noon"}', Label("t0", NO, "unknown")),
        (
            '{"episode_id": "t\\n0", "useful": true, "by": "classifier", "time": ""}',
            Label("t\n0", YES, "classifier", CLASSIFIER),
        ),
    ],
)
def test_odd_lines_of_an_old_version(line, label):
    assert list(parse_labels(Path("labels"), line.encode() + b"\n")) == [label]


# What is handed in is what is stored, or it is refused by name

REFUSED_LABELS = [
    ({"episode_id": np.int64(3)}, r"episode_id is .*3.* \(int(64)?\); it must be a text"),
    ({"episode_id": None}, r"episode_id is None \(NoneType\); it must be a text"),
    ({"episode_id": "\ud800"}, "episode_id is .*without lone surrogates"),
    ({"answer": None}, r"answer is None \(NoneType\); it must be True or False, or one of yes, no"),
    ({"answer": 2}, r"answer is 2 \(int\)"),
    ({"answer": 1.0}, r"answer is 1.0 \(float\)"),
    ({"answer": "maybe"}, "answer is 'maybe'"),
    ({"annotator": ""}, "annotator has 0 characters; it must have 1 to 500"),
    ({"annotator": "x" * 10_000}, "annotator has 10000 characters"),
    ({"annotator": "a\nb"}, "annotator is .*one line without control characters"),
    ({"annotator": None}, "annotator is None"),
    ({"kind": "people"}, "kind is 'people'; it must be one of person, classifier, simulator"),
    ({"kind": None}, "kind is None"),
    ({"time": "yesterday"}, "time is 'yesterday'; it must be ISO 8601"),
    ({"time": 3}, r"time is 3 \(int\)"),
    ({"seconds": -1}, "seconds is -1.0; it must not be negative"),
    ({"seconds": float("nan")}, r"seconds is nan \(float\); it must be a finite number"),
    ({"seconds": "2"}, "seconds is '2'"),
    ({"seconds": True}, "seconds is True"),
]


@pytest.mark.parametrize(("change", "said"), REFUSED_LABELS)
def test_labels_that_cannot_be_meant_are_refused_by_field(change, said):
    with pytest.raises(DataError, match=said):
        Label(**({"episode_id": "t0", "answer": YES, "annotator": "p"} | change))


@pytest.mark.parametrize("value", [True, np.bool_(True), 1, np.int64(1), np.array(True), "yes"])
def test_a_yes_in_other_clothes_is_a_yes(value, tmp_path):
    label = Label(
        "t0", value, np.str_("p"), time=datetime.datetime(2026, 1, 2, 3), seconds=np.float32(2)
    )
    assert label == Label("t0", YES, "p", PERSON, "2026-01-02T03:00:00", 2.0)
    dataset = Dataset(tmp_path, SPEC)
    dataset.write_labels("round_1", [label])
    assert dataset.read_labels("round_1") == [label]
    with pytest.raises(DataError, match=r"labels_round_1\.jsonl: a label is dict"):
        dataset.write_labels("round_1", [{"episode_id": "t0"}])
    assert len(dataset.read_labels("round_1")) == 1


REFUSED_FACTS = [
    ({"episode_id": ""}, "episode_id has 0 characters"),
    ({"episode_id": "a\nb"}, "episode_id is .*one line"),
    ({"episode_id": "x" * 10_000}, "episode_id has 10000 characters; it must have 1 to 500"),
    ({"episode_id": 7}, r"episode_id is 7 \(int\)"),
    ({"task": None}, "task is None"),
    ({"task": b"press"}, r"task is b'press' \(bytes\)"),
    ({"scene": {"name": "x"}}, r"scene is \{'name': 'x'\} \(dict\)"),
    ({"seed": 1.5}, r"seed is 1.5 \(float\); it must be a whole number"),
    ({"seed": 2**63}, "seed is 9223372036854775808"),
    ({"seed": True}, r"seed is True \(bool\)"),
    ({"round": None}, "round is None"),
    ({"useful": None}, "useful is None"),
    ({"success": "yes"}, "success is 'yes'"),
    ({"terminated": 0.0}, "terminated is 0.0"),
    ({"achieved_tasks": "press:a"}, r"achieved_tasks is 'press:a' \(str\); .* a tuple of texts"),
    ({"achieved_tasks": ("press:a", 3)}, r"achieved_tasks\[1\] is 3"),
    ({"achieved_tasks": None}, "achieved_tasks is None"),
    ({"language": None}, "language is None"),
    ({"policy": "\udfff"}, "policy is .*surrogates"),
]


@pytest.mark.parametrize(("change", "said"), REFUSED_FACTS)
def test_facts_that_cannot_be_meant_are_refused_by_field(change, said, tmp_path):
    dataset = Dataset(tmp_path, SPEC)
    bad = episode("bad")
    bad = dataclasses.replace(bad, meta=dataclasses.replace(bad.meta, **change))
    with pytest.raises(DataError, match=f"record-00000: episode .*: {said}"):
        dataset.write_shard("round_1", 0, [episode("good"), bad])
    assert not dataset.path.exists()


def test_facts_in_other_clothes_are_what_is_meant(tmp_path):
    dataset = Dataset(tmp_path, SPEC)
    change = {
        "seed": np.int32(5),
        "round": np.array(2),
        "useful": np.bool_(True),
        "success": 0,
        "terminated": np.uint8(0),
        "achieved_tasks": ["press:a", np.str_("b")],
        "task": np.str_("push"),
    }
    made = episode("a")
    made = dataclasses.replace(made, meta=dataclasses.replace(made.meta, **change))
    dataset.write_shard("round_1", 0, [made])
    dataset.commit("round_1", 1)
    (meta,) = dataset.read_metadata("round_1")
    assert meta == dataclasses.replace(
        made.meta, seed=5, round=2, useful=True, success=False, terminated=False,
        achieved_tasks=("press:a", "b"), task="push",
    )  # fmt: skip
    assert [type(getattr(meta, name)) for name in ("seed", "useful", "success", "terminated")] == [
        int, bool, bool, bool,
    ]  # fmt: skip


@pytest.mark.parametrize(
    "bad",
    [
        None,
        {"pose": []},
        dataclasses.replace(episode("a"), pose=None),
        dataclasses.replace(episode("a"), pose=[[1], [2, 3]]),
        dataclasses.replace(episode("a"), image=[[0]]),
        dataclasses.replace(episode("a"), action=np.array(3.0, np.float32)),
        dataclasses.replace(episode("a"), pose=np.array(None)),
        dataclasses.replace(episode("a"), meta=None),
    ],
    ids=str,
)
def test_what_is_no_episode_is_refused(bad, tmp_path):
    with pytest.raises(DataError, match=r"record-00000: (an episode is|episode 'a'[: ])"):
        Dataset(tmp_path, SPEC).write_shard("round_1", 0, [bad])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((["a"], ["b"], [float("nan")], 0.9), r"similarity\[0\] is nan"),
        ((["a"], ["b"], [1e300], 0.9), r"similarity\[0\] is 1e\+300, more than float32"),
        ((["a"], ["b"], [None], 0.9), r"similarity\[0\] is None"),
        ((["a"], ["b"], None, 0.9), "similarity is of type NoneType"),
        ((["a"], ["b"], ["1"], 0.9), r"similarity\[0\] is '1'"),
        ((["a"], ["b"], np.ones((1, 1)), 0.9), r"similarity\[0\] is array"),
        ((["a"], ["b"], np.ones(1), None), "alpha is None"),
        ((["a"], ["b"], np.ones(1), float("inf")), "alpha is inf"),
        (("ab", ["a", "b"], np.ones(2), 0.9), r"a is 'ab' \(str\); it must be a tuple of texts"),
        ((["a"], [3], np.ones(1), 0.9), r"b\[0\] is 3 \(int\)"),
        ((["a"], ["x" * 200_000], np.ones(1), 0.9), r"b\[0\] is 'xxx.*which CSV cannot hold"),
        ((["a", "a\rb"], ["b", "c"], np.ones(2), 0.9), r"a\[1\] is 'a\\rb', which CSV cannot hold"),
    ],
)
def test_pairs_that_cannot_be_meant_are_refused_by_field(arguments, said, tmp_path):
    dataset = Dataset(tmp_path, SPEC)
    with pytest.raises(DataError, match=rf"pairs_mili_1\.csv: {said}"):
        dataset.write_pairs("mili_1", *arguments)
    assert not dataset.path.exists()


# Whatever is handed in

_NUMBERS = st.one_of(
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.floats(width=32).map(np.float32),
    st.integers(-(2**63), 2**63 - 1).map(np.int64),
    st.booleans(),
    st.booleans().map(np.bool_),
)
_TEXTS = st.one_of(
    st.text(st.characters(exclude_categories=())),
    st.sampled_from(["", "a", "yes", "person", "\n", '"', ",", "\r", "\x00", "é", "2026-01-02"]),
    st.text("ab,\n\r\"'", max_size=8),
)
WILD = st.one_of(
    st.none(),
    _NUMBERS,
    _TEXTS,
    _TEXTS.map(np.str_),
    st.binary(max_size=4),
    st.lists(_TEXTS, max_size=3),
    st.lists(_TEXTS, max_size=3).map(tuple),
    st.lists(_NUMBERS, max_size=2),
    st.just({}),
    st.just(np.zeros(2)),
    st.just(object()),
)
MANY = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
_fresh = itertools.count()


def same(value, stored) -> bool:
    """Whether what is stored is what was meant by what was given."""
    if np.ndim(value) == 0 and hasattr(value, "item"):
        value = value.item()
    if isinstance(value, list):
        value = tuple(value)
    if isinstance(stored, Answer) and not isinstance(value, str):
        value = "yes" if value else "no"
    return bool(value == stored)


@MANY
@given(
    facts=st.fixed_dictionaries(
        {}, optional={f.name: WILD for f in dataclasses.fields(EpisodeMeta)}
    )
)
@example(facts={"achieved_tasks": "press:a"})
@example(facts={"seed": 1.5})
def test_any_facts_are_read_back_or_refused(facts, tmp_path):
    dataset = Dataset(tmp_path / str(next(_fresh)), SPEC)
    made = episode("a", length=1)
    made = dataclasses.replace(made, meta=dataclasses.replace(made.meta, **facts))
    try:
        dataset.write_shard("round_1", 0, [made])
    except DataError as error:
        assert any(f" {name}" in str(error) for name in facts)
        assert not dataset.path.exists()
        return
    dataset.commit("round_1", 1)
    (meta,) = dataset.read_metadata("round_1")
    assert [e.meta for e in dataset.read("round_1")] == [meta]
    for name, value in facts.items():
        assert same(value, getattr(meta, name)), (name, value, getattr(meta, name))


LABEL = {"episode_id": "t0", "answer": True, "annotator": "p"}


@MANY
@given(values=st.fixed_dictionaries({}, optional={f.name: WILD for f in dataclasses.fields(Label)}))
def test_any_label_is_read_back_or_refused(values, tmp_path):
    dataset = Dataset(tmp_path / str(next(_fresh)), SPEC)
    try:
        label = Label(**(LABEL | values))
    except DataError as error:
        assert any(f"{name} " in str(error) for name in values)
        return
    for name, value in values.items():
        assert same(value, getattr(label, name)), (name, value, label)
    dataset.write_labels("round_1", [Label(**LABEL), label])
    assert dataset.read_labels("round_1") == [Label(**LABEL), label]


@MANY
@given(a=WILD, b=WILD, similarity=WILD, alpha=WILD)
@example(a=["x", "y"], b=["y", "z"], similarity=[0.5, np.float32(0.1)], alpha=np.float64(0.9))
@example(a=["\n", 'x"'], b=["\x00", ","], similarity=[0.5, 1], alpha=1)
def test_any_pair_table_is_read_back_or_refused(a, b, similarity, alpha, tmp_path):
    dataset = Dataset(tmp_path / str(next(_fresh)), SPEC)
    try:
        dataset.write_pairs("mili_1", a, b, similarity, alpha)
    except DataError as error:
        assert "pairs_mili_1.csv: " in str(error)
        return
    pairs = dataset.read_pairs("mili_1")
    assert (pairs.a, pairs.b) == (tuple(map(str, a)), tuple(map(str, b)))
    np.testing.assert_array_equal(pairs.similarity, np.array(list(similarity), np.float32))
    np.testing.assert_array_equal(pairs.alpha, np.full(len(pairs), alpha, float))


# Lines that cannot be read


def test_the_doctor_names_lines_that_cannot_be_read_and_keeps_the_others(tmp_path):
    """As an old version could leave them: listed, whole, and unreadable."""
    dataset = Dataset(tmp_path / "dataset", SPEC)
    dataset.write_labels("round_1", [Label("t0", YES, "ana"), Label("t1", NO, "bo")])
    dataset.write_pairs("mili_1", ["a"], ["b"], np.ones(1), 0.9)
    labels, pairs = (dataset.path / name for name in ("labels_round_1.jsonl", "pairs_mili_1.csv"))
    good = labels.read_bytes()
    first = good.index(b"\n") + 1
    bad = b'{"episode_id": 3, "useful": true, "by": "p", "time": ""}\n{"answer": 7}\n'
    ledger.replace(
        dataset.path,
        {
            labels.name: good[:first] + bad + good[first:],
            pairs.name: pairs.read_bytes() + b"a,b,high,0.9\n",
        },
    )
    with pytest.raises(DataError, match=r"labels_round_1\.jsonl, line 2: not a label \(episode_id"):
        dataset.read_labels("round_1")
    with pytest.raises(DataError, match=r"pairs_mili_1\.csv, line 3: .*'high'"):
        dataset.read_pairs("mili_1")
    (tmp_path / "lock").touch()
    found = {d.path: d for d in doctor.examine(tmp_path)}
    assert set(found) == {labels, pairs}
    assert "line 2: not a label" in found[labels].why and "and 1 lines more" in found[labels].why
    assert tmp_path / "stages" / "filter_1.json" in found[labels].drop
    doctor.repair(tmp_path)
    assert doctor.examine(tmp_path) == []
    assert labels.read_bytes() == good
    kept = tmp_path / "damaged" / labels.relative_to(tmp_path)
    assert bad in kept.read_bytes(), "what people meant can be looked at"
    assert not pairs.exists()
