"""What happens on the teleoperation page: a state, and what a person's messages make of it.

`receive` may be called from any thread and only takes notes. `tick` does the work; the robot's own
thread calls it ten times a second.
"""

from __future__ import annotations

import collections
import time
from collections import Counter
from collections.abc import Callable

from mili_jax.people.clutch import Clutch
from mili_jax.people.demonstrations import Kept
from mili_jax.people.plan import Plan, in_words
from mili_jax.people.playground import Pupil
from mili_jax.people.robot import Lesson, Outcome, Robot
from mili_jax.people.states import WISHES, Hand, State, Wish
from mili_jax.types import DataError, SimulationError

SILENCE = 0.5  # s without a sign of the page after which the clutch is released
WAITING = 256  # messages between two ticks
ATTEMPTS = 3  # of the policy after a demonstration
TIME = 60  # control steps that an attempt may take


_RELEASE = "release"  # what a page that is gone asks for
_BEGUN = (State.DRIVING, State.WAITING)
_BEFORE_REVIEW = (State.READY, State.DRIVING, State.WAITING, State.PAUSED)


class Session:
    """One robot, one person at a time. pupil: None where there is no playground. first: number of
    the first arrangement.

    Raises SimulationError for a task that has no scene."""

    def __init__(
        self,
        robot: Robot,
        plan: Plan,
        kept: Kept,
        pupil: Pupil | None = None,
        first: int = 0,
    ) -> None:
        self.robot, self.plan, self.kept, self.pupil = robot, plan, kept, pupil
        self.clutch = Clutch(robot.spec.action)
        self.state = State.READY
        self.trouble = self.note = ""
        self.outcome: Outcome | None = None
        self.number = 0  # of the last message of a hand that is in the picture
        self.answers: list[tuple[bool, bool]] = []  # (what the person says, the simulator)
        self._messages: collections.deque[Hand | Wish] = collections.deque(maxlen=WAITING)
        self._heard = 0.0
        does: tuple[Callable[[int], None], ...] = (
            *(self._finish, self._discard, self._again, self._pause, self._task),
            *(self._keep, self._keep_failed, self._answer),
        )
        self._can = dict(zip(WISHES, does, strict=True))
        self._scene = max(first, kept.next_scene)
        self._begin(plan.next(kept.count))

    # From the page

    def receive(self, message: Hand | Wish) -> None:
        """Takes a message; nothing happens before the next `tick`."""
        self._heard = time.monotonic()
        self._messages.append(message)

    def alone(self) -> None:
        """The page is gone: the clutch is released, all else stays."""
        self._messages.append(Wish(_RELEASE))

    def stop(self, why: str) -> None:
        """After a fault of ours: nothing moves before the person goes on."""
        self._messages.clear()
        self.clutch.release()
        self.state, self.trouble = State.PAUSED, why

    @property
    def busy(self) -> bool:
        """Whether the world goes on, or there is something to do."""
        going = self.state in (State.DRIVING, State.LOADING, State.WATCHING)
        return going or bool(self._messages)

    # Ten times a second

    def tick(self) -> bool:
        """Does what was asked, in its order, and a control step if the world goes on. Returns
        whether there is something new to show."""
        changed, before, jumps = bool(self._messages), self.state, self.clutch.jumps
        while self._messages:
            message = self._messages.popleft()
            if isinstance(message, Hand):
                self._hold(message)
            else:
                self._do(message)
        if self.clutch.jumps > jumps:
            self.note = "The controller jumped; the tool did not follow."
        if self.clutch.held and time.monotonic() - self._heard > SILENCE:
            self.clutch.release()
            self.note = "The page was silent, so the clutch was released."
        if self.clutch.held:
            self._step()
        elif self.state is State.DRIVING:
            self.state = State.WAITING
        elif self.state is State.LOADING:
            self._load()
        elif self.state is State.WATCHING:
            self._watch()
        going = self.state in (State.DRIVING, State.WATCHING)
        return changed or going or self.state is not before

    def _hold(self, hand: Hand) -> None:
        self.number = hand.number
        if self.state not in (State.READY, *_BEGUN):
            return
        if not hand.held:
            self.clutch.release()
            return
        if not self.clutch.held:
            self.note = self.trouble = ""
        self.clutch.follow(hand.pose, hand.opening)

    def _step(self) -> None:
        self.state = State.DRIVING
        self.robot.step(self.clutch.wanted)
        self.view = self.robot.look()
        if self.robot.full:
            self._finish()
            self.note = "This is as long as a demonstration can be."

    # Wishes

    def _do(self, wish: Wish) -> None:
        if wish.what == _RELEASE:
            self._release()
            self.number = 0  # the next page counts from the beginning
            return
        self.trouble = ""
        try:
            self._can[wish.what](wish.value)
        except (DataError, SimulationError) as error:
            self.trouble = " ".join(str(error).split())

    def _release(self) -> None:
        self.clutch.release()
        if self.state is State.DRIVING:
            self.state = State.WAITING

    def _pause(self, on: int) -> None:
        if on and self.state in _BEFORE_REVIEW:
            self._release()
            self.state = State.PAUSED
        elif not on and self.state is State.PAUSED:
            self.state = State.WAITING if self.view.step else State.READY

    def _finish(self, _: int = 0) -> None:
        if self.state not in _BEFORE_REVIEW:
            return
        if not self.view.step:
            self.note = "Nothing is recorded yet."
            return
        self._release()
        self.outcome = self.robot.outcome()
        self.state = State.REVIEW

    def _discard(self, _: int) -> None:
        if self.state in (*_BEFORE_REVIEW, State.REVIEW):
            self._begin(self.lesson.task)
            self.note = "Discarded. The same once more."

    def _again(self, _: int) -> None:
        """Another arrangement of the same task."""
        if self.state not in (*_BEFORE_REVIEW, State.DONE):
            return
        self._scene += 1
        self.answers = []
        self._begin(self.lesson.task)

    def _task(self, number: int) -> None:
        if number < len(self.plan.tasks) and self.state in (*_BEFORE_REVIEW, State.DONE):
            self._scene += 1
            self.answers = []
            self._begin(self.plan.tasks[number])

    def _keep(self, choice: int) -> None:
        """choice: of what was achieved, where the person says what it was."""
        self._take(choice, failed=False)

    def _keep_failed(self, choice: int) -> None:
        self._take(choice, failed=True)

    def _take(self, choice: int, failed: bool) -> None:
        if self.state is not State.REVIEW or self.outcome is None:
            return
        task = self._shown(choice)
        if task is None:
            self.trouble = "Nothing that has a name was done, so there is nothing to keep."
            return
        if task not in self.outcome.achieved and not failed:
            self.trouble = "The task was not done. Keep it all the same only if you want that."
            return
        name = "shown" if self.pupil is not None else self.kept.name
        episode = self.robot.episode(name, task, self.lesson)
        if self.pupil is not None:
            self.pupil.show(episode)
            self.answers, self.state = [], State.LOADING
            return
        self.kept.keep(episode)  # or it raises, and the review goes on
        self.state = State.PAUSED  # and stays it where there is no scene for what comes next
        self._scene = max(self._scene + 1, self.kept.next_scene)
        self._begin(self.plan.next(self.kept.count))
        where = "Kept" if self.kept.stored else "Not stored: this is practice. Counted"
        self.note = f"{where}, {self.kept.count[task]} of {in_words(task)}."

    def _shown(self, choice: int) -> str | None:
        if self.lesson.task is not None:
            return self.lesson.task.name
        assert self.outcome is not None
        done = self.outcome.achieved
        return done[choice] if choice < len(done) else None

    def _answer(self, yes: int) -> None:
        if self.state is State.ASKING and self.pupil is not None and self.outcome is not None:
            self.pupil.answered(self.lesson, bool(yes), self.outcome.success)
            self.answers.append((bool(yes), self.outcome.success))
            if len(self.answers) == ATTEMPTS:
                self.state = State.DONE
            else:
                self._attempt()

    # The robot

    def _begin(self, task: object) -> None:
        wanted = next((t for t in self.plan.tasks if t == task), None)
        lesson = self.robot.scene(self.plan.split, wanted, self._scene)
        self._start(lesson, State.READY)

    def _start(self, lesson: Lesson, state: State) -> None:
        self.view = self.robot.begin(lesson)
        self.lesson, self.state, self.outcome = lesson, state, None
        self.clutch.begin(self.view.pose)
        self.note = ""

    def _load(self) -> None:
        assert self.pupil is not None
        if self.pupil.ready():
            self._attempt()
        elif self.pupil.fault:
            self.trouble, self.state = self.pupil.fault, State.REVIEW

    def _attempt(self) -> None:
        assert self.pupil is not None
        self._scene += 1
        lesson = self.robot.scene(self.plan.split, self.lesson.task, self._scene)
        self._start(lesson, State.WATCHING)
        self.pupil.begin(len(self.answers))

    def _watch(self) -> None:
        assert self.pupil is not None
        over = self.robot.step(self.pupil.act(self.robot.observation))
        self.view = self.robot.look()
        if over or self.view.step >= TIME:
            self.outcome, self.state = self.robot.outcome(), State.ASKING

    def shown(self) -> dict[str, object]:
        """What the page needs to know beside the pictures, as JSON has it."""
        task = self.lesson.task
        found = self.outcome
        counts: Counter[str] = self.kept.count
        return {
            "state": str(self.state),
            "n": self.number,
            "step": self.view.step,
            "pose": [round(float(v), 6) for v in self.view.pose],
            "wanted": [float(v) for v in self.clutch.wanted],
            "task": "" if task is None else task.name,
            "words": "Do anything" if task is None else in_words(task.name),
            "tasks": [[t.name, in_words(t.name), counts[t.name]] for t in self.plan.tasks],
            "marks": [[name.replace("_", " "), u, v] for name, u, v in self.view.marks],
            "scene": self.lesson.scene,
            "seed": self.lesson.seed,
            "kept": self.kept.mine,
            "stored": self.kept.stored,
            "success": found is not None and (found.success if task else bool(found.achieved)),
            "achieved": [] if found is None else [[n, in_words(n)] for n in found.achieved],
            "playground": self.pupil is not None,
            "answers": [[a, b] for a, b in self.answers],
            "attempts": ATTEMPTS,
            "note": self.note,
            "trouble": self.trouble,
        }
