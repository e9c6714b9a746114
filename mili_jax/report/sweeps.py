"""MILI with one thing changed, over what was changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from mili_jax.report.groups import domain_of
from mili_jax.report.methods import VARIANT
from mili_jax.report.policies import primary_split, split_of
from mili_jax.report.rows import PairingRow, ResultRow
from mili_jax.types import ConfigError


class Point(NamedTuple):
    """Result rows at one value of what was changed."""

    value: int
    rows: Sequence[ResultRow]


def sweeps(
    rows: Sequence[ResultRow], pairing_rows: Sequence[PairingRow] = ()
) -> dict[str, list[Point]]:
    """MILI's first round with one thing changed: trials, alpha (in thousandths) and label noise (in
    per cent), each the rows of its variants over the value, in order, with MILI itself among them
    (and at 0 trials its control). Only what has variants is there, and of the split that leads only
    what was given the right demonstration.

    Raises ConfigError if the variants are of several configurations or domains.
    """
    split = primary_split(rows)
    rows = [row for row in rows if split_of(row) == split and row.get("demo") == "right"]
    of = {_run(row) for row in rows if VARIANT.fullmatch(row["method"])}
    if len(of) > 1:
        names = sorted(" of ".join(filter(None, run)) for run in of)
        raise ConfigError(
            f"variants of several configurations or domains, {names}: give one's rows"
        )
    rows = [row for row in rows if _run(row) in of]
    mili = [row for row in rows if row["method"] == "mili" and row.get("round") == 1]
    control = [row for row in rows if row["method"] == "meta_imitation" and row.get("round") == 1]
    found: dict[str, dict[int, list[ResultRow]]] = {}
    for row in rows:
        match = VARIANT.fullmatch(row["method"])
        if match and row.get("round") == 1:
            found.setdefault(match[1], {}).setdefault(int(match[2]), []).append(row)
    own: dict[str, int | None] = {"noise": 0}
    own["trials"] = next((row["trials"] for row in mili if row.get("trials")), None)
    own["alpha"] = next(
        (
            round(1000 * row["alpha"])
            for row in pairing_rows
            if row.get("chosen") and row.get("round") == 1 and _run(row) in of
        ),
        None,
    )
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


def _run(row: Mapping[str, object]) -> tuple[str, str]:
    return str(row.get("config") or ""), domain_of(row)
