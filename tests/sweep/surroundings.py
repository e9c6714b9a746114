"""Surroundings and moments: variables, folders that are gone, stages before their inputs."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys

from report_rows import result_rows
from runs import ROOT, config

from mili_jax.pipeline import collect, evaluate, pair, report, retrain, train
from mili_jax.pipeline.run import open_run
from mili_jax.storage import doctor
from mili_jax.storage.workdir import Workdir
from sweep.commands import a_run
from sweep.row import LIMIT, Row, SaidError, mili, process

AREA = "Surroundings and moments: variables, folders that are gone, stages before their inputs"


def with_run(here):
    """A run in which nothing is done yet."""
    open_run(config(), here / "run").workdir.close()


def stage(function, *number):
    """A stage of a run in which nothing is done yet."""

    def call(here):
        run = open_run(config(), here / "run")
        with run.workdir:
            return function(run, *number)

    return call


def at_work(then):
    """Something, while a run is in its folder."""

    def call(here):
        with open_run(config(), here / "run").workdir:
            return then(here)

    return call


def by_shell(line):
    done = subprocess.run(
        ["bash", "-c", line.format(mili=f"{shlex.quote(sys.executable)} -m mili_jax.cli")],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=LIMIT,
    )
    if done.returncode:
        raise SaidError(done.stderr.strip())
    return done.stdout + done.stderr


def in_a_folder_that_is_gone(here):
    (here / "gone").mkdir()
    return by_shell("cd gone; rmdir ../gone; {mili} doctor ../run")


def unharmed(said):
    return "nothing is damaged" in said


SEVEN = "\n".join(json.dumps(row) for row in result_rows(tasks=2) if row["demo"] == "right")
GIVEN = {"before": with_run}
# JAX cannot be imported from a path that the locale cannot spell.
IN_ASCII = {"PYTHONUTF8": "0"} if str(ROOT).isascii() and sys.executable.isascii() else {}
NOWHERE: dict[str, str | None] = {
    **{"PYTHONWARNINGS": "error", "LC_ALL": "xx_YY.UTF-8", "TZ": "Mars/North"},
    **{"HOME": None, "USER": None, "TMPDIR": "/not/there"},
}
ROWS = [
    Row(
        "a terminal of no width, Python without docstrings and asserts",
        lambda _: process("collect", "--help", COLUMNS="0", PYTHONOPTIMIZE="2"),
        lambda said: "--round" in said,
    ),
    Row(
        "warnings as errors; a locale, a time zone, a home and room for temporary files not there",
        lambda here: process("doctor", "run", **NOWHERE),
        unharmed,
        **GIVEN,
    ),
    Row(
        "the locale C",
        lambda _: process("config", "test", LC_ALL="C", **IN_ASCII),
        lambda said: "[train]" in said,
    ),
    Row(
        "a backend of figures that is not there",
        lambda here: process(
            "figures", f"--rows={here / 'rows'}", f"--out={here / 'f'}", MPLBACKEND="nonsense"
        ),
        lambda said: "bars.png" in said,
        files={"rows": SEVEN},
        leaves=True,
    ),
    Row(
        "a platform of JAX that is not there",
        lambda here: process(
            "pretrain", "--config=test", str(here / "new"), JAX_PLATFORMS="nonsense"
        ),
        "JAX_PLATFORMS.*nonsense",
    ),
    Row("an output that is closed", lambda _: by_shell("{mili} --version >&-"), lambda said: True),
    Row("a folder that is gone", in_a_folder_that_is_gone, "the current folder is gone", **GIVEN),
    Row("pre-training before its demonstrations", stage(train.pretrain), "demos_train", **GIVEN),
    Row(
        "baselines that nobody named",
        stage(train.train_baselines),
        lambda result: result is None,
        **GIVEN,
    ),
    Row("trials before their policy", stage(collect.collect, 1), "pretrain|demos_train", **GIVEN),
    Row(
        "answers before their trials", stage(collect.label, 1), "pretrain.json is missing", **GIVEN
    ),
    Row("pairs before their trials", stage(pair.pair, 1), "round_1|pretrain|filter", **GIVEN),
    Row(
        "retraining before its pairs",
        stage(retrain.retrain, 1),
        "pretrain.json is missing",
        **GIVEN,
    ),
    Row("an evaluation before its policy", stage(evaluate.evaluate, 0), "pretrain", **GIVEN),
    Row("an evaluation of round 7 of 1", stage(evaluate.evaluate, 7), "no round 7", **GIVEN),
    Row("an evaluation of a negative round", stage(evaluate.evaluate, -1), "no round -1", **GIVEN),
    Row("trials of round 0", stage(collect.collect, 0), "no round 0", **GIVEN),
    Row("answers of round 2 of 1", stage(collect.label, 2), "no round 2", **GIVEN),
    Row("pairs of round 2 of 1", stage(pair.pair, 2), "no round 2", **GIVEN),
    Row("retraining of round 2 of 1", stage(retrain.retrain, 2), "no round 2", **GIVEN),
    Row("the report of an empty run", stage(report.write_report), "round_1.*missing", **GIVEN),
    Row(
        "a repair of a run at work",
        at_work(lambda here: doctor.repair(here / "run")),
        "in use by",
        **GIVEN,
    ),
    Row(
        "a second command of a run at work",
        at_work(lambda here: mili("collect", "run")),
        "in use by",
        **GIVEN,
    ),
    Row(
        "a run at work, only looked at",
        at_work(lambda here: Workdir(here / "run").read_rows()),
        lambda rows: rows == [],
        **GIVEN,
    ),
    Row(
        "a run at work, moved away",
        at_work(lambda here: ((here / "run").rename(here / "other"), mili("doctor", "other"))),
        lambda two: unharmed(two[1]),
        before=with_run,
        leaves=True,
    ),
    Row(
        "the doctor of a run that has just begun",
        lambda _: mili("doctor", "new"),
        unharmed,
        before=lambda here: a_run(here, "new"),
    ),
]
