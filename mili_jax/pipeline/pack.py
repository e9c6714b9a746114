"""A policy of a run as a folder of its own, with its model card."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from mili_jax.pipeline.oneshot import OneShotPolicy
from mili_jax.pipeline.trained import of_run
from mili_jax.report import card
from mili_jax.storage import packed
from mili_jax.storage.packed import Packed


def pack(workdir: Path, out: Path, policy: str = "", name: str = "") -> Packed:
    """Writes a policy of a run as a folder of its own, which `load_policy` takes.

    Args:
      policy: see `of_run`.
      name: what the card calls it; else the folder's name.

    Raises as `of_run`, and DataError if `out` holds something else than a packed policy.
    """
    made = of_run(workdir, policy)
    made = dataclasses.replace(made, facts={"name": name or out.name, **made.facts})
    made = dataclasses.replace(made, card=card.model_card(made.facts, made.rows))
    OneShotPolicy(name, made, str(workdir))
    packed.write(out, made)
    return packed.read(out)
