"""The notebook: all of its cells run in a real kernel, and nothing of that is kept in it."""

from __future__ import annotations

import os

import nbformat
import pytest
from nbclient import NotebookClient
from pages import LONGEST, links, sentences
from runs import ROOT

NOTEBOOK = ROOT / "docs" / "notebooks" / "first_hour.ipynb"
LIMIT = 800  # s for a cell
STEPS = ("Demonstrate", "Act", "Trials", "Answer", "Pair", "Improve")


def read():
    return nbformat.read(NOTEBOOK, as_version=4)


def test_it_has_the_steps_in_their_order_and_no_outputs():
    notebook = read()
    nbformat.validate(notebook)
    heads = [c.source.splitlines()[0] for c in notebook.cells if c.cell_type == "markdown"]
    found = [head.removeprefix("## ") for head in heads]
    assert [step for step in found if step in STEPS] == list(STEPS)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            assert not cell.outputs and cell.execution_count is None, "strip it: it has outputs"


def test_its_text_reads_like_a_page():
    for cell in read().cells:
        if cell.cell_type == "markdown":
            for sentence in sentences(cell.source):
                assert len(sentence.split()) <= LONGEST, sentence
            for link in links(cell.source):
                assert (NOTEBOOK.parent / link.partition("#")[0]).exists(), link


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_all_cells_run_in_a_real_kernel(tmp_path, monkeypatch):
    monkeypatch.setenv("MILI_SMALL", "1")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.setenv("PYTHONPATH", path)
    notebook = read()
    resources = {"metadata": {"path": str(tmp_path)}}
    NotebookClient(notebook, timeout=LIMIT, kernel_name="python3", resources=resources).execute()
    outputs = [out for cell in notebook.cells for out in cell.get("outputs", ())]
    pictures = sum("image/png" in out.get("data", {}) for out in outputs)
    assert pictures >= 5, "demonstration, attempt, latent space, trials, bars"
    said = "".join(out.get("text", "") for out in outputs if out.output_type == "stream")
    assert "trials are useful" in said and "MILI minus control:" in said
    (folder,) = tmp_path.glob("first_hour_*")
    assert (folder / "stages" / "evaluate_mili_1.json").exists()
