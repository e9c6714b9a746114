"""Makes and keeps the features of a split's trials: `python -m mili_jax.people.features RUN SPLIT
FILE`, a process of its own, since it needs the policy and its libraries."""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path

import numpy as np

from mili_jax.storage.files import replacing
from mili_jax.types import MiliError


def kept_features(path: Path, digest: str) -> np.ndarray | None:
    """Features float16 [N,F] that were kept for the split with this digest; None if there are none
    that can be used."""
    try:
        with np.load(path, allow_pickle=False) as found:
            if str(found["split"]) == digest:
                return np.asarray(found["features"])
    except (OSError, ValueError, KeyError, zipfile.BadZipFile):
        pass  # they are made again
    return None


def main(workdir: str, split: str, out: str) -> int:
    """Makes them; prints how far it is, a line each second."""
    from mili_jax.pipeline import describe
    from mili_jax.pipeline.run import open_stored

    try:
        run = open_stored(Path(workdir))
        digest = run.dataset.digests(split)[split][:16]
        number = int(split.removeprefix("round_"))
        made = describe.of_split(run, number, lambda k, of: print(f"{k} of {of}", flush=True))
        with replacing(Path(out)) as temporary, temporary.open("wb") as file:
            np.savez(file, split=digest, features=made.astype(np.float16))
    except MiliError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
