"""Commands of this project that another one of them starts: stopping them, and what they said."""

from __future__ import annotations

import contextlib
import os
import re
import signal
from pathlib import Path

from mili_jax.types import MiliError
from mili_jax.workers import stopping

# It distinguishes a command that was stopped, and goes on when it is started again, from one that
# failed. By it these commands are found among all processes, too.
STOPPED_CODE = os.EX_TEMPFAIL
STOPPED_FLAG = f"--stopped_exit_code={STOPPED_CODE}"
_BREAK = re.compile(r"[\r\n]+")  # a progress bar goes back to the beginning of its line
_BAR = re.compile(r"([^|:]+): +(\d+%)\|")
_DRAWN = re.compile(r"[^|]+: +\d+%\|[^|]*\|[^\]]*\]")  # all of it, and a line may go on behind it
_ERROR = re.compile(r"(?:[A-Za-z_]\w*\.)*\w*(?:Error|Exception|Interrupt)\b|Fatal Python error: ")


class JobError(MiliError):
    """A command that was started by another one ended with an error."""


def stop_started(asked: set[int]) -> bool:
    """Asks all commands that this one has started, and those that they have, to save and end.

    asked: the processes that were asked already, which are not asked again; it grows.

    Returns whether there are any.
    """
    found = set()
    for pid in stopping.descendants(os.getpid()):
        with contextlib.suppress(OSError):  # it has just ended
            if STOPPED_FLAG.encode() in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0"):
                found.add(pid)
                if pid not in asked:
                    os.kill(pid, signal.SIGTERM)
    asked |= found
    return bool(found)


def last_words(said: str, code: int) -> str:
    """Why a command ended with this code: the line of what it said that names the error.

    It need not be the last one: JAX, for one, adds to an error how its traceback was shortened.
    """
    lines = [_DRAWN.sub("", line) for line in _BREAK.split(said)]
    lines = [line for line in lines if line.strip()]
    named = [line for line in lines if _ERROR.match(line)]
    why = (named or lines or ["nothing was printed"])[-1]
    if code < 0:
        return f"killed by {signal.Signals(-code).name}; {why}"
    return why.strip()


def at_work(said: str) -> str:
    """What a command is at, by the progress bar that it drew last; "" if it has drawn none."""
    bars = [found for line in _BREAK.split(said) if (found := _BAR.match(line))]
    return f"{bars[-1][1].strip()} {bars[-1][2]}" if bars else ""
