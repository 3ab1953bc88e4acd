"""mathpipe in a Jupyter kernel: worker processes start from a cell, and training and evaluation run in a thread."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import nbformat
import pytest
from click.testing import CliRunner, Result
from nbclient import NotebookClient

from mathpipe.pipeline.cli import cli

CELLS = (
    """
from mathpipe import Layout, get_task, make_dataset
spec = get_task("add").make_spec({"dim": 2})
make_dataset(spec, Layout({"train": 20_000}, 10_000), "data", workers=2).built_rows
""",
    """
from mathpipe import open_dataset
with open_dataset("data").batches(16) as batches:
    shape = tuple(next(batches).source.shape)
shape[0]
""",
)
TINY = "steps=2 batch=8 eval_every=2 warmup=0 model.encoder_width=16 model.decoder_width=16 model.encoder_heads=2"
TINY += " model.decoder_heads=2 model.decoder_layers=1"


@pytest.mark.timeout(600)
def test_workers_start_from_a_cell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel runs cells inside an event loop, and its ``__main__`` is no script."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in CELLS])
    NotebookClient(
        notebook, timeout=500, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    ).execute()
    results = [
        output["data"]["text/plain"]
        for cell in notebook.cells
        for output in cell.outputs
        if output.output_type == "execute_result"
    ]
    assert results == ["20000", "16"]
    assert (tmp_path / "data" / "manifest.json").exists()


def test_training_and_evaluation_in_a_thread_with_an_event_loop(
    addition: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither may install a signal handler there, nor start a second loop."""
    monkeypatch.chdir(tmp_path)
    settings = [part for setting in TINY.split() for part in ("-S", setting)]
    lines = [
        ["train", "--preset", "none", "--data", str(addition), "--run", "run", *settings],
        ["eval", "--run", "run", "--limit", "20", "--verbose", "--workers", "1"],
        ["failures", "run"],
    ]
    results: list[Result] = []

    async def call() -> None:
        results.extend(CliRunner().invoke(cli, line) for line in lines)

    thread = threading.Thread(target=lambda: asyncio.run(call()))
    thread.start()
    thread.join()
    assert [result.exit_code for result in results] == [0, 0, 0], [result.output for result in results]
    assert (tmp_path / "run" / "checkpoint.pt").exists()
    assert (tmp_path / "run" / "evaluation" / "test.first-20" / "metrics.json").exists()
