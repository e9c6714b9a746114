"""The mapping that brings an export of ours back, from the robot's spec alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from mili_jax.interchange.mapping import (
    AS_IS,
    FACTS,
    UNITS,
    CameraLine,
    NumberLine,
    SuccessLine,
    TaskLine,
)
from mili_jax.interchange.mapping import Mapping as Plan
from mili_jax.interchange.mapping_file import as_plain, render
from mili_jax.interchange.store import heights_of
from mili_jax.spec import Layout, Spec


def own_mapping(
    spec: Spec,
    form: str,
    pose: str,
    action: str,
    camera: Callable[[str], str],
    codec: str,
    fact: Callable[[str], str],
    splits: Sequence[str],
    fps: float | None,
) -> Plan:
    """A mapping under which nothing is changed.

    Args:
      pose, action: the fields of these. camera: from a stream's name to its field. codec: of all
        pictures. fact: from "task", "language", "success" or a key of FACTS to its field.
    """
    facts: Mapping[str, str] = {name: fact(name) for name in FACTS}
    return Plan(
        format=form,
        cameras=tuple(
            CameraLine(
                c.name,
                camera(c.name),
                codec,
                c.matrix,
                c.mount,
                c.depth,
                None if c.depth is None else camera(heights_of(c.name)),
            )
            for c in spec.cameras
        ),
        height=spec.height,
        width=spec.width,
        pose=_lines(spec.pose, pose, False),
        action=_lines(spec.action, action, spec.delta),
        task=TaskLine(field=fact("task"), as_is=True, language=fact("language")),
        success=SuccessLine(field=fact("success")),
        splits={split: split for split in splits},
        outside="keep",
        short="keep",
        fps=fps,
        facts=facts,
    )


def own_text(plan: Plan) -> str:
    """The mapping's file, which goes along with the export."""
    return render(
        as_plain(plan), head="With this mapping `mili import` brings these episodes back."
    )


def _lines(layout: Layout, field: str, delta: bool) -> tuple[NumberLine, ...]:
    return tuple(
        NumberLine(f.name, field, k, _unit(f.unit), f.low, f.high, f.period, delta=delta)
        for k, f in enumerate(layout.fields)
    )


def _unit(unit: str) -> str:
    """As a mapping calls it, so that nothing is converted."""
    return unit if UNITS.get(unit) == (1.0, unit) else f"{AS_IS}{unit}"
