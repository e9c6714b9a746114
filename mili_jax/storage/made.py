"""Which shards a run has made: their SHA-256, written down before each of them appears.

A stage may drop what it made itself, when it has to make it again, and nothing else. That a shard
is its own is known by what it declared here, never by the names in it, which anybody's recordings
may have. The file lies in the run's folder, not with the episodes, so that it does not travel when
these are copied to another run.
"""

from __future__ import annotations

import json
from pathlib import Path

from mili_jax.storage.files import append_lines, make_directory, unreadable


def declare(file: Path, shard: str, digest: str) -> None:
    """Writes down that this run made a shard. Raises DataError if the file system refuses."""
    make_directory(file.parent)
    append_lines(file, [{"shard": shard, "sha256": digest}])


def declared(file: Path) -> set[str]:
    """The SHA-256 of all shards that were declared. A line that cannot be read declares nothing."""
    try:
        lines = file.read_bytes().splitlines()
    except FileNotFoundError:
        return set()
    except OSError as error:
        raise unreadable(file, error) from error
    found = set()
    for line in lines:
        try:
            found.add(str(json.loads(line)["sha256"]))
        except (ValueError, KeyError, TypeError):
            continue
    return found
