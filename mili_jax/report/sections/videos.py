"""The films."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mili_jax.report import films
from mili_jax.report.markup import esc, section, swatch
from mili_jax.types import FAMILIES


def videos_section(staging: Path, videos: Sequence[Mapping[str, Any]]) -> str:
    if not videos:
        return ""
    folder = staging / "videos"
    folder.mkdir()
    by_family: dict[str, list[Mapping[str, Any]]] = {}
    for video in videos:
        by_family.setdefault(str(video["family"]), []).append(video)
    families = [f for f in FAMILIES if f in by_family] + sorted(set(by_family) - set(FAMILIES))
    parts, number = [], 0
    for family in families:
        clips = sorted(by_family[family], key=lambda video: not video["success"])
        shown = []
        for video in clips:
            success = bool(video["success"])
            outcome = "success" if success else "failure"
            stem = f"{number:02d}-{re.sub(r'[^a-z0-9]+', '-', family.lower())}-{outcome}"
            number += 1
            width, height = films.write_video(
                folder / f"{stem}.mp4", video["demo"], video["attempt"], success=success
            )
            title = esc(video["title"])
            caption = f"<p>{esc(video['caption'])}</p>" if video.get("caption") else ""
            shown.append(
                f'<figure class="film"><video controls loop muted playsinline preload="metadata" '
                # Room below the picture, so that a browser's controls do not cover the table.
                f'style="aspect-ratio:{width}/{round(1.36 * height)}" poster="videos/{stem}.png" '
                f'aria-label="{title}, {outcome}: demonstration left, attempt right">'
                f'<source src="videos/{stem}.mp4" type="video/mp4"></video>'
                f'<figcaption><span class="badge {outcome}">{outcome}</span> '
                f"<strong>{title}</strong>{caption}</figcaption></figure>"
            )
        solved = sum(bool(video["success"]) for video in clips)
        parts.append(
            f"<h3>{swatch(family)}{esc(family)} <small>{solved} of {len(clips)} shown succeed"
            f'</small></h3><div class="films">{"".join(shown)}</div>'
        )
    return section(
        "films",
        "Films",
        '<p class="lead">Left the demonstration, right the policy\'s own attempt after seeing it. '
        "A selection, not a sample: the rates are in the tables above.</p>" + "".join(parts),
    )
