"""What the commands `mili import`, `mili look` and `mili export` do and print."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from mili_jax.interchange import exporting
from mili_jax.interchange import look as looking
from mili_jax.interchange.guess import guess
from mili_jax.interchange.importing import Report, check_free, import_episodes
from mili_jax.interchange.sources import open_source
from mili_jax.types import ConfigError, DataError

Print = Callable[[str], None]
_LISTED = 20
_NAMED = 3  # open values that an error names


def import_(
    source: str,
    format: str,
    map: str | None,
    out: str,
    partial: bool = False,
    processes: int | None = None,
    show: Print = print,
) -> Report:
    """Brings a source into a dataset at `out`.

    Without a mapping file one is guessed and shown. It is used if nothing in it is open; otherwise
    it is written beside `out` for a person to fill in.

    Args:
      map: a mapping file. partial: take what is there of a source that promises more.
      processes: that work at a time, by default one for each core, 8 at most.

    Raises ConfigError, also where a mapping must be filled in, and DataError; `out` is then not
    there.
    """
    check_free(Path(out))
    opened = open_source(source, format, partial)
    counts = ", ".join(f"{name} {n}" for name, n in opened.splits.items())
    show(f"{opened.path}: {format}, episodes by split: {counts}")
    show(f"Fields: {', '.join(sorted(opened.columns))}")
    for note in opened.notes:
        show(f"Note: {note}")
    plan: Path | None = None if map is None else Path(map)
    if plan is None:
        made = guess(opened)
        show("\nNo --map was given. This mapping was guessed:\n")
        show(made.text)
        plan = _beside(out)
        _write(plan, made.text)
        if made.open:
            show("Values that nobody but you can know:")
            for line in made.open:
                show(f"  {line}")
            first = "; ".join(" ".join(line.split()) for line in made.open[:_NAMED])
            more = f" and {len(made.open) - _NAMED} more" if len(made.open) > _NAMED else ""
            raise ConfigError(
                f"the guessed mapping has values that nobody but you can know: {first}{more}; "
                f"fill them in in {plan} and import again with --map={plan}"
            )
    workers = min(8, os.cpu_count() or 1) if processes is None else processes
    try:
        report = import_episodes(opened.path, format, plan, out, partial, workers, _Progress())
    except (ConfigError, DataError):
        if map is None:
            show(f"\nThe guessed mapping is in {plan}; change it and import with --map={plan}")
        raise
    if map is None:
        plan.unlink(missing_ok=True)
    for line in _reported(report, out):
        show(line)
    return report


def _beside(out: str) -> Path:
    path = Path(out)
    return path.with_name(f"{path.name}.mapping.yaml")


def _write(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    except OSError as error:
        raise DataError(f"{path} cannot be written ({error.strerror})") from error


class _Progress:
    """A line on the terminal that counts, and nothing where there is no terminal."""

    def __call__(self, done: int, total: int) -> None:
        if sys.stderr.isatty():
            end = "\n" if done == total else ""
            print(f"\r{done} of {total} episodes", end=end, file=sys.stderr, flush=True)


def _reported(report: Report, out: str) -> list[str]:
    splits = ", ".join(f"{name} {n}" for name, n in report.episodes.items())
    lines = [
        f"\nImported to {out}: {splits}; {report.steps} steps, {len(report.tasks)} tasks:",
        *(f"  {count:5}  {task}" for task, count in report.tasks.most_common(_LISTED)),
    ]
    if len(report.tasks) > _LISTED:
        lines.append(f"  and {len(report.tasks) - _LISTED} more")
    if report.left_out:
        lines.append(f"Left out, as the mapping says: {len(report.left_out)} episodes")
        lines += [f"  {why}" for why in report.left_out[:_LISTED]]
    if report.clipped:
        lines.append(f"{report.clipped} numbers were brought back to their bounds.")
    if report.outside:
        lines.append(f"{report.outside} numbers lie beyond their bounds and were kept.")
    lines.append(f"Look at it before anything trains: mili look {out}")
    return lines


def look(
    dataset: str,
    out: str | None = None,
    splits: Sequence[str] | None = None,
    show: Print = print,
) -> looking.Look:
    """Looks at a dataset, prints what is there and what is odd, and writes a page with a contact
    sheet to `out`, by default the folder `look` in it. Raises ConfigError or DataError."""
    found = looking.look_at(dataset, splits)
    page = looking.write(found, Path(dataset) / "look" if out is None else out)
    show(found.text())
    show(f"\nPage with pictures: {page}")
    return found


def export(
    dataset: str,
    format: str,
    out: str,
    splits: Sequence[str] | None = None,
    fps: float | None = None,
    lossless: bool = False,
    show: Print = print,
) -> exporting.Exportation:
    """Writes a dataset in another format, by default all its splits, and reads it back. Raises
    ConfigError or DataError; `out` is then not there."""
    done = exporting.export_episodes(dataset, format, out, splits, fps, lossless)
    counts = ", ".join(f"{name} {n}" for name, n in done.episodes.items())
    show(f"Exported to {out}: {counts}; {done.steps} steps, {done.labels} episodes with a label.")
    if done.loss:
        show(
            f"Pictures are {done.pictures}: read back they differ by {done.loss:.2f} of 255 in the "
            f"mean, signal to noise at least {done.psnr:.1f} dB. Actions and poses are the same to "
            "the bit. For pictures without loss: --lossless"
        )
    else:
        show(f"Read back, all is the same to the bit; pictures are {done.pictures}.")
    if format == "robomimic":
        show(
            "robomimic trains on actions between -1 and 1; these have the units of the robot. "
            "Give its action_config min_max normalisation."
        )
    return done
