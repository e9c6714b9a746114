"""Methods by name: how they read, their order, and which are MILI with one thing changed."""

from __future__ import annotations

import dataclasses
import re

METHODS = {  # in the order in which they are listed within a round
    "bc": "Behaviour cloning",
    "mil_video": "MIL, video",
    "mil_video_pose": "MIL, video and poses",
    "mil": "MIL",
    "mil_pairs": "MIL on MILI's pairs",
    "meta_imitation": "Meta-imitation",
    "more_demonstrations": "Equal steps and rows, demos only",
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


@dataclasses.dataclass(frozen=True)
class Policy:
    """What was evaluated: one method after one round, under one config."""

    config: str
    method: str
    round: int

    @property
    def label(self) -> str:
        """What people read."""
        if variant := VARIANT.fullmatch(self.method):
            what, scale = SWEEPS[variant[1]]
            return f"MILI, round {self.round}, {what}: {scale * int(variant[2]):g}"
        if self.method == "meta_imitation" and self.round > 0:
            return f"Equal steps, demos only, round {self.round}"
        if self.method == "mil" and self.round > 0:
            return f"MIL, equal steps, demos only, round {self.round}"
        name = METHODS.get(self.method, self.method)
        if self.method == "mili" and self.round == 0:
            return f"{name}, before trials"
        return f"{name}, round {self.round}" if self.round else name
