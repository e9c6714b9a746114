"""What is stored: datasets, their splits, episodes, labels and tables of pairs."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
from test_episodes import SPEC, episode

from mili_jax.storage.dataset import Dataset
from mili_jax.storage.labels import Label, parse_labels
from mili_jax.storage.pairs import parse_pairs
from mili_jax.storage.workdir import Workdir
from sweep.row import Row

AREA = "Stored episodes, labels and pairs"
GOOD = '{"episode_id": "t0", "answer": "yes", "annotator": "p"}'
HEAD = "a,b,similarity,alpha"


def dataset(here):
    return Dataset(here, SPEC)


def with_episodes(here):
    made = dataset(here)
    made.write_shard("round_1", 0, [episode("t0")])
    made.commit("round_1", 1)
    return made


def split(name):
    return lambda here: dataset(here).write_shard(name, 0, [episode("t0")])


def shard(number):
    return lambda here: dataset(here).write_shard("round_1", number, [episode("t0")])


def commit(shards):
    return lambda here: Dataset(here).commit("round_1", shards)


def stored(*episodes):
    return lambda here: dataset(here).write_shard("round_1", 0, list(episodes))


def named(name):
    """An episode of this name, written, committed and read."""

    def call(here):
        made = dataset(here)
        made.write_shard("round_1", 0, [episode(name)])
        made.commit("round_1", 1)
        return [read.meta.episode_id for read in made.read("round_1")] == [name]

    return call


def changed(**arrays):
    made = episode("t0")
    return stored(
        dataclasses.replace(made, **{k: change(getattr(made, k)) for k, change in arrays.items()})
    )


def labels(content):
    return lambda _: list(
        parse_labels(Path("labels"), content.encode() if isinstance(content, str) else content)
    )


def pairs(content):
    return lambda _: parse_pairs(
        Path("pairs"), content.encode() if isinstance(content, str) else content
    )


def count(number):
    return lambda found: len(found) == number


ROWS = [
    Row("no root of a dataset", lambda _: Dataset(None), "root"),
    Row("a number for the root", lambda _: Dataset(5), "root"),
    Row("a robot by its name", lambda here: Dataset(here, "kitchen"), "spec.*'kitchen'"),
    Row(
        "a domain's name for a root",
        lambda _: Dataset("kitchen").splits(),
        lambda found: found == {},
    ),
    Row(
        "a file for the root",
        lambda here: Dataset(here / "file", SPEC).write_shard("a", 0, [episode("t0")]),
        "file",
        files={"file": "mine"},
    ),
    Row("a split in capitals", split("Round_1"), "'Round_1' cannot name a split"),
    Row("a split with a dash", split("round-1"), "'round-1' cannot name a split"),
    Row("a split of nothing", split(""), "'' cannot name a split"),
    Row("a split called all", split("all"), "'all' cannot name a split"),
    Row("a split that goes up", split("../round_1"), "cannot name a split"),
    Row("a split with an accent", split("été"), "cannot name a split"),
    Row("a split of two lines", split("round_1\n"), "cannot name a split"),
    Row("no split", split(None), "None cannot name a split"),
    Row(
        "a slice of a split",
        lambda here: Dataset(here).read("round_1[:10%]"),
        "cannot name a split",
        before=with_episodes,
    ),
    Row(
        "a split that is not there",
        lambda here: Dataset(here).read("round_2"),
        "'round_2'.*missing",
        before=with_episodes,
    ),
    Row("a shard as text", shard("0"), "shard is '0'"),
    Row("a shard of 0.0", shard(0.0), r"shard is 0\.0"),
    Row("True for a shard", shard(True), "shard is True"),
    Row("no shard", shard(None), "shard is None"),
    Row("a negative shard", shard(-1), "shard -1 is negative"),
    Row(
        "a millionth shard", shard(10**6), lambda path: path.name.endswith("-1000000"), leaves=True
    ),
    Row("a shard number of 70 bits", shard(2**70), "64 bits"),
    Row("no shards to commit", commit(0), "nothing to commit", before=with_episodes),
    Row("negative shards to commit", commit(-1), "nothing to commit", before=with_episodes),
    Row("shards to commit as text", commit("1"), "shards is '1'", before=with_episodes),
    Row("more shards than there are", commit(10**9), "-00001 is missing", before=with_episodes),
    Row(
        "an episode of no steps",
        changed(image=lambda a: a[:0], pose=lambda a: a[:0], action=lambda a: a[:0]),
        "'t0' has no steps",
    ),
    Row("an episode with an action less", changed(action=lambda a: a[:-1]), "action is float32"),
    Row(
        "pictures in 0..1",
        changed(image=lambda a: (a / 255).astype(np.float32)),
        "image is float32",
    ),
    Row("pictures in float64", changed(image=lambda a: a.astype(float)), "image is float64"),
    Row(
        "pictures with their channels first",
        changed(image=lambda a: a.transpose(0, 3, 1, 2)),
        "image is uint8",
    ),
    Row("pictures of lists", changed(image=lambda a: a.tolist()), "image is of type list"),
    Row("poses in float64", changed(pose=lambda a: a.astype(float)), "pose is float64"),
    Row("poses of NaN", changed(pose=lambda a: a * np.nan), "pose holds NaN"),
    Row(
        "endless actions",
        changed(action=lambda a: np.full_like(a, np.inf)),
        "action holds NaN or inf",
    ),
    Row(
        "actions that are masked",
        changed(action=lambda a: np.ma.masked_array(a, a > 0)),
        "action is of type MaskedArray",
    ),
    Row(
        "one episode without its list",
        lambda here: dataset(here).write_shard("a", 0, episode("t0")),
        "episodes are given as",
    ),
    Row("no episodes", lambda here: dataset(here).write_shard("a", 0, []), "at least one episode"),
    Row(
        "episodes of None",
        lambda here: dataset(here).write_shard("a", 0, None),
        "episodes are given as",
    ),
    Row(
        "an id twice in a shard",
        lambda here: dataset(here).commit("a", 1),
        "'t0' is also in",
        before=lambda here: dataset(here).write_shard("a", 0, [episode("t0"), episode("t0", 1)]),
    ),
    Row("an id with slashes", named("../t/0"), bool, leaves=True),
    Row("an id with a face", named("trial 🙂"), bool, leaves=True),
    Row("an id of 300 letters", named("t" * 300), bool, leaves=True),
    Row("an id of 501 letters", named("t" * 501), "501 characters"),
    Row("an id with an end of line", named("t\r"), "one line"),
    Row("an id of nothing but a space", named(" "), bool, leaves=True),
    Row("labels of None", lambda here: dataset(here).write_labels("a", None), "labels"),
    Row(
        "one label without its list",
        lambda here: dataset(here).write_labels("a", Label("t0", True, "p")),
        "labels",
    ),
    Row("labels as text", lambda here: dataset(here).write_labels("a", "yes"), "a label is str"),
    Row(
        "labels of a split that goes up",
        lambda here: dataset(here).read_labels("../a"),
        "cannot name",
    ),
    Row("a file of labels of nothing", labels(""), count(0)),
    Row("labels with ends of lines of Windows", labels(f"{GOOD}\r\n{GOOD}\r\n"), count(2)),
    Row("labels after a mark of UTF-8", labels(b"\xef\xbb\xbf" + GOOD.encode() + b"\n"), count(1)),
    Row("labels in UTF-16", labels(GOOD.encode("utf-16")), count(1)),
    Row("labels as a table", labels("episode_id,answer,annotator\nt0,yes,p\n"), "line 1: .*repair"),
    Row("labels in one list", labels(f"[{GOOD}]\n"), "line 1: not a JSON object"),
    Row("a label in capitals", labels(GOOD.replace("yes", "YES")), "answer is 'YES'"),
    Row(
        "a label with a field more", labels(GOOD.replace("{", '{"mood": 1, ')), "not a label .*mood"
    ),
    Row(
        "a label with a field less",
        labels('{"episode_id": "t0", "answer": "yes"}'),
        "not a label .*annotator",
    ),
    Row("a label with an end of line in it", labels(GOOD.replace("t0", "t\\n0")), count(1)),
    Row("a label cut in the middle", labels(f"{GOOD}\n{GOOD[:20]}"), "line 2: .*repair"),
    Row("an empty line among labels", labels(f"{GOOD}\n\n{GOOD}\n"), "line 2"),
    Row("a label 100,000 lists deep", labels("[" * 100_000), "line 1: .*repair"),
    Row(
        "labels edited by hand",
        lambda here: Dataset(here).read_labels("round_1"),
        "labels_round_1.jsonl is damaged",
        before=lambda here: (
            with_episodes(here).write_labels("round_1", [Label("t0", True, "p")]),
            (here / "mili/1.0.0/labels_round_1.jsonl").write_text(GOOD),
        ),
    ),
    Row("a table of no pairs", pairs(f"{HEAD}\n"), count(0)),
    Row("an empty table", pairs(""), "line 1: expected the header a,b"),
    Row(
        "a table with semicolons",
        pairs(f"{HEAD}\na;b;0,9;0,5\n".replace(HEAD, HEAD.replace(",", ";"))),
        "line 1: expected the header",
    ),
    Row("a table with tabs", pairs(f"{HEAD}\na\tb\t0.9\t0.5\n"), "line 2"),
    Row("a table after a mark of UTF-8", pairs(f"\ufeff{HEAD}\na,b,0.9,0.5\n"), count(1)),
    Row("a table with ends of lines of Windows", pairs(f"{HEAD}\r\na,b,0.9,0.5\r\n"), count(1)),
    Row(
        "a table in quotes", pairs('"a","b","similarity","alpha"\n"a","b","0.9","0.5"\n'), count(1)
    ),
    Row("a table with an open quote", pairs(f'{HEAD}\n"a,b,0.9,0.5\n'), "line 2"),
    Row("a decimal comma in a table", pairs(f'{HEAD}\na,b,"0,9",0.5\n'), "line 2: .*pair again"),
    Row("a column less", pairs(f"{HEAD}\na,b,0.9\n"), "line 2: .*pair again"),
    Row(
        "a column of numbers of lines",
        pairs(f",{HEAD}\n0,a,b,0.9,0.5\n"),
        "line 1: expected the header",
    ),
    Row("a similarity of NaN", pairs(f"{HEAD}\na,b,nan,0.5\n"), "line 2: .*nan"),
    Row("an endless similarity", pairs(f"{HEAD}\na,b,1e999,0.5\n"), "line 2: 1e999.*finite"),
    Row("zeros for a table", pairs(bytes(50)), "line 1"),
    Row(
        "pairs of a table that is not there",
        lambda here: Dataset(here).read_pairs("mili_1"),
        "pairs_mili_1.csv is missing",
    ),
    Row(
        "pairs of a table that goes up",
        lambda here: Dataset(here).read_pairs("../mili_1"),
        "cannot name",
    ),
    Row(
        "the digest of a file elsewhere",
        lambda here: Dataset(here).digests("../../x.txt"),
        lambda found: found == {},
    ),
    Row("a workdir of None", lambda _: Workdir(None), "folder"),
    Row(
        "a workdir with a list for its configuration",
        lambda here: Workdir(here / "run", [1]),
        "config",
    ),
    Row(
        "a workdir with a configuration of a function",
        lambda here: Workdir(here / "run", {"f": len}),
        "config.f is of type",
    ),
    Row(
        "a stage with dots",
        lambda here: Workdir(here / "run", {}).read_manifest("../x"),
        "'../x' cannot name",
        leaves=True,
    ),
]
