"""Hyper-parameters of training."""

from __future__ import annotations

import dataclasses
import math

from mili_jax.types import ConfigError

CONTRASTIVE = ("hinge", "supervised")


@dataclasses.dataclass(frozen=True)
class Hyper:
    """Hyper-parameters of training. Raises ConfigError on a value out of range.

    condition: False trains behaviour cloning (eq. 1: every embedding is zero, no contrastive loss).
    compared: how many rows of a batch the contrastive loss compares, from the first on; the others
      are pairs of trials, whose tasks nobody knows. None: all.
    imitated: how many rows of a batch the policy learns to act from, from the first on; of the
      others it learns to find again what it has seen. None: all.
    """

    steps: int = 3000
    learning_rate: float = 3e-3
    warmup: int = 100  # steps of linear warm-up, before a cosine decay to a hundredth
    weight_decay: float = 1e-4
    clip: float = 5.0  # global gradient norm
    ema: float = 0.99  # decay of the averaged parameters that act and embed; 0: no averaging
    condition: bool = True
    contrastive: str = "supervised"  # one of CONTRASTIVE; "hinge" is the paper's
    contrastive_weight: float = 1.0  # 1 in eq. 3
    compared: int | None = None
    imitated: int | None = None
    beta: float = 1.0  # margin of the hinge, squared distance
    temperature: float = 0.1  # of the supervised loss
    focus_weight: float = 1.0  # of the likelihood of the places known in hindsight
    recall_weight: float = 1.0  # of finding again whatever lies in the demonstration's picture
    auxiliary_weight: float = 1.0  # of the embedding's own loss (reading the gripper's pose)
    demo_dropout: float = 0.05  # share of rows whose policy gets no demonstration
    embedding_gradient: float = 1.0  # share of the policy's gradient that reaches z
    dihedral: bool = True  # random flips and quarter turns
    shift: int = 2  # pixels, at most, to each side
    colours: int = 4  # groups of rows, each with its own turn of the colour circle; 0: no turns
    brightness: float = 0.1  # largest change, as a share of the range
    contrast: float = 0.1  # largest relative change

    def __post_init__(self) -> None:
        def need(ok: bool, field: str, wanted: str) -> None:
            if not ok:
                raise ConfigError(f"Hyper.{field}: {getattr(self, field)!r} is not {wanted}")

        for known in dataclasses.fields(self):
            value, kind = getattr(self, known.name), type(known.default)
            kinds = {float: (int, float), type(None): (int, type(None))}.get(kind, kind)
            typed = isinstance(value, kinds) and (kind is bool or not isinstance(value, bool))
            wanted = f"a finite {kind.__name__}" if kind is float else f"of type {kind.__name__}"
            need(typed and (kind is not float or math.isfinite(value)), known.name, wanted)
        need(self.contrastive in CONTRASTIVE, "contrastive", f"one of {CONTRASTIVE}")
        for field in ("steps", "learning_rate", "clip", "temperature"):
            need(getattr(self, field) > 0, field, "positive")
        for field in ("warmup", "weight_decay", "contrastive_weight", "beta"):
            need(getattr(self, field) >= 0, field, "at least 0")
        for field in ("focus_weight", "recall_weight", "auxiliary_weight"):
            need(getattr(self, field) >= 0, field, "at least 0")
        for field in ("shift", "colours", "brightness", "contrast"):
            need(getattr(self, field) >= 0, field, "at least 0")
        for field in ("demo_dropout", "embedding_gradient"):
            need(0 <= getattr(self, field) <= 1, field, "between 0 and 1")
        need(0 <= self.ema < 1, "ema", "at least 0 and below 1")
        for field in ("compared", "imitated"):
            rows = getattr(self, field)
            need(rows is None or rows > 0, field, "positive, or None")
