"""The films."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mili_jax.report.films import Film, write_video
from mili_jax.report.groups import in_order
from mili_jax.report.markup import esc, name, section, swatch

_FIRST = 4  # films that are seen at once; the others unfold


def videos_section(staging: Path, films: Sequence[Film], groups: Sequence[str]) -> str:
    """The section; groups: all of the domain, in the order of their colours. Writes the films."""
    if not films:
        return ""
    folder = staging / "videos"
    folder.mkdir()
    by_group: dict[str, list[Film]] = {}
    for film in films:
        by_group.setdefault(film.group, []).append(film)
    shown: list[str] = []
    order = [group for group in in_order([*groups, *by_group]) if group in by_group]
    rounds = max(map(len, by_group.values()))
    for at in range(rounds):  # one of each group, then the next of each
        for group in order:
            members = sorted(by_group[group], key=lambda film: not film.success)
            if at < len(members):
                shown.append(_film(folder, len(shown), members[at], groups))
    solved = sum(film.success for film in films)
    rest = ""
    if len(shown) > _FIRST:
        rest = (
            f"<details><summary>{len(shown) - _FIRST} more films</summary>"
            f'<div class="films">{"".join(shown[_FIRST:])}</div></details>'
        )
    return section(
        "films",
        "Films",
        '<p class="lead">Left the demonstration, right the policy\'s own attempt after seeing it. '
        f"A selection, not a sample, successes first: {solved} of these {len(films)} succeed. The "
        f'rates are below.</p><div class="films">{"".join(shown[:_FIRST])}</div>{rest}',
    )


def _film(folder: Path, number: int, film: Film, groups: Sequence[str]) -> str:
    outcome = "success" if film.success else "failure"
    stem = f"{number:02d}-{outcome}"  # names of tasks do not become names of files
    width, height = write_video(
        folder / f"{stem}.mp4", film.demo, film.attempt, success=film.success
    )
    caption = f'<p dir="auto">{esc(film.caption)}</p>' if film.caption else ""
    return (
        '<figure class="film"><video controls loop muted playsinline preload="metadata" '
        # Room below the picture, so that a browser's controls do not cover the table.
        f'style="aspect-ratio:{width}/{round(1.36 * height)}" poster="videos/{stem}.png" '
        f'aria-label="{esc(film.title)}, {outcome}: demonstration left, attempt right">'
        f'<source src="videos/{stem}.mp4" type="video/mp4"></video>'
        f'<figcaption><span class="badge {outcome}">{outcome}</span> '
        f"<strong>{name(film.title)}</strong> <small>{swatch(groups, film.group)}"
        f"{name(film.group)}</small>{caption}</figcaption></figure>"
    )
