"""How much better the robot became: the first lines of the page."""

from __future__ import annotations

from collections.abc import Sequence

from mili_jax.report.gain import Gain
from mili_jax.report.markup import esc, name


def claims(found: Sequence[Gain]) -> str:
    """A paragraph per claim, the number in it set off."""
    parts = []
    for gain in found:
        subject = f"{name(gain.subject)}: " if gain.subject else ""
        for i, claim in enumerate(gain.claims):
            kind = "claim" + ("" if i == 0 else " more") + ("" if claim.shown else " open")
            parts.append(
                f'<p class="{kind}">{subject if i == 0 else ""}{_part(claim.before)}'
                f"<strong>{esc(claim.number)}</strong>{_part(claim.after)}</p>"
            )
    return "".join(parts)


def notes(warnings: Sequence[str]) -> str:
    """A paragraph per warning."""
    return "".join(f'<p class="claim open warning">{esc(text)}</p>' for text in warnings)


def _part(text: str) -> str:
    """A part of a sentence, with the spaces at its ends."""
    left = " " if text.startswith(" ") else ""
    right = " " if text.endswith(" ") else ""
    return f"{left}{esc(text)}{right}"
