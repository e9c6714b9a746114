"""What damages of files are made of.

A damage changes a folder in place and returns a pattern that the message of its error must match:
the file, and the field or place in it. A damaged input has a name, and is a good source of `make`
with its damage.
"""

from __future__ import annotations

import json
import random
import re
from pathlib import Path

import numpy as np
from makers import (
    episode,
    picture,
    write_lerobot_v21,
    write_lerobot_v30,
    write_rlds,
    write_robomimic,
)

STEPS = 6


def make(base: Path) -> None:
    """The good sources, by the name of their folder."""
    write_rlds(base / "rlds", {"train": 3}, steps=STEPS, form="png")
    write_rlds(base / "jpeg", {"train": 3}, steps=STEPS, form="jpeg")
    write_rlds(base / "array", {"train": 3}, steps=STEPS, file_format="array_record")
    write_rlds(base / "shards", {"train": 4}, steps=STEPS, shards=2)
    write_lerobot_v21(base / "v21", 3, steps=STEPS)
    write_lerobot_v30(base / "v30", 4, 2, 2, steps=STEPS)
    write_lerobot_v30(base / "png", 3, 2, 2, kind="image", steps=STEPS)
    write_robomimic(base / "robomimic" / "d.hdf5", 3, steps=STEPS)


def named(path, *words):
    """A pattern: the file's name, and each of the words after it or before."""
    return "".join(f"(?=.*{re.escape(str(word))})" for word in (path, *words))


# Files of bytes


def cut(path, share):
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])


def flip(path, seed):
    content, rng = bytearray(path.read_bytes()), random.Random(seed)
    content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    path.write_bytes(content)


def text(path, change):
    path.write_text(change(path.read_text()))


def in_json(path, change):
    content = json.loads(path.read_text())
    content = change(content) or content
    path.write_text(json.dumps(content))


def without(name, *said):
    def damage(folder):
        (folder / name).unlink()
        return named(name.split("/")[-1], *said)

    return damage


def content(name, data, *said):
    def damage(folder):
        (folder / name).write_bytes(data)
        return named(name.split("/")[-1], *said)

    return damage


def emptied(folder):
    for path in sorted(folder.rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()
    return named(folder.name)


def buried(folder):
    """The dataset lies deeper than anyone would look."""
    import shutil

    deep = folder / "a/b/c/d"
    kept = [path for path in folder.iterdir()]
    deep.mkdir(parents=True)
    for path in kept:
        shutil.move(path, deep / path.name)
    return named(folder.name)


def doubled(folder):
    import shutil

    kept = [path for path in folder.iterdir()]
    for name in ("1.0.0", "2.0.0"):
        (folder / name).mkdir()
        for path in kept:
            shutil.copy(path, folder / name / path.name)
    for path in kept:
        path.unlink()
    return named(folder.name, "1.0.0", "2.0.0")


ONE = episode(0, steps=2)
PNG, JPEG = picture(ONE.front[0], "png"), picture(ONE.front[0], "jpeg")
LARGE = picture(np.zeros((48, 64, 3), np.uint8), "png")
GREY = picture(np.zeros((20, 32), np.uint8), "png")
