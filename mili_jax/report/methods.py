"""Methods by name: how they read, their order, and which are MILI with one thing changed."""

from __future__ import annotations

import dataclasses
import re

from mili_jax.report.groups import KITCHEN

METHODS = {  # in the order in which they are listed within a round
    "bc": "Behaviour cloning",
    "mil_video": "MIL, video",
    "mil_video_pose": "MIL, video and poses",
    "mil": "MIL",
    "mil_pairs": "MIL on MILI's pairs",
    "meta_imitation": "Meta-imitation",
    "early_stopped": "Equal steps, demos only, stopped early",
    "more_demonstrations": "Equal steps and rows, demos only",
    "pictures_only": "Pictures of trials alone",
    "useless_only": "Useless trials alone",
    "random_pairs_only": "Random pairs, pairs alone",
    "random_pairs": "Random pairs",
    "nearest_demonstration": "Trials with demonstrations",
    "no_filter": "MILI without filter",
    "mili_pairs_only": "MILI, pairs alone",
    "mili_self_only": "MILI, each trial with itself alone",
    "mili": "MILI",
    "oracle_pairs_only": "Oracle pairs, pairs alone",
    "oracle": "Oracle pairs",
}
DEMO_NAMES = {
    "right": "right demonstration",
    "wrong": "wrong demonstration",
    "none": "no demonstration",
}

# MILI with one thing changed: what, and by how much.
VARIANT = re.compile(r"mili_(trials|alpha|noise)_(\d+)")
SWEEPS = {  # axis, how a value reads there, scale
    "trials": ("trials of the round", 1.0),
    "alpha": ("alpha (least cosine of a pair)", 1e-3),
    "noise": ("answers of the filter turned round, %", 1.0),
}


def known(method: str) -> str:
    """The name that `METHODS` has for a method, for a variant of MILI with or without its first
    word; a method that is not there has its own."""
    bare = method.removeprefix("mili_")
    return next((name for name in (method, bare, f"mili_{bare}") if name in METHODS), method)


def rank(method: str) -> int:
    """The place of a method among those of its round; what nobody knows comes last."""
    order = list(METHODS)
    name = known(method)
    return order.index(name) if name in order else len(order)


@dataclasses.dataclass(frozen=True)
class Policy:
    """What was evaluated: one method after one round, under one config, in one domain."""

    config: str
    method: str
    round: int
    domain: str = KITCHEN

    @property
    def label(self) -> str:
        """What people read. A method that nobody knows is called what its rows call it."""
        if variant := VARIANT.fullmatch(self.method):
            what, scale = SWEEPS[variant[1]]
            return f"MILI, round {self.round}, {what}: {scale * int(variant[2]):g}"
        if self.method == "meta_imitation" and self.round > 0:
            return f"Equal steps, demos only, round {self.round}"
        if self.method == "mil" and self.round > 0:
            return f"MIL, equal steps, demos only, round {self.round}"
        name = METHODS.get(known(self.method))
        if name is None:
            variant_of, _, what = self.method.partition("mili_")
            name = self.method
            if not variant_of and what:
                name = f"MILI, {what.replace('_', ' ')}"
        if self.method == "mili" and self.round == 0:
            return f"{name}, before trials"
        return f"{name}, round {self.round}" if self.round else name
