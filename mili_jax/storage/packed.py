"""A trained policy as a folder of its own, which can be copied, mailed or shipped in a wheel.

  policy.json       what it is: the robot, the networks, what it was trained on
  parameters.npz    its parameters: arrays by their path in the tree, no pickle
  rows.jsonl        the result rows that say how well it does; none if nobody has measured it
  README.md         the model card, written from the two
  SHA256SUMS        of these four, as `sha256sum -c` reads it

Everything is verified before anything of it is used.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path

import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from mili_jax.storage.files import (
    Manifest,
    as_lines,
    one_line,
    read_lines,
    sync_directory,
    unreadable,
)
from mili_jax.types import DataError, Params

FORMAT = 1
FACTS, PARAMETERS, ROWS, CARD = "policy.json", "parameters.npz", "rows.jsonl", "README.md"
FILES = (FACTS, PARAMETERS, ROWS, CARD)
SUMS = "SHA256SUMS"
_NO_ARRAYS = (ValueError, AttributeError, TypeError, zipfile.BadZipFile, zlib.error)
_AGAIN = "get the folder again, or write it again with `mili pack`"


@dataclasses.dataclass(frozen=True)
class Packed:
    """What a folder holds. facts: plain values; params: a tree of arrays; rows: result rows; card:
    Markdown."""

    facts: Manifest
    params: Params
    rows: Sequence[Manifest]
    card: str


def shipped() -> dict[str, Path]:
    """The policies that come with the package, by name: in a wheel its own, in a checkout those of
    the repository's folder `data`."""
    package = Path(str(resources.files("mili_jax")))
    for place in (package / "data" / "policies", package.parent / "data" / "policies"):
        if place.is_dir():
            return {file.parent.name: file.parent for file in sorted(place.glob(f"*/{SUMS}"))}
    return {}


def write(out: Path, packed: Packed) -> None:
    """Writes the folder, whole or not at all. One that `write` made before is replaced.

    Raises DataError naming `out`: it holds something else, or the file system refuses; what was
    there stays.
    """
    target = Path(os.path.realpath(out))
    if target.exists() and not _replaceable(target):
        raise DataError(f"{out} holds something else than a packed policy; name a new folder")
    staging = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        staging = Path(
            tempfile.mkdtemp(prefix=f".{target.name}.", suffix=".tmp", dir=target.parent)
        )
        made = staging / "made"
        made.mkdir()
        facts = {"format": FORMAT, **packed.facts}
        (made / FACTS).write_text(json.dumps(facts, indent=1, allow_nan=False) + "\n", "utf-8")
        arrays = {path: np.asarray(leaf) for path, leaf in flat(packed.params).items()}
        np.savez(made / PARAMETERS, allow_pickle=False, **arrays)
        (made / ROWS).write_bytes(as_lines(packed.rows))
        (made / CARD).write_text(packed.card, "utf-8")
        sums = [f"{_digest((made / name).read_bytes())}  {name}\n" for name in FILES]
        (made / SUMS).write_text("".join(sums), "utf-8")
        for name in (*FILES, SUMS):
            with (made / name).open("rb") as file:
                os.fsync(file.fileno())
        if target.exists():
            target.rename(staging / "old")
        made.rename(target)
        sync_directory(target.parent)
    except OSError as error:
        if staging is not None and (staging / "old").exists() and not target.exists():
            (staging / "old").rename(target)
        raise DataError(
            f"{out} could not be written ({one_line(error)}); what was there stays: free space or "
            "fix permissions and run again"
        ) from error
    finally:
        if staging is not None:
            shutil.rmtree(staging, ignore_errors=True)


def read(folder: Path) -> Packed:
    """What the folder holds.

    Raises DataError, naming the file: missing, changed, of another format, or not what it should
    be.
    """
    held = {name: _bytes(folder / name) for name in (*FILES, SUMS)}
    listed = _listed(folder / SUMS, held[SUMS])
    for name in FILES:
        if _digest(held[name]) != listed[name]:
            raise DataError(f"{folder / name} is damaged: its SHA-256 does not fit; {_AGAIN}")
    try:
        facts = json.loads(held[FACTS])
        number = facts["format"]
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{folder / FACTS} describes no policy ({error!r}); {_AGAIN}") from error
    if number != FORMAT:
        raise DataError(
            f"{folder / FACTS} is of format {number!r}, and this version reads {FORMAT}; install "
            "the version of mili-jax that wrote it, or a newer one"
        )
    rows = [row for _, row in read_lines(folder / ROWS)]
    try:
        card = held[CARD].decode()
    except UnicodeDecodeError as error:
        raise DataError(f"{folder / CARD} is no text ({error}); {_AGAIN}") from error
    return Packed(facts, _params(folder / PARAMETERS), rows, card)


def flat(tree: Params) -> dict[str, np.ndarray]:
    """The leaves of a tree of mappings by their paths: {"encoder/first/kernel": ...}."""
    return dict(flatten_dict(tree, sep="/"))


def check_fit(asked: Mapping[str, Sequence[int]], params: Params, where: str) -> None:
    """Raises DataError, naming the first array that is missing, not asked for, of another shape or
    no finite float.

    asked: shapes by path, as `flat` names them.
    """
    held = flat(params)
    for path in sorted(asked.keys() | held.keys()):
        if path not in held:
            raise DataError(f"{where} lacks the array {path!r}; {_AGAIN}")
        if path not in asked:
            raise DataError(f"{where} has an array {path!r}, which its networks have not; {_AGAIN}")
        array = np.asarray(held[path])
        if array.shape != tuple(asked[path]) or array.dtype.kind != "f":
            raise DataError(
                f"{where}: {path!r} is {array.dtype} {array.shape}, and its networks want floats "
                f"{tuple(asked[path])}; {_AGAIN}"
            )
        if not np.isfinite(array).all():
            raise DataError(f"{where}: {path!r} is not finite; the training that made it diverged")


def _replaceable(target: Path) -> bool:
    """Whether a folder is empty or holds a packed policy and nothing beside it."""
    if not target.is_dir():
        return False
    names = {entry.name for entry in target.iterdir()}
    return not names or (SUMS in names and names <= {*FILES, SUMS})


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        raise DataError(f"{path} is missing; {_AGAIN}") from None
    except OSError as error:
        raise unreadable(path, error) from error


def _listed(path: Path, content: bytes) -> dict[str, str]:
    """SHA-256 by file name."""
    try:
        lines = [line.split("  ", 1) for line in content.decode().splitlines()]
        listed = {name: digest for digest, name in lines}
    except (UnicodeDecodeError, ValueError):
        listed = {}
    if set(listed) != set(FILES):
        raise DataError(f"{path} is damaged: it does not list {', '.join(FILES)}; {_AGAIN}")
    return listed


def _params(path: Path) -> Params:
    try:
        with np.load(path, allow_pickle=False) as archive:
            found: Params = unflatten_dict({k: archive[k] for k in archive.files}, sep="/")
            return found
    except (OSError, EOFError, LookupError, *_NO_ARRAYS) as error:
        raise DataError(f"{path} holds no parameters ({one_line(error)}); {_AGAIN}") from error


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
