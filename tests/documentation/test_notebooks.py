"""The notebooks run from the first cell to the last, at a small size: other values in the cell with the tag ``parameters``."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOKS = Path(__file__).parents[2] / "docs" / "notebooks"
PARAMETERS = {
    "train_and_break.ipynb": 'EXAMPLES, HELD_OUT, TRAINING = "1k", "100", "-S steps=4 -S warmup=1 -S valid_examples=20"',
    "verify_answers.ipynb": "PROBLEMS = 20",
}


def test_every_notebook_is_run() -> None:
    assert {path.name for path in NOTEBOOKS.glob("*.ipynb")} == PARAMETERS.keys()


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", PARAMETERS)
def test_notebook_runs(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``!`` raises no error when its command fails, so the outputs are searched for errors of mathpipe, too."""
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    notebook = nbformat.read(NOTEBOOKS / name, as_version=4)
    (cell,) = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", ())]
    cell.source = PARAMETERS[name]
    NotebookClient(notebook, timeout=300, allow_errors=True, resources={"metadata": {"path": str(tmp_path)}}).execute()
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    text = "\n".join(output.get("text", "") for output in outputs)
    assert not [output["evalue"] for output in outputs if output.output_type == "error"], text
    assert "rror:" not in text and "Usage:" not in text, text
    assert any("image/png" in output.get("data", {}) for output in outputs) == ("train" in name)


@pytest.mark.parametrize("name", PARAMETERS)
def test_committed_outputs_are_small(name: str) -> None:
    assert (NOTEBOOKS / name).stat().st_size < 200_000
