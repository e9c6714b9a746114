"""The folder of a report, its files, and the files of rows: what is kept, replaced and refused."""

import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest
from report_rows import clip, embedding, films, full_disk, pairing_rows, result_rows, small

from mili_jax.report.content import Content
from mili_jax.report.films import write_video
from mili_jax.report.folder import check_folder
from mili_jax.report.page import write_report
from mili_jax.report.results import write_figures
from mili_jax.report.rowfiles import read_files, read_lines
from mili_jax.types import ConfigError, DataError

ROOT = Path(__file__).resolve().parents[1]
AS_ROOT = os.geteuid() == 0  # whom no permission stops


def test_failure_leaves_the_old_page_and_no_other_folder(tmp_path):
    out = tmp_path / "report"
    before = write_report(out, **small(title="first")).read_text()
    with pytest.raises(DataError, match=r"'family'.*360"):
        write_report(
            out,
            **small(
                title="second",
                videos=films()[:1],
                embedding=dict(embedding(trials=0), family=["press"]),
            ),
        )
    assert [path.name for path in tmp_path.iterdir()] == ["report"]
    assert (out / "index.html").read_text() == before
    (tmp_path / ".report.tmp").mkdir()  # as a killed run leaves it
    write_report(out, **small(title="third"))
    assert [path.name for path in tmp_path.iterdir()] == ["report"]
    assert "third" in (out / "index.html").read_text()


