"""The parts that a page's sections are made of."""

from __future__ import annotations

import html
from collections.abc import Callable, Sequence
from pathlib import Path

from matplotlib.figure import Figure

from mili_jax.report.figures.canvas import render
from mili_jax.report.palette import place
from mili_jax.report.words import clean


def esc(value: object) -> str:
    """Anything as text of a page or of an attribute."""
    return html.escape(clean(str(value)), quote=True)


def name(value: object) -> str:
    """A name that somebody gave, in whatever script, within a sentence or a cell of the page."""
    return f"<bdi>{esc(value)}</bdi>"


def swatch(groups: Sequence[str], group: str) -> str:
    """The colour of a group among all of its domain."""
    at = place(groups, group)
    return f'<i class="swatch {colour_class(at)}" aria-hidden="true"></i>'


def colour_class(at: int | None) -> str:
    """The class of the page's style sheet for a place in the palette."""
    return "g-other" if at is None else f"g-{at}"


def section(key: str, title: str, body: str) -> str:
    return (
        f'<section aria-labelledby="{key}"><h2 id="{key}">{esc(title)}</h2>'
        f'<div class="card">{body}</div></section>'
    )


def html_table(caption: str, head: str, body: str, kind: str = "numbers") -> str:
    thead = f"<thead>{head}</thead>" if head else ""
    return (
        f'<div><p class="caption {kind}">{esc(caption)}</p>'
        f'<div class="scroll" role="region" tabindex="0" aria-label="{esc(caption)}">'
        f'<table class="{kind}" aria-label="{esc(caption)}">{thead}<tbody>{body}</tbody></table>'
        "</div></div>"
    )


def picture(
    staging: Path, stem: str, draw: Callable[..., Figure], *, alt: str, caption: str
) -> str:
    """Draws a figure four times (light or dark, wide or narrow) and lets the page choose."""
    sources, wide = [], ""
    for narrow in (True, False):
        for dark in (True, False):
            figure = draw(dark=dark, narrow=narrow)
            name = f"figures/{stem}{'-narrow' if narrow else ''}{'-dark' if dark else ''}.svg"
            (staging / name).write_bytes(render(figure, "svg"))
            width, height = (round(96 * inches) for inches in figure.get_size_inches())
            size = f'width="{width}" height="{height}"'
            media = ["(max-width: 640px)"] if narrow else []
            media += ["(prefers-color-scheme: dark)"] if dark else []
            if media:
                sources.append(f'<source media="{" and ".join(media)}" srcset="{name}" {size}>')
            else:
                wide = f'<img src="{name}" alt="{esc(alt)}" {size}>'
    return (
        f'<figure class="plot"><picture>{"".join(sources)}{wide}</picture>'
        f"<figcaption>{esc(caption)}</figcaption></figure>"
    )
