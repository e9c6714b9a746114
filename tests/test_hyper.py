"""Hyper-parameters out of range are refused by name."""

import pytest

from mili_jax.learning.hyper import Hyper
from mili_jax.types import ConfigError


@pytest.mark.parametrize(
    "field, value",
    [
        ("contrastive", "none"),
        ("demo_dropout", 1.5),
        ("ema", 1.0),
        ("learning_rate", 0.0),
        ("shift", -1),
        ("embedding_gradient", -0.1),
        ("steps", 0),
    ],
)
def test_hyper_refuses(field: str, value: float | str) -> None:
    with pytest.raises(ConfigError, match=f"Hyper.{field}"):
        Hyper(**{field: value})
