"""Numbers as people read them, and names that others have given."""

from __future__ import annotations

import textwrap
from unicodedata import category

from mili_jax.report.statistics import Difference


def basis(result: Difference) -> str:
    """Over how many tasks and seeds a difference was taken."""
    if result.seeds == 1:
        return (
            f"{result.tasks} tasks, one training seed: the intervals speak of other tasks, not of "
            "other training runs"
        )
    return f"{result.tasks} tasks, {result.seeds} training seeds"


def discordant(result: Difference) -> str:
    """In how many arrangements the two disagree, if the rows say it."""
    if result.a_only is None:
        return ""
    return (
        f"Arrangements that only one of the two solved: {result.a_only:,} the first, "
        f"{result.b_only:,} the second"
    )


def number(value: float, digits: int = 1) -> str:
    """With a true minus sign."""
    return f"{value:.{digits}f}".replace("-", "\u2212")


def percent(share: float, digits: int = 1) -> str:
    """0.125 -> 12.5%."""
    return f"{number(100 * share, digits)}%"


def signed(value: float, digits: int = 1) -> str:
    """With its sign, and without one where it rounds to 0."""
    text = f"{value:+.{digits}f}"
    if float(text) == 0:
        text = text[1:]
    return text.replace("-", "\u2212")


def span(result: Difference) -> str:
    """The interval of a difference, in points."""
    return f"{signed(100 * result.low)} to {signed(100 * result.high)}"


def clean(text: str) -> str:
    """Text of others without what is no character to read: control characters, lone surrogates, and
    marks that turn the direction of what follows."""
    kept = ("\N{REPLACEMENT CHARACTER}" if category(c) == "Cs" else c for c in text)
    return " ".join(
        "".join(" " if category(c) == "Cc" else c for c in kept if c not in _TURN).split()
    )


def shorten(text: str, width: int, lines: int = 1) -> str:
    """Text of others in at most so many lines of so many characters, cut with an ellipsis."""
    found = textwrap.wrap(clean(text), width) or [""]
    if len(found) > lines:
        found = [
            *found[: lines - 1],
            f"{found[lines - 1][: width - 1].rstrip()}\N{HORIZONTAL ELLIPSIS}",
        ]
    return "\n".join(found)


_TURN = {chr(c) for c in (*range(0x202A, 0x202F), *range(0x2066, 0x206A))}
