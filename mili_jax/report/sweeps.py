"""MILI with one thing changed, over what was changed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from mili_jax.report.methods import VARIANT
from mili_jax.report.policies import primary_split
from mili_jax.report.statistics import Row
from mili_jax.types import ConfigError


class Point(NamedTuple):
    """Result rows at one value of what was changed."""

    value: int
    rows: Sequence[Row]


def sweeps(rows: Sequence[Row], pairing_rows: Sequence[Row] = ()) -> dict[str, list[Point]]:
    """MILI's first round with one thing changed: trials, alpha (in thousandths) and label noise (in
    per cent), each the rows of its variants over the value, in order, with MILI itself among them
    (and at 0 trials its control). Only what has variants is there, and of the split that leads only
    what was given the right demonstration.

    Raises ConfigError if the variants are of several configurations.
    """
    split = primary_split(rows)
    rows = [row for row in rows if row.get("split", "test") == split and row["demo"] == "right"]
    of = {str(row.get("config", "")) for row in rows if VARIANT.fullmatch(str(row["method"]))}
    if len(of) > 1:
        raise ConfigError(f"variants of several configurations, {sorted(of)}: give rows of one")
    rows, pairing_rows = (
        [row for row in part if str(row.get("config", "")) in of] for part in (rows, pairing_rows)
    )
    mili = [row for row in rows if row["method"] == "mili" and row.get("round") == 1]
    control = [row for row in rows if row["method"] == "meta_imitation" and row.get("round") == 1]
    found: dict[str, dict[int, list[Row]]] = {}
    for row in rows:
        match = VARIANT.fullmatch(str(row["method"]))
        if match and row.get("round") == 1:
            found.setdefault(match[1], {}).setdefault(int(match[2]), []).append(row)
    own: dict[str, int | None] = {"noise": 0}
    own["trials"] = next((int(row["trials"]) for row in mili if row.get("trials")), None)
    chosen = [row["alpha"] for row in pairing_rows if row.get("chosen") and row.get("round") == 1]
    own["alpha"] = round(1000 * chosen[0]) if chosen else None
    for kind, points in found.items():
        at = own[kind]
        if mili and at is not None:
            points.setdefault(at, mili)
        if kind == "trials" and control:
            points[0] = control
    return {
        kind: [Point(value, points[value]) for value in sorted(points)]
        for kind, points in sorted(found.items(), reverse=True)
    }
