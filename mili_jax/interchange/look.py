"""A look at a dataset before anything trains: what is in it, what it looks like, what is odd."""

from __future__ import annotations

import collections
import dataclasses
import html
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from mili_jax.interchange import sheet
from mili_jax.interchange.oddities import oddities
from mili_jax.interchange.store import open_dataset
from mili_jax.interchange.summaries import Numbers, Summary, summarise
from mili_jax.spec import Layout, Spec
from mili_jax.types import ConfigError, DataError

ROWS, FRAMES = 12, 8  # of the contact sheet
PAGE, PICTURE = "index.html", "contact.png"
_TASKS = 40  # listed


@dataclasses.dataclass(frozen=True)
class Look:
    """What was seen of a dataset. rows: of the contact sheet."""

    path: Path
    spec: Spec
    summaries: tuple[Summary, ...]
    odd: tuple[str, ...]
    rows: tuple[sheet.Row, ...]

    def splits(self) -> dict[str, int]:
        """Episodes by split."""
        return dict(collections.Counter(s.split for s in self.summaries))

    def tasks(self) -> list[tuple[str, int]]:
        """(task, episodes), those with most first."""
        return collections.Counter(s.task for s in self.summaries).most_common()

    def text(self) -> str:
        """For a terminal."""
        return "\n".join(_lines(self))


def look_at(dataset: Path | str, splits: Sequence[str] | None = None) -> Look:
    """Reads all episodes of a dataset, by default of all its splits, once.

    Raises DataError if there is none or it is damaged, ConfigError for a split that it has not.
    """
    opened, spec = open_dataset(dataset)
    counts = opened.splits()
    chosen = list(counts if splits is None else splits)
    if wrong := [split for split in chosen if split not in counts]:
        raise ConfigError(f"{dataset} has no split {wrong[0]!r}; it has {', '.join(counts)}")
    total = sum(counts[split] for split in chosen)
    shown = set(np.linspace(0, total - 1, min(ROWS, total)).round().astype(int).tolist())
    summaries: list[Summary] = []
    rows: list[sheet.Row] = []
    for split in chosen:
        for episode in opened.read(split):
            if len(summaries) in shown:
                rows.append(sheet.Row.of(episode, FRAMES))
            summaries.append(summarise(episode, split, spec))
    found = tuple(oddities(summaries, spec))
    return Look(Path(dataset), spec, tuple(summaries), found, tuple(rows))


def write(look: Look, out: Path | str) -> Path:
    """Writes the page and its contact sheet into the folder `out`; the page's path.

    Raises DataError if the file system refuses.
    """
    out = Path(out)
    try:
        out.mkdir(parents=True, exist_ok=True)
        sheet.draw(list(look.rows)).save(out / PICTURE)
        (out / PAGE).write_text(_page(look))
    except OSError as error:
        raise DataError(f"{out} could not be written ({error})") from error
    return out / PAGE


def _lines(look: Look) -> Iterator[str]:
    spec, lengths = look.spec, [s.length for s in look.summaries]
    splits = ", ".join(f"{name} {n}" for name, n in look.splits().items())
    yield f"{look.path}: {len(look.summaries)} episodes ({splits}), {sum(lengths)} steps"
    yield (
        f"Pictures {spec.height} x {spec.width} of {', '.join(c.name for c in spec.cameras)}. "
        f"Length {min(lengths)} to {max(lengths)} steps, median {np.median(lengths):g}. "
        f"{sum(s.success for s in look.summaries)} successes."
    )
    yield f"Actions are {'changes' if spec.delta else 'targets'}."
    for group, layout, numbers in _groups(look):
        wide = max(12, *map(len, layout.names))
        yield f"\n{group:{wide}}   unit {'low':>9} {'high':>9} {'step':>9}   bounds"
        for name, unit, low, high, step, bounds in _ranges(layout, numbers):
            yield f"  {name:{wide}} {unit:4} {low:>9} {high:>9} {step:>9}   {bounds}"
    tasks = look.tasks()
    yield f"\n{len(tasks)} task{'s' * (len(tasks) != 1)}"
    for task, count in tasks[:_TASKS]:
        yield f"  {count:5}  {task}"
    if len(tasks) > _TASKS:
        yield f"  and {len(tasks) - _TASKS} more"
    yield "\nOdd:" if look.odd else "\nNothing odd was found."
    for sentence in look.odd:
        yield f"  - {sentence}"


def _groups(look: Look) -> Iterator[tuple[str, Layout, list[Numbers]]]:
    yield "pose", look.spec.pose, [s.pose for s in look.summaries]
    yield "action", look.spec.action, [s.action for s in look.summaries]


def _ranges(layout: Layout, numbers: Sequence[Numbers]) -> Iterator[tuple[str, ...]]:
    low = np.min([n.low for n in numbers], axis=0)
    high = np.max([n.high for n in numbers], axis=0)
    jump = np.max([n.jump for n in numbers], axis=0)
    for k, field in enumerate(layout.fields):
        bounds = f"{field.low:.4g} to {field.high:.4g}"
        if field.period is not None:
            bounds += f", period {field.period:.4g}"
        yield field.name, field.unit, f"{low[k]:.4g}", f"{high[k]:.4g}", f"{jump[k]:.4g}", bounds


def _page(look: Look) -> str:
    def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
        cells = "".join(f"<th>{html.escape(c)}</th>" for c in head)
        lines = [f"<tr>{cells}</tr>"]
        lines += [
            "<tr>" + "".join(f"<td>{html.escape(str(c))}</td>" for c in row) + "</tr>"
            for row in rows
        ]
        return "<table>" + "".join(lines) + "</table>"

    title = f"A look at {look.path.name or look.path}"
    intro = list(_lines(look))[:3]
    parts = [f"<h1>{html.escape(title)}</h1>", *(f"<p>{html.escape(line)}</p>" for line in intro)]
    odd = "".join(f"<li>{html.escape(s)}</li>" for s in look.odd)
    parts.append(f"<h2>Odd</h2><ul>{odd}</ul>" if odd else "<p>Nothing odd was found.</p>")
    parts.append(f'<h2>Episodes</h2><img src="{PICTURE}" alt="contact sheet of episodes">')
    head = ("name", "unit", "low", "high", "largest step", "bounds")
    for group, layout, numbers in _groups(look):
        parts.append(f"<h2>{group.capitalize()}</h2>{table(head, list(_ranges(layout, numbers)))}")
    tasks = [(task, str(count)) for task, count in look.tasks()]
    parts.append(f"<h2>Tasks</h2>{table(('task', 'episodes'), tasks)}")
    style = (
        "body{font:16px/1.5 system-ui,sans-serif;margin:2em auto;max-width:70em;padding:0 1em}"
        "table{border-collapse:collapse}td,th{padding:.2em .8em;border-bottom:1px solid #ccc;"
        "text-align:left}img{max-width:100%}"
    )
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{html.escape(title)}</title>'
        f"<style>{style}</style>{''.join(parts)}</html>"
    )
