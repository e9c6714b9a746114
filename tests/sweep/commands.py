"""Command lines: flags twice and empty, paths of every kind, names of formats and stages."""

from __future__ import annotations

import os

from test_episodes import SPEC, episode

from mili_jax.storage.dataset import Dataset
from mili_jax.storage.labels import Label
from sweep.row import Row, command, mili, process

AREA = "Command lines: flags twice and empty, paths of every kind"
LONG = "long" * 75  # more letters than a file's name may have
ODD = 'my runs/it\'s "ü"\n 🙂'


def a_run(here, name="run"):
    """A folder that the doctor takes for a run's."""
    path = here / name
    path.mkdir(parents=True)
    (path / "lock").touch()
    return path


def a_dataset(here, name="data"):
    made = Dataset(here / name, SPEC)
    made.write_shard("round_1", 0, [episode("t0"), episode("t1", 1)])
    made.commit("round_1", 1)
    made.write_labels("round_1", [Label("t0", True, "p")])
    return made


def a_loop(here):
    (here / "loop").symlink_to("loop")


def in_home(here, *argv):
    """With the folder as the home folder."""
    before = os.environ.get("HOME")
    os.environ["HOME"] = str(here)
    try:
        return mili(*argv)
    finally:
        if before is None:
            del os.environ["HOME"]
        else:
            os.environ["HOME"] = before


def new(*argv):
    """`mili` with the configuration `test`."""
    return command(argv[0], "--config=test", *argv[1:])


FILE = {"file": "mine"}


def whole(said):
    return "nothing is damaged" in said


