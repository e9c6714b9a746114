"""The command `mili`: its help, what it refuses, fields of a configuration, runs, and its end."""

from __future__ import annotations

import ast
import importlib
import inspect
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys

import pytest
from report_rows import result_rows
from runs import ROOT, SMALL, config, data_of

import mili_jax
from mili_jax import cli, plugins
from mili_jax.command import config as printed
from mili_jax.command import configurations, jobs, launch
from mili_jax.command.parser import Parser
from mili_jax.configs import NAMES, get_config
from mili_jax.domains.kitchen import shipped
from mili_jax.pipeline import algorithm, console, overrides, schema
from mili_jax.pipeline.run import open_run
from mili_jax.storage.files import sealed
from mili_jax.types import ConfigError, DataError

SMALL_FLAGS = [f"--config.{field}={value}" for field, value in SMALL.items()]
LIMIT = 900  # s for a command


def mili(*argv, cwd=ROOT, **given):
    """`mili` in a process of its own: exit code, stdout, stderr."""
    program = [sys.executable, "-m", "mili_jax.cli", *map(str, argv)]
    done = subprocess.run(program, cwd=cwd, capture_output=True, text=True, timeout=LIMIT, **given)
    return done.returncode, done.stdout, done.stderr


@pytest.fixture
def here(capsys):
    """The same in this process, for what ends before anything begins."""

    def call(*argv):
        try:
            code = console.exit_code(lambda: cli.execute([str(word) for word in argv]))
        except SystemExit as ended:
            code = ended.code
        said = capsys.readouterr()
        return code, said.out, said.err

    return call


# Help


def test_help_lists_every_command_once_in_its_group(here):
    code, out, err = here("--help")
    assert code == 0 and not err
    for name, command in cli.COMMANDS.items():
        assert out.count(f"\n  {name} ") == 1 and command.summary in out
    heads = [line for line in out.splitlines() if line in {c.group for c in cli.COMMANDS.values()}]
    assert heads[0] == "The loop" and len(heads) == len(set(heads)) == 5
    assert "Exit codes" in out and "mili run --config=test --workdir=runs/test" in out
    assert max(map(len, out.splitlines())) <= 100


def test_without_a_command_there_is_help_and_no_success(here):
    code, out, _ = here()
    assert code == 1 and out == cli.help_text() + "\n"
    assert here("--version")[:2] == (0, f"mili {mili_jax.__version__}\n")


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_help_of_every_command_says_what_it_does_and_takes(here, name):
    for flag in ("--help", "-h"):
        code, out, err = here(name, flag)
        assert code == 0 and not err
    assert out.startswith(f"usage: mili {name}") and "\nflags:" in out
    assert max(map(len, out.splitlines())) <= 100
    words = out.partition("\nflags:")[0].split()
    assert len(words) > 15, "a sentence or two"


def test_help_of_run_says_how_long_each_configuration_takes(here):
    out = " ".join(here("run", "--help")[1].split())
    for name in NAMES:
        assert f" {name} " in out
    assert "16 minutes on 2 cores" in out and "Under three minutes on 2 cores" in out
    assert "its manifest has it" in out, "when --config is not needed"
    assert {name for name, _, _ in configurations.summaries()} == set(NAMES)


