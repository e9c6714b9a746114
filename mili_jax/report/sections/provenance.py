"""Where the numbers are from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mili_jax.report.markup import esc, html_table, section
from mili_jax.report.statistics import Row


def provenance_section(
    config: Mapping[str, Any], manifest: Mapping[str, Any], rows: Sequence[Row]
) -> str:
    scalars = {k: v for k, v in manifest.items() if not isinstance(v, Mapping)}
    for key, plural in (("commit", "commits"), ("seed", "seeds")):
        found = sorted({row[key] for row in rows if row.get(key) is not None}, key=str)
        if found and key not in scalars and plural not in scalars:
            scalars[key if len(found) == 1 else plural] = found[0] if len(found) == 1 else found
    parts = [_pairs_table("Run", scalars)] if scalars else []
    for key, value in manifest.items():
        if isinstance(value, Mapping) and value:
            parts.append(_pairs_table(key.replace("_", " "), _flatten(value)))
    cards = f'<div class="pairs">{"".join(parts)}</div>' if parts else ""
    if config:
        table = _pairs_table("Config", _flatten(config))
        cards += f"<details><summary>Config ({len(_flatten(config))} values)</summary>{table}"
        cards += "</details>"
    return section("provenance", "Provenance", cards) if cards else ""


def _flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            flat.update(_flatten(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def _pairs_table(caption: str, values: Mapping[str, Any]) -> str:
    def text(value: Any) -> str:
        if isinstance(value, float):
            return f"{value:.6g}"
        if isinstance(value, list | tuple):
            return ", ".join(text(item) for item in value)
        return str(value)

    body = "".join(
        f'<tr><th scope="row">{esc(key)}</th><td>{esc(text(value))}</td></tr>'
        for key, value in values.items()
    )
    return html_table(caption, "", body, kind="plain")
