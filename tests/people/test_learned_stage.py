"""The learned filter as a stage of a real run: who answered what, and when it is asked again."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from runs import config

from mili_jax.improve import classifier
from mili_jax.improve import features as kept
from mili_jax.improve.filters import LEARNED
from mili_jax.pipeline import collect, describe
from mili_jax.pipeline.run import open_run, open_stored
from mili_jax.storage import verify
from mili_jax.storage.labels import Kind, Label
from mili_jax.types import DataError


@pytest.fixture
def copy(finished, tmp_path):
    return shutil.copytree(finished, tmp_path / "run")


@pytest.mark.slow
def test_the_stage_waits_for_people_and_is_made_again_when_they_say_more(copy, monkeypatch):
    path = copy / "dataset" / "mili" / "1.0.0" / "labels_round_1.jsonl"
    path.unlink()
    verify.forget(path.parent, [path.name])
    run = open_run(config(), copy)
    names = [m.episode_id for m in run.dataset.read_metadata("round_1")]
    with run.workdir:
        run.config.unlock()
        run.config.improve.filter = "learned"
        with pytest.raises(DataError, match=r"answered for 0 of 20 trials.*mili label --round=1"):
            collect.label(run, 1)
        monkeypatch.setattr(classifier, "LEAST", 10)
        people = [Label(name, k % 2 == 0, "ana") for k, name in enumerate(names[:12])]
        run.dataset.write_labels("round_1", people)
        collect.label(run, 1)
        first = run.workdir.read_manifest("filter_1")
        assert first["filter"]["people"] == 12 and first["answered_before"] == 12
        given = run.dataset.read_labels("round_1")
        assert given[:12] == people
        assert all(x.annotator == LEARNED and x.kind is Kind.CLASSIFIER for x in given[12:])
        assert len(given) - 12 == first["filter"]["saved"]
        collect.label(run, 1)  # nothing new: it is done
        assert run.dataset.read_labels("round_1") == given
        run.dataset.write_labels("round_1", [Label(names[15], True, "bo")])
        collect.label(run, 1)
        assert run.workdir.read_manifest("filter_1")["filter"]["people"] == 13


@pytest.mark.slow
def test_features_come_from_pictures_and_poses_of_each_trial_alone(copy):
    run = open_stored(copy)
    found = describe.features(run, 1)
    count = run.dataset.splits()["round_1"]
    assert found.shape[0] == count and np.isfinite(found).all()
    assert found.dtype == np.float16 and kept.path_of(copy, "round_1").exists()
    # Four blocks with the same share: the variances of all sum up to four.
    assert found.astype(float).var(0).sum() == pytest.approx(4, abs=0.05)
    path = kept.path_of(copy, "round_1")
    held = path.read_bytes()
    assert (describe.features(run, 1) == found).all() and path.read_bytes() == held
    # Another policy sees them otherwise: the same trials of another training are looked at again.
    kept.save(path, json.dumps({"checkpoints/pretrain": "another"}), 0 * found)
    assert (describe.features(run, 1) == found).all() and path.read_bytes() == held
