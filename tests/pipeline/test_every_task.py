"""Each matrix task through the whole pipeline: generate, train for a few steps, evaluate, read the failures."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch

from mathpipe.datasets.dataset import open_dataset
from mathpipe.evaluate.decode.hypotheses import Decoding
from mathpipe.evaluate.failures.failure_dump import read_failures
from mathpipe.evaluate.quick_accuracy import quick_accuracy
from mathpipe.evaluate.run import evaluate_run
from mathpipe.generate.build.dataset_builder import make_dataset
from mathpipe.generate.layout import Layout
from mathpipe.generate.tasks.task_registry import MATRIX_TASKS
from mathpipe.train.config import ModelConfig, TrainConfig
from mathpipe.train.trainer import train

SIZES: dict[str, dict[str, object]] = {"laplacian-eigenvalues": {"dim": 8}}  # there are few small graphs
MIXED = {"spectrum": ("uniform", "laplace"), "noise": 0.02}


@pytest.mark.parametrize(
    ("name", "changes"),
    [*((name, SIZES.get(name, {})) for name in MATRIX_TASKS), ("eigenvectors", MIXED), ("cotraining", MIXED)],
)
def test_pipeline_of_task(name: str, changes: dict[str, object], tmp_path: Path) -> None:
    torch.set_num_threads(1)
    spec = MATRIX_TASKS[name].make_spec({"dim": 2, **changes}).model_copy(update={"chunk_rows": 100})
    make_dataset(spec, Layout({"train": 200, "test": 100}, 100), str(tmp_path / "data"), workers=0)
    data, test = (open_dataset(tmp_path / "data", split, "P10", "P10") for split in ("train", "test"))
    model = ModelConfig(encoder_width=16, decoder_width=16, encoder_heads=2, decoder_heads=2, decoder_layers=1)
    config = TrainConfig(model=model, batch=16, steps=3, warmup=1, eval_every=3, valid_examples=16, threads=1)
    result = train(
        config, data, test, tmp_path / "run", dvclive=False,
        evaluate=lambda model: quick_accuracy(model, test, limit=16),
    )  # fmt: skip
    assert result.metrics["accuracy"] >= 0
    evaluation = evaluate_run(tmp_path / "run", limit=20, verbose=True, decoding=Decoding(beam=2, constrained=True))
    table = pq.read_table(evaluation.predictions)
    top_ranked = table.filter(table["rank"].to_numpy() == 0)
    wrong = [
        row for row, passed in zip(*(top_ranked[c].to_pylist() for c in ("row", "passed")), strict=True) if not passed
    ]
    assert [failure.row for failure in read_failures(str(evaluation.failures))] == wrong
    assert len(top_ranked) == 20 and "malformed" not in top_ranked["outcome"].to_pylist()
    assert Path(evaluation.report).stat().st_size > 10_000
