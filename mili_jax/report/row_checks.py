"""Rows held against what they are said to be.

Each function takes whatever is given and returns it as its type, or raises DataError that names the
row and the field.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from numbers import Integral, Real
from typing import cast

from mili_jax.report.rows import (
    DEMOS,
    CollectionRow,
    CostRow,
    ErrorRow,
    PairingRow,
    Raw,
    ResultRow,
)
from mili_jax.types import DataError


def check_results(
    rows: Sequence[Raw], where: Callable[[int], str] | None = None
) -> list[ResultRow]:
    """The rows as result rows.

    Args:
      where: names row i in an error; "result row 3" without it.

    Raises DataError: a field is missing or of another type, counts that cannot be.
    """
    name = where or (lambda i: f"result row {i + 1}")
    for i, row in enumerate(rows):
        _Fields(row, name(i)).result()
    return cast(list[ResultRow], list(rows))


def check_pairing(
    rows: Sequence[Raw], where: Callable[[int], str] | None = None
) -> list[PairingRow]:
    """The rows as pairing rows. Arguments and errors as `check_results`."""
    name = where or (lambda i: f"pairing row {i + 1}")
    for i, row in enumerate(rows):
        _Fields(row, name(i)).pairing()
    return cast(list[PairingRow], list(rows))


def check_costs(rows: Sequence[Raw], where: Callable[[int], str] | None = None) -> list[CostRow]:
    """The rows as costs. Arguments and errors as `check_results`."""
    name = where or (lambda i: f"row of costs {i + 1}")
    for i, row in enumerate(rows):
        _Fields(row, name(i)).cost()
    return cast(list[CostRow], list(rows))


def check_errors(rows: Sequence[Raw]) -> list[ErrorRow]:
    """The rows as errors of actions. Errors as `check_results`."""
    for i, row in enumerate(rows):
        _Fields(row, f"row of errors {i + 1}").errors()
    return cast(list[ErrorRow], list(rows))


def check_collection(rows: Sequence[Raw]) -> list[CollectionRow]:
    """The rows as what trials did. Errors as `check_results`."""
    for i, row in enumerate(rows):
        _Fields(row, f"row {i + 1} of what the trials did").collection()
    return cast(list[CollectionRow], list(rows))


class _Fields:
    """The fields of one row, each checked."""

    def __init__(self, row: Raw, name: str) -> None:
        self.row, self.name = row, name

    def fail(self, what: str) -> DataError:
        return DataError(f"{self.name}: {what}")

    def given(self, field: str, required: bool) -> bool:
        if required and field not in self.row:
            raise self.fail(f"the field {field!r} is missing; rows of a finished run have it")
        return self.row.get(field) is not None or required

    def text(self, *fields: str, required: bool = False) -> None:
        for field in fields:
            if self.given(field, required):
                value = self.row[field]
                if not isinstance(value, str) or (required and not value):
                    raise self.fail(f"{field!r} must be text, is {value!r}")

    def count(self, *fields: str, least: int = 0, required: bool = False) -> None:
        for field in fields:
            if self.given(field, required):
                value = self.row[field]
                if not isinstance(value, Integral) or isinstance(value, bool) or value < least:
                    raise self.fail(f"{field!r} must be a whole number from {least}, is {value!r}")

    def number(self, *fields: str, required: bool = False) -> None:
        for field in fields:
            if self.given(field, required):
                value = self.row[field]
                if not isinstance(value, Real) or isinstance(value, bool):
                    raise self.fail(f"{field!r} must be a number, is {value!r}")
                if not math.isfinite(value):
                    raise self.fail(f"{field!r} must be finite, is {value}")

    def result(self) -> None:
        self.text("method", "family", "task", required=True)
        self.text("config", "commit", "domain", "split", "arrangements")
        self.count("n", least=1, required=True)
        self.count("successes", "round", required=True)
        self.count("any_task", "seed", "steps", "trials")
        row = cast(ResultRow, self.row)
        task = f"task {row['task']!r}, "
        if row.get("demo") not in DEMOS:
            raise self.fail(f"{task}'demo' must be one of {DEMOS}, is {row.get('demo')!r}")
        check_counts(row, self.name)

    def pairing(self) -> None:
        self.number("alpha", required=True)
        self.text("config", "domain")
        self.count("round", "seed", "pairs")
        self.number("precision", "recall", "family_precision")

    def cost(self) -> None:
        self.text("cost_of", required=True)
        self.text("config", "domain")
        self.count("round", "steps", required=True)
        self.number("seconds", required=True)
        for kind, fields in (
            ("adaptation", ("tasks", "improved", "before", "after")),
            ("neighbours", ("task", "family")),
        ):
            if (facts := self.row.get(kind)) is not None:
                if not isinstance(facts, Mapping):
                    raise self.fail(f"{kind!r} must hold {', '.join(fields)}, is {facts!r}")
                _Fields(facts, f"{self.name}, {kind!r}").number(*fields, required=True)

    def errors(self) -> None:
        self.text("error_of", "about", required=True)
        self.text("config", "commit", "domain", "split")
        self.count("round", required=True)
        self.count("seed", "steps", "trials")
        if self.row.get("demo") not in DEMOS:
            raise self.fail(f"'demo' must be one of {DEMOS}, is {self.row.get('demo')!r}")
        names, errors = self.row.get("episodes"), self.row.get("errors")
        if not isinstance(names, list | tuple) or not isinstance(errors, list | tuple):
            raise self.fail("'episodes' and 'errors' must be lists")
        if len(names) != len(errors) or not all(isinstance(name, str) for name in names):
            raise self.fail(f"{len(errors)} errors of {len(names)} episodes, each named by a text")
        numbered = {f"errors[{k}]": error for k, error in enumerate(errors)}
        _Fields(numbered, self.name).number(*numbered)

    def collection(self) -> None:
        self.count("trials", "useful", required=True)
        self.count("answered", "by_people")
        self.given("round", required=True)
        confusion = self.row.get("confusion") or {}
        if not isinstance(confusion, Mapping):
            raise self.fail(f"'confusion' must be a table, is {confusion!r}")
        for table in (self.row.get("achieved") or {}, *confusion.values()):
            if not isinstance(table, Mapping):
                raise self.fail(f"episodes by group must be a table, is {table!r}")
            _Fields(table, self.name).count(*table)


def check_counts(row: ResultRow, name: str = "") -> None:
    """Raises DataError unless the counts of a row fit each other."""
    where = f"{name}, task {row['task']!r}" if name else f"row of task {row['task']!r}"
    n, successes, outcomes = row["n"], row["successes"], row.get("outcomes")
    if n <= 0 or not 0 <= successes <= n:
        raise DataError(f"{where}: {successes} successes of n = {n}")
    if outcomes is None:
        return
    if not isinstance(outcomes, list | tuple) or any(value not in (0, 1) for value in outcomes):
        raise DataError(f"{where}: 'outcomes' must be a list of 0 and 1, is {outcomes!r}")
    if len(outcomes) != n or sum(outcomes) != successes:
        raise DataError(
            f"{where}: outcomes hold {sum(outcomes)} successes of {len(outcomes)}, the row says "
            f"{successes} of {n}"
        )
