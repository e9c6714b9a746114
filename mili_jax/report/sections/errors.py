"""How near actions come to those of held-out episodes, where nobody can try."""

from __future__ import annotations

import math
from collections.abc import Sequence

from mili_jax.report.errors import MEAN, Errors, Mean, errors_of
from mili_jax.report.gain import Claim, Gain
from mili_jax.report.markup import esc, html_table, section
from mili_jax.report.methods import DEMO_NAMES
from mili_jax.report.rows import DEMOS, ErrorRow
from mili_jax.report.words import clean, percent, signed

_LEAD = (
    "There is no simulator to try in. So the policy is shown a demonstration, then the pictures "
    "and poses of an episode that it has not learned from. Its actions are held against those of "
    "the episode. The error is the mean over steps and numbers, as a share of each number's range. "
    "It says whether the policy follows what it is shown. It does not say that a robot would "
    "succeed."
)


def error_gains(rows: Sequence[ErrorRow]) -> list[Gain]:
    """What the page says first where nothing but errors was measured, of the last policy."""
    found = [each for each in errors_of(rows) if each.policy.method != MEAN]
    if not found:
        return []
    last = found[-1]
    demo, first = next(iter(last.by_demo.items()))
    text = f" of the numbers' ranges with the {DEMO_NAMES[demo]} ({clean(last.policy.label)})."
    episodes = "episode" if first.n == 1 else "episodes"
    claims = [
        Claim(f"On {first.n} held-out {episodes} actions are off by ", percent(first.value), text)
    ]
    if last.misled is not None:
        interval = _interval(last.misled)
        claims.append(
            Claim(
                "A wrong demonstration changes that by ",
                f"{signed(100 * last.misled.value, 2)} points",
                f" ({interval})." if last.misled.shown else f", which is not shown: {interval}.",
                shown=last.misled.shown,
            )
        )
    return [Gain("", tuple(claims), "")]


def errors_section(rows: Sequence[ErrorRow]) -> str:
    """The section with a row per policy; "" without rows."""
    if not rows:
        return ""
    head = "".join(f'<th scope="col">{esc(DEMO_NAMES[demo])}</th>' for demo in DEMOS)
    table = html_table(
        "Action error on held-out episodes, with 95% intervals over episodes",
        f'<tr><th scope="col">policy</th>{head}<th scope="col">wrong minus right</th></tr>',
        "".join(_row(each) for each in errors_of(rows)),
    )
    return section("errors", "Action error", f'<p class="lead">{esc(_LEAD)}</p>{table}')


def _row(errors: Errors) -> str:
    name = "The mean of all training actions" if errors.policy.method == MEAN else ""
    cells = [_cell(errors.by_demo.get(demo)) for demo in DEMOS]
    misled = errors.misled
    cells.append(
        "<td>&ndash;</td>"
        if misled is None
        else f"<td><strong>{esc(signed(100 * misled.value, 2))}</strong>"
        f"<small>{esc(_interval(misled))}</small></td>"
    )
    title = esc(name or errors.policy.label)
    return f'<tr><th scope="row">{title}</th>{"".join(cells)}</tr>'


def _cell(mean: Mean | None) -> str:
    if mean is None:
        return "<td>&ndash;</td>"
    return (
        f"<td><strong>{esc(percent(mean.value))}</strong>"
        f"<small>{esc(_interval(mean))}</small><small>n = {mean.n}</small></td>"
    )


def _interval(mean: Mean) -> str:
    if not math.isfinite(mean.low):
        return "one episode, no interval"
    return f"95% interval {signed(100 * mean.low, 2)} to {signed(100 * mean.high, 2)}"
