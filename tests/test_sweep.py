"""Inputs that nobody should give, and somebody will: one row each, in `sweep/` by area.

A row says what is given and what is right: a typed error of one line that names what is wrong, or a
result. Nothing may be silent, and nothing may be left behind in the folder it was tried in. The
list in `README.md` is made of these rows: `PYTHONPATH=. python tests/test_sweep.py` writes it.
"""

from __future__ import annotations

import importlib
import os
import re
from pathlib import Path

import pytest
from sweep.row import Row

from mili_jax.types import MiliError

AREAS = [
    "robots",
    "kitchen",
    "configs",
    "commands",
    "results",
    "stored",
    "numbers",
    "policies",
    "surroundings",
]
MOST = 600  # characters of an error: one plain line


def rows_of(area: str) -> list[Row]:
    found: list[Row] = importlib.import_module(f"sweep.{area}").ROWS
    return found


def tables() -> list[tuple[str, Row]]:
    return [(area, row) for area in AREAS for row in rows_of(area)]


HEAD = "## Inputs that nobody should give"
ABOUT = (
    "Each was tried, and gives a typed error of one line that names what is wrong, or the right "
    "result; nothing is silent, and nothing is lost or left behind. Made by `PYTHONPATH=. python "
    "tests/test_sweep.py` from the rows in `sweep/`."
)


def listed() -> str:
    """The rows by area, as `README.md` has them."""
    parts = [HEAD, ABOUT]
    for area in AREAS:
        rows = rows_of(area)
        title = importlib.import_module(f"sweep.{area}").AREA
        parts.append(f"**{title}** ({len(rows)}): {'; '.join(row.given for row in rows)}.")
    return "\n\n".join(parts) + "\n"


def held(folder: Path) -> dict[str, bytes | str]:
    """What lies below a folder but locks: files with their bytes, links with where they lead."""
    found: dict[str, bytes | str] = {}
    for path in sorted(set(folder.rglob("*")) - set(folder.rglob(".commit.lock"))):
        link = path.is_symlink()
        found[str(path)] = (
            os.readlink(path) if link else b"" if path.is_dir() else path.read_bytes()
        )
    return found


@pytest.mark.parametrize(
    "row", [pytest.param(row, id=f"{area}-{row.given}") for area, row in tables()]
)
def test_an_odd_input_is_refused_in_one_line_or_gives_what_is_right(row, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, content in row.files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    if row.before is not None:
        row.before(tmp_path)
    before = held(tmp_path)
    if isinstance(row.right, str):
        with pytest.raises(MiliError) as refused:
            row.call(tmp_path)
        said = str(refused.value)
        assert re.search(row.right, said), said
        assert len(said.splitlines()) == 1 and len(said) <= MOST, said
    else:
        result = row.call(tmp_path)
        assert row.right(result), repr(result)[:1000]
    if not row.leaves:
        assert held(tmp_path) == before


def test_the_list_is_that_of_the_rows():
    readme = (Path(__file__).parent / "README.md").read_text(encoding="utf-8")
    assert readme.partition(HEAD)[2] == listed().partition(HEAD)[2], "make it again"
    given = [row.given for area in AREAS for row in rows_of(area)]
    assert len(given) >= 150
    for area in AREAS:
        names = [row.given for row in rows_of(area)]
        assert len(set(names)) == len(names) and all(name.isprintable() for name in names)


if __name__ == "__main__":
    file = Path(__file__).parent / "README.md"
    file.write_text(file.read_text("utf-8").partition(HEAD)[0] + listed(), encoding="utf-8")
