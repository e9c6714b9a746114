"""Where the numbers are from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mili_jax.report.markup import esc, html_table, section
from mili_jax.report.rows import ResultRow


def provenance_section(
    config: Mapping[str, object], manifest: Mapping[str, object], rows: Sequence[ResultRow]
) -> str:
    scalars = {k: v for k, v in manifest.items() if not isinstance(v, Mapping)}
    for key, plural in (("commit", "commits"), ("seed", "seeds")):
        given = {str(row.get(key)) for row in rows if row.get(key) is not None}
        found = sorted(given)
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


def _flatten(values: Mapping[str, object], prefix: str = "") -> dict[str, object]:
    flat: dict[str, object] = {}
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            flat.update(_flatten(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def _pairs_table(caption: str, values: Mapping[str, object]) -> str:
    def text(value: object) -> str:
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
