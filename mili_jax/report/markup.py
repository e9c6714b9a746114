"""The parts that a page's sections are made of."""

from __future__ import annotations

import html
from collections.abc import Callable
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from mili_jax.report.figures.canvas import save_figure
from mili_jax.types import FAMILIES


def esc(value: Any) -> str:
    return html.escape(str(value), quote=True)


def swatch(family: str) -> str:
    known = family if family in FAMILIES else "other"
    return f'<i class="swatch f-{known}" aria-hidden="true"></i>'


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
            save_figure(figure, staging / name)
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
