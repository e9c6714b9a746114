"""The folder of a report: replaced as a whole, and only if a report wrote all that it holds.

Needs no Matplotlib, so that a run can ask `check_folder` before its work begins.
"""

from __future__ import annotations

import contextlib
import fnmatch
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from mili_jax.types import ConfigError, DataError

GENERATOR = '<meta name="generator" content="mili_jax">'
_MARKS = (GENERATOR, '<nav aria-label="Sections">')  # the second, of pages before the first was
_OWN_FOLDERS = ("figures", "videos")
_REFERENCE = re.compile(r'(?:src|srcset|poster)="((?:figures|videos)/[^"/]+)"')

# What operating systems, editors and people leave in any folder: no reason to refuse, and kept.
_LITTER = (
    *(".DS_Store", "._*", ".AppleDouble", ".localized", "Icon\r", "__MACOSX", ".Spotlight-V100"),
    *(".Trashes", ".fseventsd", "Thumbs.db", "ehthumbs*.db", "desktop.ini", "$RECYCLE.BIN"),
    *(".directory", ".Trash-*", ".nfs*", ".fuse_hidden*", "lost+found", "@eaDir"),
    *(".~lock.*", "~$*", "*~", ".*.sw?", "#*#", ".#*", ".ipynb_checkpoints"),
    *(".gitignore", ".gitkeep", ".nojekyll", ".sync*", ".dropbox*", ".stfolder"),
)
_ROOM = 1 << 18  # bytes that must fit before it is worth to begin


def check_folder(out: Path) -> None:
    """Whether a report can be written to `out`.

    Raises ConfigError if it holds what no report wrote, DataError if the file system refuses.
    """
    target = Path(os.path.realpath(out))
    with _refusals(out):
        foreign = _foreign(target)
    if foreign:
        raise ConfigError(
            f"{out} holds {foreign!r}, which no report wrote, and would be replaced: name an empty "
            "folder for the report"
        )
    require_writable(out, target.parent)


def require_writable(out: Path, folder: Path | None = None) -> None:
    """Whether files can be written to `out`, or to the folder that holds it; makes nothing.

    Raises DataError naming `out` if the file system refuses.
    """
    place = folder or out
    with _refusals(out):
        while not place.exists() and place != place.parent:
            place = place.parent
        trial = Path(tempfile.mkdtemp(prefix=".report.", suffix=".tmp", dir=place))
        try:
            (trial / "room").write_bytes(bytes(_ROOM))
        finally:
            shutil.rmtree(trial, ignore_errors=True)


@contextlib.contextmanager
def replacing_folder(out: Path) -> Iterator[Path]:
    """A folder to fill, which takes the place of `out` if all goes well.

    A killed process leaves the old folder or none. Raises DataError naming `out` if the file system
    refuses something; what was there stays then, and after any other error too.
    """
    target = Path(os.path.realpath(out))
    staging = target.with_name(f".{target.name}.tmp")
    with _refusals(out):
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.rmtree(staging, ignore_errors=True)
            staging.mkdir()
            yield staging
            _take_place(staging, target)
        finally:
            shutil.rmtree(staging, ignore_errors=True)


@contextlib.contextmanager
def _refusals(out: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:  # PyAV's and Pillow's too
        reason = error.strerror or str(error)
        raise DataError(
            f"the report could not be written to {out} ({reason}); what was there before is as it "
            "was: free space or fix permissions and run the same command again"
        ) from error


def _foreign(target: Path) -> str | None:
    """The first thing in the folder that no report wrote, by its name."""
    if not target.exists():
        return None
    if not target.is_dir():
        return target.name
    names = sorted(entry.name for entry in target.iterdir() if not _litter(entry.name))
    own = _own_files(target / "index.html") if "index.html" in names else set()
    for name in names:
        if name in _OWN_FOLDERS and own and (target / name).is_dir():
            inside = [f"{name}/{e.name}" for e in sorted((target / name).iterdir())]
            strange = [p for p in inside if p not in own and not _litter(Path(p).name)]
            if strange:
                return strange[0]
        elif name not in own:
            return name
    return None


def _own_files(page: Path) -> set[str]:
    """The files of the report that this is the page of; empty if it is no report's page."""
    text = page.read_text("utf-8", errors="replace") if page.is_file() else ""
    if text and not any(mark in text for mark in _MARKS):
        return set()
    return {"index.html", *_REFERENCE.findall(text)}


def _litter(name: str) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in _LITTER)


def _take_place(staging: Path, target: Path) -> None:
    """Puts the new folder where the old one is, and the litter of the old one into the new."""
    if not target.exists():
        staging.rename(target)
        return
    old = Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=".old", dir=target.parent))
    try:
        target.rename(old / "report")
        try:
            staging.rename(target)
        except OSError:
            (old / "report").rename(target)
            raise
        for entry in (old / "report").iterdir():
            if _litter(entry.name):
                with contextlib.suppress(OSError):
                    entry.rename(target / entry.name)
    finally:
        shutil.rmtree(old, ignore_errors=True)
