"""What is odd in a dataset, in sentences that a person can act on."""

from __future__ import annotations

import collections
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from mili_jax.interchange.names import is_gripper
from mili_jax.interchange.summaries import Numbers, Summary
from mili_jax.spec import Field, Layout, Spec

_SHOWN = 3  # examples a sentence names


def oddities(summaries: Sequence[Summary], spec: Spec) -> list[str]:
    """Sentences, the worst first; [] where nothing is odd."""
    if not summaries:
        return ["There is no episode."]
    found = [
        *_numbers(summaries, "pose", spec.pose, False, lambda s: s.pose),
        *_numbers(summaries, "action", spec.action, spec.delta, lambda s: s.action),
        *_pictures(summaries, spec),
        *_twice(summaries),
        *_lengths(summaries),
        *_tasks(summaries),
    ]
    if not spec.delta and all(s.follows for s in summaries):
        found.append(
            "Every action is exactly the next measured pose: it was computed and not commanded."
        )
    return found


def _numbers(
    summaries: Sequence[Summary],
    group: str,
    layout: Layout,
    delta: bool,
    of: Callable[[Summary], Numbers],
) -> Iterator[str]:
    low = np.min([of(s).low for s in summaries], axis=0)
    high = np.max([of(s).high for s in summaries], axis=0)
    for k, field in enumerate(layout.fields):
        what = f"{group} {field.name!r}"
        if not np.isfinite([low[k], high[k]]).all():
            wrong = [s for s in summaries if not np.isfinite([of(s).low[k], of(s).high[k]]).all()]
            yield f"{what} is not a number in {_named(wrong)}."
            continue
        if low[k] == high[k]:
            yield f"{what} never changes; it is {low[k]:g} throughout."
            continue
        yield from _unit(what, field, max(abs(low[k]), abs(high[k])))
        yield from _bounds(what, field, float(low[k]), float(high[k]))
        if delta or is_gripper(field.name):
            continue
        turned = [s for s in summaries if of(s).turns[k]]
        if turned and field.unit == "rad":
            yield from _turns(what, field, turned)
        jumped = _jumped(summaries, k, of, float(high[k] - low[k]))
        if jumped and not (turned and field.period is None):
            largest = max(of(s).jump[k] for s in jumped)
            yield (
                f"{what} jumps by up to {largest:.3g} {field.unit} from one step to the next in "
                f"{_named(jumped)}; steps may be missing there."
            )


def _unit(what: str, field: Field, largest: float) -> Iterator[str]:
    if field.unit == "m" and largest > 3:
        yield f"{what} reaches {largest:.4g} m; it looks like {'mm' if largest > 30 else 'cm'}."
    elif field.unit == "rad" and largest > 7:
        yield f"{what} reaches {largest:.4g} rad; it looks like degrees."
    elif is_gripper(field.name) and field.unit == "1" and largest > 1.5:
        of = "0 to 255" if largest <= 256 else "another unit"
        yield f"{what} reaches {largest:.4g}, and 1 is open; it looks like {of}."


def _bounds(what: str, field: Field, low: float, high: float) -> Iterator[str]:
    slack = 0.05 * (field.high - field.low)
    if low < field.low - slack or high > field.high + slack:
        yield (
            f"{what} goes from {low:.4g} to {high:.4g} {field.unit}, its bounds are "
            f"{field.low:.4g} to {field.high:.4g}."
        )


def _turns(what: str, field: Field, turned: Sequence[Summary]) -> Iterator[str]:
    if field.period is None:
        yield (
            f"{what} jumps by a turn in {_named(turned)} and has no period: give it one in the "
            "mapping (6.2832 rad), or a policy sees a jump where nothing moved."
        )
    else:
        yield f"{what} passes the end of its turn in {_named(turned)}; its period covers that."


def _jumped(
    summaries: Sequence[Summary], k: int, of: Callable[[Summary], Numbers], span: float
) -> list[Summary]:
    usual = float(np.median([of(s).jump[k] for s in summaries]))
    return [s for s in summaries if of(s).jump[k] > max(0.3 * span, 5 * usual, 1e-6)]


def _pictures(summaries: Sequence[Summary], spec: Spec) -> Iterator[str]:
    for v, camera in enumerate(spec.cameras):
        blank = [s for s in summaries if s.blank[v]]
        if blank:
            yield f"Camera {camera.name!r} shows one colour alone in {_named(blank)}."
        frozen = [s for s in summaries if s.still[v] == 1 and s.motion and s not in blank]
        if frozen:
            yield f"Camera {camera.name!r} is frozen while the robot moves in {_named(frozen)}."
        slow = [s for s in summaries if 0.5 <= s.still[v] < 1 and s.motion]
        if slow:
            yield (
                f"Camera {camera.name!r} shows the picture before again in at least half the steps "
                f"of {_named(slow)}; it may have fewer pictures a second than the robot has steps."
            )
    if spec.views > 1 and (alike := [s for s in summaries if s.alike]):
        yield f"All cameras show the same in {_named(alike)}."


def _twice(summaries: Sequence[Summary]) -> Iterator[str]:
    for what, digest in (
        ("poses and actions", lambda s: s.numbers_digest),
        ("pictures", lambda s: s.pictures_digest),
    ):
        groups: dict[bytes, list[Summary]] = collections.defaultdict(list)
        for summary in summaries:
            groups[digest(summary)].append(summary)
        again = [group for group in groups.values() if len(group) > 1]
        if again:
            first = " and ".join(s.episode_id for s in again[0][:2])
            extra = sum(len(group) - 1 for group in again)
            yield (
                f"{extra} episode{'s have' if extra > 1 else ' has'} the {what} of another, for "
                f"example {first}; a copy teaches nothing."
            )


def _lengths(summaries: Sequence[Summary]) -> Iterator[str]:
    lengths = np.array([s.length for s in summaries])
    middle = float(np.median(lengths))
    if single := [s for s in summaries if s.length == 1]:
        yield f"One step alone: {_named(single)}."
    short = [s for s in summaries if 1 < s.length < max(3, middle / 4)]
    if short:
        yield f"Very short beside the median of {middle:g} steps: {_named(short)}."
    if long := [s for s in summaries if s.length > 4 * middle]:
        yield f"Very long beside the median of {middle:g} steps: {_named(long)}."


def _tasks(summaries: Sequence[Summary]) -> Iterator[str]:
    counts = collections.Counter(s.task for s in summaries)
    lone = [task for task, count in counts.items() if count == 1]
    if lone:
        shown = ", ".join(repr(task) for task in lone[:_SHOWN])
        yield (
            f"{len(lone)} of {len(counts)} tasks have a single episode ({shown}"
            f"{', ...' if len(lone) > _SHOWN else ''}); one-shot imitation learns from two."
        )
    if len(counts) == 1:
        yield "There is one task alone; which task a demonstration shows cannot be learned."
    if not any(s.success for s in summaries):
        yield "No episode is a success."


def _named(episodes: Sequence[Summary]) -> str:
    names = ", ".join(s.episode_id for s in episodes[:_SHOWN])
    more = ", ..." if len(episodes) > _SHOWN else ""
    return f"{len(episodes)} episode{'s' * (len(episodes) > 1)} ({names}{more})"
