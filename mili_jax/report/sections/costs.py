"""What training took."""

from __future__ import annotations

from collections.abc import Sequence

from mili_jax.report import tables
from mili_jax.report.markup import esc, html_table, section
from mili_jax.report.rows import CostRow


def costs_section(costs: Sequence[CostRow]) -> str:
    if not costs:
        return ""
    parts = [
        html_table(
            "Training of each policy, what it started from included",
            '<tr><th scope="col">policy</th><th scope="col">gradient steps</th>'
            '<th scope="col">seconds, mean of seeds</th><th scope="col">range</th></tr>',
            _cost_body(tables.cost_lines(costs)),
        )
    ]
    if lines := tables.adaptation_lines(costs):
        parts.append(
            html_table(
                "One demonstration of a held-out task, the loss on another before and after "
                "adapting to it",
                '<tr><th scope="col">policy</th><th scope="col">tasks</th>'
                '<th scope="col">lower after, mean of seeds</th><th scope="col">range</th>'
                '<th scope="col">loss, mean</th></tr>',
                _cost_body(lines),
            )
        )
    if lines := tables.neighbour_lines(costs):
        parts.append(
            html_table(
                "How often the nearest neighbour of a held-out demonstration, in the latent space "
                "of the policy, shows the same",
                '<tr><th scope="col">policy</th><th scope="col">task, mean of seeds</th>'
                '<th scope="col">range</th><th scope="col">group, mean</th></tr>',
                _cost_body(lines),
            )
        )
    return section("costs", "What training took", "".join(parts))


def _cost_body(lines: Sequence[tuple[str, ...]]) -> str:
    return "".join(
        f'<tr><th scope="row">{esc(name)}</th>{"".join(f"<td>{esc(cell)}</td>" for cell in cells)}'
        "</tr>"
        for name, *cells in lines
    )
