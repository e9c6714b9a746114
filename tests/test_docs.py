"""The pages: short, without dead links, and everything that they show runs."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys

import pytest
from pages import BANNED, DOCS, LONGEST, PAGES, README, anchors, blocks, commands, links, tracked
from pages import sentences as sentences_of
from runs import ROOT, SMALL

from mili_jax import cli
from mili_jax.command.parser import Parser
from mili_jax.pipeline import console, overrides

LIMIT = 600  # s for a command
# Commands that other tests run, and where.
ELSEWHERE = {
    "pip install dist/": "test_wheel.py",
    "make setup": "test_wheel.py",  # an installation in a fresh environment
    "mili compare": "test_stages.py",
    "mili launch": "test_launch.py",
    "mili pretrain --config=run --workdir=/shared/run": "test_distributed.py",
}
# Pages whose snippets and commands have tests of their own.
OWN_TESTS = {
    "extending.md": "recipes",
    "metaworld.md": "metaworld",
    "other_robots.md": "interchange",
    "people.md": "people",
}
SHOWN = [page for page in PAGES if page.name not in OWN_TESTS]


def id_of(page):
    return page.relative_to(ROOT).as_posix()


def run(program, here, given=None):
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
    done = subprocess.run(
        [str(word) for word in program],
        cwd=here,
        env={**os.environ, "PYTHONPATH": path},
        input=given,
        capture_output=True,
        text=True,
        timeout=LIMIT,
    )
    assert done.returncode == 0, (program, (done.stdout + done.stderr)[-3000:])
    return done.stdout


# Reading


def test_the_readme_answers_in_a_minute():
    text = README.read_text()
    assert len(text.splitlines()) <= 150
    assert len(text.split()) <= 1300


@pytest.mark.parametrize("page", PAGES, ids=id_of)
def test_sentences_can_be_read_aloud(page):
    for sentence in sentences_of(page.read_text()):
        assert len(sentence.split()) <= LONGEST, sentence


def test_sentences_are_found():
    text = "# A head\n\nOne [two](three four). Five `a b` six!\n\n```sh\nno one\n```\n- x\n- y z\n"
    text += "\n| a b | c. d |\n|---|---|\n"
    found = [sentence for sentence in sentences_of(text) if sentence]
    assert found[:6] == ["# A head", "One [two].", "Five `a b` six!", "- x", "- y z", "a b"]
    assert found[6:8] == ["c.", "d"]


@pytest.mark.parametrize("word", BANNED)
def test_words_that_nobody_says_are_nowhere(word):
    pattern = re.compile(rf"\b{word}\b", re.I)
    for file in tracked():
        for number, line in enumerate(file.read_text("utf-8", errors="replace").splitlines(), 1):
            assert not pattern.search(line), f"{file.relative_to(ROOT)}:{number}: {line}"


# Links

LINKED = [*PAGES, ROOT / "tests/README.md", ROOT / "benchmarks/README.md"]
LINKED += sorted((ROOT / "experiments").rglob("README.md"))


@pytest.mark.parametrize("page", LINKED, ids=id_of)
def test_no_link_is_dead(page):
    """Links into the repository. What lies elsewhere is not asked for."""
    for link in links(page.read_text()):
        place, _, anchor = link.partition("#")
        if re.match(r"[a-z]+:", place):
            ours = re.match(r"https://github\.com/mili-jax/mili-jax/(?:blob|tree)/main/(.*)", place)
            assert ours is None or (ROOT / ours[1]).exists(), link
            continue
        target = page if not place else page.parent / place
        assert target.exists(), f"{link}: there is no {target}"
        if page in DOCS:  # the site has no other file, and no page for a folder
            inside = target.resolve().is_relative_to(ROOT / "docs")
            assert inside and target.is_file(), f"{link}: the site does not have it"
        if anchor:
            assert anchor in anchors(target.read_text()), f"{link}: there is no such heading"


def test_dead_links_are_seen():
    text = '[a](b.md#c) <img src="f.png">\n\n```\n[g](h)\n```\n'
    assert list(links(text)) == ["b.md#c", "f.png"]
    assert anchors("# A `b` c\n## It's, so: d\n") == {"a-b-c", "its-so-d"}


# What is shown runs


def small(words):
    """A command at its smallest size."""
    name = words[1] if len(words) > 1 else ""
    if name in console.STAGES and any(word.startswith("--config=") for word in words):
        brought = "--workdir=runs/robot" in words  # docs/data.md: episodes of the robot of `run`
        fields = {f: v for f, v in SMALL.items() if not (brought and f.startswith("data."))}
        if not brought:  # there the named configuration must take what the page has written
            words = ["--config=test" if word.startswith("--config=") else word for word in words]
        words += [f"--config.{field}={value}" for field, value in fields.items()]
        if "--workdir=runs/run" not in words:  # that one is there already
            words += [f"--config.{field}=3" for field in ("train.steps", "improve.steps")]
            if name == "run":  # with trials it is run in `finished`
                words.append("--config.improve.rounds=0")
    if name == "demo":
        words = [word for word in words if not word.startswith("--count=")] + ["--count=1"]
    return words


# All of a page in one process: what its first command has imported and compiled serves the others.
STEPS = """
import json, sys
from mili_jax import cli
for kind, what in json.load(sys.stdin):
    print(kind, what, file=sys.stderr)
    if kind == "python":
        exec(compile(what, "<the page>", "exec"), {"__name__": "__main__"})
    elif cli.execute(what) not in (0, None):
        sys.exit(1)
