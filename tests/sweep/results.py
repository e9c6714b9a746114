"""Result rows and what is drawn from them: files that somebody has edited, cut or mistaken."""

from __future__ import annotations

import json

from report_rows import result_rows

from mili_jax.report.results import write_comparison, write_figures
from mili_jax.report.rowfiles import read_files
from sweep.row import Row

AREA = "Result rows and figures"
ROW = {
    **{"config": "c", "method": "mili", "round": 1, "seed": 0, "split": "test", "demo": "right"},
    **{"family": "press", "task": "press:a", "n": 2, "successes": 1},
}
LINE = json.dumps(ROW)


def a_row(**changes):
    return json.dumps(ROW | changes) + "\n"


def read(given, content, right):
    """A row of the sweep: a file of this content, read."""
    return Row(
        given, lambda here: read_files([here / "rows.jsonl"]), right, files={"rows.jsonl": content}
    )


def drawn(given, content, right, **more):
    return Row(
        given,
        lambda here: write_figures([here / "rows.jsonl"], here / "out"),
        right,
        files={"rows.jsonl": content},
        **more,
    )


def holds(count):
    return lambda rows: len(rows.results) == count


MANY = [row for row in result_rows(tasks=2) if row["demo"] == "right"]
ROWS = [
    read("null", "null\n", "line 1: not a JSON object"),
    read("a number", "7\n", "line 1: not a JSON object"),
    read("a text", '"task"\n', "line 1: not a JSON object"),
    read("all rows in one list", json.dumps([ROW, ROW]), "line 1: not a JSON object"),
    read("a row over several lines", json.dumps(ROW, indent=1), "line 1"),
    read("rows with commas between them", f"{LINE},\n{LINE}\n", "line 1: .*repair"),
    read("a row in single quotes", str(ROW), "line 1: .*repair"),
    read("a row 100,000 lists deep", LINE + "\n" + "[" * 100_000, "line 2: .*repair"),
    read("UTF-16, as spreadsheets save it", LINE.encode("utf-16"), "cannot be read.*UTF-8"),
    read("Latin-1", a_row(config="ü").replace("\\u00fc", "ü").encode("latin-1"), "UTF-8"),
    read("old ends of lines alone", (LINE + "\r").encode() * 1, holds(1)),
    read("zeros", bytes(100), "line 1: .*repair"),
    read("a packed file", b"PK\x03\x04\x14\x00\x00\x00", "line 1: .*repair|no result rows|UTF-8"),
    read("white space alone", " \n\t\n", "holds no result rows"),
    read("n of NaN", a_row(n=float("nan")), "'n' must be a whole number"),
    read("endless n", LINE.replace('"n": 2', '"n": 1e999'), "'n' must be a whole number"),
    read("a negative n", a_row(n=-2), "'n' must be a whole number from 1, is -2"),
    read("n of 2.0", a_row(n=2.0), "'n' must be a whole number from 1, is 2.0"),
    read("negative successes", a_row(successes=-1), "'successes' must be a whole number"),
    read("successes in per cent", a_row(successes=50), "50 successes of n = 2"),
    read("outcomes of nobody", a_row(outcomes=[]), "outcomes hold 0 successes of 0"),
    read("outcomes as a number", a_row(outcomes=1), "'outcomes' must be a list"),
    read("outcomes in a dictionary", a_row(outcomes={"0": 1}), "'outcomes' must be a list"),
    read("a task of null", a_row(task=None), "'task' must be text"),
    read("a task in a list", a_row(task=["press:a"]), "'task' must be text"),
    read("a demonstration of null", a_row(demo=None), "'demo' must be one of"),
    read("a demonstration in a list", a_row(demo=["right"]), "'demo' must be one of"),
    read("a seed as text", a_row(seed="0"), "'seed' must be a whole number"),
    read("a configuration in a list", a_row(config=["c"]), "'config' must be text"),
    read("a seed in a list", a_row(seed=[0]), "'seed' must be a whole number"),
    read("a domain in a list", a_row(domain=["kitchen"]), "'domain' must be text"),
    read("an alpha of NaN", LINE + '\n{"alpha": NaN, "round": 1}\n', "'alpha' must be finite"),
    read("an alpha in a list", LINE + '\n{"alpha": [0.9]}\n', "'alpha' must be a number"),
    read(
        "pairs of a configuration in a list",
        LINE + '\n{"alpha": 0.9, "config": ["c"]}\n',
        "'config' must be text",
    ),
    read("costs of a number", LINE + '\n{"cost_of": 5}\n', "'cost_of' must be text"),
    read(
        "costs that adapt in a list",
        LINE + '\n{"cost_of": "bc", "round": 0, "steps": 1, "seconds": 1, "adaptation": [1]}\n',
        "'adaptation' must hold",
    ),
    read("a field twice", LINE.replace("{", '{"n": 5, ', 1), holds(1)),
    read("a field that nobody knows", a_row(mood="good"), holds(1)),
    Row(
        "one file twice",
        lambda here: read_files([here / "rows.jsonl", here / "rows.jsonl"]),
        "both hold seed 0",
        files={"rows.jsonl": LINE},
    ),
    Row(
        "two seeds that have no policy in common",
        lambda here: read_files([here / "a", here / "b"]),
        "no policy that every seed has",
        files={"a": a_row(), "b": a_row(seed=1, method="bc")},
    ),
    Row("no file", lambda here: read_files([]), "no file of rows is given"),
    Row("a file that is not there", lambda here: read_files([here / "no"]), "no is missing"),
    Row(
        "a path as text",
        lambda here: read_files(["rows.jsonl"]),
        holds(1),
        files={"rows.jsonl": LINE},
    ),
    drawn("a row twice, drawn", LINE + "\n" + LINE, "'press:a' occurs twice"),
    drawn("a task in two groups, drawn", a_row() + a_row(family="push"), "'press:a' occurs twice"),
    drawn(
        "rows into a folder that is a file",
        LINE,
        "out",
        before=lambda here: (here / "out").write_text("mine"),
    ),
    drawn(
        "names of two lines, of 300 letters and of marks, drawn",
        "".join(
            json.dumps(row | {"method": f"a\nb<{row['method']}>$x^${'m' * 300}"}) + "\n"
            for row in MANY
        ),
        lambda paths: all(path.stat().st_size for path in paths),
        leaves=True,
    ),
    Row(
        "a comparison of nothing",
        lambda here: write_comparison([], here / "report"),
        "no run is given",
    ),
    Row(
        "a comparison of a folder that is no run",
        lambda here: write_comparison([here], here / "report"),
        "no workdir",
    ),
]
