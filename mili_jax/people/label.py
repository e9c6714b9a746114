"""`mili label`: the label page of a run's round, from the folder to the server."""

from __future__ import annotations

import contextlib
import os
import platform
import time
from collections.abc import Iterator
from pathlib import Path

from mili_jax.people import serving
from mili_jax.people.answers import Answers
from mili_jax.people.labelling import Labelling, people_folder
from mili_jax.people.ordering import Ordering
from mili_jax.people.questions import Queue
from mili_jax.people.trials import Trials
from mili_jax.storage.dataset import Dataset
from mili_jax.storage.files import lock_file, make_directory
from mili_jax.types import ConfigError, DataError
from mili_jax.workers import stopping


def serve(
    path: Path,
    number: int,
    *,
    port: int | None = None,
    opens: bool = False,
    reveal: bool = False,
) -> None:
    """Serves the label page of a round until it is asked to stop.

    Raises ConfigError for a folder without trials of this round, one that is served already, or a
    port that is taken; DataError for damage; Stopped in the end.
    """
    if not (path / "dataset").is_dir():
        raise ConfigError(f"{path} has no folder `dataset`: it is no run's folder")
    split, folder = f"round_{number}", people_folder(path)
    trials = Trials(Dataset(path / "dataset"), split, folder / f"names_{split}.json")
    with serving.bind(port) as listening, _alone(folder / f"{split}.lock", path, number) as lock:
        token = serving.kept_token(folder / "token")
        port = listening.getsockname()[1]
        lock.write(f"at http://{serving.HOST}:{port}, process {os.getpid()} on {platform.node()}")
        lock.flush()
        answers = Answers(trials, Queue(len(trials), now=time.monotonic))
        title = f"{path.absolute().name}, round {number}"
        ordering = Ordering(path, trials, number)
        site = Labelling(trials, answers, ordering, reveal, title)
        serving.serve(
            site.router(), name="mili label", listening=listening, token=token, opens=opens
        )
    answered = f"with {answers.queue.answered} of {len(trials)} trials answered"
    raise stopping.stopped(answered)


@contextlib.contextmanager
def _alone(lock: Path, path: Path, number: int) -> Iterator:
    """Holds the lock of a round's page; what comes is for a word about who holds it.

    Raises ConfigError if another server has it, DataError if the file system refuses.
    """
    make_directory(lock.parent)
    try:
        file = lock.open("a+")
    except OSError as error:
        raise DataError(f"{lock} could not be opened ({error.strerror}); free space") from None
    with file:
        try:
            lock_file(file, lock, wait=False)
        except BlockingIOError:
            file.seek(0)
            raise ConfigError(
                f"{path}: round {number} is served already, {file.read(200).strip() or 'here'}; "
                "open that page, or end it"
            ) from None
        try:
            file.truncate(0)
        except OSError as error:
            raise DataError(f"{lock} cannot be written ({error.strerror})") from None
        yield file
