"""Orders the questions by a learned filter that is trained on the answers so far.

Features of the trials are made, or found where they are kept beside the run, by a process of its
own that needs the policy and its libraries. From then on a filter is trained whenever there are a
fifth more answers than the last time.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np

from mili_jax.improve import features
from mili_jax.improve.classifier import LEAST, Decision, decide
from mili_jax.people.answers import Answers
from mili_jax.people.trials import Trials

GROWTH = 1.2  # answers, of those the last filter was trained on, after which another one is
LOOK = 2.0  # s between two looks whether there are


class Ordering:
    """Scores for the questions of a page. said: how far it is, for people."""

    def __init__(self, workdir: Path, trials: Trials, number: int) -> None:
        self.said = "not begun"
        self._workdir, self._round = workdir, number
        self._kept = features.path_of(workdir, trials.split)
        self._process: asyncio.subprocess.Process | None = None

    async def scores(self, answers: Answers) -> AsyncIterator[np.ndarray]:
        """P(useful) of every trial, float [N], each time that there are better ones."""
        described = await self._features()
        if described is None:
            return
        trained_on = 0
        while True:
            numbers, said = answers.numbers()
            known = [(n, s) for n, s in zip(numbers, said, strict=True) if s is not None]
            if len(known) >= max(LEAST, GROWTH * trained_on):
                trained_on = len(known)
                index = np.array([n for n, _ in known])
                useful = np.array([s for _, s in known], bool)
                found = await asyncio.to_thread(decide, described, index, useful)
                if found is not None:
                    self.said = report(found, len(known))
                    yield found.probability
            elif not trained_on:
                self.said = f"begins when {LEAST} trials have a clear answer; {len(known)} have"
            await asyncio.sleep(LOOK)

    async def _features(self) -> np.ndarray | None:
        self.said = "looks at the trials"
        call = [sys.executable, "-m", "mili_jax.people.features", str(self._workdir)]
        call += [str(self._round)]
        self._process = await asyncio.create_subprocess_exec(
            *call,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={**os.environ, "JAX_PLATFORMS": os.environ.get("JAX_PLATFORMS", "cpu")},
            preexec_fn=_humbly,
        )
        assert self._process.stdout is not None and self._process.stderr is not None
        errors = asyncio.create_task(self._process.stderr.read())
        async for line in self._process.stdout:
            self.said = f"looks at the trials: {line.decode(errors='replace').strip()[:40]}"
        last = (await errors).decode(errors="replace").strip().splitlines()
        if await self._process.wait():
            why = last[-1][:200] if last else f"exit code {self._process.returncode}"
            self.said = f"there is none: {why}"
            return None
        return features.load(self._kept)

    def close(self) -> None:
        """Ends what it has started."""
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()


def _humbly() -> None:
    """Whoever looks at the page goes first; and no server, no features."""
    from mili_jax.workers import stopping

    os.nice(10)
    stopping.die_with_parent()


def report(found: Decision, answered: int) -> str:
    """What a filter would save, in a sentence."""
    rest = len(found.probability) - answered
    if not found.sure:
        return f"trained on {answered} answers; sure of none of the other {rest} trials yet"
    return (
        f"trained on {answered} answers; sure of {found.sure} of the other {rest} trials "
        f"(precision {found.precision:.0%}, recall {found.recall:.0%} on the audit slice)"
    )
