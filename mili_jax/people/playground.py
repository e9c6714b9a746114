"""The policy that a person teaches on the playground: it sees one demonstration, then it acts."""

from __future__ import annotations

import datetime
import logging
import threading
from pathlib import Path

import numpy as np

from mili_jax.people.robot import Lesson
from mili_jax.pipeline.oneshot import Attempt, OneShotPolicy
from mili_jax.storage.files import append_lines
from mili_jax.types import Episode, EpisodeMeta

LOG = logging.getLogger(__name__)
_BLANK = EpisodeMeta("blank", "", "", 0, 0, "", "", "", False, False, ())


class Pupil:
    """A policy and what it was shown.

    answers: a file for what people say of its attempts; None: they are only shown.
    Compiling takes seconds, which pass while the person still looks at the page.
    """

    def __init__(self, policy: OneShotPolicy, answers: Path | None) -> None:
        self.policy = policy
        self.fault = ""
        self._answers = answers
        self._episode: Episode | None = None
        self._attempt: Attempt | None = None
        self._compiled = threading.Event()
        self._thread = threading.Thread(target=self._compile, name="compile", daemon=True)
        self._thread.start()

    def _compile(self) -> None:
        spec = self.policy.spec
        image = np.zeros((2, *spec.picture), np.uint8)
        numbers = np.zeros((2, len(spec.pose)), np.float32)
        try:
            attempt = self.policy.after(Episode(image, numbers, numbers, _BLANK))
            attempt.act({"image": image[0], "pose": numbers[0]})
        except Exception as error:  # whatever a compiler raises: the page says it
            LOG.exception("the policy cannot act")
            self.fault = f"The policy cannot act ({type(error).__name__}); see the terminal."
            return
        self._compiled.set()

    def close(self) -> None:
        """Waits for the compiler, seconds: a process that ends inside it crashes."""
        self._thread.join()

    def show(self, demonstration: Episode) -> None:
        self._episode = demonstration

    def ready(self) -> bool:
        """Whether it can begin. Never waits."""
        return self._compiled.is_set()

    def begin(self, number: int) -> None:
        """An attempt of its own after what it was shown. number: of this attempt."""
        self._attempt = self.policy.after(self._episode, seed=number)

    def act(self, observation: dict[str, np.ndarray]) -> np.ndarray:
        """The next action float32 [A]."""
        assert self._attempt is not None
        return self._attempt.act(observation)

    def answered(self, lesson: Lesson, yes: bool, success: bool) -> None:
        """Keeps an answer. Raises DataError if the disk refuses."""
        if self._answers is None:
            return
        row = {
            "task": "" if lesson.task is None else lesson.task.name,
            "seed": lesson.seed,
            "policy": self.policy.name,
            "answer": "yes" if yes else "no",
            "simulator": success,
            "time": datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds"),
        }
        append_lines(self._answers, [row])