def test_other_files_are_never_replaced(tmp_path):
    (tmp_path / "figures").mkdir()
    with pytest.raises(ConfigError, match="figures"):
        write_report(tmp_path, **small())
    out = tmp_path / "report"
    write_report(out, **small())
    (out / "notes.txt").write_text("mine")
    with pytest.raises(ConfigError, match=r"notes\.txt"):
        write_report(out, **small())
    assert (out / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize(
    "name",
    [
        *(".DS_Store", "._index.html", "Thumbs.db", "desktop.ini", ".directory", "Icon\r"),
        *(".~lock.index.html#", "~$report.html", "index.html~", ".index.html.swp", ".nfs000001"),
        *("__MACOSX", ".ipynb_checkpoints", "@eaDir", "lost+found", ".gitignore", ".gitkeep"),
    ],
)
def test_what_systems_and_editors_leave_is_no_reason_to_refuse_and_is_kept(tmp_path, name):
    out = tmp_path / "report"
    for before in (False, True):  # beside a page, and alone
        if before:
            write_report(out, **small(videos=films()[:1]))
        out.mkdir(exist_ok=True)
        (out / name).write_text("litter")
        (out / "videos").mkdir(exist_ok=True) if before else None
        if before:
            (out / "videos" / name).write_text("litter")
        index = write_report(out, **small(title="new"))
        assert "new" in index.read_text() and (out / name).read_text() == "litter"
        assert [path.name for path in tmp_path.iterdir()] == ["report"]


@pytest.mark.parametrize(
    "name", ["notes.txt", "figures/mine.svg", "videos/best.mp4", "figures/sub", "data.csv"]
)
def test_a_file_of_somebodys_is_never_lost_wherever_it_lies(tmp_path, name):
    out = tmp_path / "report"
    write_report(out, **small(pairing_rows=pairing_rows(), videos=films()[:1]))
    (out / name).write_text("mine") if "." in name else (out / name).mkdir()
    for attempt in (check_folder, lambda out: write_report(out, **small())):
        with pytest.raises(ConfigError, match=f"holds '{name}'"):
            attempt(out)
    assert (out / name).exists() and (out / "videos" / "00-failure.mp4").exists()


def test_a_page_that_no_report_wrote_is_never_replaced(tmp_path):
    (tmp_path / "index.html").write_text("<!doctype html><title>my site</title>")
    with pytest.raises(ConfigError, match=r"index\.html"):
        write_report(tmp_path, **small())
    assert "my site" in (tmp_path / "index.html").read_text()


def test_a_link_stays_a_link(tmp_path):
    real = tmp_path / "elsewhere"
    write_report(real, **small(title="first"))
    (tmp_path / "report").symlink_to(real)
    index = write_report(tmp_path / "report", **small(title="second"))
    assert index == tmp_path / "report" / "index.html" and (tmp_path / "report").is_symlink()
    assert "second" in (real / "index.html").read_text()


PARTS = {
    "page": {"config": {f"field {i}": "x" * 400 for i in range(900)}},
    "figure": {"pairing_rows": pairing_rows()},
    "film": {"videos": films()[:1]},
}


@pytest.mark.parametrize("room", [0, 4000, 200_000])
@pytest.mark.parametrize("part", PARTS)
def test_on_a_full_disk_the_old_page_stays(tmp_path, part, room):
    """Whatever is being written: one plain line, nothing half-written. What fits is written."""
    out = tmp_path / "report"
    write_report(out, **small(title="old"))
    before = (out / "index.html").read_text()
    # Room for the trial of the folder: the disk is full only later.
    with full_disk(max(room, 1)):
        try:
            written = write_report(out, **small(title="new", **PARTS[part]))
        except DataError as error:
            assert str(error).startswith(f"the report could not be written to {out} (File too")
            assert "run the same command again" in str(error) and "\n" not in str(error)
            written = None
    assert [path.name for path in tmp_path.iterdir()] == ["report"]
    assert written is None or room > 4000
    if written is None:
        assert (out / "index.html").read_text() == before


@pytest.mark.parametrize("part", PARTS)
def test_a_disk_that_fills_while_a_report_is_written(tmp_path, part, monkeypatch):
    """Past the check of the folder, which needs more room than any of these files."""
    monkeypatch.setattr("mili_jax.report.folder._ROOM", 1)
    out = tmp_path / "report"
    old = write_report(out, **small(title="old")).read_text()
    with full_disk(3000), pytest.raises(DataError, match=r"could not be written to .*report \("):
        write_report(out, **small(title="new", **PARTS[part]))
    assert (out / "index.html").read_text() == old
    assert [path.name for path in tmp_path.iterdir()] == ["report"]


def test_a_film_is_whole_or_an_error(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (12, 64, 64, 3), np.uint8)
    write_video(tmp_path / "whole.mp4", noise, noise, success=True)
    size = (tmp_path / "whole.mp4").stat().st_size
    refused = 0
    for room in (0, 100, size // 3, size // 2, size, 4 * size):
        path = tmp_path / "film.mp4"
        with full_disk(room):
            try:
                write_video(path, noise, noise, success=True)
            except OSError:
                refused += 1
                continue
        with av.open(str(path)) as film:
            assert sum(1 for _ in film.decode(video=0)) == 12 + 7
    assert refused >= 4


@contextlib.contextmanager
def nobody():
    """Somebody whom permissions stop, also where the tests run as root."""
    if AS_ROOT:
        os.seteuid(65534)
    try:
        yield
    finally:
        if AS_ROOT:
            os.seteuid(0)


@pytest.mark.parametrize("where", ["a file in the way", "no such device", "read-only"])
def test_a_folder_that_cannot_be_written_is_told_before_the_work(tmp_path, where):
    if where == "a file in the way":
        (tmp_path / "file").write_text("")
        out = tmp_path / "file" / "report"
    elif where == "no such device":
        out = Path("/proc/nothing/report")
    else:
        (tmp_path / "shut").mkdir(mode=0o500)
        out = tmp_path / "shut" / "report"
    for attempt in (
        check_folder,
        lambda out: write_report(out, **small(videos=[{"title": "no film at all"}])),
        lambda out: write_figures([tmp_path / "no rows"], out),
    ):
        with nobody(), pytest.raises(DataError, match="could not be written"):
            attempt(out)


def test_parts_are_checked_before_anything_is_drawn(tmp_path, monkeypatch):
    def never(*_, **__):
        raise AssertionError("drawn before all was checked")

    monkeypatch.setattr("mili_jax.report.page._sections", never)
    for bad, match in (
        ({"rows": [{"task": "a"}]}, "result row 1: the field 'method' is missing"),
        ({"pairing_rows": [{"alpha": "x"}]}, "pairing row 1: 'alpha' must be a number"),
        ({"costs": [{"cost_of": "bc", "round": 0}]}, "row of costs 1: the field 'steps'"),
        ({"collection": [{"round": 1, "trials": -1, "useful": 0}]}, "'trials' must be a whole"),
        ({"videos": [dict(films()[0], demo=clip(2)[..., 0])]}, r"film 1 \(press .*demo must be"),
        ({"videos": [{"title": "t"}]}, "film 1 lacks 'attempt'"),
        ({"embedding": dict(embedding(), split=["a"])}, "'split'.*760"),
        ({"neighbours": {"task": 7}}, "neighbours.*share"),
    ):
        with pytest.raises(DataError, match=match):
            write_report(tmp_path / "r", **small(**bad))
    with pytest.raises(ConfigError, match="margin"):
        write_report(tmp_path / "r", **small(margin=5))
    assert not list(tmp_path.iterdir())


ROW = {
    **{"config": "c", "method": "mili", "round": 1, "seed": 0, "split": "test", "demo": "right"},
    **{"family": "press", "task": "press:a", "n": 2, "successes": 1, "outcomes": [0, 1]},
}


@pytest.mark.parametrize(
    "change, match",
    [
        ({"n": 0}, "'n' must be a whole number from 1, is 0"),
        ({"n": 2.5}, "'n' must be a whole number"),
        ({"n": True}, "'n' must be a whole number"),
        ({"n": "2"}, "'n' must be a whole number"),
        ({"successes": 3}, "3 successes of n = 2"),
        ({"successes": None}, "'successes' must be a whole number"),
        ({"successes": 2}, "outcomes hold 1 successes of 2"),
        ({"outcomes": [0, 2]}, "list of 0 and 1"),
        ({"outcomes": "01"}, "list of 0 and 1"),
        ({"demo": "left"}, "'demo' must be one of"),
        ({"family": ""}, "'family' must be text"),
        ({"family": 3}, "'family' must be text"),
        ({"method": None}, "'method' must be text"),
        ({"round": -1}, "'round' must be a whole number"),
        ({"seed": 1.5}, "'seed' must be a whole number"),
        ({"domain": 4}, "'domain' must be text"),
        ({"any_task": -2}, "'any_task'"),
    ],
)
def test_a_row_that_cannot_be_is_named_with_its_line(tmp_path, change, match):
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(ROW) + "\n\n" + json.dumps(ROW | {"task": "b"} | change) + "\n")
    with pytest.raises(DataError, match=rf"rows\.jsonl, line 3.*{match}"):
        read_files([path])


@pytest.mark.parametrize("field", ["method", "round", "demo", "family", "n", "successes"])
def test_a_row_without_a_field_that_it_needs_is_refused(tmp_path, field):
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps({k: v for k, v in ROW.items() if k != field}))
    with pytest.raises(DataError, match=f"line 1.*'{field}'"):
        read_files([path])