"""


def step(command):
    first, *rest = small(shlex.split(command))
    assert first == "mili", f"who runs {command!r}?"
    return first, rest


def elsewhere(command):
    return next((file for start, file in ELSEWHERE.items() if command.startswith(start)), None)


@pytest.mark.slow
@pytest.mark.parametrize("page", SHOWN, ids=id_of)
def test_what_a_page_shows_runs(page, finished, tmp_path):
    """Its snippets and commands in their order, in one folder that has a run."""
    text = page.read_text()
    if "runs/run" in text:
        shutil.copytree(finished, tmp_path / "runs" / "run")
    steps = []
    for kind, block in re.findall(r"^```(python|sh)[^\n]*\n(.*?)^```$", text, re.M | re.S):
        if kind == "python":
            steps.append((kind, block))
            continue
        for command in commands(f"```sh\n{block}```\n"):
            if elsewhere(command) is None and not command.startswith("make "):
                steps.append(step(command))
    if steps:
        run([sys.executable, "-c", STEPS], tmp_path, json.dumps(steps))


def test_commands_that_are_run_elsewhere_are():
    shown = [command for page in PAGES for command in commands(page.read_text())]
    for start, file in ELSEWHERE.items():
        assert any(command.startswith(start) for command in shown), f"{start} is shown nowhere"
        assert (ROOT / "tests" / file).exists()
    for name, folder in OWN_TESTS.items():
        assert any(page.name == name for page in DOCS)
        assert any((ROOT / "tests" / folder).glob("test_*.py"))


def mentioned():
    """Commands in the middle of sentences and in tables, with their page."""
    for page in (*PAGES, ROOT / "tests" / "README.md"):
        text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.M | re.S)
        for found in re.findall(r"`((?:mili|make) [^`]+)`", text):
            yield page, found


@pytest.mark.parametrize(
    "page, command",
    [
        *mentioned(),
        *((page, command) for page in PAGES for command in commands(page.read_text())),
    ],
    ids=lambda value: value if isinstance(value, str) else value.stem,
)
def test_every_command_is_one_that_there_is(page, command):
    first, *rest = shlex.split(command.partition(" && ")[0])
    if first == "make":
        targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.M)
        assert set(rest) <= set(targets), rest
        return
    if first != "mili" or "<" in command or "..." in command:
        return
    name = rest[0]
    if name.startswith("--"):
        assert name in ("--help", "--version")
        return
    assert name in cli.COMMANDS, f"{page.name}: {command}"
    parser = Parser(name, "")
    module = __import__(cli.COMMANDS[name].module, fromlist=["add_arguments"])
    module.add_arguments(parser)
    options = parser.parse(rest[1:])
    for name, value in getattr(options, "changes", ()):
        field = overrides.find(name)
        if page.name not in OWN_TESTS:  # there a value may be a part that the page adds
            overrides.converted(field, value)


@pytest.mark.parametrize(
    "target, command",
    [
        ("demo", ".venv/bin/mili demo --out=demo.mp4"),
        ("run", ".venv/bin/mili run --config=run --workdir=runs/run"),
        ("test", ".venv/bin/python -m pytest tests -q -n 3 --dist worksteal"),
    ],
)
def test_a_target_of_make_is_the_command_that_the_page_says(target, command):
    said = (
        run(["make", "-n", "--no-print-directory", "-o", "setup", target], ROOT)
        .strip()
        .splitlines()
    )
    assert said[-1] == command
    assert f"`make {target}`" in README.read_text()


def test_the_pages_have_the_snippets_that_are_meant_to_be_run():
    assert len(blocks(README.read_text(), "python")) == 1
    total = sum(len(blocks(page.read_text(), "python")) for page in SHOWN)
    assert total >= 6
