"""`mili label`: the label page of a run's round, from the folder to the server."""

from __future__ import annotations

import time
from pathlib import Path

from mili_jax.people import serving
from mili_jax.people.alone import alone
from mili_jax.people.answers import Answers
from mili_jax.people.labelling import Labelling, people_folder
from mili_jax.people.lan import address, certificate, explain
from mili_jax.people.ordering import Ordering
from mili_jax.people.questions import Queue
from mili_jax.people.trials import Trials
from mili_jax.storage.dataset import Dataset
from mili_jax.types import ConfigError
from mili_jax.workers import stopping


def serve(
    path: Path,
    number: int,
    *,
    port: int | None = None,
    opens: bool = False,
    reveal: bool = False,
    lan: bool = False,
) -> None:
    """Serves the label page of a round until it is asked to stop.

    lan: for other machines in this network, encrypted.

    Raises ConfigError for a folder without trials of this round, one that is served already, or a
    port that is taken; DataError for damage; Stopped in the end.
    """
    if not (path / "dataset").is_dir():
        raise ConfigError(f"{path} has no folder `dataset`: it is no run's folder")
    split, folder = f"round_{number}", people_folder(path)
    trials = Trials(Dataset(path / "dataset"), split, folder / f"names_{split}.json")
    what = f"{path}: round {number}"
    host = address() if lan else serving.HOST
    with serving.bind(port, host) as listening, alone(folder / f"{split}.lock", what, listening):
        token = serving.kept_token(folder / "token")
        tls = certificate(folder / "tls", host) if lan else None
        if tls is not None:
            explain("mili label", tls)
        answers = Answers(trials, Queue(len(trials), now=time.monotonic))
        title = f"{path.absolute().name}, round {number}"
        ordering = Ordering(path, trials, number)
        site = Labelling(trials, answers, ordering, reveal, title)
        serving.serve(
            site.router(), name="mili label", listening=listening, token=token, opens=opens, tls=tls
        )
    answered = f"with {answers.queue.answered} of {len(trials)} trials answered"
    raise stopping.stopped(answered)
