"""300 damaged and wild inputs: a typed error that names the file and the place, nothing written."""

from __future__ import annotations

import contextlib
import dataclasses
import random
import re
import shutil
import traceback

import pytest
from damage_tools import make
from damages_lerobot import LEROBOT
from damages_rlds import RLDS
from damages_robomimic import ROBOMIMIC
from plans import plan

from mili_jax.interchange.guess import guess
from mili_jax.interchange.importing import import_episodes
from mili_jax.interchange.sources import open_source
from mili_jax.storage.dataset import Dataset
from mili_jax.types import ConfigError, DataError, MiliError

# (format, what is wrong, the good source, the damage)
CASES = [
    (form, name, *case)
    for form, cases in (("rlds", RLDS), ("lerobot", LEROBOT), ("robomimic", ROBOMIMIC))
    for name, case in cases.items()
]


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    base = tmp_path_factory.mktemp("good")
    make(base)
    return base


def mapping(form, source, name):
    """The mapping with which the good source is imported."""
    made = plan(form, cameras=("front", "wrist"))
    codec = {"jpeg": "jpeg", "png": "png"}.get(source)
    if codec:
        cameras = tuple(dataclasses.replace(c, codec=codec) for c in made.cameras)
        made = dataclasses.replace(made, cameras=cameras)
    if name == "numbers in the other byte order":
        action = tuple(dataclasses.replace(n, field="steps/packed") for n in made.action)
        made = dataclasses.replace(made, action=action)
    if form == "robomimic":
        splits = {"train": "demos_train", "valid": "demos_valid"}
        made = dataclasses.replace(made, splits=splits)
    return made


SOURCES = {
    "rlds": ("rlds", "jpeg", "array", "shards"),
    "lerobot": ("v21", "v30", "png"),
    "robomimic": ("robomimic",),
}


def test_there_are_enough():
    assert len(CASES) >= 300
    assert len({(form, name) for form, name, *_ in CASES}) == len(CASES)


@pytest.mark.parametrize("form", SOURCES)
def test_the_good_sources_are_imported(sources, tmp_path, form):
    for source in SOURCES[form]:
        report = import_episodes(
            sources / source, form, mapping(form, source, ""), tmp_path / source
        )
        assert sum(report.episodes.values()) >= 3


def damaged(content, rng):
    """Some bytes of a file turned over, cut off, blanked, put in or put the other way round."""
    at = rng.randrange(len(content))
    return {
        "flip": content[:at] + bytes([content[at] ^ 1 << rng.randrange(8)]) + content[at + 1 :],
        "cut": content[:at],
        "blank": content[:at] + bytes(len(content[at : at + 200])) + content[at + 200 :],
        "more": content[:at] + rng.randbytes(7) + content[at:],
        "turn": content[:at] + content[at : at + 64][::-1] + content[at + 64 :],
        "noise": content[:at] + rng.randbytes(len(content[at : at + 40])) + content[at + 40 :],
    }[rng.choice(("flip", "cut", "blank", "more", "turn", "noise"))]


@pytest.mark.parametrize("seed", range(120))
def test_any_damage_gives_a_dataset_or_an_error_with_a_file_in_it(sources, tmp_path, seed):
    """Not every format would notice each changed byte; but nothing may fall over."""
    rng = random.Random(seed)
    form = rng.choice(sorted(SOURCES))
    source = rng.choice(SOURCES[form])
    folder = tmp_path / source
    shutil.copytree(sources / source, folder)
    path = rng.choice(sorted(p for p in folder.rglob("*") if p.is_file()))
    path.write_bytes(damaged(path.read_bytes(), rng))
    for partial in (False, True):
        out = tmp_path / f"out{partial}"
        try:
            import_episodes(folder, form, mapping(form, source, ""), out, partial)
            assert sum(Dataset(out).splits().values()) > 0
        except MiliError as error:
            assert source in str(error) and not out.exists()
        with contextlib.suppress(MiliError):
            guess(open_source(folder, form, partial))
    assert {p.name for p in tmp_path.iterdir()} <= {source, "outFalse", "outTrue"}


@pytest.mark.parametrize(
    ("form", "name", "source", "damage"),
    CASES,
    ids=[f"{form}: {name}" for form, name, *_ in CASES],
)
def test_each_is_refused_by_name_and_nothing_is_written(
    sources, tmp_path, form, name, source, damage
):
    folder = tmp_path / source
    shutil.copytree(sources / source, folder)
    pattern = damage(folder)
    before = sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*"))
    with pytest.raises((DataError, ConfigError)) as error:
        if name == "a mapping that is none":
            guess(open_source(folder, form))
        import_episodes(folder, form, mapping(form, source, name), tmp_path / "out")
    said = str(error.value)
    assert re.match(pattern, said, re.DOTALL), f"{said!r} does not match {pattern!r}"
    assert len(said) < 2000
    assert sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*")) == before
    # A person has no mapping yet: looking at it says it too, or makes a mapping, and no more.
    try:
        guess(open_source(folder, form, partial=True))
    except MiliError:
        pass
    except Exception:  # what must not happen
        pytest.fail(traceback.format_exc())
