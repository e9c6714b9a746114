"""A stand-in for a person at the label page: the simulator's answers, now and then wrong."""

from __future__ import annotations

import numpy as np

from mili_jax.improve.classifier import LEAST, Decision, decide
from mili_jax.people.ordering import GROWTH
from mili_jax.people.questions import Queue

PAGE = 9  # questions


def answer(
    x: np.ndarray, useful: np.ndarray, count: int, wrong: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, Decision | None]:
    """Gives `count` answers: the numbers of their trials, what was said, and what the filter
    decides then."""
    queue = Queue(len(x), twice=0.0)
    asked: list[int] = []
    said: list[bool] = []
    trained_on = 0
    while len(asked) < count and (page := queue.page("a", "a", min(PAGE, count - len(asked)))):
        for question in page.questions:
            queue.record("a", question.trial, 1)
            asked.append(question.trial)
            said.append(bool(useful[question.trial] ^ (rng.random() < wrong)))
        queue.release("a", page.questions)
        if len(asked) >= max(LEAST, GROWTH * trained_on):
            trained_on = len(asked)
            if (found := decide(x, np.array(asked), np.array(said))) is not None:
                queue.rescore(found.probability)
    return np.array(asked), np.array(said), decide(x, np.array(asked), np.array(said))
