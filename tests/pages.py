"""The pages as a reader meets them: their prose, links, snippets and commands."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

from runs import ROOT

README = ROOT / "README.md"
DOCS = sorted((ROOT / "docs").glob("*.md"))
PAGES = [README, ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *DOCS]
LONGEST = 35  # words of a sentence
# Words that nobody says (STYLE), in two parts: this file is searched as well.
BANNED = tuple(
    first + second
    for first, second in (
        ("to", "ld"),
        ("an", "ew"),
        ("oft", "ener"),
        ("script of ", "the day"),
        ("what stands ", "beside them"),
    )
)
_BLOCK = re.compile(r"^```[^\n]*\n.*?^```$", re.M | re.S)
_LINK = re.compile(r"\]\(([^)\s]+)\)|(?:src|srcset|href)=\"([^\"]+)\"")
_TAG = re.compile(r"<[^>\n]+>")
_END = re.compile(r"(?<=[.!?])[*_)\"]*\s+")


def blocks(text: str, kind: str) -> list[str]:
    """The fenced blocks of a kind, such as "python"."""
    return re.findall(rf"^```{kind}[^\n]*\n(.*?)^```$", text, re.M | re.S)


def commands(text: str) -> list[str]:
    """The lines of its shell blocks, continued ones joined, comments left out."""
    lines = "".join(blocks(text, "sh")).replace("\\\n", " ").splitlines()
    cut = (re.sub(r"\s+#.*|^#.*", "", line) for line in lines)
    return [" ".join(line.split()) for line in cut if line.strip()]


def links(text: str) -> Iterator[str]:
    """What a page links to, and the pictures that it shows."""
    for found in _LINK.finditer(_BLOCK.sub("", text)):
        yield found[1] or found[2]


def anchors(text: str) -> set[str]:
    """What `#...` may name, as GitHub and MkDocs make it of headings."""
    heads = re.findall(r"^#+ (.+)$", _BLOCK.sub("", text), re.M)
    plain = (re.sub(r"[^\w\- ]", "", re.sub(r"\]\([^)]*\)", "", head)).lower() for head in heads)
    return {head.strip().replace(" ", "-") for head in plain}


def sentences(text: str) -> Iterator[str]:
    """The sentences of a page: paragraphs, items of lists and cells of tables, without code and
    without the targets of links."""
    text = re.sub(r"\]\([^)]*\)", "]", _TAG.sub("", _BLOCK.sub("\n\n", text)))
    for paragraph in re.split(r"\n\s*\n|\n(?=\s*(?:[-*] |\d+\. |\||#|> ))", text):
        cells = paragraph.split("|") if paragraph.lstrip().startswith("|") else [paragraph]
        for cell in cells:
            for sentence in _END.split(re.sub(r"\s+", " ", cell)):
                yield sentence.strip()


def tracked() -> list[Path]:
    """The files of the repository that are text."""
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    return [ROOT / name for name in listed.split("\0") if name and _is_text(ROOT / name)]


def _is_text(path: Path) -> bool:
    return path.is_file() and b"\0" not in path.read_bytes()[:8192]
