"""What a page is made of, checked before anything of it is drawn."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence

from mili_jax.report.embedding import Embedded
from mili_jax.report.films import Film
from mili_jax.report.groups import (
    KITCHEN,
    domain_of,
    domains_of,
    groups_of,
    in_order,
    of_the_same_runs,
)
from mili_jax.report.row_checks import (
    check_collection,
    check_costs,
    check_errors,
    check_pairing,
    check_results,
)
from mili_jax.report.rows import (
    CollectionRow,
    CostRow,
    ErrorRow,
    Neighbours,
    PairingRow,
    Raw,
    ResultRow,
)
from mili_jax.types import ConfigError, DataError


@dataclasses.dataclass(frozen=True)
class Content:
    """The parts of a page as `page.write_report` describes them.

    groups: of each domain of the rows, in the order of their colours. lead: the domain that all but
    the rows are of.
    """

    rows: list[ResultRow]
    errors: list[ErrorRow]
    pairing_rows: list[PairingRow]
    metrics: Sequence[Raw]
    embedding: Embedded | None
    neighbours: Neighbours
    collection: list[CollectionRow]
    films: list[Film]
    costs: list[CostRow]
    margin: float
    groups: dict[str, tuple[str, ...]]
    lead: str

    @staticmethod
    def check(
        *,
        rows: Sequence[Raw],
        errors: Sequence[Raw] = (),
        pairing_rows: Sequence[Raw] = (),
        metrics: Sequence[Raw] = (),
        embedding: Mapping[str, object] | None = None,
        neighbours: Mapping[str, float] | None = None,
        collection: Sequence[Raw] = (),
        videos: Sequence[Raw] = (),
        costs: Sequence[Raw] = (),
        margin: float = 0.05,
        groups: Sequence[str] = (),
    ) -> Content:
        """Raises DataError for a part that has not the form it should have, ConfigError for the
        margin."""
        if not 0 < margin < 1:
            raise ConfigError(f"margin must lie between 0 and 1, got {margin}")
        results, collected = check_results(rows), check_collection(collection)
        embedded = None
        if embedding and len(embedding.get("z", ())):  # type: ignore[arg-type]
            embedded = Embedded.parse(embedding)
        films = [Film.parse(raw, number) for number, raw in enumerate(videos, start=1)]
        lead = (*domains_of(results), KITCHEN)[0]
        named = list(groups)
        named += [row["family"] for row in results if domain_of(row) == lead]
        for row in collected:
            named += [*(row.get("achieved") or ()), *(row.get("confusion") or ())]
        named += embedded.group if embedded else ()
        named += [film.group for film in films]
        return Content(
            rows=results,
            errors=check_errors(errors),
            pairing_rows=check_pairing(of_the_same_runs(pairing_rows, rows)),
            metrics=metrics,
            embedding=embedded,
            neighbours=_neighbours(neighbours or {}),
            collection=collected,
            films=films,
            costs=check_costs(of_the_same_runs(costs, rows)),
            margin=margin,
            groups={
                **{
                    domain: groups_of([row for row in results if domain_of(row) == domain])
                    for domain in domains_of(results)
                },
                lead: in_order(named, lead),
            },
            lead=lead,
        )


def _neighbours(given: Mapping[str, float]) -> Neighbours:
    for key, value in given.items():
        if not isinstance(value, int | float) or (math.isfinite(value) and not 0 <= value <= 1):
            raise DataError(f"neighbours[{key!r}] must be a share from 0 to 1, is {value!r}")
    found: Neighbours = {}
    if "task" in given:
        found["task"] = given["task"]
    if "family" in given:
        found["family"] = given["family"]
    return found