@pytest.mark.parametrize(
    "argv", [("--version",), ("--help",), ("config",), *((n, "--help") for n in cli.COMMANDS)]
)
def test_what_only_prints_imports_nothing_that_takes_long(argv):
    code = f"""
import sys
from mili_jax import cli, plugins
try:
    cli.execute({list(argv)!r})
except SystemExit:
    pass
heavy = {{"jax", "flax", "orbax", "tensorflow_datasets", "pybullet", "gymnasium", "matplotlib",
         "ml_collections", "ray", "grain"}}
print("heavy:", *(heavy & set(sys.modules)))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "heavy:", done.stdout


def test_what_reads_files_alone_needs_no_jax(tmp_path):
    open_run(config(), tmp_path / "run").workdir.close()
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in result_rows()))
    for argv in (
        ("doctor", str(tmp_path / "run")),
        ("figures", f"--rows={tmp_path / 'rows.jsonl'}", f"--out={tmp_path / 'figures'}"),
    ):
        code = f"import sys; from mili_jax import cli; assert cli.execute({list(argv)!r}) == 0"
        code += "; print('found:', *({'jax', 'flax', 'orbax'} & set(sys.modules)))"
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
        )
        assert done.stdout.splitlines()[-1] == "found:", done.stdout


def test_the_package_imports_nothing_until_a_name_is_used():
    code = "import sys, mili_jax; assert 'numpy' not in sys.modules; mili_jax.Task"
    code += "; assert 'numpy' in sys.modules and 'jax' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
    for name in mili_jax.__all__:
        assert getattr(mili_jax, name) is not None and name in dir(mili_jax)
    with pytest.raises(AttributeError, match="'nonsense'"):
        _ = mili_jax.nonsense


# What is refused


@pytest.mark.parametrize(
    "argv, message",
    [
        (["rnu"], "mili has no command rnu; did you mean run?"),
        (["xyzzy"], "mili has no command xyzzy; `mili --help` lists them"),
        (["--versoin"], "mili has no flag --versoin; did you mean --version?"),
        (["run", "--workdri=x"], "mili run has no flag --workdri; did you mean --workdir?"),
        (["run", "--xyzzy"], "mili run has no flag --xyzzy; `mili run --help` lists them"),
        (["run", "--work=x"], r"mili run has no flag --work.*"),
        (["run", "one", "two"], "what is 'two'? Flags of mili run begin with --"),
        (["run", "one", "--workdir=two"], "what is 'one' beside --workdir=two?"),
        (["run", "--config=test"], "say which folder the run is in: --workdir=DIR"),
        (["run", "--workdir"], "mili run: --workdir: expected one argument"),
        (["run", "--config=tets", "new"], r"--config=tets: .*; did you mean test\?"),
        (["run", "--config=xyzzy", "new"], r"--config=xyzzy: .*there are compare, .*"),
        (["run", "new"], "new holds no run yet: say --config=NAME, one of compare, .*"),
        (["compare", "new"], "say --config=NAME, one of compare, .*"),
        (["run", "--config=test", "new", "--config.seed", "1"], "write --config.seed=value, .*"),
        (
            ["run", "--config=test", "new", "--noconfig.improve.mutual"],
            "write --config.improve.mutual=False instead of --noconfig.improve.mutual",
        ),
        (
            ["run", "--config=test", "new", "--config.improve.alhpa=1"],
            r"config.improve has no field 'alhpa'; did you mean config.improve.alpha\?",
        ),
        (
            ["run", "--config=test", "new", "--config.improve.alpha=2"],
            r"config.improve.alpha = 2.0 must be float, a cosine, -1..1",
        ),
        (
            ["run", "--config=test", "new", "--config.domain.name=kitchn"],
            "config.domain.name = 'kitchn' must be str, one of .*'kitchen'.*",
        ),
        (["collect", "--round=0", "new"], "mili collect: --round: 0 is not 1 or more"),
        (["collect", "--round=x", "new"], "mili collect: --round: 'x' is no whole number"),
        (["report", "--round=1", "new"], "mili report has no flag --round; .*"),
        (["demos", "--hosts=2", "new"], "mili demos has no flag --hosts; .*"),
        (["pretrain", "--config=test", "new", "--hosts=2"], "several hosts need --hosts=N and .*"),
        (["pretrain", "--config=test", "new", "--coordinator=a:1"], "several hosts need .*"),
        (["retrain", "--config=test", "new", "--host=1"], "--host=1 of --hosts=1: they are .*"),
        (["figures"], "mili figures needs --rows=FILE"),
        (["figures", "--rows=x"], "mili figures needs --out=DIR"),
        (["config", "run", "--config=test"], "say one configuration: 'run' or 'test'"),
        (["launch", "--config=test", "new", "--on=moon"], "mili launch: --on: invalid choice: .*"),
        (["launch", "--config=test", "new", "--stages=fliter"], ".*'fliter'.*did you mean filter?"),
        (
            ["launch", "--config=test", "new", "--options=x"],
            "--options names 'x' without .*",
        ),
        (["compare", "--config=test", "new", "--seeds=1,x"], "--seeds names 'x', which is no .*"),
        (["compare", "--config=test", "new", "--seeds=1,1"], "--seeds=1,1 names a seed twice"),
        (["compare", "--config=test", "new", "--seeds="], "--seeds names no seed"),
        (["doctor", "new", "--repiar"], "mili doctor has no flag --repiar; did you mean --repair?"),
    ],
)
def test_a_mistake_is_one_line_and_leaves_nothing(here, argv, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, err = here(*argv)
    assert code == 1 and not out
    pattern = re.sub(r"(?<!\.\*)(?<!\\)\?", r"\\?", message)
    assert re.fullmatch(f"ConfigError: {pattern}\n", err), err
    assert list(tmp_path.iterdir()) == []


def test_errors_of_files_and_of_readers_that_have_gone_are_no_tracebacks(tmp_path):
    run = tmp_path / "run"
    open_run(config(), run).workdir.close()
    assert mili("doctor", run)[0] == 0
    (run / "manifest.json").write_text("{")
    code, out, err = mili("collect", run)
    assert code == 1 and not out and re.fullmatch(r"DataError: .*manifest\.json .*\n", err), err

    def full():
        raise OSError(28, "No space left on device", "figures/bars.png")

    assert console.exit_code(full) == 1
    with pytest.raises(FileNotFoundError):
        console.exit_code(lambda: (tmp_path / "none").read_text() and None)
    # The other end of the pipe is closed before anything is written.
    program = f"sleep 1; {shlex.quote(sys.executable)} -m mili_jax.cli --help"
    done = subprocess.run(
        ["bash", "-c", f"({program}; echo code $? >&2) | true"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=LIMIT,
    )
    assert done.stderr == "code 1\n"


# Configurations


@pytest.mark.parametrize(
    "field, text, value",
    [
        ("seed", "7", 7),
        ("train.steps", "1_000", 1000),
        ("train.steps", " 12 ", 12),
        ("improve.alpha", "1", 1.0),
        ("improve.alpha", "-1e-1", -0.1),
        ("improve.mutual", "true", True),
        ("improve.mutual", "False", False),
        ("improve.mutual", "yes", True),
        ("improve.balance", "0", False),
        ("policy.head", "mse", "mse"),
        ("policy.head", "'mse'", "mse"),
        ("improve.arms", "mili,control", ("mili", "control")),
        ("improve.arms", "mili", ("mili",)),
        ("improve.arms", "('mili', 'control')", ("mili", "control")),
        ("improve.arms", "('mili',)", ("mili",)),
        ("improve.arms", "[mili, control]", ("mili", "control")),
        ("baselines.methods", "", ()),
        ("baselines.methods", "()", ()),
        ("evaluate.conditions", "right,none", ("right", "none")),
    ],
)
def test_fields_are_read_from_text(field, text, value):
    given = get_config("test")
    overrides.override(given, [(field, text)])
    section, _, name = field.rpartition(".")
    found = (given[section] if section else given)[name]
    assert found == value and type(found) is type(value)


@pytest.mark.parametrize("name", overrides.BY_NAME)
def test_what_is_printed_of_a_field_can_be_written_again(name):
    field = overrides.BY_NAME[name]
    if name != "name":
        text = printed._text(field.default)
        assert overrides.converted(field, text) == field.default
    with pytest.raises(ConfigError, match=r"did you mean|has no field"):
        overrides.find(name + "x")


@pytest.mark.parametrize(
    "field, text",
    [
        ("train.steps", "2.0"),
        ("train.steps", "many"),
        ("train.steps", "True"),
        ("train.steps", ""),
        ("improve.alpha", "nan"),
        ("train.learning_rate", "inf"),
        ("improve.mutual", "maybe"),
        ("improve.arms", "control,mili"),
        ("improve.arms", "mili,,control"),
        ("improve.arms", "mili,mili"),
        ("baselines.methods", "mal"),
        ("name", ""),
        ("seed", "-1"),
    ],
)
def test_a_value_that_may_not_be_is_refused_by_the_name_of_its_field(field, text):
    with pytest.raises(ConfigError, match=rf"^config\.{field} = .* must be \w+"):
        overrides.override(get_config("test"), [(field, text)])


@pytest.mark.parametrize(
    "name, message",
    [
        (
            "improve.alhpa",
            r"config\.improve has no field 'alhpa'; did you mean config\.improve\.alp",
        ),
        ("imprve.alpha", r"did you mean config\.improve\.alpha\?"),
        ("alpha", r"did you mean config\.improve\.alpha\?"),
        ("steps", r"did you mean config\.train\.steps or config\.improve\.steps\?"),
        ("train.alpha", r"config\.train has no field 'alpha'; did you mean config\.improve\.alpha"),
        ("machine.gpu", r"config\.machine has no field 'gpu'; it has backend, .*shard"),
        ("xyzzy", r"config has no field 'xyzzy'; `mili config run` lists all"),
        ("improve", "config has no field 'improve'"),
        ("", "config has no field ''"),
    ],
)
def test_a_field_that_does_not_exist_is_refused_with_the_nearest(name, message):
    with pytest.raises(ConfigError, match=message):
        overrides.find(name)


OWN = """
from __future__ import annotations
import dataclasses
from mili_jax.configs import get_config as ours

