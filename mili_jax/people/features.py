"""Makes the features of a round's trials: `python -m mili_jax.people.features RUN ROUND`, a process
of its own, since it needs the policy and its libraries."""

from __future__ import annotations

import sys
from pathlib import Path

from mili_jax.types import MiliError


def main(workdir: str, number: str) -> int:
    """Makes and keeps them; prints how far it is, about a line a second."""
    from mili_jax.pipeline import describe
    from mili_jax.pipeline.run import open_stored

    try:
        run = open_stored(Path(workdir))
        describe.features(run, int(number), lambda k, of: print(f"{k} of {of}", flush=True))
    except MiliError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
