"""What the site's builder puts in: the fields of a configuration, from their records."""

from __future__ import annotations

from typing import Any

from mili_jax.pipeline import schema

MARK = "<!-- fields -->"


def on_page_markdown(markdown: str, **_: Any) -> str:
    """What MkDocs calls with the text of every page; returns the text to render."""
    return markdown.replace(MARK, fields()) if MARK in markdown else markdown


def fields() -> str:
    """A table for each section: field, default, what may be, meaning."""
    parts = []
    for section, found in schema.sections().items():
        rows = [
            f"| `{name}` | `{field.default!r}` | {field.wanted} | {field.meaning} |".replace(
                "<", "&lt;"
            )
            for name, field in found.items()
        ]
        head = "| field | default | may be | meaning |\n|---|---|---|---|"
        parts.append("\n".join([f"### {section}", "", head, *rows]))
    return "\n\n".join(parts)
