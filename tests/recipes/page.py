"""docs/extending.md as a newcomer reads it: recipes, and the files and commands of each."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

PAGE = Path(__file__).resolve().parents[2] / "docs" / "extending.md"
_BLOCK = re.compile(
    r"^```(?P<kind>\w+)(?: title=\"(?P<title>[^\"]+)\")?\n(?P<text>.*?)^```$", re.M | re.S
)


@dataclasses.dataclass(frozen=True)
class Recipe:
    """files: content by name. commands: the lines that a shell would run, continued ones joined."""

    files: dict[str, str]
    commands: tuple[str, ...]

    def write(self, folder: Path) -> None:
        for name, text in self.files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)


def recipes() -> dict[str, Recipe]:
    """By heading, for example "A head"."""
    parts = re.split(r"^## (.+)$", PAGE.read_text(), flags=re.M)[1:]
    found = {}
    for heading, text in zip(parts[::2], parts[1::2], strict=True):
        blocks = list(_BLOCK.finditer(text))
        files = {b["title"]: b["text"] for b in blocks if b["title"]}
        lines = "".join(b["text"] for b in blocks if b["kind"] == "sh").replace("\\\n", " ")
        if files:
            found[heading] = Recipe(files, tuple(filter(None, lines.splitlines())))
    return found
