"""Files of somebody else where a dataset should be: they are not damaged, they are foreign."""

from __future__ import annotations

import json
import re
from pathlib import Path

from mili_jax.types import DataError

_OURS = re.compile(
    r"mili-[a-z][a-z0-9_]*\.array_record-\d{5,}|labels_\w+\.jsonl|pairs_\w+\.csv|spec\.json"
)
_DATA = re.compile(
    r".*\.(tfrecord|array_record|riegeli|parquet|arrow|hdf5|h5|zarr|npz|npy|pkl|mp4|bag|mcap|rrd)"
    r"(-\d+(-of-\d+)?)?"
)


def refuse_foreign(directory: Path) -> None:
    """Raises DataError, saying what it is and how to bring it in, if the directory where a dataset
    of ours would lie holds episodes that this program did not write."""
    if what := _foreign(directory):
        raise DataError(
            f"{directory} holds {what}, not written by this program; it is left as it is: move it "
            "elsewhere, then `mili import` brings its episodes in"
        )


def describe_foreign(root: Path) -> str:
    """Where somebody else's episodes lie below the root of a dataset, "" if nothing is seen."""
    inner = (info.parent for info in sorted(root.glob("*/*/dataset_info.json")))
    for folder in (root, *inner):
        if what := _foreign(folder):
            return f"; {folder} holds {what}, which `mili import` brings in"
    return ""


def _foreign(directory: Path) -> str | None:
    try:
        names = {path.name for path in directory.iterdir() if not path.name.startswith(".")}
    except OSError:  # whoever reads it will say
        return None
    if any(_OURS.fullmatch(name) for name in names) or _is_ours(directory):
        return None
    info = _read(directory / "dataset_info.json")
    if isinstance(info, dict) or "features.json" in names:
        return _tfds(info if isinstance(info, dict) else {})
    lerobot = _read(directory / "meta" / "info.json")
    if isinstance(lerobot, dict):
        version = lerobot.get("codebase_version", "of some version")
        return f"a LeRobot dataset ({version}, {lerobot.get('total_episodes', '?')} episodes)"
    data = sorted(name for name in names if _DATA.fullmatch(name))
    if data:
        more = f" and {len(data) - 1} files more" if len(data) > 1 else ""
        return f"data of another format ({data[0]}{more})"
    return None


def _is_ours(directory: Path) -> bool:
    """Whether a directory without shards, labels and pairs is one of ours: all was dropped."""
    sums = _read(directory / "checksums.json")
    if isinstance(sums, dict) and {"sha256", "files"} <= sums.keys():
        return True
    try:
        features = (directory / "features.json").read_text()
    except (OSError, ValueError):
        return False
    return all(f'"{name}"' in features for name in ("episode_metadata", "achieved_tasks", "pose"))


def _tfds(info: dict[str, object]) -> str:
    splits = []
    listed = info.get("splits")
    for split in listed if isinstance(listed, list) else []:
        try:
            count = sum(map(int, split["shardLengths"]))
            splits.append(f"{split['name']}: {count} episodes")
        except (KeyError, TypeError, ValueError):
            continue
    said = [f"{info.get('name', 'unnamed')} {info.get('version', '')}".strip()]
    if "fileFormat" in info:
        said.append(str(info["fileFormat"]))
    return f"a TFDS dataset of somebody else ({', '.join([*said, *splits])})"


def _read(path: Path) -> object:
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
