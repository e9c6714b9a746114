"""Episodes of ours to other formats: all of them, or nothing, and read back before they count."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path

import av
import numpy as np
import pyarrow as pa

from mili_jax.interchange import to_lerobot, to_rlds, to_robomimic
from mili_jax.interchange.convert import convert
from mili_jax.interchange.importing import MAPPING_FILE, check, check_free, staging
from mili_jax.interchange.mapping import FORMATS, Mapping
from mili_jax.interchange.mapping_file import parse
from mili_jax.interchange.sources import open_source
from mili_jax.interchange.store import open_dataset, read_all, to_episode
from mili_jax.spec import Spec
from mili_jax.storage.dataset import Dataset
from mili_jax.types import ConfigError, DataError

# What the formats' libraries raise when the file system refuses.
_OF_WRITING = (OSError, RuntimeError, pa.ArrowException, av.FFmpegError)


@dataclasses.dataclass(frozen=True)
class Exportation:
    """What an export did.

    episodes: by split. labels: episodes that have one. pictures: what they are stored as. loss,
    psnr: mean difference of a pixel (of 255) and the least of an episode's signal-to-noise ratios
    in dB, 0 and infinite where pictures come back as they were.
    """

    episodes: dict[str, int]
    steps: int
    labels: int
    pictures: str
    loss: float
    psnr: float


def export_episodes(
    dataset: Path | str,
    form: str,
    out: Path | str,
    splits: Sequence[str] | None = None,
    fps: float | None = None,
    lossless: bool = False,
) -> Exportation:
    """Writes splits of a dataset, by default all, as "rlds", "lerobot" (v3.0) or "robomimic".

    Every episode is read back: actions and poses must be the same to the bit, pictures too unless
    the format stores video, whose loss is measured.

    Args:
      dataset: the folder with mili/1.0.0. out: the folder to make; not there, or empty.
        Of robomimic it is the file itself if it ends with .hdf5 or .h5.
      fps: steps a second, whole for LeRobot; None where the dataset's mapping file says it.
      lossless: of LeRobot, pictures as PNG in the tables and not as video.

    Raises ConfigError for what was asked wrongly, DataError for a damaged dataset or a failed
    write. Then nothing is left at `out`.
    """
    root, out = Path(dataset), Path(out)
    if form not in FORMATS:
        raise ConfigError(f"format is {form!r}; it must be one of {', '.join(FORMATS)}")
    check_free(out)
    opened, spec = open_dataset(root)
    there = opened.splits()
    chosen = list(there if splits is None else dict.fromkeys(splits))
    if wrong := [split for split in chosen if split not in there]:
        raise ConfigError(f"{root} has no split {wrong[0]!r}; it has {', '.join(there)}")
    fps = _fps(root) if fps is None else fps
    plan = _plan(form, spec, chosen, fps, lossless)
    # What is called like one becomes a file; the folder of the other formats has it inside.
    alone = form == "robomimic" and out.suffix in (".hdf5", ".h5")
    with staging(out, to_robomimic.FILE if alone else None) as folder:
        try:
            _write(form, folder, opened, spec, chosen, plan, lossless)
        except _OF_WRITING as error:
            raise DataError(
                f"{out} could not be written ({error}); free space or fix permissions"
            ) from error
        return _read_back(form, folder, opened, chosen, plan, lossless)


def _fps(root: Path) -> float | None:
    """As the mapping says with which the dataset was imported."""
    path = root / MAPPING_FILE
    if not path.is_file():
        return None
    mapping = parse(path.read_text(), str(path))
    return mapping.to_fps or mapping.fps


def _plan(
    form: str, spec: Spec, splits: Sequence[str], fps: float | None, lossless: bool
) -> Mapping:
    if fps is not None and not (math.isfinite(fps) and fps > 0):
        raise ConfigError(f"fps is {fps}; it must be above 0")
    if form == "rlds":
        return to_rlds.plan(spec, splits, fps)
    if form == "robomimic":
        return to_robomimic.plan(spec, splits, fps)
    if fps is None:
        raise ConfigError(
            "LeRobot wants the steps a second, and this dataset does not say them: give --fps"
        )
    if fps != round(fps):
        raise ConfigError(f"fps is {fps:g}; LeRobot wants a whole number of steps a second")
    return to_lerobot.plan(spec, splits, fps, lossless)


def _write(
    form: str,
    folder: Path,
    dataset: Dataset,
    spec: Spec,
    splits: Sequence[str],
    plan: Mapping,
    lossless: bool,
) -> None:
    counts = dataset.splits()
    episodes = {split: (counts[split], read_all(dataset, [split])) for split in splits}
    if form == "rlds":
        to_rlds.write(folder, spec, episodes, plan)
    elif form == "robomimic":
        to_robomimic.write(folder, spec, episodes, plan)
    else:
        assert plan.fps is not None
        to_lerobot.write(folder, spec, episodes, plan, lossless)


def _read_back(
    form: str,
    folder: Path,
    dataset: Dataset,
    splits: Sequence[str],
    plan: Mapping,
    lossless: bool,
) -> Exportation:
    source = open_source(folder, form)
    check(source, plan)
    steps = labels = 0
    loss, worst, pixels = 0.0, 0.0, 0
    exact = form != "lerobot" or lossless
    counts = dataset.splits()
    for split in splits:
        recordings = source.read(split, range(counts[split]), plan.used)
        for before, recording in zip(read_all(dataset, [split]), recordings, strict=True):
            episode = before.episode
            converted = convert(recording, plan)
            after, answers = to_episode(converted, "", split)
            difference = np.abs(episode.image.astype(np.int16) - after.image)
            same = {
                "pose": after.pose.tobytes() == episode.pose.tobytes(),
                "action": after.action.tobytes() == episode.action.tobytes(),
                "pictures": not exact or not difference.any(),
                "facts": after.meta == episode.meta,
                "labels": answers == list(before.answers),
            }
            if wrong := [name for name, equal in same.items() if not equal]:
                raise DataError(
                    f"{recording.where}: what was written comes back with other {wrong[0]}; this "
                    "is a fault of the export, please report it"
                )
            loss += float(difference.sum())
            pixels += difference.size
            worst = max(worst, float((difference.astype(np.float64) ** 2).mean()))
            steps += len(episode)
            labels += bool(before.answers)
    kinds = {"rlds": "PNG", "robomimic": "uncompressed"}
    video = "PNG" if lossless else f"H.264 at crf {to_lerobot.CRF}"
    return Exportation(
        {split: counts[split] for split in splits},
        steps,
        labels,
        kinds.get(form, video),
        loss / pixels,
        math.inf if worst == 0 else 10 * math.log10(255**2 / worst),
    )