@dataclasses.dataclass
class Rate:
    value: float

def get_config(name="mine"):
    config = ours("test")
    config.name = name
    config.train.learning_rate = Rate(1e-4).value
    return config
"""


def test_a_configuration_comes_from_a_name_a_file_or_a_file_and_a_name(tmp_path, monkeypatch):
    folder = tmp_path / "my.py files"
    folder.mkdir()
    (folder / "own.py").write_text(OWN)
    assert configurations.of("run") == get_config("run")
    assert configurations.of("experiments/configs/mili.py:test") == get_config("test")
    for text, name in ((f"{folder}/own.py", "mine"), (f"{folder}/own.py:other", "other")):
        made = configurations.of(text)
        assert made.name == name and made.train.learning_rate == 1e-4
    monkeypatch.chdir(folder)
    assert configurations.of("own.py").name == "mine"
    assert configurations.absolute("own.py:other") == f"{folder}/own.py:other"
    assert configurations.absolute("run") == "run"
    monkeypatch.setenv("HOME", str(folder))
    assert configurations.of("~/own.py").name == "mine"


@pytest.mark.parametrize(
    "text, suffix, message",
    [
        (None, "", "there is no such file"),
        ("x = 1", "", r"it has no function get_config\(\)"),
        ("x =", "", "SyntaxError: invalid syntax"),
        ("\n1 / 0", "", "own.py, line 2: ZeroDivisionError: division by zero"),
        ("def get_config():\n  return 3", "", r"get_config\(\) returns int; it must be what"),
        ("def get_config():\n  return {}['x']", "", "own.py, line 2: KeyError: 'x'"),
        ("def get_config(name):\n  pass", "", "wants --config=.*own.py:name"),
        ("def get_config():\n  pass", ":x", "wants --config=.*own.py without a name"),
        (OWN.replace("    return", "    config.train.rate = 1\n    return"), "", "line 14: .*rate"),
    ],
)
def test_a_file_that_gives_no_configuration_is_refused_with_its_line(
    text, suffix, message, tmp_path
):
    file = tmp_path / "own.py"
    if text is not None:
        file.write_text(text)
    with pytest.raises(ConfigError, match=message) as refused:
        configurations.of(f"{file}{suffix}")
    assert str(file) in str(refused.value)


def test_a_run_keeps_its_configuration_and_needs_no_other(tmp_path):
    """All of it but who does the work, which its manifest has not."""
    changed = config(**{"improve.arms": ("mili",), "train.learning_rate": 1e-4, "seed": 3})
    changed.name = "mine"
    open_run(changed, tmp_path / "run").workdir.close()
    found = configurations.stored(tmp_path / "run")
    for name in ("backend", "processes", "pairing"):
        found.machine[name] = changed.machine[name]
    assert found == changed and type(found.improve.arms) is tuple
    open_run(found, tmp_path / "run").workdir.close()
    assert configurations.stored(tmp_path / "none") is None
    code, out, _ = mili("config", f"--workdir={tmp_path / 'run'}")
    assert code == 0 and out.startswith("mine, seed 3") and "* learning_rate = 0.0001" in out
    # A run of another version, whose fields are others.
    manifest = tmp_path / "run" / "manifest.json"
    kept = json.loads(manifest.read_text())
    kept.pop("sha256", None)
    kept["config"]["improve"]["alfa"] = 1
    manifest.write_text(sealed(kept))
    with pytest.raises(ConfigError, match=r"manifest\.json has config\.improve\.alfa, which this"):
        configurations.stored(tmp_path / "run")
    manifest.write_text("{")
    with pytest.raises(DataError, match=r"manifest\.json is damaged"):
        configurations.stored(tmp_path / "run")


def test_a_configuration_is_printed_with_the_meaning_of_every_field():
    text = printed.described(get_config("test"))
    for section, fields in schema.sections().items():
        part = text.partition(f"[{section}]\n")[2].partition("\n\n")[0]
        for name, field in fields.items():
            assert len(re.findall(rf"^[* ] {name} = ", part, re.MULTILINE)) == 1
            assert " ".join(field.meaning.split()) in " ".join(part.split())
    assert "\n* steps = 60\n" in text and "default 2000" in text, "what differs is marked"
    assert max(map(len, text.splitlines())) <= 100
    wrong = get_config("test")
    wrong.improve.alpha = 3.0
    with pytest.raises(ConfigError, match=r"config\.improve\.alpha"):
        printed.described(wrong)


def test_domains_are_listed_with_what_they_have(here, monkeypatch):
    theirs = {"broken": "no_such_module:DOMAIN"}
    known = plugins.registered
    monkeypatch.setattr(
        plugins, "registered", lambda kind: theirs if kind == "domains" else known(kind)
    )
    code, out, err = here("domains")
    assert code == 0 and not err
    kitchen = out.partition("\nkitchen_uncalibrated")[0]
    assert "top (its own choice), oblique, wrist" in kitchen
    assert "press, grasp, push, place" in kitchen
    assert "520 train, 40 validation, 40 test" in kitchen
    assert "logs (mili_jax.domains.logs:LOGS)\n    cameras   those of its dataset" in out
    assert re.search(r"broken \(no_such_module:DOMAIN\)\n    broken +.*ModuleNotFoundError", out)


# Stages


def test_stages_are_functions_and_have_a_binary_each():
    for name, stage in console.STAGES.items():
        home, _, function = stage.function.partition(".")
        found = getattr(importlib.import_module(f"mili_jax.pipeline.{home}"), function)
        asked = [p for p in inspect.signature(found).parameters.values() if p.default is p.empty]
        assert len(asked) == 1 + (stage.first_round is not None), name
        assert name in cli.COMMANDS
    called = {
        node.args[0].value
        for file in (ROOT / "experiments").glob("*.py")
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "command.main"
    }
    assert called == set(console.STAGES)


def test_each_stage_of_the_plan_becomes_a_command_that_mili_understands(tmp_path):
    given = ["--config=test", "--config.improve.rounds=2"]
    made = get_config("test")
    made.improve.rounds = 2
    planned = launch.chains(made, tmp_path, given, ["4"], ["each"])
    assert list(planned) == ["seed_4"] and len(planned["seed_4"]) == len(list(algorithm.plan(2)))
    for python, flag, module, name, *rest in planned["seed_4"]:
        assert (python, flag, module) == (sys.executable, "-m", "mili_jax.cli")
        parser = Parser(name, "")
        importlib.import_module(cli.COMMANDS[name].module).add_arguments(parser)
        options = parser.parse([*rest, "--stopped_exit_code=75"])
        assert options.workdir == str(tmp_path / "seed_4") and options.stopped_exit_code == 75
        assert options.changes == [("improve.rounds", "2"), ("seed", "4")]
    names = [jobs.named(arguments) for arguments in planned["seed_4"]]
    assert len(set(names)) == len(names) and names[-1] == "report" and "filter_2" in names


def test_flags_reach_commands_that_begin_in_another_folder():
    parser = Parser("compare", "")
    parser.add_config()
    given = ["--config=own.py:x", "--config.improve.arms=mili,control", "--config.seed=1"]
    options = parser.parse(given)
    assert configurations.flags(options) == [
        f"--config={os.getcwd()}/own.py:x",
        *given[1:],
    ]


def test_what_the_kitchen_is_made_of_is_found_in_a_checkout():
    for name in ("objects.json", "tasks.json"):
        assert shipped.path(name) == ROOT / "data" / name and shipped.path(name).is_file()


# Runs


@pytest.mark.slow
def test_a_run_of_the_binary_goes_on_by_mili_and_the_other_way_round(finished, tmp_path):
    """The same stages from the same flags: what one has made, the other takes for its own."""
    run = tmp_path / "run"
    shutil.copytree(finished, run)
    before = {file: file.stat().st_mtime_ns for file in run.glob("stages/*.json")}
    code, out, err = mili("run", run, "--config.machine.processes=1")
    assert code == 0, err
    assert out.splitlines()[-1] == str(run / "report" / "index.html")
    assert {file: file.stat().st_mtime_ns for file in run.glob("stages/*.json")} == before
    # A stage alone, from nothing but the folder: the filter's answers are made again, the same.
    answers = (data_of(run) / "labels_round_1.jsonl").read_bytes()
    (run / "stages" / "filter_1.json").unlink()
    code, _, err = mili("filter", run, "--round=1")
    assert code == 0, err
    assert (run / "stages" / "filter_1.json").exists()
    assert (data_of(run) / "labels_round_1.jsonl").read_bytes() == answers
    code, _, err = mili("filter", run, "--config=test")
    assert code == 1 and re.fullmatch("ConfigError: workdir .* was made with config.*\n", err)
    code, out, _ = mili("doctor", run)
    assert code == 0 and out == f"{run}: nothing is damaged\n"
    code, out, err = mili("figures", f"--rows={run / 'results.jsonl'}", f"--out={tmp_path / 'f'}")
    assert code == 0 and str(tmp_path / "f" / "bars.png") in out.splitlines(), err
    (data_of(run) / "pairs_mili_1.csv").write_text("x")
    code, out, err = mili("doctor", f"--workdir={run}")
    assert code == 1 and "pairs_mili_1.csv" in out and "--repair takes it away" in err
    assert mili("doctor", run, "--repair")[0] == 0
    assert mili("pair", run)[0] == 0 and (data_of(run) / "pairs_mili_1.csv").stat().st_size > 1


@pytest.mark.slow
def test_demonstrations_and_a_training_that_is_stopped_on_the_way(finished, tmp_path):
    """From any folder, up to the first training: the bits of the run that a binary made."""
    run = tmp_path / "a run"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    given = ["--config=test", "--workdir=a run", *SMALL_FLAGS]
    code, out, err = mili("demos", *given, cwd=tmp_path, env=environment)
    assert code == 0 and not out, err
    whole = sorted(data_of(finished).glob("mili-demos_*.array_record-*"))
    assert whole and [f.read_bytes() for f in whole] == [
        (data_of(run) / f.name).read_bytes() for f in whole
    ]
    program = [sys.executable, "-m", "mili_jax.cli", "pretrain", "a run", *SMALL_FLAGS]
    process = subprocess.Popen(
        [*program, "--stopped-exit-code=75"],
        cwd=tmp_path,
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        err = ""
        while "0/40" not in err:  # it compiles its step, which takes longer than to be asked
            assert process.poll() is None, err
            err += process.stderr.read(1)
        process.send_signal(signal.SIGTERM)
        err += process.communicate(timeout=LIMIT)[1]
    finally:
        process.kill()
    assert process.returncode == 75, err
    assert re.search(r"stopped at .*: the same command goes on from here\n$", err), err
    code, _, err = mili("pretrain", run)
    assert code == 0, err
    ended = [
        json.loads((folder / "checkpoints" / "pretrain" / "40.json").read_text())["content"]
        for folder in (run, finished)
    ]
    assert ended[0] == ended[1], "the parameters of the training that nobody stopped"


@pytest.mark.slow
def test_a_head_in_the_current_folder_can_be_named(tmp_path):
    (tmp_path / "mine.py").write_text(
        "from mili_jax.policy.policy import HEADS\nH = HEADS['mse']\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    asked = ["config", "test", "--config.policy.head=mine:H"]
    script = "import sys; from mili_jax.cli import main; sys.exit(main())"
    # As the installed script begins: the current folder is not among the places of modules.
    program = [sys.executable, "-c", f"import sys; sys.path.remove(''); {script}", *asked]
    done = subprocess.run(
        program, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=LIMIT
    )
    assert done.returncode == 0, done.stderr
    assert "* head = mine:H" in done.stdout
    done = subprocess.run(
        [*program[:-1], "--config.policy.head=others:H"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=LIMIT,
    )
    assert done.returncode == 1 and "others" in done.stderr and done.stderr.count("\n") == 1


def test_a_configuration_s_file_is_python_as_python_would_read_it(tmp_path):
    """Without the `__future__` of the module that reads it; and nothing is left beside it."""
    file = tmp_path / "mine.py"
    file.write_text("steps: missing = 3\n")
    with pytest.raises(ConfigError, match=r"mine\.py, line 1: NameError"):
        configurations.of(str(file))
    assert list(tmp_path.iterdir()) == [file]