ROWS = [
    Row("a command in capitals", command("RUN"), "no command RUN"),
    Row("a command that is a path", command("./run"), r"no command \./run"),
    Row("a command of two lines", command("run\nrun"), r"no command run\\nrun"),
    Row("a flag for a command", command("-x"), "no flag -x"),
    Row("a folder twice", new("run", "--workdir=a", "--workdir=b"), "--workdir.*twice"),
    Row("a configuration twice", new("run", "a", "--config=run"), "--config.*twice"),
    Row("a round twice", new("collect", "a", "--round=1", "--round=2"), "--round.*twice"),
    Row("seeds twice", new("compare", "a", "--seeds=0", "--seeds=1"), "--seeds.*twice"),
    Row("a format twice", command("look", "a", "--splits=a", "--splits=b"), "--splits.*twice"),
    Row(
        "the same folder twice",
        command("doctor", "--workdir=run", "--workdir=run"),
        whole,
        before=a_run,
    ),
    Row("an empty folder", new("run", "--workdir="), "--workdir=DIR"),
    Row("an empty configuration", command("run", "a", "--config="), "--config="),
    Row("an empty round", new("collect", "a", "--round="), "--round: '' is no whole number"),
    Row("an empty number of jobs", new("compare", "a", "--jobs="), "--jobs: '' is no whole"),
    Row("stages of commas", new("launch", "a", "--stages=,,"), "--stages names no stage"),
    Row("an empty field", new("run", "a", "--config.=3"), "no field ''"),
    Row("a field without a value", new("run", "a", "--config.train.steps="), "steps = ''"),
    Row("a section for a field", new("run", "a", "--config.train=3"), "no field 'train'"),
    Row("rows of an empty path", command("figures", "--rows=", "--out=f"), "--rows=FILE"),
    Row("an empty folder of figures", command("figures", "--rows=r", "--out="), "--out=DIR"),
    Row("an empty exit code", new("run", "a", "--stopped-exit-code="), "'' is no whole"),
    Row("an exit code of 256", new("run", "a", "--stopped-exit-code=256"), "256 is not 0 to 255"),
    Row("a round of 1.0", new("collect", "a", "--round=1.0"), "'1.0' is no whole number"),
    Row("a negative round", new("collect", "a", "--round=-1"), "-1 is not 1 or more"),
    Row("a seed in hexadecimal", new("compare", "a", "--seeds=0x1"), "'0x1', which is no number"),
    Row("a negative seed", new("compare", "a", "--seeds=-1"), "'-1', which is no number"),
    Row("a seed of 2 ** 31", new("compare", "a", "--seeds=2147483648"), "seeds.*2147483648"),
    Row("seeds with spaces", new("launch", "a", "--seeds=1 2"), "'1 2', which is no number"),
    Row("one seed in two spellings", new("launch", "a", "--seeds=1,01"), "names a seed twice"),
    Row("a seed beside --seeds", new("compare", "a", "--config.seed=5"), "--seeds"),
    Row("negative jobs", new("compare", "a", "--jobs=-1"), "-1 is not 0 or more"),
    Row("a stage twice", new("launch", "a", "--stages=each,each"), "'each', which is no stage"),
    Row("an option without a name", new("launch", "a", "--options==5"), "'=5' without a value"),
    Row(
        "an option in another language",
        lambda _: process("launch", "--config=test", "a", "--options=zeit=5"),
        "--options.*zeit|needs submitit",
    ),
    Row("a place in capitals", new("launch", "a", "--on=Slurm"), "--on: invalid choice"),
    Row("a path with a tilde of nobody", new("run", "~nobody_at_all/a"), "~nobody_at_all"),
    Row(
        "a path in the home folder",
        lambda here: in_home(here, "doctor", "--workdir=~/run"),
        whole,
        before=a_run,
    ),
    Row("a path that ends with a slash", command("doctor", "run/"), whole, before=a_run),
    Row("a path with dots", command("doctor", "./x/../run/."), "no workdir", before=a_run),
    Row(
        "a path with a space, a quote, ü, an end of line and a face",
        command("doctor", f"--workdir={ODD}"),
        lambda said: "nothing is damaged" in said,
        before=lambda here: a_run(here, ODD),
    ),
    Row(
        "a path with an end of line that is not there",
        command("doctor", "a\nb"),
        r"a\\nb is no wor",
    ),
    Row("a path of 300 letters", command("doctor", LONG), "too long"),
    Row("a run in a path of 300 letters", new("run", LONG), "too long"),
    Row("a run in a loop of links", new("run", "loop"), "loop", before=a_loop),
    Row("a doctor in a loop of links", command("doctor", "loop"), "loop", before=a_loop),
    Row("a look in a loop of links", command("look", "loop"), "loop", before=a_loop),
    Row("a run in /dev/null", new("run", "/dev/null"), "/dev/null"),
    Row("a run below a file", new("run", "file/run"), "file/run", files=FILE),
    Row("a run in a file", new("run", "file"), "file", files=FILE),
    Row("a comparison in a file", new("compare", "file"), "file", files=FILE),
    Row(
        "jobs in a file",
        lambda _: process("launch", "--config=test", "file"),
        "file|needs submitit",
        files=FILE,
    ),
    Row("a doctor for a file", command("doctor", "file"), "no workdir", files=FILE),
    Row("a doctor on another drive", command("doctor", r"Z:\runs"), "no workdir"),
    Row(
        "a configuration of a run that is a file",
        command("config", "--workdir=file"),
        "file",
        files=FILE,
    ),
    Row(
        "a configuration's file that is a folder",
        command("config", "a.py"),
        "a.py",
        before=lambda here: (here / "a.py").mkdir(),
    ),
    Row(
        "a configuration's file of bytes",
        command("config", "a.py"),
        "a.py",
        files={"a.py": b"\x00\xff"},
    ),
    Row(
        "a configuration's file that ends Python",
        command("config", "a.py"),
        "a.py.*SystemExit",
        files={"a.py": "raise SystemExit(0)"},
    ),
    Row(
        "a configuration's file of deep brackets",
        command("config", "a.py"),
        "a.py",
        files={"a.py": "(" * 5000},
    ),
    Row(
        "a configuration with a function's arguments missing",
        command("config", "a.py"),
        "TypeError",
        files={"a.py": "def get_config():\n    return max()\n"},
    ),
    Row(
        "a configuration's file on another drive", command("config", r"C:\my\a.py"), "no such file"
    ),
    Row("two configurations", command("config", "test", "run"), "what is 'run'"),
    Row("a domain too many", command("domains", "kitchen"), "what is 'kitchen'"),
    Row("figures of a folder", command("figures", "--rows=.", "--out=f"), "cannot be read"),
    Row(
        "figures of /dev/null", command("figures", "--rows=/dev/null", "--out=f"), "no result rows"
    ),
    Row("figures of a loop", command("figures", "--rows=loop", "--out=f"), "loop", before=a_loop),
    Row("figures in a file", command("figures", "--rows=rows", "--out=file"), "file", files=FILE),
    Row(
        "figures of a path of 300 letters",
        command("figures", f"--rows={LONG}", "--out=f"),
        "too long",
    ),
    Row("an import from nowhere", command("import", "no", "--format=rlds", "--out=d"), "no"),
    Row(
        "an import of a format in capitals",
        command("import", "file", "--format=RLDS", "--out=d"),
        "'RLDS'",
        files=FILE,
    ),
    Row(
        "an import of a format of a colon",
        command("import", "file", "--format=:", "--out=d"),
        "':'",
        files=FILE,
    ),
    Row(
        "an import of text as RLDS",
        command("import", "file", "--format=rlds", "--out=d"),
        "file",
        files=FILE,
    ),
    Row(
        "an import of text as LeRobot",
        command("import", "file", "--format=lerobot", "--out=d"),
        "file",
        files=FILE,
    ),
    Row(
        "an import of text as robomimic",
        command("import", "file", "--format=robomimic", "--out=d"),
        "file",
        files=FILE,
    ),
    Row(
        "an import of an empty folder",
        command("import", ".", "--format=lerobot", "--out=d"),
        "LeRobot|meta",
    ),
    Row(
        "an import of an empty folder as RLDS",
        command("import", ".", "--format=rlds", "--out=d"),
        "dataset_info|RLDS|TFDS",
    ),
    Row(
        "an import over a file",
        command("import", ".", "--format=rlds", "--out=file"),
        "file is there already",
        files=FILE,
    ),
    Row(
        "an import below a file",
        command("import", "data/mili/1.0.0", "--format=rlds", "--out=file/d"),
        "file",
        before=a_dataset,
        files=FILE,
    ),
    Row(
        "an import of a loop",
        command("import", "loop", "--format=rlds", "--out=d"),
        "loop",
        before=a_loop,
    ),
    Row(
        "an import in no processes",
        command("import", ".", "--format=rlds", "--out=d", "--processes=0"),
        "0 is not 1 or more",
    ),
    Row("a look at nothing", command("look", "no"), "no holds no dataset"),
    Row("a look at a file", command("look", "file"), "file", files=FILE),
    Row("a look at an empty folder", command("look", "."), "holds no dataset"),
    Row(
        "a look at a split that is not there",
        command("look", "data", "--splits=test"),
        "no split 'test'",
        before=a_dataset,
    ),
    Row(
        "a look at a split in capitals",
        command("look", "data", "--splits=Round_1"),
        "no split 'Round_1'",
        before=a_dataset,
    ),
    Row(
        "a look at splits of commas",
        command("look", "data", "--splits=,"),
        "splits",
        before=a_dataset,
    ),
    Row(
        "a look into a file",
        command("look", "data", "--out=file"),
        "file",
        before=a_dataset,
        files=FILE,
    ),
    Row(
        "a look at the folder in the dataset",
        command("look", "data/mili/1.0.0"),
        "holds no dataset",
        before=a_dataset,
    ),
    Row(
        "an export of nothing",
        command("export", "no", "--format=rlds", "--out=e"),
        "holds no dataset",
    ),
    Row(
        "an export to a format of nobody",
        command("export", "data", "--format=zip", "--out=e"),
        "'zip'",
        before=a_dataset,
    ),
    Row(
        "an export at no rate",
        command("export", "data", "--format=lerobot", "--out=e", "--fps=0"),
        "'0' is not a number",
    ),
    Row(
        "an export at a rate of NaN",
        command("export", "data", "--format=lerobot", "--out=e", "--fps=nan"),
        "'nan' is not a number",
    ),
    Row(
        "an export at 12.5 steps a second",
        command("export", "data", "--format=lerobot", "--out=e", "--fps=12.5"),
        "whole",
        before=a_dataset,
    ),
    Row(
        "an export without a rate",
        command("export", "data", "--format=lerobot", "--out=e"),
        "fps",
        before=a_dataset,
    ),
    Row(
        "an export over itself",
        command("export", "data", "--format=rlds", "--out=data"),
        "data is there already",
        before=a_dataset,
    ),
    Row(
        "an export below a file",
        command("export", "data", "--format=rlds", "--out=file/e"),
        "file",
        before=a_dataset,
        files=FILE,
    ),
    Row(
        "an export of no split",
        command("export", "data", "--format=rlds", "--out=e", "--splits=,"),
        "split",
        before=a_dataset,
    ),
    Row(
        "several hosts whose first is nowhere",
        new("pretrain", "a", "--hosts=2", "--coordinator="),
        "several hosts need",
    ),
    Row("hosts in words", new("pretrain", "a", "--hosts=two"), "'two' is no whole number"),
]
