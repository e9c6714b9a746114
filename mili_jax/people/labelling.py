"""The label page: people say of each trial whether it did anything useful.

POST /api/start     who answers, and of what
POST /api/page      the next page of questions
POST /api/answers   answers, which are on the disk before this is answered
POST /api/progress  how far it is
GET  /clip/<trial>  the pictures of a trial
GET  /asked/<trial> what the robot was shown, with `reveal` alone
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import dataclasses
import functools
import logging
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import TypeVar

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route, Router

from mili_jax.people import messages, serving
from mili_jax.people.answers import Answers, Given
from mili_jax.people.clips import Clip, Clips, encode
from mili_jax.people.gate import RefusedError
from mili_jax.people.ordering import Ordering
from mili_jax.people.questions import Question
from mili_jax.people.trials import Trials
from mili_jax.pipeline.demonstrations import DEMOS
from mili_jax.storage.labels import Answer
from mili_jax.types import DataError

T = TypeVar("T")
LOG = logging.getLogger(__name__)
PACKAGE = "mili_jax.people.pages"
SIZE, MOST = 9, 24  # questions of a page: as ours asks for them, and at most
NAMED = 5  # damaged trials that the terminal names
LATER = 5.0  # s after which what need not be there for the first page begins
REST = 0.005  # s between two names that are read in the background
HELD = 1000  # questions that a page may say it has
AHEAD = 36  # clips that are made before they are asked for
_QUESTION = "Did the robot do anything useful?"


@dataclasses.dataclass
class Labelling:
    """What the routes share. ordering: what scores the trials, None if nothing does.
    reveal: whether the page may show what the robot was shown."""

    trials: Trials
    answers: Answers
    ordering: Ordering | None
    reveal: bool
    title: str

    def __post_init__(self) -> None:
        self._workers = concurrent.futures.ThreadPoolExecutor(2, "clips")
        self._writer = concurrent.futures.ThreadPoolExecutor(1, "answers")
        self._reader = concurrent.futures.ThreadPoolExecutor(1, "names")
        self._trouble = ""
        self._said = 0.0
        self._damaged: set[int] = set()
        self._shown = Clips(self._demonstration)
        self._demonstrations: dict[str, tuple[str, int]] | None = None

    def router(self) -> Router:
        """The site."""
        routes: list[BaseRoute] = [
            serving.page(PACKAGE, "label.html"),
            *serving.assets(PACKAGE, "label.css", "label.js", "player.js", "store.js", "icon.svg"),
            Route("/api/start", self.start, methods=["POST"]),
            Route("/api/page", self.page, methods=["POST"]),
            Route("/api/answers", self.take, methods=["POST"]),
            Route("/api/progress", self.progress, methods=["POST"]),
            Route("/clip/{digest}/{trial:int}", self.clip),
        ]
        if self.reveal:
            routes += [
                Route("/asked/{trial:int}", self.asked),
                Route("/shown/{digest}/{trial:int}", self.shown),
            ]
        return Router(routes=routes, lifespan=self._lifespan)

    @contextlib.asynccontextmanager
    async def _lifespan(self, _: object) -> AsyncIterator[None]:
        loop = asyncio.get_running_loop()
        reading = loop.run_in_executor(self._writer, self._read)
        ahead = asyncio.create_task(self._encode_ahead())
        ordering = asyncio.create_task(self._order())
        yield
        self.trials.close()
        for task in (ahead, ordering):
            task.cancel()
        if self.ordering is not None:
            self.ordering.close()
        await asyncio.gather(reading, ahead, ordering, return_exceptions=True)
        self._reader.shutdown()
        self._workers.shutdown(wait=False, cancel_futures=True)
        self._writer.shutdown()  # answers under way are written

    def _read(self) -> None:
        """Earlier answers."""
        try:
            self.answers.load()
        except DataError as error:
            self._say(str(error))
            return

    def _read_names(self) -> None:
        with contextlib.suppress(DataError):  # they can be read again
            self.trials.read_names(REST)

    def _say(self, trouble: str) -> None:
        """Keeps a sentence for the page, and prints it unless it just has been."""
        if trouble != self._trouble or time.monotonic() - self._said > 30:
            print(f"mili label: {trouble}", file=sys.stderr, flush=True)
            self._said = time.monotonic()
        self._trouble = trouble

    # Routes

    async def start(self, request: Request) -> Response:
        said = messages.parse(
            await request.body(), {"annotator": messages.annotator, "client": messages.client}
        )
        return JSONResponse(
            {
                "title": self.title,
                "question": _QUESTION,
                "reveal": self.reveal,
                "digest": self.trials.digest,
                **self._state(said["annotator"]),
            }
        )

    async def page(self, request: Request) -> Response:
        question = messages.row(self._number, messages.whole(1, 2))
        said = messages.parse(
            await request.body(),
            {
                "annotator": messages.annotator,
                "client": messages.client,
                "size": messages.whole(1, MOST),
                "held": messages.some(question, HELD),
            },
        )
        who = said["annotator"]
        if not self.answers.ready:
            return JSONResponse({"page": None, "done": False, **self._state(who)})
        held = [Question(*each) for each in said["held"]]
        found = self.answers.page(said["client"], who, said["size"], held)
        page = None
        if found is not None:
            page = {
                "number": found.number,
                "likely": found.likely,
                "questions": [[q.trial, q.asked] for q in found.questions],
            }
        done = found is None and not self.answers.queue.left
        return JSONResponse({"page": page, "done": done, **self._state(who)})

    async def take(self, request: Request) -> Response:
        answer = messages.row(
            self._number, messages.whole(1, 2), _answer, functools.partial(_seconds, most=1e6)
        )
        said = messages.parse(
            await request.body(),
            {
                "annotator": messages.annotator,
                "client": messages.client,
                "answers": messages.some(answer, 4 * MOST),
            },
        )
        if not self.answers.ready:
            raise RefusedError(503, "earlier answers are still being read; yours are kept here")
        given = [Given(Question(t, k), answer, s) for t, k, answer, s in said["answers"]]
        give = functools.partial(self.answers.give, said["client"], said["annotator"], given)
        try:
            new = await asyncio.get_running_loop().run_in_executor(self._writer, give)
        except DataError as error:
            self._say(f"answers were not saved: {error}")
            raise
        self._trouble = ""
        return JSONResponse({"new": new, **self._state(said["annotator"])})

    async def progress(self, request: Request) -> Response:
        said = messages.parse(
            await request.body(), {"annotator": messages.annotator, "client": messages.client}
        )
        return JSONResponse(self._state(said["annotator"]))

    async def clip(self, request: Request) -> Response:
        number, digest = request.path_params["trial"], request.path_params["digest"]
        if digest != self.trials.digest or number >= len(self.trials):
            raise RefusedError(404, "there is no such trial")
        try:
            clip = await self._in_worker(self.trials.clip, number)
        except DataError as error:
            self.answers.give_up(number)
            if number not in self._damaged:
                self._damaged.add(number)
                if len(self._damaged) <= NAMED:
                    more = "; further ones are not named" if len(self._damaged) == NAMED else ""
                    self._say(f"trial {number} cannot be shown: {error}{more}")
            raise
        return _picture(clip)

    async def asked(self, request: Request) -> Response:
        number = request.path_params["trial"]
        if number >= len(self.trials):
            raise RefusedError(404, "there is no such trial")
        meta = await self._in_worker(self.trials.reader.meta, number)
        return JSONResponse(
            {
                "task": meta.task,
                "language": meta.language,
                "demonstration": meta.demonstration,
            }
        )

    async def shown(self, request: Request) -> Response:
        """The demonstration that a trial followed."""
        number, digest = request.path_params["trial"], request.path_params["digest"]
        if digest != self.trials.digest or number >= len(self.trials):
            raise RefusedError(404, "there is no such trial")
        return _picture(await self._in_worker(self._shown.get, number))

    def _demonstration(self, number: int) -> Clip:
        name = self.trials.reader.meta(number).demonstration
        dataset = self.trials.dataset
        if self._demonstrations is None:
            found = {}
            for split in dataset.splits():
                if split in DEMOS or split.startswith("round_"):
                    for k, meta in enumerate(dataset.read_metadata(split)):
                        found[meta.episode_id] = split, k
            self._demonstrations = found
        if name not in self._demonstrations:
            raise RefusedError(404, "the demonstration of this trial is not in the dataset")
        split, k = self._demonstrations[name]
        return encode(dataset.reader(split).episode(k).image)

    # What goes on beside them

    async def _encode_ahead(self) -> None:
        """Clips of the next pages, so that they are there when they are asked for."""
        while True:
            ahead = self.answers.upcoming(SIZE, AHEAD) if self.answers.ready else []
            for number in ahead:
                if not self.trials.has_clip(number):
                    with contextlib.suppress(DataError):
                        await self._in_worker(self.trials.clip, number)
            await asyncio.sleep(0.3)

    async def _order(self) -> None:
        """The names of all trials, then scores of them as often as there are new ones."""
        await asyncio.sleep(LATER)
        if self.trials.names is None:
            self._reader.submit(self._read_names)
        if self.ordering is None:
            return
        async for scores in self.ordering.scores(self.answers):
            self.answers.rescore(scores)

    async def _in_worker(self, function: Callable[[int], T], number: int) -> T:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._workers, function, number)

    def _state(self, annotator: str) -> dict[str, object]:
        shown = self.answers.progress(annotator)
        shown["ready"] = self.answers.ready
        shown["trouble"] = self._trouble
        shown["filter"] = None if self.ordering is None else self.ordering.said
        return {"progress": shown}

    def _number(self, value: object) -> int:
        return messages.whole(0, len(self.trials) - 1)(value)


def _answer(value: object) -> Answer:
    if not isinstance(value, str):
        raise ValueError("an answer is yes, no or unsure")
    return Answer.of(value)


def _seconds(value: object, most: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= most:
        raise ValueError(f"seconds are a number, 0 to {most:g}")
    return float(value)


def _picture(clip: Clip) -> Response:
    fields = {"x-clip": clip.header, "cache-control": "private, max-age=3600"}
    return Response(clip.jpeg, media_type="image/jpeg", headers=fields)


def people_folder(workdir: Path) -> Path:
    """Where the pages of a run keep what is no data: tokens, locks, names of trials."""
    return workdir / "people"
