"""The loop on Meta-World, at its smallest: demonstrations, training, a round, an evaluation."""

from __future__ import annotations

import importlib.util
import json

import pytest

from mili_jax.configs import get_config
from mili_jax.pipeline import algorithm
from mili_jax.pipeline.run import open_run

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("metaworld") is None, reason="the extra `metaworld` is not installed"
)

SMALL = {
    "data.image_size": 32,
    "data.tasks": 2,
    "data.demonstrations": 2,
    "policy.channels": 8,
    "policy.embedding_size": 560,
    "policy.blocks": 1,
    "train.steps": 4,
    "train.batch": 4,
    "train.policy_steps": 2,
    "improve.trials": 4,
    "improve.batch": 4,
    "improve.steps": 2,
    "improve.alpha": -1.0,
    "improve.rested": False,
    "evaluate.tasks": 2,
    "evaluate.episodes": 1,
    "evaluate.videos": 0,
    "machine.processes": 0,
}


def test_the_whole_loop(tmp_path) -> None:
    config = get_config("metaworld")
    config.update_from_flattened_dict(SMALL)
    page = algorithm.run_all(open_run(config, tmp_path / "run"))
    assert page.exists()
    lines = (tmp_path / "run" / "results.jsonl").read_text().splitlines()
    rows = [row for row in map(json.loads, lines) if "successes" in row]
    assert {row["task"] for row in rows} == {"window-open-v3", "button-press-v3"}
    assert {row["domain"] for row in rows} == {"metaworld"}
    assert {row["method"] for row in rows} >= {"meta_imitation", "mili"}
