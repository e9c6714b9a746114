"""Files of rows, as a run or a comparison leaves them: JSON, one object a line."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

from mili_jax.report.groups import domain_of, of_the_same_runs, run_of
from mili_jax.report.row_checks import check_costs, check_pairing, check_results
from mili_jax.report.rows import CostRow, PairingRow, Raw, ResultRow
from mili_jax.types import DataError


@dataclasses.dataclass(frozen=True)
class Rows:
    """The rows that figures and tables are made of."""

    results: list[ResultRow]
    pairing: list[PairingRow]
    costs: list[CostRow]


def read_files(files: Sequence[Path]) -> Rows:
    """The rows of several files, taken as one.

    Then policies that one seed has and another of the same configuration has not are left out, for
    a mean over other seeds could not be compared. Lines of other kinds are passed over.

    Raises DataError naming the file if one is missing or damaged, holds no result rows, or a seed
    that another holds too; and if no policy is left.
    """
    if not files:
        raise DataError("no file of rows is given; give the results.jsonl of a finished run")
    rows: list[Raw] = []
    names: list[str] = []
    home: dict[tuple[object, ...], int] = {}
    for i, path in enumerate(map(Path, files)):
        found = read_lines(path)
        if not any("task" in row for _, row in found):
            raise DataError(
                f"{path} holds no result rows; give the results.jsonl of a finished run"
            )
        for number, row in found:
            if "task" in row and (other := home.setdefault(run_of(row), i)) != i:
                seed, config = row.get("seed"), row.get("config")
                raise DataError(
                    f"{path} and {files[other]} both hold seed {seed} of {config!r}: give one"
                )
            rows.append(row)
            names.append(f"{path}, line {number}")
    results = [i for i, row in enumerate(rows) if "task" in row]
    pairing = [i for i, row in enumerate(rows) if "task" not in row and "alpha" in row]
    costs = [i for i, row in enumerate(rows) if "cost_of" in row]
    measured = [rows[i] for i in results]
    checked = Rows(
        check_results(measured, lambda i: names[results[i]]),
        check_pairing(
            of_the_same_runs((rows[i] for i in pairing), measured), lambda i: names[pairing[i]]
        ),
        check_costs(
            of_the_same_runs((rows[i] for i in costs), measured), lambda i: names[costs[i]]
        ),
    )
    if len(files) > 1:
        checked = _of_every_seed(checked)
    if not checked.results:
        raise DataError(f"{', '.join(map(str, files))}: no policy that every seed has")
    return checked


def read_lines(path: Path) -> list[tuple[int, Raw]]:
    """Line numbers (from 1) and objects of a file; a last line needs no end of line.

    Raises DataError naming file and line for one that is no JSON object, and for a file that is
    missing or cannot be read.
    """
    try:
        text = path.read_text("utf-8-sig")
    except FileNotFoundError:
        raise DataError(f"{path} is missing: give the results.jsonl of a finished run") from None
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}); restore it") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path} cannot be read ({error}); save it as UTF-8") from error
    rows: list[tuple[int, Raw]] = []
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise DataError(f"{path}, line {number}: {error}; repair or remove the line") from None
        if not isinstance(row, dict):
            raise DataError(f"{path}, line {number}: not a JSON object; repair or remove the line")
        rows.append((number, row))
    return rows


def _of_every_seed(rows: Rows) -> Rows:
    """The rows of what every seed of their configuration has: of policies, and of rounds' pairs."""
    everything: list[Raw] = [*rows.results, *rows.pairing, *rows.costs]
    seeds: dict[tuple[object, ...], set[object]] = {}
    having: dict[tuple[object, ...], set[object]] = {}
    for row in everything:
        seeds.setdefault(_run(row), set()).add(row.get("seed"))
        having.setdefault(_subject(row), set()).add(row.get("seed"))

    def stays(row: Raw) -> bool:
        return having[_subject(row)] == seeds[_run(row)]

    return Rows(
        [row for row in rows.results if stays(row)],
        [row for row in rows.pairing if stays(row)],
        [row for row in rows.costs if stays(row)],
    )


def _run(row: Raw) -> tuple[object, ...]:
    return domain_of(row), row.get("config")


def _subject(row: Raw) -> tuple[object, ...]:
    kind = ("task" in row, "cost_of" in row, row.get("split"), row.get("demo"))
    return (*_run(row), row.get("method", row.get("cost_of")), row.get("round"), *kind)
