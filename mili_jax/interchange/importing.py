"""Other people's episodes into a dataset of ours: all of it, or nothing."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import fcntl
import multiprocessing
import os
import shutil
import uuid
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

from mili_jax.interchange.convert import convert, left_out
from mili_jax.interchange.guess import guess
from mili_jax.interchange.mapping import Mapping
from mili_jax.interchange.mapping_file import as_plain, parse, render
from mili_jax.interchange.parts import check_apart, numbers_of, split_of
from mili_jax.interchange.recording import NUMBER, PICTURE, TEXT, Source
from mili_jax.interchange.sources import open_source
from mili_jax.interchange.store import finish, to_episode, write_shard
from mili_jax.types import ConfigError, DataError

MAPPING_FILE = "mapping.yaml"  # beside the dataset, how it was made
_SHARD_BYTES = 32e6  # of pictures; what a process holds at a time
_SHARD_EPISODES = 64
_SHARDS_EACH = 8  # of fewer, a further process does not earn the second that its start takes
_LOCK = ".importing.lock"

Progress = Callable[[int, int], None]  # (episodes done, of how many)


@dataclasses.dataclass
class Report:
    """What an import did.

    episodes: by split of ours. tasks: how many episodes of each task, all splits. left_out: why,
    one entry an episode. clipped, outside: numbers brought back to their bounds, kept beyond.
    """

    episodes: dict[str, int] = dataclasses.field(default_factory=dict)
    steps: int = 0
    tasks: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    left_out: list[str] = dataclasses.field(default_factory=list)
    notes: tuple[str, ...] = ()
    clipped: int = 0
    outside: int = 0


def import_episodes(
    source: Path | str,
    form: str,
    mapping: Mapping | Path | str | None,
    out: Path | str,
    partial: bool = False,
    processes: int = 1,
    progress: Progress = lambda done, total: None,
) -> Report:
    """Makes a dataset of the episodes in `source`.

    Args:
      source: a folder or file. form: its format.
      mapping: a mapping, or the path of a mapping file; None for a guessed one.
      out: the folder to make; it must not be there, or be empty.
      partial: take what is there of a source that promises more.
      processes: that read and write at a time, at most; a small source needs fewer.

    Raises ConfigError for a mapping that does not fit or has something open, and DataError, naming
    file and field, for the first episode that cannot be imported. Then nothing is left at `out`.
    """
    out = Path(out)
    check_free(out)
    opened = open_source(source, form, partial)
    plan = plan_for(opened, mapping)
    check(opened, plan)
    report = Report(notes=opened.notes)
    with staging(out) as folder:
        _fill(opened, plan, folder, report, processes, progress)
        head = f"How the {form} episodes in {opened.path} became this dataset.\n"
        text = render(as_plain(plan), head=head + "\n".join(opened.notes))
        _write(folder / MAPPING_FILE, text)
    return report


def plan_for(source: Source, mapping: Mapping | Path | str | None) -> Mapping:
    """The mapping itself, from its file, or guessed. Raises ConfigError if it cannot be used."""
    if isinstance(mapping, Mapping):
        return mapping
    if mapping is None:
        return guess(source).mapping()
    path = Path(mapping)
    try:
        return parse(path.read_text(), str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"the mapping {path} cannot be read ({error})") from error


def check(source: Source, mapping: Mapping) -> None:
    """Raises ConfigError for a mapping that names what the source does not have."""
    if mapping.format != source.format:
        raise ConfigError(
            f"the mapping is for {mapping.format}, the source is read as {source.format}"
        )
    for text in mapping.splits:
        if (split := split_of(text, source.splits)) not in source.splits:
            there = ", ".join(f"{name} ({n})" for name, n in source.splits.items())
            said = " ".join(note for note in source.notes if repr(split) in note)
            raise ConfigError(
                f"the mapping takes the split {split!r}, and {source.path} has {there}. {said}"
                "".strip()
            )
    check_apart(mapping.splits, source.splits)
    wanted = [
        (field, PICTURE, f"camera {line.name!r}")
        for line in mapping.cameras
        for field in (line.field, line.heights)
        if field is not None
    ]
    for group in ("pose", "action"):
        for line in getattr(mapping, group):
            wanted.append((line.field, NUMBER, f"{group} {line.name!r}"))
    for what in ("field", "language"):
        if (field := getattr(mapping.task, what)) is not None:
            wanted.append((field, TEXT, f"task.{what}"))
    if mapping.success.field is not None:
        wanted.append((mapping.success.field, NUMBER, "success.field"))
    wanted += [(field, "", f"facts.{fact}") for fact, field in mapping.facts.items()]
    for field, kind, what in wanted:
        column = source.columns.get(field)
        if column is None:
            raise ConfigError(
                f"the mapping's {what} is {field!r}, which {source.path} does not have; it has "
                f"{', '.join(sorted(source.columns))}"
            )
        if kind and column.kind != kind:
            why = f" ({column.why})" if column.why else ""
            raise ConfigError(
                f"the mapping's {what} is {field!r}, which in {source.path} is of the kind "
                f"{column.kind}{why} and not a {kind}"
            )


def check_free(out: Path) -> None:
    try:
        taken = out.exists() and (not out.is_dir() or any(out.iterdir()))
    except OSError as error:
        raise DataError(f"{out} cannot be looked at ({error.strerror})") from error
    if taken:
        raise ConfigError(f"{out} is there already; choose another folder, or remove it")


@contextlib.contextmanager
def staging(out: Path, file: str | None = None) -> Iterator[Path]:
    """A hidden folder beside `out` that becomes `out`, or that file in it, or goes. One that a
    killed import left behind goes too."""
    prefix = f".{out.name}.importing-"
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        for old in out.parent.glob(f"{prefix}*"):
            _remove_abandoned(old)
        folder = out.parent / f"{prefix}{uuid.uuid4().hex[:12]}"
        folder.mkdir()
        lock = (folder / _LOCK).open("w")
    except OSError as error:
        raise DataError(f"{out} cannot be made ({error})") from error
    try:
        with lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield folder
            (folder / _LOCK).unlink()
            try:
                os.replace(folder if file is None else folder / file, out)
            except OSError as error:
                raise DataError(f"{out} cannot be made ({error})") from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _remove_abandoned(old: Path) -> None:
    with contextlib.suppress(OSError), (old / _LOCK).open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(old, ignore_errors=True)


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text)
    except OSError as error:
        raise DataError(f"{path} cannot be written ({error.strerror})") from error


@dataclasses.dataclass(frozen=True)
class _Job:
    split: str
    shard: int
    numbers: tuple[int, ...]


def _fill(
    source: Source,
    plan: Mapping,
    root: Path,
    report: Report,
    processes: int,
    progress: Progress,
) -> None:
    jobs: list[_Job] = []
    shards: collections.Counter[str] = collections.Counter()
    size = _shard_size(source, plan)
    for split in plan.splits:
        numbers = _kept(source, plan, split, report)
        if not numbers:
            raise DataError(
                f"{source.path}: no episode of the split {split!r} is left to import; take it out "
                "of the mapping's splits"
            )
        for begin in range(0, len(numbers), size):
            jobs.append(_Job(split, shards[split], tuple(numbers[begin : begin + size])))
            shards[split] += 1
    total = sum(len(job.numbers) for job in jobs)
    labels: dict[tuple[str, int], list[dict[str, object]]] = {}
    done = 0
    with contextlib.closing(_results(source, plan, root, jobs, processes)) as results:
        for job, found in results:
            ours = plan.splits[job.split]
            report.episodes[ours] = report.episodes.get(ours, 0) + len(job.numbers)
            report.steps += found.steps
            report.tasks.update(found.tasks)
            report.clipped += found.clipped
            report.outside += found.outside
            labels[job.split, job.shard] = found.labels
            done += len(job.numbers)
            progress(done, total)
    for split, ours in plan.splits.items():
        answers = [row for k in range(shards[split]) for row in labels[split, k]]
        finish(root, plan.spec(), ours, shards[split], answers)


def _shard_size(source: Source, plan: Mapping) -> int:
    """Episodes a shard, by the length of the first one."""
    text = next(iter(plan.splits))
    split, number = split_of(text, source.splits), numbers_of(text, source.splits)[0]
    first = next(iter(source.read(split, [number], [plan.action[0].field])))
    size = first.length * plan.height * plan.width * 3 * len(plan.cameras)
    return int(min(_SHARD_EPISODES, max(1, _SHARD_BYTES // size)))


def _kept(source: Source, plan: Mapping, split: str, report: Report) -> list[int]:
    """The episodes of a split that the mapping does not leave out."""
    numbers = numbers_of(split, source.splits)
    if plan.short != "skip" and plan.task.empty != "skip":
        return list(numbers)
    names = {plan.action[0].field} | ({plan.task.field} if plan.task.field else set())
    kept = []
    for recording in source.read(split_of(split, source.splits), numbers, names):
        if (why := left_out(recording, plan)) is None:
            kept.append(recording.number)
        else:
            report.left_out.append(why)
    return kept


@dataclasses.dataclass
class _Found:
    """What is known of a shard that was written."""

    steps: int = 0
    tasks: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    clipped: int = 0
    outside: int = 0
    labels: list[dict[str, object]] = dataclasses.field(default_factory=list)


def _import_shard(source: Source, plan: Mapping, root: Path, job: _Job) -> _Found:
    found = _Found()
    episodes = []
    split = split_of(job.split, source.splits)
    for recording in source.read(split, job.numbers, plan.used):
        converted = convert(recording, plan)
        default = f"{split}-{recording.number:06d}"
        try:
            episode, labels = to_episode(converted, default, plan.splits[job.split])
        except DataError as error:
            raise DataError(f"{recording.where}: {error}") from None
        episodes.append(episode)
        found.steps += len(episode)
        found.tasks[converted.task] += 1
        found.clipped += converted.clipped
        found.outside += converted.outside
        found.labels += labels
    write_shard(root, plan.spec(), plan.splits[job.split], job.shard, episodes)
    return found


# Of a worker process: source, mapping, root. They are sent once and not with every shard.
_WORK: list[tuple[Source, Mapping, Path]] = []


def _start(source: Source, plan: Mapping, root: Path) -> None:
    _WORK[:] = [(source, plan, root)]


def _work(job: _Job) -> _Found:
    source, plan, root = _WORK[0]
    return _import_shard(source, plan, root, job)


def _results(
    source: Source, plan: Mapping, root: Path, jobs: Sequence[_Job], processes: int
) -> Generator[tuple[_Job, _Found]]:
    """The shards as they are made, this process one of those that make them.

    Jobs are begun in their order, so the first that fails is the same whoever is quicker.
    """
    processes = min(processes, 1 + len(jobs) // _SHARDS_EACH)
    if processes <= 1:
        for job in jobs:
            yield job, _import_shard(source, plan, root, job)
        return
    pool = ProcessPoolExecutor(
        processes - 1,
        multiprocessing.get_context("spawn"),
        _start,
        (source, plan, root),
    )
    rest = collections.deque(jobs)
    waiting: collections.deque[tuple[_Job, Future[_Found]]] = collections.deque()
    try:
        while rest or waiting:
            while rest and len(waiting) < 2 * (processes - 1):
                job = rest.popleft()
                waiting.append((job, pool.submit(_work, job)))
            mine = rest.popleft() if rest else None
            try:
                found = None if mine is None else _import_shard(source, plan, root, mine)
            except Exception:
                for _, future in waiting:  # all of them were begun before
                    future.result()
                raise
            if mine is not None and found is not None:
                yield mine, found
            while waiting and (mine is None or waiting[0][1].done()):
                job, future = waiting.popleft()
                yield job, future.result()
    except BrokenProcessPool as error:
        raise DataError(
            f"a process that read {source.path} ended at once; perhaps the memory was not enough: "
            "import with --processes=1"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)
