"""What the killed processes do: each function brings a directory to one state, from any state that a kill may leave."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from mathpipe.generate.build.dataset_builder import make_dataset
from mathpipe.generate.dataset_spec import DatasetSpec
from mathpipe.generate.layout import Layout
from mathpipe.generate.problem_specs.matrix_spec import MatrixSpec

SPEC = DatasetSpec(task="inverse", problems=MatrixSpec(min_dim=3, max_dim=3), chunk_rows=500)
LAYOUT = Layout({"train": 5_500, "valid": 500, "test": 500}, 500)
TINY_SPEC = DatasetSpec(task="transpose", problems=MatrixSpec(min_dim=1, max_dim=1), chunk_rows=5)
TINY_LAYOUT = Layout({"train": 5, "test": 5}, 5)
SMALL = ("--task", "add", "--dim", "2", "--n", "300", "--valid", "50", "--test", "50", "--workers", "0")
TRAINING = (
    *("steps=60", "batch=16", "warmup=5", "checkpoint_every=5", "eval_every=20", "log_every=5", "valid_examples=32"),
    *("best_metric=valid_loss", "keep_every=20", "threads=1", "model.encoder_width=16", "model.decoder_width=16"),
    *("model.encoder_heads=2", "model.decoder_heads=2", "model.decoder_layers=1"),
)


def generate(folder: str, workers: int = 0, scheduler: str | None = None) -> None:
    """Thirteen shards."""
    make_dataset(SPEC, LAYOUT, folder, workers=workers, scheduler=scheduler)


def make_tiny(url: str, seed: int = 0) -> int:
    """Two shards of five examples; how many rows were built."""
    spec = TINY_SPEC.model_copy(update={"seed": seed})
    return make_dataset(spec, TINY_LAYOUT, url, workers=0, retry_seconds=0.0).built_rows


def train(data: str, run: str, *changes: str) -> None:
    from mathpipe.pipeline.cli import main

    values = (part for each in (*TRAINING, *changes) for part in ("-S", each))
    main(["train", "--data", data, "--run", run, "--quiet", *values])


def evaluate(run: str, out: str) -> None:
    """Ten parts of 50 problems."""
    from mathpipe.evaluate.run import evaluate_run

    evaluate_run(run, out_dir=out, verbose=True, chunk_rows=50)


def write_records(path: Path, rows: int) -> None:
    """Sums of 2 x 2 matrices as JSON Lines, every tenth one wrong."""
    rng = np.random.default_rng(0)
    with path.open("w", encoding="utf-8") as file:
        for i in range(rows):
            matrix = rng.integers(-9, 10, (2, 2))
            solution = matrix.T + (i % 10 == 0)
            file.write(json.dumps({"problem": matrix.tolist(), "solution": solution.tolist()}) + "\n")


def state_of_run(run: Path) -> dict[str, Any]:
    """Whatever a run learned: tensors of the last, best and permanent checkpoints as bytes, and the metrics without times."""
    import torch

    from mathpipe.train.run.checkpoint import read_checkpoint
    from mathpipe.train.run.metrics_log import read_metrics_log

    def plain(value: Any) -> Any:
        if isinstance(value, torch.Tensor):
            return value.numpy().tobytes()
        if isinstance(value, dict):
            return {key: plain(each) for key, each in value.items() if "seconds" not in str(key)}
        return [plain(each) for each in value] if isinstance(value, list | tuple) else value

    files = [run / "checkpoint.pt", *sorted((run / "checkpoints").glob("*.pt"))]
    points = [
        {name: value for name, value in point.items() if "second" not in name}
        for point in read_metrics_log(run / "curves.jsonl")
    ]
    return {"points": points} | {file.name: plain(read_checkpoint(file)) for file in files}
