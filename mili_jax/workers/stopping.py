"""How a command ends that is asked to: by ctrl-C, by a scheduler, by a terminal that closes.

A signal becomes no exception: raised inside a compiler it is lost, or it takes the interpreter
down. A thread hears of it instead, whatever the other threads are at. A training asks after every
step whether one came, saves and ends. Anywhere else the command ends where it is, as if it were
killed. Its files stand that, its workers go with it, and the same command goes on.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

ASKING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
ONCE = 0.25  # s in which several count as one: a terminal that closes and its shell send one each
PATIENCE = 2.0  # s after which a command that still works at its last step says so
_PR_SET_PDEATHSIG = 1


class Stopped(SystemExit):
    """A command was asked to stop, and what it has is saved; `code` is the exit code."""

    def __init__(self, where: str, code: int) -> None:
        super().__init__(code)
        self._said = f"stopped {where}: the same command goes on from here"

    def __str__(self) -> str:
        return self._said


class _Listener:
    """Hears the signals of this process, until `close`. Only the main thread may make one."""

    def __init__(self) -> None:
        self.code: int | None = None  # the exit code, where it shall not be that of the signal
        self.came = 0  # the first signal
        self.holds = 0  # how many will end the command by themselves once it came
        self.after = ""  # what they end after
        self.first: Callable[[], object] = lambda: None  # what to do when it came
        self._lock = threading.Lock()
        self._pipe = os.pipe()
        os.set_blocking(self._pipe[1], False)
        self._wakeup = signal.set_wakeup_fd(self._pipe[1], warn_on_full_buffer=False)
        # What is ignored stays ignored: `nohup` has seen to it, or a shell that started a job.
        known = {number: signal.getsignal(number) for number in ASKING}
        self._before = {n: handler for n, handler in known.items() if handler != signal.SIG_IGN}
        for number in self._before:
            signal.signal(number, lambda *_: None)
        self._thread = threading.Thread(target=self._listen, name="signals", daemon=True)
        self._thread.start()

    def close(self) -> None:
        signal.set_wakeup_fd(self._wakeup)
        for number, handler in self._before.items():
            signal.signal(number, handler)
        os.close(self._pipe[1])
        self._thread.join()
        os.close(self._pipe[0])

    @property
    def exit_code(self) -> int:
        return 128 + (self.came or signal.SIGTERM) if self.code is None else self.code

    def _listen(self) -> None:
        heard, said = 0.0, False
        while True:
            patience = PATIENCE if self.came and not said else None
            if not select.select([self._pipe[0]], [], [], patience)[0]:
                said = True
                if self.holds:  # otherwise all is saved, and it is ending
                    _say(f"stopping after {self.after}; a second signal ends it at once")
                continue
            numbers = os.read(self._pipe[0], 64)
            if not numbers:
                return
            asked = [number for number in numbers if number in self._before]
            if asked and not self.came:
                heard = time.monotonic()
                with self._lock:
                    self.came = asked[0]
                    held = self.holds > 0
                if not held:
                    self.end()
                self.first()
            elif asked and time.monotonic() - heard > ONCE:
                self.end()

    def end(self) -> NoReturn:
        """Ends the process where it is, and with it all that it has started."""
        started = descendants(os.getpid())
        name = signal.Signals(self.came).name
        _say(f"stopped at once by {name}: the same command goes on from here")
        for pid in started:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        os._exit(self.exit_code)

    @contextlib.contextmanager
    def hold(self, after: str, first: Callable[[], object]) -> Iterator[None]:
        with self._lock:
            self.holds += 1
            self.after, self.first = after, first
        try:
            yield
        finally:
            with self._lock:
                self.holds -= 1
                late = self.came and not self.holds
        if late:  # it came after the last question
            raise stopped(f"after {after}")


_listener: _Listener | None = None


def listen(code: int | None = None) -> None:
    """From here on signals end this process in the ways of this module: once, near its beginning.

    code: the exit code of a process that was stopped, instead of 128 plus the signal's number.
    """
    global _listener
    if _listener is None:
        _listener = _Listener()
    _listener.code = code


@contextlib.contextmanager
def asking(after: str, first: Callable[[], object] = lambda: None) -> Iterator[Callable[[], bool]]:
    """While it lasts, a signal ends nothing: whoever calls this asks the function that comes
    whether one came, saves what there is, and raises what `stopped` makes. A second one ends the
    process at once.

    Args:
      after: in words, what is waited for before the process ends.
      first: called, by another thread, when the first one comes.
    """
    global _listener
    mine = _listener is None and threading.current_thread() is threading.main_thread()
    if mine:
        _listener = _Listener()
    listener = _listener
    try:
        if listener is None:  # in another thread, of somebody else's program
            yield lambda: False
        else:
            with listener.hold(after, first):
                yield lambda: bool(listener.came)
    finally:
        if mine and listener is not None:
            _listener = None
            listener.close()


def stopped(where: str) -> Stopped:
    """What to raise when a signal came and all is saved. `where` says at what, or after what."""
    return Stopped(where, 128 + signal.SIGTERM if _listener is None else _listener.exit_code)


@contextlib.contextmanager
def shielded(*numbers: int) -> Iterator[None]:
    """Processes that are started here are not reached by these signals, by default by all: a
    terminal sends its signals to them as well, and it is for this process to say what follows."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, numbers or ASKING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextlib.contextmanager
def same_handlers() -> Iterator[None]:
    """Puts the handlers of signals back that a library takes for itself."""
    known = {number: signal.getsignal(number) for number in ASKING}
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            for number, handler in known.items():
                signal.signal(number, handler)


def die_with_parent(number: int = signal.SIGKILL) -> None:
    """This process gets the signal when the thread that started it ends, whatever both are at."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, number)


def descendants(pid: int) -> list[int]:
    """The processes that a process has started, and those have."""
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # one that has ended meanwhile
            parent = int(stat.read_text().rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(int(stat.parent.name))
    found = [pid]
    for each in found:
        found += children.get(each, [])
    return found[1:]


def _say(line: str) -> None:
    """Past Python's own buffers, which the main thread may be holding. On a line of its own: a
    progress bar, or the terminal's ^C, stands on the last one."""
    with contextlib.suppress(OSError):
        if select.select([], [2], [], 0)[1]:  # nobody may be reading
            os.write(2, f"\n{line}\n".encode())
