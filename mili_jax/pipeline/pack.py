"""A policy of a run as a folder of its own, with its model card."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from mili_jax.pipeline.oneshot import OneShotPolicy
from mili_jax.pipeline.trained import of_run
from mili_jax.report import card
from mili_jax.storage import packed
from mili_jax.storage.packed import Packed


def pack(workdir: Path, out: Path, policy: str = "", note: str = "") -> Packed:
    """Writes a policy of a run as a folder of its own, which `load_policy` takes.

    Args:
      policy: see `of_run`.
      note: a sentence for the card, of what a reader should know beside its facts.

    The card calls it by the folder's name.

    Raises as `of_run`, and DataError if `out` holds something else than a packed policy.
    """
    made = of_run(workdir, policy)
    facts = {"name": out.name, **made.facts}
    if note:
        facts["made"] = {**facts["made"], "note": note}
    made = dataclasses.replace(made, facts=facts)
    made = dataclasses.replace(made, card=card.model_card(made.facts, made.rows))
    OneShotPolicy(out.name, made, str(workdir))
    packed.write(out, made)
    return packed.read(out)