@pytest.mark.parametrize("start", ["", "\ufeff"])
@pytest.mark.parametrize("end", ["", "\n", "\r\n", "\n\n  \n"])
def test_the_last_row_counts_with_and_without_its_end_of_line(tmp_path, start, end):
    path = tmp_path / "rows.jsonl"
    lines = (end.strip(" ") or "\n")[:2].join(
        json.dumps(ROW | {"task": f"press:{i}", "config": "\u00fc"}, ensure_ascii=False)
        for i in range(3)
    )
    path.write_text(start + lines + end, encoding="utf-8", newline="")
    assert [row["task"] for row in read_files([path]).results] == [f"press:{i}" for i in range(3)]
    assert {row["config"] for _, row in read_lines(path)} == {"\u00fc"}


@pytest.mark.parametrize(
    "content, match",
    [
        (b'{"task": 1}\n{"task"', r"rows\.jsonl, line 2: "),
        (b"[1]\n", "line 1: not a JSON object"),
        (b"\xff\xfe", "cannot be read"),
        (b"", "holds no result rows"),
        (b'{"note": "other"}\n', "holds no result rows"),
    ],
)
def test_what_is_no_file_of_rows_is_said(tmp_path, content, match):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(content)
    with pytest.raises(DataError, match=match):
        read_files([path])


