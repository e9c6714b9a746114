"""Where the numbers are from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mili_jax.report.markup import esc, html_table, section
from mili_jax.report.rows import ResultRow

MOST = 20  # values of a table that stands open


def provenance_section(
    config: Mapping[str, object], manifest: Mapping[str, object], rows: Sequence[ResultRow]
) -> str:
    scalars = {k: v for k, v in manifest.items() if not isinstance(v, Mapping)}
    for key, plural in (("commit", "commits"), ("seed", "seeds")):
        given = {str(row.get(key)) for row in rows if row.get(key) is not None}
        found = sorted(given)
        if found and key not in scalars and plural not in scalars:
            scalars[key if len(found) == 1 else plural] = found[0] if len(found) == 1 else found
    maps = {k: _flatten(v) for k, v in manifest.items() if isinstance(v, Mapping) and v}
    short = {"Run": scalars, **{k: v for k, v in maps.items() if len(v) <= MOST}}
    long = {**{k: v for k, v in maps.items() if len(v) > MOST}, "Config": _flatten(config)}
    tables = [_pairs_table(_titled(name), values) for name, values in short.items() if values]
    cards = f'<div class="pairs">{"".join(tables)}</div>' if tables else ""
    cards += "".join(_folded(_titled(name), values) for name, values in long.items() if values)
    return section("provenance", "Provenance", cards) if cards else ""


def _titled(name: str) -> str:
    return name[:1].upper() + name[1:].replace("_", " ")


def _folded(name: str, values: Mapping[str, object]) -> str:
    summary = f"{esc(name)} ({len(values)} values)"
    return f"<details><summary>{summary}</summary>{_pairs_table(name, values)}</details>"


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