def test_figures_stay_together_as_they_were_on_a_disk_that_fills(tmp_path, monkeypatch):
    rows = tmp_path / "rows.jsonl"
    keep = [row for row in result_rows(tasks=2) if row["demo"] == "right"]
    rows.write_text("\n".join(map(json.dumps, keep)))
    out = tmp_path / "out"
    out.mkdir()
    for name in ("bars.png", "improvement.png", "summary.md"):
        (out / name).write_text("old")
    monkeypatch.setattr("mili_jax.report.folder._ROOM", 1)
    with full_disk(60_000), pytest.raises(DataError, match=r"out/\S+ could not be written"):
        write_figures([rows], out)
    assert {path.read_text() for path in out.iterdir()} == {"old"}
    assert len(list(out.iterdir())) == 3


def figures(*arguments, room=None):
    """`python -m experiments.figures`, in a process of its own."""
    limit = None
    if room is not None:

        def limit():
            import resource

            resource.setrlimit(resource.RLIMIT_FSIZE, (room, room))

    return subprocess.run(
        [sys.executable, "-m", "experiments.figures", *arguments],
        cwd=ROOT,
        preexec_fn=limit,
        capture_output=True,
        text=True,
        timeout=300,
    )


def test_the_command_draws_all_or_says_in_a_line_why_not(tmp_path):
    rows = tmp_path / "rows.jsonl"
    keep = [row for row in result_rows(tasks=2) if row["demo"] == "right"]
    rows.write_text("\n".join(map(json.dumps, keep)))  # without a last end of line
    out = tmp_path / "out"
    done = figures(f"--rows={rows}", f"--out={out}")
    assert done.returncode == 0, done.stderr
    names = ["bars.png", "improvement.png", "improvement-dark.png", "summary.md"]
    assert done.stdout.split() == [str(out / name) for name in names]
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    assert sorted(before) == sorted(names)
    for arguments, room in (
        ((f"--rows={tmp_path / 'none'}", f"--out={out}"), None),
        ((f"--rows={rows}", f"--out={rows}/below"), None),
        ((f"--rows={rows}", f"--out={out}"), 30_000),  # no room
        ((f"--rows={rows}", f"--out={out}", "surplus"), None),
    ):
        done = figures(*arguments, room=room)
        assert done.returncode == 1 and done.stdout == ""
        assert len(done.stderr.strip().splitlines()) == 1 and "Error: " in done.stderr
        assert {path.name: path.read_bytes() for path in out.iterdir()} == before


def test_rows_about_pairs_and_costs_are_of_the_domain_of_their_run(tmp_path):
    """Their own rows do not say it; runs of two domains may be in one file."""
    rows = [ROW | {"domain": "cabinet", "config": "a"}, ROW | {"domain": "hall", "config": "b"}]
    about = [{"alpha": 0.9, "config": config, "round": 1, "seed": 0} for config in "ab"]
    costs = [
        {"cost_of": "mili", "config": config, "round": 1, "seed": 0, "steps": 1, "seconds": 2.0}
        for config in "ba"
    ]
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in [*about, *rows, *costs]))
    found = read_files([path])
    assert [row["domain"] for row in found.pairing] == ["cabinet", "hall"]
    assert [row["domain"] for row in found.costs] == ["hall", "cabinet"]
    content = Content.check(rows=rows, pairing_rows=about, costs=costs)
    assert [row["domain"] for row in content.pairing_rows] == ["cabinet", "hall"]
    alone = Content.check(rows=rows[:1], pairing_rows=[{"alpha": 0.5}])
    assert [row["domain"] for row in alone.pairing_rows] == ["cabinet"]
